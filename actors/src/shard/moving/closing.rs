//! A replica that is no member of its group any more ends: one batch deletes its rows of all families and leaves its number
//! behind, which never votes again. That is a few range deletes, however many rows there are. What it has in common with the
//! other slots of its shard is taken back first, as where a copy replaces its state.
//!
//! If a crash loses that batch, the replica is there as before, and is told again.

use convoy_ids::{ReplicaId, SlotId};
use convoy_storage::engine::{self, Batch, Engine, Family};

use super::super::Shard;
use super::super::slots::fail;
use crate::metric;

/// What a slot has beside its log.
const FAMILIES: [Family; 4] = [Family::Session, Family::Queue, Family::Retained, Family::Archive];

impl Shard {
    /// Ends one of the replicas that are no members any more, once all that was applied is written.
    pub(in crate::shard) fn end_replicas(&mut self) {
        if self.failure.is_some() || self.stalled || !self.state.is_empty() {
            return;
        }
        let Some((slot, replica)) = self.moving.ending.pop_first() else { return };
        // It may have been ended, or wait for a sync; then it asks again.
        if self.driver.replica(slot) != Some(replica) {
            return;
        }
        if let Err(error) = self.end_replica(slot, replica) {
            match error {
                engine::Error::Full { .. } => tracing::warn!(%slot, %error, "replica cannot be ended yet"),
                error => self.fail_all(&error.to_string()),
            }
        }
    }

    /// After an error of a full disk everything is as before.
    fn end_replica(&mut self, id: SlotId, replica: ReplicaId) -> Result<(), engine::Error> {
        if self.slots.get(id).is_some_and(|slot| slot.leading) {
            self.lose(id);
        }
        self.forget_snapshots(id);
        self.forget_received(id);
        let Some(slot) = self.slots.get(id) else { return Ok(()) };
        if !id.is_meta() {
            self.roots.leave(id);
        }
        if let Err(error) = slot.withdraw(&*self.rows, &mut self.roots, &mut self.budget) {
            // Some of it is gone, and what is left is not all that it has.
            fail(slot, &error);
            return Err(error);
        }
        let mut batch = Batch::new();
        if let Err(error) = self.driver.put_end(id, &mut batch) {
            fail(slot, &error);
            return Ok(());
        }
        let (from, to) = (id.0.to_be_bytes(), id.0.checked_add(1).map(u16::to_be_bytes));
        let to = to.map_or(vec![u8::MAX; 4], |next| next.to_vec());
        FAMILIES.iter().for_each(|family| batch.delete_range(*family, &from, &to));
        let written = self.rows.write(&batch);
        self.backlog.retain(|record| record.slot != id);
        self.unwritten.retain(|(slot, _)| *slot != id);
        self.leading_on.remove(&id);
        self.state.replaced(id);
        self.slots.remove(id);
        if let Err(error) = written {
            self.recover_slot(id, replica);
            return Err(error);
        }
        self.moving.walks.remove(&id);
        metrics::counter!(metric::REPLICAS_CLOSED).increment(1);
        self.moving.closed += 1;
        tracing::info!(slot = %id, %replica, "replica ended: its group goes on without it");
        Ok(())
    }
}
