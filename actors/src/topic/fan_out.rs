//! Who gets a message: the matches of a partition's routes, one entry a Session.

use convoy_wire::QoS;

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
    /// Nodes of routes that were tried.
    steps: u64,
}

/// Nodes that are tried in the time that a receiver takes.
const STEPS_A_UNIT: u64 = 32;

/// And in the time that a match takes which is of a Session that has one already.
const STEPS_A_MATCH: u64 = 8;

impl FanOut {
    pub fn clear(&mut self) {
        self.found.clear();
        self.filter = None;
        self.several_filters = false;
        self.steps = 0;
    }

    /// Routes were looked through.
    pub fn add_steps(&mut self, steps: u64) {
        self.steps += steps;
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

    /// One entry for each Session, whatever number of its Subscriptions matched.
    pub fn merge(&mut self) {
        if self.several_filters {
            self.merge_in_order();
        }
    }

    /// As [`FanOut::merge`], and in the order of the Sessions' numbers: the same on every replica.
    pub fn merge_in_order(&mut self) {
        let matches = self.found.len();
        self.found.sort_by_key(|found| (found.session, found.delivery.group()));
        self.found.dedup_by(|later, kept| {
            later.session == kept.session
                && later.delivery.group().is_none()
                && kept.delivery.group().is_none()
                && kept.delivery.merge(&later.delivery)
        });
        self.steps += (matches - self.found.len()) as u64 * STEPS_A_MATCH;
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
