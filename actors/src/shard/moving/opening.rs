//! Replicas that are there at the start of a node, and those that come while it runs. One is made, empty, when the leader of its
//! group sends it something: the leader has added it, as a learner, before. What it has missed comes by the log or by a copy.

use std::sync::Arc;

use convoy_ids::{NodeId, ReplicaId, SlotId};
use convoy_storage::engine::Engine;
use convoy_storage::replica::{self, Addressed, Driver, Replica};

use super::super::slots::fail;
use super::super::{Error, Post, Shard, Slots};
use super::words::Word;
use crate::budget::Budget;
use crate::metric;
use crate::options::{Options, Without};
use crate::slot::Slot;
use crate::topic::Roots;

/// The group that the log of every slot begins with.
fn first_group(options: &Options, node: NodeId) -> Vec<Replica> {
    let nodes = match &options.moves {
        Some(moves) => moves.founders.clone(),
        None if options.replicas.is_empty() => vec![node],
        None => options.replicas.clone(),
    };
    nodes.into_iter().map(Replica::first).collect()
}

/// The slots that a shard has at its start: what is on the disk, and first replicas that are still to be made.
fn at_start(options: &Options, post: &Post, driver: &Driver) -> Result<Vec<SlotId>, replica::Error> {
    let may_have = Slots::of_shard(options, post).chain(post.is_here(SlotId::META).then_some(SlotId::META));
    let Some(moves) = &options.moves else { return Ok(may_have.collect()) };
    let mut slots = Vec::new();
    for slot in may_have {
        if driver.is_on_disk(slot)? || moves.founds && driver.ended(slot)?.is_none() {
            slots.push(slot);
        }
    }
    Ok(slots)
}

/// Opens them.
pub(in crate::shard) fn open_all(
    options: &Options,
    post: &Post,
    engine: &Arc<dyn Engine>,
    driver: &mut Driver,
    budget: &mut Budget,
) -> Result<(Slots, Roots), Error> {
    let (first, me) = (first_group(options, driver.node()), Replica::first(driver.node()).id);
    let (found, mut slots) = (at_start(options, post, driver)?, Slots::none(options, post));
    let shared = found.iter().copied().filter(|slot| !slot.is_meta());
    let mut roots = Roots::new(options.secret.of_tables(), shared, post.shards());
    for id in found {
        slots.insert(Slot::recover(id, &**engine, options, &mut roots, budget)?);
        driver.open(id, me, &first)?;
    }
    Ok((slots, roots))
}

impl Shard {
    /// A message is for a replica that is not here, or not any more.
    pub(in crate::shard) fn meet_replica(&mut self, from: NodeId, slot: SlotId, bytes: &[u8]) {
        let Some(Addressed { to, .. }) = replica::addressed(bytes).filter(|addressed| addressed.leads) else {
            return;
        };
        let may_be_here = self.exists(slot) && self.outlet.post.is_here(slot);
        if self.options.moves.is_none() || !may_be_here || !self.options.replicas.contains(&from) {
            return;
        }
        let comes = Replica { id: to, node: self.driver.node() };
        match self.driver.replica(slot) {
            // Its group has lost this one, or removed it.
            Some(here) if comes.is_after(here) => {
                self.moving.ending.insert(slot, here);
            }
            Some(_) => self.say(from, slot, Word::Gone { replica: to.get() }),
            // It is closed until a copy is durable, or for good.
            None if self.slots.get(slot).is_some() => {}
            None => match self.has_been(slot, comes) {
                Ok(true) => self.say(from, slot, Word::Gone { replica: to.get() }),
                Ok(false) if self.open_replica(slot, to) => _ = self.driver.step(slot, from, bytes),
                Ok(false) => {}
                Err(error) => tracing::warn!(%slot, %error, "replica cannot be made"),
            },
        }
    }

    /// Whether a replica had its life on this node. What is not told by the disk that there is, is told by whoever has given
    /// this node an empty one.
    fn has_been(&self, slot: SlotId, comes: Replica) -> Result<bool, replica::Error> {
        let Some(moves) = &self.options.moves else { return Ok(true) };
        if self.options.without == Without::NewNumbers {
            return Ok(false);
        }
        let is_first = comes == Replica::first(comes.node);
        if is_first || comes.id.get() <= moves.given {
            return Ok(true);
        }
        Ok(self.driver.ended(slot)?.is_some_and(|ended| !comes.is_after(ended)))
    }

    /// Makes a replica that begins with nothing. False if there is no room for it now.
    fn open_replica(&mut self, slot: SlotId, id: ReplicaId) -> bool {
        if self.failure.is_some() || self.stalled || self.low_space {
            return false;
        }
        if !self.recover_slot(slot, id) {
            return false;
        }
        metrics::counter!(metric::REPLICAS_OPENED).increment(1);
        self.moving.opened += 1;
        tracing::info!(%slot, replica = %id, "replica made");
        true
    }

    /// Makes a slot from the rows that it has, if any, and opens its replica: a new one under this number.
    pub(super) fn recover_slot(&mut self, id: SlotId, replica: ReplicaId) -> bool {
        let first = first_group(&self.options, self.driver.node());
        if !id.is_meta() {
            self.roots.join(id);
        }
        let made = Slot::recover(id, &*self.rows, &self.options, &mut self.roots, &mut self.budget);
        let opened = match made {
            Ok(made) => {
                self.slots.insert(made);
                self.driver.open(id, replica, &first).map(|_| ()).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if self.is_of_commands(id) {
            self.load_fleet();
        }
        match (opened, self.slots.get(id)) {
            (Ok(()), _) => return true,
            (Err(error), Some(slot)) => fail(slot, &error),
            (Err(error), None) => tracing::error!(slot = %id, error, "slot cannot be read"),
        }
        false
    }
}
