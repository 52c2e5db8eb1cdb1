//! Who gets a message: the matches of a partition's routes, one entry a Session.

use convoy_wire::QoS;
use rustc_hash::FxHashMap;

use crate::message::Message;
use crate::session::{Delivery, Home, SessionNumber};
use crate::topic::RouteRow;

/// A Session that gets the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub session: SessionNumber,
    /// Set where the Session lives with its connection.
    pub home: Option<Home>,
    pub delivery: Delivery,
}

/// Collects the receivers of one message; kept and used again.
#[derive(Debug, Default)]
pub struct FanOut {
    found: Vec<Found>,
    /// The Topic Filter of the first match, while it is the only one.
    filter: Option<u32>,
    several_filters: bool,
    /// What it has cost to find them, in the smallest things that are counted.
    steps: u64,
    /// Where the last entry of a Session stands; empty but while they are merged. Its keys are numbers that we grant, so
    /// no seed is needed.
    last_of: FxHashMap<SessionNumber, u32>,
}

/// Up to so many matches are looked through for a Session faster than in a table.
const LOOKED_THROUGH: usize = 16;

/// Sessions for which the table's memory is kept for the next message: to clear it takes time by what it could hold.
const TABLE_KEPT: usize = 4096;

/// Members of Shared Subscriptions that are asked in the time that a receiver takes.
const STEPS_A_UNIT: u64 = 32;

/// And in the time in which a node of routes is tried: it may be anywhere in memory.
const STEPS_A_NODE: u64 = 4;

/// And in the time that a match takes which is of a Session that has one already.
const STEPS_A_MATCH: u64 = 4;

impl FanOut {
    pub fn clear(&mut self) {
        self.found.clear();
        self.filter = None;
        self.several_filters = false;
        self.steps = 0;
    }

    /// Routes were looked through: so many nodes were tried, and so many members asked.
    pub fn add_steps(&mut self, nodes: u64, asked: u64) {
        self.steps += nodes * STEPS_A_NODE + asked;
    }

    /// What it has cost to find them, and costs to tell them, in units of work.
    pub fn work(&self) -> u64 {
        self.found.len() as u64 + self.steps / STEPS_A_UNIT
    }

    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// Adds a match. `filter` tells Topic Filters apart: two with the same number cost a duplicate delivery at worst
    /// where MQTT allows either (MQTT 5.0, 3.3.4).
    pub fn add(&mut self, filter: u32, session: SessionNumber, route: &RouteRow, message: &Message<'_>) {
        // [MQTT-3.8.3-3]
        if route.subscription.no_local && session == message.publisher {
            return;
        }
        self.several_filters |= *self.filter.get_or_insert(filter) != filter;
        self.push(session, route, message, 0);
    }

    /// Adds the member of a Shared Subscription, which gets a message of its own beside what it gets by others.
    pub fn add_shared(
        &mut self,
        group: u64,
        session: SessionNumber,
        route: &RouteRow,
        message: &Message<'_>,
    ) {
        self.push(session, route, message, group);
    }

    fn push(&mut self, session: SessionNumber, route: &RouteRow, message: &Message<'_>, group: u64) {
        let wanted = &route.subscription;
        let subscribed = QoS::from_u8(wanted.qos).unwrap_or(QoS::ExactlyOnce);
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        let retain = wanted.retain_as_published && message.retain;
        let delivery = Delivery::new(message.qos.min(subscribed), retain, wanted.identifier);
        self.found.push(Found { session, home: route.home, delivery: delivery.by_share(group) });
    }

    /// One entry for each Session, whatever number of its Subscriptions matched, in the order of the first of them.
    pub fn merge(&mut self) {
        if self.several_filters {
            self.merge_matches();
        }
    }

    /// As [`FanOut::merge`], and in the order of the Sessions' numbers: the same on every replica.
    pub fn merge_in_order(&mut self) {
        // Without asking whether there are several filters: replicas tell them apart by numbers of their own.
        self.merge_matches();
        // An entry that had no room for all identifiers goes before the one that has the rest.
        self.found.sort_by_key(|found| (found.session, found.delivery.group()));
    }

    /// By a table and not by sorting: a message that thousands of filters of one Client match would be that much dearer.
    fn merge_matches(&mut self) {
        let matches = self.found.len();
        let is_searched = matches > LOOKED_THROUGH;
        let Self { found, last_of, .. } = self;
        let mut kept = 0;
        for at in 0..matches {
            let later = found[at];
            if later.delivery.group().is_none() {
                let last = match is_searched {
                    true => last_of.get(&later.session).map(|last| *last as usize),
                    false => found[..kept].iter().rposition(|kept| kept.is_of(later.session)),
                };
                if last.is_some_and(|last| found[last].delivery.merge(&later.delivery)) {
                    continue;
                }
                if is_searched {
                    last_of.insert(later.session, kept as u32);
                }
            }
            found[kept] = later;
            kept += 1;
        }
        found.truncate(kept);
        match last_of.capacity() > TABLE_KEPT {
            true => *last_of = FxHashMap::default(),
            false => last_of.clear(),
        }
        self.steps += (matches - kept) as u64 * STEPS_A_MATCH;
    }
}

impl Found {
    /// Whether it is this Session's by what it subscribed for itself.
    fn is_of(&self, session: SessionNumber) -> bool {
        self.session == session && self.delivery.group().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Subscription;

    const MESSAGE: Message<'static> = Message {
        topic: "a/b",
        properties: &[],
        payload: b"",
        qos: QoS::AtLeastOnce,
        retain: true,
        published_at: 0,
        expires_at: None,
        publisher: SessionNumber(7),
        user: crate::budget::User::NOBODY,
        author: &[],
    };

    fn route(qos: u8, identifier: u32) -> RouteRow {
        let subscription = Subscription { qos, no_local: false, retain_as_published: false, identifier };
        RouteRow { subscription, home: None }
    }

    #[test]
    fn overlapping_subscriptions_of_a_session_are_one_delivery() {
        let mut fan_out = FanOut::default();
        fan_out.add(1, SessionNumber(3), &route(0, 10), &MESSAGE);
        fan_out.add(1, SessionNumber(4), &route(0, 0), &MESSAGE);
        fan_out.add(2, SessionNumber(3), &route(2, 20), &MESSAGE);
        fan_out.merge();
        assert_eq!(fan_out.found().len(), 2);
        assert_eq!(fan_out.found()[0].delivery.qos, QoS::AtLeastOnce);
        assert_eq!(fan_out.found()[0].delivery.identifiers(), [10, 20]);
    }

    #[test]
    fn a_shared_subscription_is_a_delivery_of_its_own() {
        let mut fan_out = FanOut::default();
        fan_out.add(1, SessionNumber(3), &route(1, 10), &MESSAGE);
        fan_out.add_shared(8, SessionNumber(3), &route(1, 20), &MESSAGE);
        fan_out.add(2, SessionNumber(3), &route(1, 30), &MESSAGE);
        fan_out.merge();
        let identifiers: Vec<_> = fan_out.found().iter().map(|found| found.delivery.identifiers()).collect();
        assert_eq!(identifiers, [&[10, 30][..], &[20]]);
    }

    #[test]
    fn few_matches_and_many_are_merged_alike() {
        // Of 60 Sessions in turn: each but the first 20 comes by three Shared Subscriptions too.
        let all: Vec<_> = (0..1200).map(|at| (at, SessionNumber(u64::from(at * 7 % 60)))).collect();
        for matches in [2, LOOKED_THROUGH, LOOKED_THROUGH + 1, 61, 130, 1200] {
            let (mut fan_out, mut expected) = (FanOut::default(), Vec::<Found>::new());
            for (at, session) in &all[..matches] {
                match at % 11 < 2 && session.0 >= 20 {
                    true => fan_out.add_shared(u64::from(1 + at % 3), *session, &route(1, *at), &MESSAGE),
                    false => fan_out.add(*at, *session, &route((at % 3) as u8, at % 5), &MESSAGE),
                }
            }
            // As it is said: sorted by Session, those that a Session subscribed for itself taken together one by one.
            let mut sorted = fan_out.found.clone();
            sorted.sort_by_key(|found| (found.session, found.delivery.group()));
            for later in sorted {
                let last = expected.last_mut().filter(|last| last.is_of(later.session));
                let is_alone = later.delivery.group().is_some();
                if is_alone || !last.is_some_and(|last| last.delivery.merge(&later.delivery)) {
                    expected.push(later);
                }
            }
            fan_out.merge_in_order();
            assert_eq!(fan_out.found(), expected, "{matches} matches");
            assert!(fan_out.last_of.is_empty());
        }
    }

    #[test]
    fn whom_several_filters_name_stands_where_the_first_found_it() {
        let mut fan_out = FanOut::default();
        for (filter, session) in [(1, 9), (1, 4), (2, 6), (2, 9), (3, 4)] {
            fan_out.add(filter, SessionNumber(session), &route(1, 0), &MESSAGE);
        }
        fan_out.merge();
        assert_eq!(fan_out.found().iter().map(|found| found.session.0).collect::<Vec<_>>(), [9, 4, 6]);
        fan_out.merge_in_order();
        assert_eq!(fan_out.found().iter().map(|found| found.session.0).collect::<Vec<_>>(), [4, 6, 9]);
    }

    #[test]
    fn matches_that_are_merged_are_work_and_so_are_nodes_that_were_tried() {
        let mut fan_out = FanOut::default();
        for filter in 0..4096 {
            fan_out.add(filter, SessionNumber(u64::from(filter % 8)), &route(1, 0), &MESSAGE);
        }
        fan_out.merge();
        assert_eq!((fan_out.found().len(), fan_out.work()), (8, 8 + 511));
        fan_out.add_steps(8192, 32);
        assert_eq!(fan_out.work(), 8 + 511 + 1024 + 1);
        fan_out.clear();
        assert_eq!(fan_out.work(), 0);
    }

    #[test]
    fn more_identifiers_than_fit_are_a_further_copy() {
        let mut fan_out = FanOut::default();
        for number in 1..=5 {
            fan_out.add(number, SessionNumber(3), &route(1, number), &MESSAGE);
        }
        fan_out.merge();
        let identifiers: Vec<_> = fan_out.found().iter().map(|found| found.delivery.identifiers()).collect();
        assert_eq!(identifiers, [&[1, 2, 3, 4][..], &[5]]);
    }

    #[test]
    fn retain_is_forwarded_where_it_was_asked_for() {
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        let mut fan_out = FanOut::default();
        let mut as_published = route(1, 0);
        as_published.subscription.retain_as_published = true;
        fan_out.add(1, SessionNumber(1), &as_published, &MESSAGE);
        fan_out.add(1, SessionNumber(2), &route(1, 0), &MESSAGE);
        assert_eq!(
            fan_out.found().iter().map(|found| found.delivery.retain).collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn no_local_leaves_the_publisher_out() {
        let mut fan_out = FanOut::default();
        let mut local = route(1, 0);
        local.subscription.no_local = true;
        fan_out.add(1, SessionNumber(7), &local, &MESSAGE);
        assert_eq!(fan_out.found(), []);
        fan_out.add(1, SessionNumber(8), &local, &MESSAGE);
        assert!(!fan_out.found()[0].delivery.retain);
    }
}
