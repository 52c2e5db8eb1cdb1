//! The routes of one partition of a parent topic: who subscribed which Topic Filter. Replicated state of its slot.

use std::collections::BTreeMap;

use convoy_wire::SharedFilter;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fan_out::FanOut;
use super::shared::{Group, Pick};
use super::trie::Trie;
use crate::message::Message;
use crate::session::SessionNumber;
use crate::slot::RouteRow;

/// Key of a subscriber at its Topic Filter: the number of its Session, or [`SHARES`].
type Key = u64;

/// The key of all Shared Subscriptions to a Topic Filter. No Session has this number: it would be of the meta group.
const SHARES: Key = Key::MAX;

#[derive(Debug)]
enum Subscriber {
    /// `filter` tells its Topic Filter from others for [`FanOut::add`].
    One { filter: u32, route: RouteRow },
    /// By their Share Names, never none: names are chosen by Clients and compared whole, so that none is taken for
    /// another.
    Shares(BTreeMap<Box<str>, Group<SessionNumber, RouteRow>>),
}

#[derive(Debug)]
pub struct Routes {
    trie: Trie<Key, Subscriber>,
    seed: u64,
}

impl Routes {
    /// `seed` keeps Clients from choosing Topic Filters that collide in its tables.
    pub fn new(seed: u64) -> Self {
        Self { trie: Trie::new(seed), seed }
    }

    pub fn is_empty(&self) -> bool {
        self.trie.is_empty()
    }

    /// Enters a Subscription, in place of the Session's earlier one to the same Topic Filter.
    pub fn insert(&mut self, filter: &str, session: SessionNumber, route: RouteRow) {
        let (filter, share_name) = split(filter);
        let Some(share_name) = share_name else {
            let number = xxh3_64_with_seed(filter.as_bytes(), self.seed) as u32;
            self.trie.insert(filter, session.0, Subscriber::One { filter: number, route });
            return;
        };
        if let Some(Subscriber::Shares(shares)) = self.trie.get_mut(filter, &SHARES) {
            match shares.get_mut(share_name) {
                Some(group) => group.insert(session, route),
                None => shares.entry(share_name.into()).or_default().insert(session, route),
            }
            return;
        }
        let mut shares: BTreeMap<Box<str>, Group<_, _>> = BTreeMap::new();
        shares.entry(share_name.into()).or_default().insert(session, route);
        self.trie.insert(filter, SHARES, Subscriber::Shares(shares));
    }

    pub fn remove(&mut self, filter: &str, session: SessionNumber) {
        let (filter, share_name) = split(filter);
        let Some(share_name) = share_name else {
            self.trie.remove(filter, &session.0);
            return;
        };
        let Some(Subscriber::Shares(shares)) = self.trie.get_mut(filter, &SHARES) else { return };
        let Some(group) = shares.get_mut(share_name) else { return };
        group.remove(&session);
        if group.is_empty() {
            shares.remove(share_name);
        }
        if shares.is_empty() {
            self.trie.remove(filter, &SHARES);
        }
    }

    /// Adds everybody whose Topic Filter matches, and of each Shared Subscription that does the member whom `pick`
    /// chooses.
    pub fn find(&self, message: &Message<'_>, pick: Pick, into: &mut FanOut) {
        self.trie.matches(message.topic, &mut |&key, subscriber| match subscriber {
            Subscriber::One { filter, route } => into.add(Some(*filter), SessionNumber(key), route, message),
            Subscriber::Shares(shares) => {
                for (session, route) in shares.values().filter_map(|group| group.pick(pick)) {
                    into.add(None, *session, route, message);
                }
            }
        });
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
    fn found(routes: &Routes, topic: &str, pick: Pick) -> Vec<(u64, u8)> {
        let message = Message {
            topic,
            properties: &[],
            payload: b"",
            qos: QoS::ExactlyOnce,
            retain: false,
            published_at: 0,
            expires_at: None,
            publisher: SessionNumber(0),
        };
        let mut fan_out = FanOut::default();
        routes.find(&message, pick, &mut fan_out);
        fan_out.merge_in_order();
        fan_out.found().iter().map(|found| (found.session.0, found.delivery.qos as u8)).collect()
    }

    #[test]
    fn everybody_who_subscribed_is_found() {
        let routes = routes(&[("a/b", 1), ("a/+", 2), ("a/#", 3), ("b", 4)]);
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin), [(1, 2), (2, 2), (3, 2)]);
        assert_eq!(found(&routes, "a", Pick::RoundRobin), [(3, 2)]);
        assert_eq!(found(&routes, "c", Pick::RoundRobin), []);
    }

    #[test]
    fn a_subscription_made_again_is_replaced() {
        let mut routes = routes(&[("a/b", 1), ("$share/g/a/b", 2)]);
        routes.insert("a/b", SessionNumber(1), route(0));
        routes.insert("$share/g/a/b", SessionNumber(2), route(1));
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin), [(1, 0), (2, 1)]);
    }

    #[test]
    fn one_member_of_each_share_gets_a_message() {
        let routes =
            routes(&[("$share/g/a/b", 1), ("$share/g/a/b", 2), ("$share/h/a/b", 3), ("$share/g/a/+", 4)]);
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin), [(1, 2), (3, 2), (4, 2)]);
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin), [(2, 2), (3, 2), (4, 2)]);
        assert_eq!(found(&routes, "a/c", Pick::RoundRobin), [(4, 2)]);
    }

    #[test]
    fn a_session_that_subscribed_both_ways_gets_both() {
        // [MQTT-4.8.2] a Shared Subscription is another one than that of its Topic Filter alone.
        let mut routes = routes(&[("a/b", 1), ("$share/g/a/b", 1)]);
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin), [(1, 2), (1, 2)]);
        routes.remove("a/b", SessionNumber(1));
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin), [(1, 2)]);
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
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin), [(1, 2), (1, 2), (2, 2)]);
        all.iter().for_each(|(filter, session)| routes.remove(filter, SessionNumber(*session)));
        assert!(routes.is_empty());
    }

    #[test]
    fn share_names_that_look_alike_are_told_apart() {
        let names: Vec<_> = (0..1000).map(|at| format!("$share/{at}/a/b")).collect();
        let mut routes = Routes::new(7);
        for (session, filter) in (1..).zip(&names) {
            routes.insert(filter, SessionNumber(session), route(1));
        }
        assert_eq!(found(&routes, "a/b", Pick::RoundRobin).len(), 1000);
    }

    #[test]
    fn replicas_agree_on_the_members_whatever_their_order_of_arrival() {
        let came = routes(&[("$share/g/a/b", 9), ("$share/g/a/b", 1), ("$share/g/a/b", 5)]);
        let read = routes(&[("$share/g/a/b", 1), ("$share/g/a/b", 5), ("$share/g/a/b", 9)]);
        found(&came, "a/b", Pick::RoundRobin);
        for number in 0..100 {
            let pick = Pick::Agreed(number);
            assert_eq!(found(&came, "a/b", pick), found(&read, "a/b", pick));
        }
    }
}
