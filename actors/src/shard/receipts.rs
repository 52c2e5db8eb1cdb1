//! A message of QoS 1 or 2 for a Session that ends with its connection is safe when the node of that connection has taken
//! it over. Within a node that is so once it is handed over, for what becomes of it then becomes of the Session too. Of
//! another node it is known by its channel, which says up to where letters have come; or the connection is known to be
//! served no more: then nobody is owed the message.

use std::collections::BTreeMap;

use convoy_ids::SlotId;
use slab::Slab;

use super::Shard;
use super::proving::Waits;
use crate::call::{Answer, ReplyTo};
use crate::options::Without;
use crate::session::Home;
use crate::slot::{Effects, Leadership, Live};

/// A shard of another node.
pub type Address = (u64, u16);

/// What happens when a message is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A publisher is told, once it is proven that the slot is led here still.
    Publish(Leadership, ReplyTo),
    /// It came by the log: see [`crate::slot::Live`].
    Live(Live),
    /// Messages of a connection whose Session another one gets: it is answered.
    Over(ReplyTo, Box<Answer>),
}

impl Taken {
    /// The slot that matched it.
    fn slot(&self) -> Option<SlotId> {
        match self {
            Self::Publish(by, _) => Some(by.slot),
            Self::Live(live) => Some(live.by.slot),
            Self::Over(..) => None,
        }
    }
}

/// Messages that are not taken over yet.
#[derive(Debug, Default)]
pub struct Receipts {
    /// Where the message that is being delivered went.
    touched: Vec<Address>,
    /// What waits, and how many shards have yet to take the message over.
    waiting: Slab<(Taken, usize)>,
    /// Those whose letters are gathered, by where they go.
    gathered: BTreeMap<Address, Vec<usize>>,
}

impl Receipts {
    /// The message that is being delivered goes to this connection too.
    pub fn touch(&mut self, home: Home) {
        let address = (home.node, home.shard);
        if !self.touched.contains(&address) {
            self.touched.push(address);
        }
    }

    /// Another message is going to be delivered.
    #[inline]
    pub fn begin(&mut self) {
        self.touched.clear();
    }

    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Where the message went so far, if it goes in pieces.
    pub fn take_touched(&mut self) -> Vec<Address> {
        std::mem::take(&mut self.touched)
    }

    /// The message went there too, in pieces before.
    pub fn touch_again(&mut self, addresses: Vec<Address>) {
        for address in addresses {
            if !self.touched.contains(&address) {
                self.touched.push(address);
            }
        }
    }

    /// This happens when the message that was just delivered is taken over wherever it went.
    pub fn gather(&mut self, then: Taken) {
        let mut touched = std::mem::take(&mut self.touched);
        self.wait(touched.drain(..), then);
        self.touched = touched;
    }

    /// This happens when all that was sent there so far is taken over.
    pub fn wait(
        &mut self,
        addresses: impl IntoIterator<Item = Address, IntoIter: ExactSizeIterator>,
        then: Taken,
    ) {
        let addresses = addresses.into_iter();
        let id = self.waiting.insert((then, addresses.len()));
        for address in addresses {
            self.gathered.entry(address).or_default().push(id);
        }
    }

    /// What was gathered for each shard, whose letters are sent now.
    pub fn take_gathered(&mut self) -> BTreeMap<Address, Vec<usize>> {
        std::mem::take(&mut self.gathered)
    }

    /// Which slot matched that message.
    pub fn slot_of(&self, id: usize) -> Option<SlotId> {
        self.waiting.get(id).and_then(|(then, _)| then.slot())
    }

    /// One of the shards has taken the message over: what happens, if that was the last one.
    pub fn taken(&mut self, id: usize) -> Option<Taken> {
        let (_, left) = self.waiting.get_mut(id)?;
        *left -= 1;
        (*left == 0).then(|| self.waiting.remove(id).0)
    }

    /// How many messages wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Shard {
    /// A message that was handed out is acknowledged to `reply` when other nodes have taken it over, and then it is proven that
    /// the slot is led here still. In this order: a node that knew another leader when the message came drops it, though
    /// it has taken it over. In how many parts.
    #[inline]
    pub(super) fn gather_receipt(&mut self, by: Leadership, reply: Option<ReplyTo>) -> u32 {
        let receipts = &mut self.outlet.receipts;
        if !receipts.is_touched() {
            return self.gather_proof(by.slot, reply);
        }
        match reply.filter(|reply| !reply.is_credit() && self.options.without != Without::Receipt) {
            Some(reply) => {
                receipts.gather(Taken::Publish(by, reply));
                1
            }
            None => {
                receipts.begin();
                self.gather_proof(by.slot, reply)
            }
        }
    }

    /// A message has been handed out to all, in pieces: the same.
    pub(super) fn acknowledge(&mut self, by: Leadership, reply: Option<ReplyTo>) {
        if self.gather_receipt(by, reply) == 0
            && let Some(reply) = reply
        {
            self.outlet.answer(reply, Answer::Done);
        }
    }

    /// Shards have taken these messages over.
    pub(super) fn take_receipts(&mut self, ids: Vec<usize>) {
        for id in ids {
            match self.outlet.receipts.taken(id) {
                Some(Taken::Publish(by, reply)) => {
                    if !self.leads_still(by) {
                        self.leave_unproven(Waits::Reply(reply));
                    } else if self.gather_proof(by.slot, Some(reply)) == 0 {
                        self.outlet.answer(reply, Answer::Done);
                    }
                }
                Some(Taken::Live(live)) => self.outlet.taken.push_back(live),
                Some(Taken::Over(to, answer)) => self.outlet.answer_next(to, *answer),
                None => {}
            }
        }
    }

    /// Whether a slot has led here all the time since.
    pub(super) fn leads_still(&mut self, since: Leadership) -> bool {
        self.slots.get(since.slot).is_some_and(|slot| slot.leads_still(since))
    }

    /// Messages that came by the log are with those whom they were for.
    pub(super) fn note_taken(&mut self) {
        while let Some(live) = self.outlet.taken.pop_front() {
            if let Some(slot) = self.slots.get(live.by.slot) {
                slot.taken(live);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Leadership = Leadership { slot: SlotId(1), times: 1 };

    fn home(node: u64, shard: u16) -> Home {
        Home { node, shard, key: 0, serial: 1 }
    }

    #[test]
    fn who_waits_is_told_by_the_last_shard_that_takes_the_message_over() {
        let mut receipts = Receipts::default();
        let then = Taken::Publish(BY, ReplyTo { home: home(1, 0), token: 7 });
        for home in [home(2, 0), home(3, 1), home(2, 0)] {
            receipts.touch(home);
        }
        receipts.gather(then.clone());
        assert!(!receipts.is_touched());
        let gathered = receipts.take_gathered();
        let ids: Vec<usize> = gathered.values().flatten().copied().collect();
        assert_eq!((gathered.len(), ids.len()), (2, 2));
        assert_eq!(receipts.taken(ids[0]), None);
        assert_eq!(receipts.taken(ids[1]), Some(then));
        assert_eq!((receipts.waiting(), receipts.taken(ids[1])), (0, None));
    }

    #[test]
    fn a_message_that_goes_in_pieces_is_waited_for_wherever_it_went() {
        let mut receipts = Receipts::default();
        receipts.touch(home(2, 0));
        let before = receipts.take_touched();
        receipts.begin();
        receipts.touch(home(3, 0));
        receipts.touch_again(before);
        receipts.gather(Taken::Publish(BY, ReplyTo { home: home(1, 0), token: 7 }));
        assert_eq!(receipts.take_gathered().len(), 2);
    }
}
