//! Matching is a read: a leader that was deposed, and does not know it yet, matches with old routes. So what is acknowledged
//! because of a match, with no record of that slot behind it, waits for a proof that the slot was still led here when it was
//! matched (Ongaro's thesis, 6.4). All of a turn have one, which is asked for behind the last of them; those that come
//! while it is under way have the next one together.

use std::collections::BTreeMap;

use convoy_ids::SlotId;
use convoy_storage::replica::{self, Driver, Proof, ProofId};

use super::Shard;
use crate::call::{Answer, ReplyTo};
use crate::clock::Now;
use crate::options::Without;
use crate::retained;
use crate::slot::Effects;

/// Who waits for a proof.
#[derive(Debug, Default)]
pub(super) struct Proving {
    slots: BTreeMap<SlotId, Questions>,
}

#[derive(Debug, Default)]
struct Questions {
    /// Under way, with those who wait for it.
    asked: Option<(ProofId, Vec<Waits>)>,
    /// Those of whom it was matched since.
    gathered: Vec<Waits>,
}

/// What waits for a proof.
#[derive(Debug)]
pub(super) enum Waits {
    /// The acknowledgement of a message.
    Reply(ReplyTo),
    /// The reading of Retained Messages.
    Read(Box<retained::Request>),
}

impl Proving {
    /// A message was matched in this slot just now, and is acknowledged when that is proven to have been right.
    pub fn gather(&mut self, slot: SlotId, waits: Waits) {
        self.slots.entry(slot).or_default().gathered.push(waits);
    }

    /// The same where the proof that is under way, which knows nothing of it, is taken for its own: see [`Without`].
    #[cold]
    fn gather_early(&mut self, slot: SlotId, waits: Waits) {
        match self.slots.get_mut(&slot).and_then(|questions| questions.asked.as_mut()) {
            Some((_, replies)) => replies.push(waits),
            None => self.gather(slot, waits),
        }
    }

    /// Asks for those who were gathered, where nothing is under way.
    fn ask(&mut self, driver: &mut Driver, effects: &mut replica::Effects) {
        let due = |questions: &Questions| questions.asked.is_none() && !questions.gathered.is_empty();
        let slots: Vec<_> = self.slots.iter().filter(|(_, of)| due(of)).map(|(slot, _)| *slot).collect();
        if slots.is_empty() {
            return;
        }
        let id = driver.prove(&slots, effects);
        for slot in slots {
            let questions = self.slots.get_mut(&slot).expect("it is one of them");
            questions.asked = Some((id, std::mem::take(&mut questions.gathered)));
        }
    }

    /// A proof is there, or there will be none: for whom, and which of the two.
    fn hear(&mut self, proof: &Proof) -> (Vec<Waits>, bool) {
        let nobody = (Vec::new(), false);
        let Some(questions) = self.slots.get_mut(&proof.slot) else { return nobody };
        let Some((_, replies)) = questions.asked.take_if(|(id, _)| *id == proof.id) else {
            return nobody;
        };
        match proof.answer {
            replica::Answer::Proven { .. } => {
                if questions.gathered.is_empty() {
                    self.slots.remove(&proof.slot);
                }
                (replies, true)
            }
            // They were matched before the next proof too.
            replica::Answer::Busy => {
                questions.gathered.extend(replies);
                nobody
            }
            // Another leader may not have matched them to everybody.
            replica::Answer::NotLeader { .. } => (replies, false),
        }
    }

    /// The slot is led here no longer: who waits for a proof that will not come.
    pub fn forget(&mut self, slot: SlotId) -> Vec<Waits> {
        let Some(Questions { asked, mut gathered }) = self.slots.remove(&slot) else { return Vec::new() };
        gathered.extend(asked.into_iter().flat_map(|(_, replies)| replies));
        gathered
    }
}

impl Shard {
    /// A message that was matched in this slot is acknowledged to `reply` when it is proven that the slot was led here: in
    /// how many parts. A node that is alone leads whatever happens.
    #[inline]
    pub(super) fn gather_proof(&mut self, slot: SlotId, reply: Option<ReplyTo>) -> u32 {
        if !self.has_others || self.options.without == Without::Proof {
            return 0;
        }
        let Some(reply) = reply.filter(|reply| !reply.is_credit()) else { return 0 };
        match self.options.without {
            Without::LaterProof => self.proving.gather_early(slot, Waits::Reply(reply)),
            _ => self.proving.gather(slot, Waits::Reply(reply)),
        }
        1
    }

    /// Asks for the proofs of what was matched so far.
    pub(super) fn ask_for_proofs(&mut self) {
        if self.has_others {
            self.proving.ask(&mut self.driver, &mut self.effects);
        }
    }

    pub(super) fn hear_proofs(&mut self, now: Now) {
        for proof in std::mem::take(&mut self.effects.proofs) {
            let (waiting, is_proven) = self.proving.hear(&proof);
            for waits in waiting {
                match waits {
                    Waits::Reply(reply) if is_proven => self.outlet.answer(reply, Answer::Done),
                    Waits::Read(request) if is_proven => self.read_proven(now, *request),
                    waits => self.leave_unproven(waits),
                }
            }
        }
    }

    /// There will be no proof of this.
    pub(super) fn leave_unproven(&mut self, waits: Waits) {
        match waits {
            Waits::Reply(reply) => self.outlet.answer(reply, Answer::Unknown),
            // Whoever leads next is asked.
            Waits::Read(request) => self.leaderless.keep_request(*request),
        }
    }
}
