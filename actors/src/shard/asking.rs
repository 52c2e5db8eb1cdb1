//! A message goes from its partition to the queues of slots that are led elsewhere, and from its publisher to its partition.
//! On either way a change of leader may come between two messages: the first is not taken, the second is, and the first is
//! sent again behind it. So whoever's message was not taken for that reason gets none taken any more in that attempt: the node
//! of the connection begins another one, with the first message that is open, or ends the connection. And of what was asked of another shard it is known here whose message it was, also when that shard is not
//! heard any more.

use std::collections::{BTreeSet, VecDeque};

use convoy_ids::SlotId;
use rustc_hash::FxHashMap;

use super::Shard;
use crate::call::{Answer, ReplyTo, token};
use crate::dest::Dest;
use crate::options::Without;
use crate::session::Home;
use crate::slot::Effects;

/// Milliseconds for which a publisher is turned away: its attempt has ended long before, and nothing comes of it any more.
const TURNED_AWAY: u64 = 30_000;

/// Publishers that are turned away at once.
const PUBLISHERS: usize = 1 << 16;

/// A connection, by its node, shard and serial, and which of its attempts.
type Publisher = (u64, u16, u64, u8);

fn publisher(of: &ReplyTo) -> Publisher {
    (of.home.node, of.home.shard, of.home.serial, token::split_attempt(of.token).1)
}

/// A message that another shard was asked to queue.
#[derive(Debug)]
struct Asked {
    slot: SlotId,
    dest: Dest,
    /// Whom to tell.
    reply: ReplyTo,
}

/// What other shards were asked to queue.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// By a number that is never given again: an answer may come when nobody waits for it any more.
    asked: FxHashMap<u64, Asked>,
    last: u64,
    turned_away: BTreeSet<Publisher>,
    /// The same, with the monotonic milliseconds until which they are.
    until: VecDeque<(u64, Publisher)>,
}

impl Asking {
    /// The shard that leads this slot is asked, in the name of this publisher: to whom it answers.
    pub fn ask(&mut self, slot: SlotId, dest: Dest, reply: ReplyTo, here: Home) -> ReplyTo {
        self.last += 1;
        self.asked.insert(self.last, Asked { slot, dest, reply });
        ReplyTo { home: here, token: token::QUEUED | self.last }
    }

    fn those(&self, are: impl Fn(&Asked) -> bool) -> Vec<u64> {
        let mut those: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| are(asked)).map(|(id, _)| *id).collect();
        those.sort_unstable();
        those
    }

    fn turn_away(&mut self, of: &ReplyTo, now: u64) {
        let publisher = publisher(of);
        let is_over = |until: &(u64, Publisher), len| until.0 <= now || len >= PUBLISHERS;
        while self.until.front().is_some_and(|until| is_over(until, self.turned_away.len())) {
            let oldest = self.until.pop_front().map(|(_, oldest)| oldest);
            oldest.map(|oldest| self.turned_away.remove(&oldest));
        }
        if self.turned_away.insert(publisher) {
            self.until.push_back((now + TURNED_AWAY, publisher));
        }
    }

    /// Whether an earlier message of this attempt was not taken.
    #[inline]
    pub fn is_turned_away(&self, of: &ReplyTo) -> bool {
        !self.turned_away.is_empty() && self.turned_away.contains(&publisher(of))
    }
}

impl Shard {
    /// Whether nothing more is taken of who publishes this.
    #[inline]
    pub(super) fn turns_away(&self, reply: Option<ReplyTo>) -> bool {
        self.has_others
            && reply.is_some_and(|reply| reply.is_publish() && self.asking.is_turned_away(&reply))
            && self.options.without != Without::TurnAway
    }

    /// Whom an answer is for: as it says, but where the rule is left out that an attempt which is over hears nothing.
    pub(super) fn of_the_attempt(&mut self, to: ReplyTo) -> ReplyTo {
        let is_of_one = to.is_publish() || to.token & token::KIND == token::RELEASE;
        if self.options.without != Without::Attempt || !is_of_one {
            return to;
        }
        let attempt = self.outlet.edge.find(&to.home).map(|connection| connection.inbound.attempt());
        ReplyTo { token: attempt.map_or(to.token, |now| token::of_attempt(to.token, now)), ..to }
    }

    /// A message was not taken because its slot is led elsewhere, or by nobody.
    pub(super) fn turn_away(&mut self, reply: ReplyTo) {
        if reply.is_publish() && self.has_others {
            self.asking.turn_away(&reply, self.outlet.edge.now);
        }
    }

    /// Another shard answers what it was asked.
    pub(super) fn hear_queued(&mut self, id: u64, answer: Answer) {
        if answer == Answer::Full {
            if let Some(Asked { reply, .. }) = self.asking.asked.get(&id) {
                self.outlet.answer(*reply, answer);
            }
            return;
        }
        if let Some(Asked { reply, .. }) = self.asking.asked.remove(&id) {
            if answer == Answer::Unknown {
                self.turn_away(reply);
            }
            self.outlet.answer(reply, answer);
        }
    }

    /// Nothing that was asked there is answered any more.
    pub(super) fn give_up_asked(&mut self, dest: Dest) {
        for id in self.asking.those(|asked| asked.dest == dest) {
            self.hear_queued(id, Answer::Unknown);
        }
    }

    /// A slot is led elsewhere from now on, and what comes next for it goes there. What its leader before was asked may come
    /// to nothing.
    pub(super) fn give_up_asked_of(&mut self, slot: SlotId) {
        for id in self.asking.those(|asked| asked.slot == slot) {
            self.hear_queued(id, Answer::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_turned_away_for_a_while() {
        let mut asking = Asking::default();
        let home = |serial| ReplyTo { home: Home { node: 1, shard: 0, key: 0, serial }, token: 7 };
        asking.turn_away(&home(1), 0);
        asking.turn_away(&home(2), 10);
        assert!(asking.is_turned_away(&home(1)) && asking.is_turned_away(&home(2)));
        let next = ReplyTo { token: token::of_attempt(7, 1), ..home(1) };
        assert!(!asking.is_turned_away(&next));
        asking.turn_away(&home(3), TURNED_AWAY);
        assert!(!asking.is_turned_away(&home(1)) && asking.is_turned_away(&home(2)));
        for serial in 0..2 * PUBLISHERS as u64 {
            asking.turn_away(&home(serial), TURNED_AWAY);
        }
        assert_eq!(asking.turned_away.len(), PUBLISHERS);
    }
}
