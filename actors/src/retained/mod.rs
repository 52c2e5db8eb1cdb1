//! The Retained Messages of a partition, on disk: one value for each Topic Name (MQTT 5.0, 3.3.1.3).
//!
//! - [`put`], [`remove`] and [`remove_all`] add to the batch that applies a record;
//! - [`get`] and [`contains`] ask for one Topic Name;
//! - [`read`] finds what matches a Topic Filter, in chunks of bounded work.
//!
//! A value is opaque here, its expiry included. How many messages a partition keeps is counted by whoever applies
//! records: it asks [`contains`] before it puts or removes.

mod key;
mod read;
mod seek;
mod serve;
#[cfg(test)]
mod tests;

use convoy_ids::SlotId;
use convoy_storage::engine::{Batch, Engine, Error, Family};

pub use read::{Cursor, Limits, Progress, read};
pub use serve::{Chunk, Request, requests, serve};

/// Sets the Retained Message of `topic`, gathered from `value`.
pub fn put(batch: &mut Batch, slot: SlotId, partition: u64, topic: &str, value: &[&[u8]]) {
    batch.put_parts(Family::Retained, &key::of(slot, partition, topic), value);
}

/// Removes the Retained Message of `topic`, if there is one.
pub fn remove(batch: &mut Batch, slot: SlotId, partition: u64, topic: &str) {
    batch.delete(Family::Retained, &key::of(slot, partition, topic));
}

/// Removes all Retained Messages of a partition.
pub fn remove_all(batch: &mut Batch, slot: SlotId, partition: u64) {
    let (from, to) = key::all(slot, partition);
    batch.delete_range(Family::Retained, &from, &to);
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

/// Whether `topic` has a Retained Message. `room` is where its value is read to; nothing of it is kept.
pub fn contains(
    engine: &dyn Engine,
    slot: SlotId,
    partition: u64,
    topic: &str,
    room: &mut Vec<u8>,
) -> Result<bool, Error> {
    let before = room.len();
    let found = get(engine, slot, partition, topic, room)?;
    room.truncate(before);
    Ok(found)
}
