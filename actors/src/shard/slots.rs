//! The slots of a shard, found by their number.

use convoy_ids::{NodeId, SlotId};
use convoy_storage::engine::Engine;
use convoy_storage::replica::{Driver, Replica};

use super::Error;
use super::mail::Post;
use crate::budget::{Budget, Sums};
use crate::options::Options;
use crate::slot::Slot;
use crate::topic::Roots;

/// The slots of this shard, by their number.
pub struct Slots {
    pub table: Vec<Slot>,
    shards: u16,
    has_meta: bool,
}

impl Slots {
    pub fn open(
        options: &Options,
        post: &Post,
        engine: &dyn Engine,
        replicas: &[NodeId],
        driver: &mut Driver,
        roots: &mut Roots,
        budget: &mut Budget,
    ) -> Result<Self, Error> {
        // Nothing is at hand yet that could give other numbers: these are the first replicas of every slot.
        let replicas: Vec<_> = replicas.iter().copied().map(Replica::first).collect();
        let me = Replica::first(driver.node()).id;
        let mut table = Vec::new();
        for id in Self::of_shard(options, post) {
            table.push(Slot::recover(id, engine, options, roots, budget)?);
            driver.open(id, me, &replicas)?;
        }
        let has_meta = post.is_here(SlotId::META);
        if has_meta {
            table.push(Slot::recover(SlotId::META, engine, options, roots, budget)?);
            driver.open(SlotId::META, me, &replicas)?;
        }
        Ok(Self { table, shards: post.shards(), has_meta })
    }

    /// The slots that a shard has, without the meta group.
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

    fn place(&self, id: SlotId) -> usize {
        match id.is_meta() {
            true => self.table.len() - usize::from(self.has_meta),
            false => usize::from(id.0 / self.shards),
        }
    }

    /// The slot, if it is this shard's.
    pub fn get(&mut self, id: SlotId) -> Option<&mut Slot> {
        let place = self.place(id);
        self.table.get_mut(place).filter(|slot| slot.id == id)
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
