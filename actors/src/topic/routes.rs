//! The routes of one partition of a parent topic: who subscribed which Topic Filter. Replicated state of its slot.

use rustc_hash::FxHasher;
use std::cell::Cell;
use std::hash::Hasher;

use convoy_wire::SharedFilter;

use super::fan_out::FanOut;
use super::trie::Trie;
use crate::message::Message;
use crate::session::SessionNumber;
use crate::slot::RouteRow;

/// Key of a subscriber at its Topic Filter: the number of its Session, or the hash of a Share Name. Both at once
/// cannot be confused: no Session is of the slot that [`group`] uses.
type Key = u64;

const GROUP: u64 = 0xFFFE << 48;

#[derive(Debug)]
enum Subscriber {
    One { filter: u32, route: RouteRow },
    Group(Box<Group>),
}

/// The members of a Shared Subscription, never none, in the order of their numbers (MQTT 5.0, 4.8.2).
#[derive(Debug, Default)]
struct Group {
    members: Vec<(SessionNumber, RouteRow)>,
    next: Cell<usize>,
}

#[derive(Debug)]
pub struct Routes {
    trie: Trie<Key, Subscriber>,
}

/// How a message finds the member of a Shared Subscription that gets it.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// In turn. Of the leader alone.
    RoundRobin,
    /// By a number that every replica knows: the place of the record in the log.
    Agreed(u64),
}

fn hash(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn split(filter: &str) -> (&str, Option<Key>) {
    match SharedFilter::parse(filter) {
        Ok(Some(shared)) => (shared.filter.as_str(), Some(GROUP | hash(shared.share_name) >> 16)),
        _ => (filter, None),
    }
}

impl Routes {
    /// `seed` keeps Clients from choosing Topic Filters that collide in its tables.
    pub fn new(seed: u64) -> Self {
        Self { trie: Trie::new(seed) }
    }

    pub fn is_empty(&self) -> bool {
        self.trie.is_empty()
    }

    /// Enters a Subscription, in place of the Session's earlier one to the same Topic Filter.
    pub fn insert(&mut self, filter: &str, session: SessionNumber, route: RouteRow) {
        let (plain, group) = split(filter);
        let Some(group) = group else {
            self.trie.insert(plain, session.0, Subscriber::One { filter: hash(plain) as u32, route });
            return;
        };
        let mut members = match self.trie.remove(plain, &group) {
            Some(Subscriber::Group(members)) => members,
            _ => Box::default(),
        };
        match members.members.binary_search_by_key(&session, |member| member.0) {
            Ok(at) => members.members[at].1 = route,
            Err(at) => members.members.insert(at, (session, route)),
        }
        self.trie.insert(plain, group, Subscriber::Group(members));
    }

    pub fn remove(&mut self, filter: &str, session: SessionNumber) {
        let (plain, group) = split(filter);
        let Some(group) = group else {
            self.trie.remove(plain, &session.0);
            return;
        };
        if let Some(Subscriber::Group(mut members)) = self.trie.remove(plain, &group) {
            members.members.retain(|member| member.0 != session);
            if !members.members.is_empty() {
                self.trie.insert(plain, group, Subscriber::Group(members));
            }
        }
    }

    /// Adds everybody whose Topic Filter matches.
    pub fn find(&self, message: &Message<'_>, pick: Pick, into: &mut FanOut) {
        self.trie.matches(message.topic, &mut |&key, subscriber| match subscriber {
            Subscriber::One { filter, route } => into.add(Some(*filter), SessionNumber(key), route, message),
            Subscriber::Group(group) => {
                let at = match pick {
                    Pick::RoundRobin => group.next.get() % group.members.len(),
                    Pick::Agreed(number) => (number % group.members.len() as u64) as usize,
                };
                group.next.set(at + 1);
                let (session, route) = &group.members[at];
                into.add(None, *session, route, message);
            }
        });
    }
}
