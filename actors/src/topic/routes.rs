//! Routes: who subscribed which Topic Filter. Those of one partition of a parent topic are replicated state of its slot;
//! of those whose filters begin with a wildcard see [`super::Roots`].

use std::collections::BTreeMap;

use convoy_wire::SharedFilter;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fan_out::FanOut;
use super::presence::{Level, Presence};
use super::shared::{self, Draw, Group};
use super::trie::Trie;
use crate::message::Message;
use crate::metric;
use crate::query::Receiver;
use crate::session::SessionNumber;
use crate::topic::{Again, RouteRow};

/// How a message finds the member of a Shared Subscription that gets it.
#[derive(Clone, Copy)]
pub enum Pick<'a> {
    /// By the leader, from what it knows of the members.
    Leader(Chooser<'a>),
    /// As every replica does.
    Agreed(Choice<'a>),
}

/// What a leader chooses by.
#[derive(Clone, Copy)]
pub struct Chooser<'a> {
    pub options: &'a shared::Options,
    pub presence: &'a Presence,
    /// Hash of the publisher's Client Identifier.
    pub client: u64,
    /// A number that is another one for each message.
    pub random: u64,
    pub again: Option<Again>,
}

/// What replicas choose by.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// Known to all replicas, and another one for each message.
    pub number: u64,
    /// Whom the leader has chosen.
    pub chosen: &'a [SessionNumber],
    pub again: Option<Again>,
}

/// Names a Shared Subscription, `filter` being the whole of it. It stands on disk beside messages: it never changes.
pub fn group_of(filter: &str) -> u64 {
    // Zero is no group.
    xxh3_64_with_seed(filter.as_bytes(), 0).max(1)
}

/// Key of a subscriber at its Topic Filter: the number of its Session, or [`SHARES`].
type Key = u64;

/// The key of all Shared Subscriptions to a Topic Filter. No Session has this number: it would be of the meta group.
const SHARES: Key = Key::MAX;

/// What stands beside a route where routes hold for some of those who match by them and not for others.
pub trait Mark: Copy + Default {
    /// Whether it has to be looked up for whom the route holds.
    fn is_set(self) -> bool;
}

/// They hold for everybody who matches by them.
impl Mark for () {
    fn is_set(self) -> bool {
        false
    }
}

#[derive(Debug)]
enum Subscriber<M> {
    /// `filter` tells its Topic Filter from others for [`FanOut::add`].
    One { filter: u32, mark: M, route: RouteRow },
    /// By their Share Names, never none: names are chosen by Clients and compared whole, so that none is taken for
    /// another.
    Shares(BTreeMap<Box<str>, Share<M>>),
}

#[derive(Debug)]
struct Share<M> {
    /// See [`group_of`].
    number: u64,
    members: Group<SessionNumber, (M, RouteRow)>,
    /// Members whose mark is set.
    marked: usize,
}

#[derive(Debug)]
pub struct Routes<M = ()> {
    trie: Trie<Key, Subscriber<M>>,
    /// Topic Filters with Shared Subscriptions.
    shared_filters: usize,
    seed: u64,
}

impl<M: Mark> Routes<M> {
    /// `seed` keeps Clients from choosing Topic Filters that collide in its tables.
    pub fn new(seed: u64) -> Self {
        Self { trie: Trie::new(seed), shared_filters: 0, seed }
    }

    pub fn is_empty(&self) -> bool {
        self.trie.is_empty()
    }

    pub fn has_shared(&self) -> bool {
        self.shared_filters > 0
    }

    /// Enters a Subscription, in place of the Session's earlier one to the same Topic Filter, with no mark set.
    pub fn insert(&mut self, whole: &str, session: SessionNumber, route: RouteRow) {
        let (filter, share_name) = split(whole);
        let mark = M::default();
        let Some(share_name) = share_name else {
            let number = xxh3_64_with_seed(filter.as_bytes(), self.seed) as u32;
            self.trie.insert(filter, session.0, Subscriber::One { filter: number, mark, route });
            return;
        };
        let share = || Share { number: group_of(whole), members: Group::default(), marked: 0 };
        if let Some(Subscriber::Shares(shares)) = self.trie.get_mut(filter, &SHARES) {
            match shares.get_mut(share_name) {
                Some(share) => share.insert(session, mark, route),
                None => {
                    shares.entry(share_name.into()).or_insert_with(share).insert(session, mark, route);
                }
            }
            return;
        }
        let mut share = share();
        share.insert(session, mark, route);
        self.shared_filters += 1;
        let shares = [(share_name.into(), share)].into();
        self.trie.insert(filter, SHARES, Subscriber::Shares(shares));
    }

    pub fn remove(&mut self, filter: &str, session: SessionNumber) {
        let (filter, share_name) = split(filter);
        let Some(share_name) = share_name else {
            self.trie.remove(filter, &session.0);
            return;
        };
        let Some(Subscriber::Shares(shares)) = self.trie.get_mut(filter, &SHARES) else { return };
        let Some(share) = shares.get_mut(share_name) else { return };
        share.change(session, |mark, _| *mark = M::default());
        share.members.remove(&session);
        if share.members.is_empty() {
            shares.remove(share_name);
        }
        if shares.is_empty() {
            self.trie.remove(filter, &SHARES);
            self.shared_filters -= 1;
        }
    }

    /// Changes the mark and the route of a Subscription in place, if it is there.
    pub(super) fn change<R>(
        &mut self,
        whole: &str,
        session: SessionNumber,
        change: impl FnOnce(&mut M, &mut RouteRow) -> R,
    ) -> Option<R> {
        let (filter, share_name) = split(whole);
        let key = if share_name.is_some() { SHARES } else { session.0 };
        match (self.trie.get_mut(filter, &key)?, share_name) {
            (Subscriber::One { mark, route, .. }, None) => Some(change(mark, route)),
            (Subscriber::Shares(shares), Some(name)) => shares.get_mut(name)?.change(session, change),
            _ => None,
        }
    }

    /// Changes the marks of all Subscriptions.
    pub(super) fn mark_all(&mut self, mut change: impl FnMut(&mut M)) {
        self.trie.change_all(&mut |subscriber| match subscriber {
            Subscriber::One { mark, .. } => change(mark),
            Subscriber::Shares(shares) => shares.values_mut().for_each(|share| share.mark_all(&mut change)),
        });
    }

    /// Adds everybody whose Topic Filter matches, and of each Shared Subscription that does the member whom `pick`
    /// chooses. A message that is dispatched again goes to the group it came from and to nobody else. Where a mark is set
    /// `version` tells what the route is for who asks, if it holds there.
    #[inline]
    pub(super) fn find_by<'a>(
        &'a self,
        message: &Message<'_>,
        pick: Pick<'_>,
        version: &impl Fn(M, &'a RouteRow) -> Option<&'a RouteRow>,
        into: &mut FanOut,
    ) {
        let again = match pick {
            Pick::Leader(chooser) => chooser.again,
            Pick::Agreed(choice) => choice.again,
        };
        let mut asked = 0;
        let nodes = self.trie.matches(message.topic, &mut |&key, subscriber| match subscriber {
            Subscriber::One { filter, mark, route } => {
                if again.is_none()
                    && let Some(route) = version(*mark, route)
                {
                    into.add(*filter, SessionNumber(key), route, message);
                }
            }
            Subscriber::Shares(shares) => {
                let of_group = |share: &Share<M>| again.is_none_or(|again| again.group == share.number);
                for (name, share) in shares.iter().filter(|(_, share)| of_group(share)) {
                    if let Some((session, route)) = share.pick(name, message.topic, pick, version, &mut asked)
                    {
                        into.add_shared(share.number, session, route, message);
                    }
                }
            }
        });
        into.add_steps(nodes, asked);
    }
}

impl Routes {
    /// See [`Routes::find_by`].
    #[inline]
    pub fn find(&self, message: &Message<'_>, pick: Pick<'_>, into: &mut FanOut) {
        self.find_by(message, pick, &|(), route| Some(route), into);
    }

    /// See [`Routes::receivers_by`].
    pub fn receivers(&self, topic: &str, add: &mut impl FnMut(Receiver)) {
        self.receivers_by(topic, &|(), route| Some(route), add);
    }
}

/// For an operator.
impl<M: Mark> Routes<M> {
    /// Topic Filters with their subscribers and the members of their shares; see [`Trie::filters`].
    pub fn filters(
        &self,
        from: u32,
        steps: &mut usize,
        visit: &mut impl FnMut(&str, u64, Vec<(String, u64)>) -> bool,
    ) -> Option<u32> {
        self.trie.filters(from, steps, &SHARES, &mut |filter, subscribers, shares| {
            let shares = match shares {
                Some(Subscriber::Shares(shares)) => shares,
                _ => return visit(filter, subscribers as u64, Vec::new()),
            };
            let members = shares.iter().map(|(name, share)| (name.to_string(), share.members.len() as u64));
            visit(filter, subscribers as u64 - 1, members.collect())
        })
    }

    /// Everybody who may get a message on a topic: of a Shared Subscription all of its members.
    /// `version`: see [`Routes::find_by`].
    pub(super) fn receivers_by<'a>(
        &'a self,
        topic: &str,
        version: &impl Fn(M, &'a RouteRow) -> Option<&'a RouteRow>,
        add: &mut impl FnMut(Receiver),
    ) {
        let mut receiver = |session: SessionNumber, mark: M, route: &'a RouteRow, share: Option<&str>| {
            let Some(route) = version(mark, route) else { return };
            let RouteRow { subscription, home, .. } = *route;
            add(Receiver {
                session,
                subscription,
                share: share.map(str::to_owned),
                is_live_only: home.is_some(),
            });
        };
        self.trie.matches(topic, &mut |&key, subscriber| match subscriber {
            Subscriber::One { mark, route, .. } => receiver(SessionNumber(key), *mark, route, None),
            Subscriber::Shares(shares) => {
                for (name, share) in shares {
                    for (session, (mark, route)) in share.members.iter() {
                        receiver(*session, *mark, route, Some(name));
                    }
                }
            }
        });
    }
}

impl<M: Mark> Share<M> {
    fn insert(&mut self, session: SessionNumber, mark: M, route: RouteRow) {
        self.change(session, |mark, _| *mark = M::default());
        self.members.insert(session, (mark, route));
        self.marked += usize::from(mark.is_set());
    }

    fn change<R>(
        &mut self,
        session: SessionNumber,
        change: impl FnOnce(&mut M, &mut RouteRow) -> R,
    ) -> Option<R> {
        let (mark, route) = self.members.get_mut(&session)?;
        let before = mark.is_set();
        let changed = change(mark, route);
        self.marked = self.marked + usize::from(mark.is_set()) - usize::from(before);
        Some(changed)
    }

    fn mark_all(&mut self, change: &mut impl FnMut(&mut M)) {
        self.members.values_mut().for_each(|(mark, _)| change(mark));
        self.marked = self.members.iter().filter(|(_, (mark, _))| mark.is_set()).count();
    }

    /// Counts members that had to be asked how well they can take the message in `asked`. `version`: see
    /// [`Routes::find_by`].
    fn pick<'a>(
        &'a self,
        name: &str,
        topic: &str,
        pick: Pick<'_>,
        version: &impl Fn(M, &'a RouteRow) -> Option<&'a RouteRow>,
        asked: &mut u64,
    ) -> Option<(SessionNumber, &'a RouteRow)> {
        let (picked, again) = match pick {
            Pick::Leader(chooser) => {
                let strategy = chooser.options.strategy_of(name);
                let hash = match strategy {
                    shared::Strategy::HashTopic => xxh3_64_with_seed(topic.as_bytes(), 0),
                    _ => 0,
                };
                let draw = Draw { strategy, client: chooser.client, topic: hash, random: chooser.random };
                let not = chooser.again.map(|again| again.not);
                let mut level = |session: &SessionNumber, (mark, route): &'a (M, RouteRow)| {
                    *asked += 1;
                    // Who is no member here is passed over, as who has ended.
                    let Some(route) = version(*mark, route) else { return Level::Gone };
                    chooser.presence.level(*session, route.home.is_some(), topic)
                };
                let best = chooser.presence.best_of(self.number);
                let known = chooser.presence.known(self.number);
                let chosen = self.members.choose(&draw, best, known, not, &mut level);
                let mut is_denied = |(session, route): &'a (_, _)| level(session, route) == Level::Denied;
                if chosen.is_none() && self.members.iter().any(&mut is_denied) {
                    metric::denied("receive");
                }
                (chosen, chooser.again)
            }
            Pick::Agreed(choice) => {
                let not = choice.again.map(|again| again.not);
                let all = self.marked == 0;
                *asked += if all { 0 } else { self.members.len() as u64 };
                let is_member = |(mark, route): &'a (M, RouteRow)| version(*mark, route).is_some();
                (self.members.agree(choice.number, choice.chosen, not, all, is_member), choice.again)
            }
        };
        // Its route may still be there when its Session is not.
        let has_ended = |session| again.is_some_and(|again| again.ended && again.not == session);
        let (session, (mark, route)) = picked.filter(|(session, _)| !has_ended(**session))?;
        Some((*session, version(*mark, route)?))
    }
}

/// What messages are matched with, and the Share Name of a Shared Subscription.
fn split(filter: &str) -> (&str, Option<&str>) {
    match SharedFilter::parse(filter) {
        Ok(Some(shared)) => (shared.filter.as_str(), Some(shared.share_name)),
        _ => (filter, None),
    }
}

#[cfg(test)]
mod tests {
    use convoy_wire::QoS;

    use super::*;
    use crate::session::Subscription;

    fn route(qos: u8) -> RouteRow {
        let subscription = Subscription { qos, no_local: false, retain_as_published: false, identifier: 0 };
        RouteRow { subscription, home: None }
    }

    fn routes(subscriptions: &[(&str, u64)]) -> Routes {
        let mut routes = Routes::new(7);
        for (filter, session) in subscriptions {
            routes.insert(filter, SessionNumber(*session), route(2));
        }
        routes
    }

    /// Who gets a message, by Session number and QoS, in their order.
    fn found(routes: &Routes, topic: &str) -> Vec<(u64, u8)> {
        let (options, presence) = (shared::Options::default(), Presence::default());
        let (client, random, again) = (0, 0, None);
        let chooser = Chooser { options: &options, presence: &presence, client, random, again };
        found_by(routes, topic, Pick::Leader(chooser))
    }

    fn found_by(routes: &Routes, topic: &str, pick: Pick<'_>) -> Vec<(u64, u8)> {
        let message = Message {
            topic,
            properties: &[],
            payload: b"",
            qos: QoS::ExactlyOnce,
            retain: false,
            published_at: 0,
            expires_at: None,
            publisher: SessionNumber(0),
            user: crate::budget::User::NOBODY,
            author: &[],
        };
        let mut fan_out = FanOut::default();
        routes.find(&message, pick, &mut fan_out);
        fan_out.merge_in_order();
        fan_out.found().iter().map(|found| (found.session.0, found.delivery.qos as u8)).collect()
    }

    #[test]
    fn everybody_who_subscribed_is_found() {
        let routes = routes(&[("a/b", 1), ("a/+", 2), ("a/#", 3), ("b", 4)]);
        assert_eq!(found(&routes, "a/b"), [(1, 2), (2, 2), (3, 2)]);
        assert_eq!(found(&routes, "a"), [(3, 2)]);
        assert_eq!(found(&routes, "c"), []);
    }

    #[test]
    fn a_subscription_made_again_is_replaced() {
        let mut routes = routes(&[("a/b", 1), ("$share/g/a/b", 2)]);
        routes.insert("a/b", SessionNumber(1), route(0));
        routes.insert("$share/g/a/b", SessionNumber(2), route(1));
        assert_eq!(found(&routes, "a/b"), [(1, 0), (2, 1)]);
    }

    #[test]
    fn one_member_of_each_share_gets_a_message() {
        let routes =
            routes(&[("$share/g/a/b", 1), ("$share/g/a/b", 2), ("$share/h/a/b", 3), ("$share/g/a/+", 4)]);
        assert_eq!(found(&routes, "a/b"), [(1, 2), (3, 2), (4, 2)]);
        assert_eq!(found(&routes, "a/b"), [(2, 2), (3, 2), (4, 2)]);
        assert_eq!(found(&routes, "a/c"), [(4, 2)]);
    }

    #[test]
    fn a_session_that_subscribed_both_ways_gets_both() {
        // [MQTT-4.8.2] a Shared Subscription is another one than that of its Topic Filter alone.
        let mut routes = routes(&[("a/b", 1), ("$share/g/a/b", 1)]);
        assert_eq!(found(&routes, "a/b"), [(1, 2), (1, 2)]);
        routes.remove("a/b", SessionNumber(1));
        assert_eq!(found(&routes, "a/b"), [(1, 2)]);
        routes.remove("$share/g/a/b", SessionNumber(1));
        assert!(routes.is_empty());
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else() {
        let all = [("a/b", 1), ("a/b", 2), ("$share/g/a/b", 1), ("$share/g/a/b", 2), ("$share/h/a/b", 1)];
        let mut routes = routes(&all);
        routes.remove("a/b", SessionNumber(2));
        routes.remove("$share/g/a/b", SessionNumber(1));
        for absent in [("a/b", 3), ("$share/x/a/b", 1), ("$share/h/a/b", 2), ("$share/g/a", 1), ("a", 1)] {
            routes.remove(absent.0, SessionNumber(absent.1));
        }
        assert_eq!(found(&routes, "a/b"), [(1, 2), (1, 2), (2, 2)]);
        all.iter().for_each(|(filter, session)| routes.remove(filter, SessionNumber(*session)));
        assert!(routes.is_empty());
    }

    #[test]
    fn whom_a_message_has_to_ask_is_work() {
        use super::super::presence::{Announcement, News};
        use crate::author::Author;
        use crate::session::Epoch;

        let filters: Vec<_> = (1..=3200).map(|session| ("$share/g/a/b", session)).collect();
        let routes = routes(&filters);
        let who = Author { client_id: "a".into(), user: None, address: 1, listener: "l".into() };
        let joined = News::Joined { groups: vec![group_of("$share/g/a/b")], who: Box::new(who) };
        let mut presence = Presence::default();
        let tell = |presence: &mut Presence, news| {
            presence.take(
                crate::dest::Dest(0),
                &Announcement { session: SessionNumber(3200), epoch: Epoch(1), news },
            );
        };
        let work = |presence: &Presence| {
            let (options, message) =
                (shared::Options::default(), Message { topic: "a/b", ..Message::default() });
            let chooser = Chooser { options: &options, presence, client: 0, random: 0, again: None };
            let mut fan_out = FanOut::default();
            routes.find(&message, Pick::Leader(chooser), &mut fan_out);
            (fan_out.found()[0].session.0, fan_out.work())
        };
        // Nobody is there, and nobody is asked but the first.
        assert_eq!(work(&presence), (1, 1));
        tell(&mut presence, joined);
        let (session, found) = work(&presence);
        assert_eq!((session, found), (3200, 1));
        // It alone is better than who is away: there is nobody like it to be looked for.
        tell(&mut presence, News::Level(Level::Busy));
        assert_eq!(work(&presence).0, 3200);
    }

    #[test]
    fn share_names_that_look_alike_are_told_apart() {
        let names: Vec<_> = (0..1000).map(|at| format!("$share/{at}/a/b")).collect();
        let mut routes = Routes::new(7);
        for (session, filter) in (1..).zip(&names) {
            routes.insert(filter, SessionNumber(session), route(1));
        }
        assert_eq!(found(&routes, "a/b").len(), 1000);
    }

    #[test]
    fn replicas_agree_on_the_members_whatever_their_order_of_arrival() {
        let came = routes(&[("$share/g/a/b", 9), ("$share/g/a/b", 1), ("$share/g/a/b", 5)]);
        let read = routes(&[("$share/g/a/b", 1), ("$share/g/a/b", 5), ("$share/g/a/b", 9)]);
        found(&came, "a/b");
        for number in 0..100 {
            let pick = Pick::Agreed(Choice { number, chosen: &[], again: None });
            assert_eq!(found_by(&came, "a/b", pick), found_by(&read, "a/b", pick));
        }
    }

    #[test]
    fn what_the_leader_chose_is_what_replicas_take() {
        let routes =
            routes(&[("$share/g/a/b", 1), ("$share/g/a/b", 2), ("$share/h/a/b", 3), ("$share/h/a/b", 4)]);
        let chosen = [SessionNumber(2), SessionNumber(3), SessionNumber(9)];
        for number in 0..20 {
            let pick = Pick::Agreed(Choice { number, chosen: &chosen, again: None });
            assert_eq!(found_by(&routes, "a/b", pick), [(2, 2), (3, 2)]);
        }
    }

    #[test]
    fn a_message_dispatched_again_goes_to_its_group_alone() {
        let filters = ["a/b", "$share/g/a/b", "$share/g/a/b", "$share/g/a/+", "$share/h/a/b"];
        let all: Vec<_> = filters.into_iter().zip(1..).collect();
        let routes = routes(&all);
        let again = Some(Again { group: group_of("$share/g/a/b"), not: SessionNumber(2), ended: false });
        for number in 0..20 {
            let pick = Pick::Agreed(Choice { number, chosen: &[], again });
            assert_eq!(found_by(&routes, "a/b", pick), [(3, 2)]);
        }
    }

    #[test]
    fn a_session_that_has_ended_gets_nothing_back() {
        let routes = routes(&[("$share/g/a/b", 2)]);
        for (ended, expected) in [(false, &[(2, 2)][..]), (true, &[])] {
            let again = Some(Again { group: group_of("$share/g/a/b"), not: SessionNumber(2), ended });
            let pick = Pick::Agreed(Choice { number: 1, chosen: &[], again });
            assert_eq!(found_by(&routes, "a/b", pick), expected);
        }
    }
}
