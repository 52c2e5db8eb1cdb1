//! The Retained Messages of a partition, on disk: one value for each Topic Name (MQTT 5.0, 3.3.1.3).
//!
//! - [`put`] and [`remove`] add to the batch that applies a record;
//! - [`requests`] and [`serve`] read what a new Subscription gets, chunk by chunk;
//! - [`Sweep`] finds what has expired;
//! - [`browse`] reads what an operator looks for.

mod browse;
mod key;
mod read;
mod seek;
mod serve;
mod sweep;
#[cfg(test)]
mod tests;

use convoy_ids::SlotId;
use convoy_storage::engine::{Batch, Engine, Error, Family};

pub use browse::browse;
pub use read::{Cursor, Limits, Progress, read};
pub use serve::{Chunk, Request, requests, serve};
pub use sweep::Sweep;

/// Sets the Retained Message of `topic`, gathered from `value`.
pub fn put(batch: &mut Batch, slot: SlotId, partition: u64, topic: &str, value: &[&[u8]]) {
    batch.put_parts(Family::Retained, &key::of(slot, partition, topic), value);
}

/// Removes the Retained Message of `topic`, if there is one.
pub fn remove(batch: &mut Batch, slot: SlotId, partition: u64, topic: &str) {
    batch.delete(Family::Retained, &key::of(slot, partition, topic));
}

/// Appends the Retained Message of `topic` to `into` and returns true; false and nothing appended if there is none.
pub fn get(
    engine: &dyn Engine,
    slot: SlotId,
    partition: u64,
    topic: &str,
    into: &mut Vec<u8>,
) -> Result<bool, Error> {
    engine.get(Family::Retained, &key::of(slot, partition, topic), into)
}
