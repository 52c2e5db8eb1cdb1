//! A slot that begins to be led here takes leave of the connections that its earlier leader served, and that have not asked to
//! be adopted. Not before those of every shard of the fleet have, or that is known to serve nobody any more: else the Will of
//! a Client would be published while it is connected.

use std::collections::{BTreeMap, BTreeSet};

use convoy_ids::{SlotId, Term};

use super::Shard;
use crate::clock::Now;
use crate::dest::Dest;
use crate::options::Without;
use crate::slot::Gone;

/// Slots that wait for others to have heard.
#[derive(Debug, Default)]
pub(super) struct Clearing {
    slots: BTreeMap<SlotId, (Term, BTreeSet<Dest>)>,
    /// Of each slot that is led here, the shards that have heard it.
    heard: BTreeMap<SlotId, BTreeSet<Dest>>,
}

impl Clearing {
    /// A shard has become known, which may serve connections too.
    pub fn wait_for(&mut self, dest: Dest) {
        self.slots.values_mut().for_each(|(_, waits)| {
            waits.insert(dest);
        });
    }

    /// The slot is led here no longer.
    pub fn forget(&mut self, slot: SlotId) {
        self.heard.remove(&slot);
        self.slots.remove(&slot);
    }

    /// Whether a shard has heard who leads the slot since that is so: what it sent before was for an earlier leader.
    pub fn has_heard(&self, slot: SlotId, dest: Dest) -> bool {
        self.heard.get(&slot).is_some_and(|heard| heard.contains(&dest))
    }

    /// Nobody is left in a shard who could ask to be adopted in this term. Whether that was the last one.
    fn asked(&mut self, slot: SlotId, of: Option<Term>, dest: Dest) -> bool {
        let Some((term, waits)) = self.slots.get_mut(&slot) else { return false };
        if of.is_some_and(|of| of != *term) {
            return false;
        }
        waits.remove(&dest);
        let is_last = waits.is_empty();
        if is_last {
            self.slots.remove(&slot);
        }
        is_last
    }
}

impl Shard {
    /// Whether what a shard sends to a slot that is led here was meant for this leader, and for none before.
    pub(super) fn is_for_now(&self, slot: SlotId, sender: Dest) -> bool {
        !self.has_others || self.clearing.has_heard(slot, sender) || self.options.without == Without::HeardLed
    }

    pub(super) fn begin_clearing(&mut self, now: Now, slot: SlotId, term: Term) {
        if !self.has_others {
            return self.take_leave(slot);
        }
        self.fence(now);
        let waits = self.outlet.post.others_known().chain([self.outlet.post.this()]).collect();
        self.clearing.slots.insert(slot, (term, waits));
        self.clearing.heard.insert(slot, BTreeSet::new());
        self.outlet.uncleared.insert(slot);
    }

    /// A shard has heard that the slot is led here.
    pub(super) fn hear_heard(&mut self, from: Dest, slot: SlotId, term: Term) {
        let is_of_now = self.slots.get(slot).is_some_and(|slot| slot.leading && slot.elected == Some(term));
        if let Some(heard) = self.clearing.heard.get_mut(&slot).filter(|_| is_of_now) {
            heard.insert(from);
        }
    }

    /// Of a shard's connections no more will ask to be adopted.
    pub(super) fn hear_all_asked(&mut self, from: Dest, slot: SlotId, term: Term) {
        if self.clearing.asked(slot, Some(term), from) {
            self.take_leave(slot);
        }
    }

    /// A shard serves nobody any more who was connected when it was last heard.
    pub(super) fn clear(&mut self, dest: Dest) {
        for slot in self.clearing.slots.keys().copied().collect::<Vec<_>>() {
            if self.clearing.asked(slot, None, dest) {
                self.take_leave(slot);
            }
        }
    }

    fn take_leave(&mut self, id: SlotId) {
        if let Some(slot) = self.slots.get(id) {
            slot.leave(Gone::Everybody);
            self.leading_on.insert(id);
        }
        self.outlet.cleared(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_waits_for_every_shard_and_for_those_that_come_meanwhile() {
        let mut clearing = Clearing::default();
        let (slot, term) = (SlotId(3), Term(7));
        clearing.slots.insert(slot, (term, BTreeSet::from([Dest(1)])));
        clearing.wait_for(Dest(2));
        assert!(!clearing.asked(slot, Some(Term(6)), Dest(1)), "of an earlier term");
        assert!(!clearing.asked(slot, Some(term), Dest(1)));
        assert!(clearing.asked(slot, None, Dest(2)));
        assert!(!clearing.asked(slot, Some(term), Dest(2)), "it is cleared");
    }
}
