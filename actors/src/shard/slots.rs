//! The slots of a shard, found by their number.

use convoy_ids::SlotId;

use super::mail::Post;
use crate::budget::Sums;
use crate::options::Options;
use crate::slot::Slot;

/// The slots of this shard: any of those that it may have. They come and go.
pub struct Slots {
    /// In any order. Where one leaves, another one takes its place.
    pub table: Vec<Slot>,
    /// Where each slot that the shard may have is in the table: by its number, the meta group at the end.
    places: Vec<u16>,
    shards: u16,
}

/// A slot is not in the table.
const NOWHERE: u16 = u16::MAX;

impl Slots {
    /// None yet of those that a shard may have.
    pub fn none(options: &Options, post: &Post) -> Self {
        let most = Self::of_shard(options, post).count() + 1;
        Self { table: Vec::new(), places: vec![NOWHERE; most], shards: post.shards() }
    }

    /// The slots that a shard may have, without the meta group.
    pub fn of_shard(options: &Options, post: &Post) -> impl Iterator<Item = SlotId> + use<> {
        (post.here()..options.slots).step_by(usize::from(post.shards())).map(SlotId)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.table.iter()
    }

    /// The places of all slots, from this one on and then those before it.
    pub fn by_turns(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let slots = self.table.len();
        (first..slots).chain(0..first.min(slots))
    }

    /// Bytes that wait for the log.
    pub fn pending_bytes(&self) -> usize {
        let pending =
            |slot: &Slot| slot.pending.len_bytes() + slot.underway.len_bytes() + slot.line.len_bytes();
        self.running().map(pending).sum()
    }

    /// The same with the rows that are written when it is applied.
    pub fn pending_weight_bytes(&self) -> usize {
        let pending =
            |slot: &Slot| slot.pending.weight_bytes() + slot.underway.len_bytes() + slot.line.len_bytes();
        self.running().map(pending).sum()
    }

    /// What a stopped slot has is on its way nowhere.
    fn running(&self) -> impl Iterator<Item = &Slot> {
        self.table.iter().filter(|slot| slot.failure.is_none())
    }

    fn number(&self, id: SlotId) -> usize {
        match id.is_meta() {
            true => self.places.len() - 1,
            false => usize::from(id.0 / self.shards),
        }
    }

    /// The slot, if it is in this shard.
    #[inline]
    pub fn get(&mut self, id: SlotId) -> Option<&mut Slot> {
        let place = *self.places.get(self.number(id))?;
        self.table.get_mut(usize::from(place)).filter(|slot| slot.id == id)
    }

    /// A slot comes, that the shard may have and does not have yet.
    pub fn insert(&mut self, slot: Slot) {
        assert!(self.get(slot.id).is_none(), "a slot is in its shard once");
        let (number, place) = (self.number(slot.id), self.table.len() as u16);
        self.places[number] = place;
        self.table.push(slot);
    }

    /// A slot goes.
    pub fn remove(&mut self, id: SlotId) -> Option<Slot> {
        self.get(id)?;
        let number = self.number(id);
        let place = std::mem::replace(&mut self.places[number], NOWHERE);
        let gone = self.table.swap_remove(usize::from(place));
        if let Some(moved) = self.table.get(usize::from(place)) {
            let number = self.number(moved.id);
            self.places[number] = place;
        }
        Some(gone)
    }
}

/// A slot that cannot read or apply what it must serves nobody, and says why.
pub fn fail(slot: &mut Slot, error: &dyn std::fmt::Display) {
    tracing::error!(slot = %slot.id, %error, "slot stopped");
    slot.failure = Some(format!("slot {}: {error}", slot.id));
    slot.underway.lose(std::mem::take(&mut slot.pending));
    slot.line.clear();
    slot.connecting = Sums::default();
    slot.farewells = Default::default();
}

#[cfg(test)]
mod tests {
    use convoy_ids::NodeId;
    use convoy_storage::engine::Model;

    use super::*;
    use crate::budget::Budget;
    use crate::topic::Roots;

    #[test]
    fn slots_are_found_by_their_numbers_whichever_there_are() {
        let options = Options { slots: 10, ..crate::shard::tests::options(Default::default(), 1) };
        let post = Post::new(NodeId::new(1).expect("it is not zero"), 1, 3, 10, true);
        let mut slots = Slots::none(&options, &post);
        let (mut roots, mut budget) = (Roots::new(1, [].into_iter(), 3), Budget::new(Default::default()));
        let mut made = |number| {
            Slot::recover(SlotId(number), &Model::new(), &options, &mut roots, &mut budget)
                .expect("it is empty")
        };
        let meta = SlotId::META.0;
        for number in [7, 1, meta, 4] {
            slots.insert(made(number));
        }
        let there = |slots: &mut Slots| {
            (0..12).chain([meta]).filter(|number| slots.get(SlotId(*number)).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(there(&mut slots), [1, 4, 7, meta]);
        assert!(slots.remove(SlotId(1)).is_some() && slots.remove(SlotId(1)).is_none());
        assert!(slots.remove(SlotId(2)).is_none(), "it is of another shard");
        assert_eq!(there(&mut slots), [4, 7, meta]);
        assert_eq!(slots.remove(SlotId::META).map(|slot| slot.id), Some(SlotId::META));
        slots.insert(made(1));
        assert_eq!(there(&mut slots), [1, 4, 7]);
    }
}
