//! A message goes from its partition to the queues of slots that are led elsewhere. Of what was asked of another shard it is
//! known here whose message it was, also when that shard is not heard any more.

use std::hash::BuildHasher;

use convoy_ids::SlotId;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::Shard;
use crate::call::{Answer, ReplyTo, token};
use crate::dest::Dest;
use crate::options::Without;
use crate::session::Home;
use crate::slot::Effects;

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
    /// By a number that is not given again for very long: an answer may come when nobody waits for it any more.
    asked: FxHashMap<u64, Asked>,
    last: u64,
}

impl Asking {
    /// The shard that leads this slot is asked, in the name of this publisher: to whom it answers.
    pub fn ask(&mut self, slot: SlotId, dest: Dest, reply: ReplyTo, here: Home) -> ReplyTo {
        self.last = (self.last + 1) & token::QUEUED_NUMBER;
        self.asked.insert(self.last, Asked { slot, dest, reply });
        // Two publishers may look like one: then one is refused with the other, which only costs time.
        let publisher = FxBuildHasher.hash_one((reply.home.node, reply.home.shard, reply.home.serial));
        let token = token::QUEUED | (publisher << token::QUEUED_NUMBER_BITS & !token::KIND) | self.last;
        ReplyTo { home: here, token: token::of_attempt(token, token::split_attempt(reply.token).1) }
    }

    fn those(&self, are: impl Fn(&Asked) -> bool) -> Vec<u64> {
        let mut those: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| are(asked)).map(|(id, _)| *id).collect();
        those.sort_unstable();
        those
    }
}

impl Shard {
    /// What whoever publishes this is told, if nothing more is taken of it.
    #[inline]
    pub(super) fn turns_away(&self, reply: Option<ReplyTo>) -> Option<Answer> {
        let answer = self.outlet.turned_away.of(&reply?)?;
        (self.options.without != Without::TurnAway).then_some(answer)
    }

    /// Whom an answer is for: as it says, but where the rule is left out that an attempt which is over hears nothing.
    pub(super) fn of_the_attempt(&mut self, to: ReplyTo) -> ReplyTo {
        let is_of_one = to.is_publish() || to.token & token::KIND == token::RELEASE;
        if self.options.without != Without::Attempt || !is_of_one {
            return to;
        }
        let Some(connection) = self.outlet.edge.find(&to.home) else { return to };
        let attempt = match to.is_publish() {
            true => connection.inbound.attempt(),
            false => connection.inbound.retried_in(),
        };
        ReplyTo { token: token::of_attempt(to.token, attempt), ..to }
    }

    /// Another shard answers what it was asked.
    pub(super) fn hear_queued(&mut self, id: u64, answer: Answer) {
        let id = id & token::QUEUED_NUMBER;
        if answer == Answer::Full {
            if let Some(Asked { reply, .. }) = self.asking.asked.get(&id) {
                self.outlet.answer(*reply, answer);
            }
            return;
        }
        if let Some(Asked { reply, .. }) = self.asking.asked.remove(&id) {
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
