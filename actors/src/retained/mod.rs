//! The Retained Messages of a partition, on disk: one value for each Topic Name (MQTT 5.0, 3.3.1.3).
//!
//! - [`put`] and [`remove`] add to the batch that applies a record;
//! - [`Readings`] keeps what a connection has still to read for its new Subscriptions, and [`serve`] reads it, chunk by
//!   chunk;
//! - [`Sweep`] finds what has expired;
//! - [`browse`] reads what an operator looks for.

mod browse;
mod form;
mod key;
mod read;
mod readings;
mod seek;
mod serve;
mod sweep;
#[cfg(test)]
mod tests;
mod value;

use convoy_ids::SlotId;
use convoy_storage::engine::{Batch, Engine, Error, Family};

pub use browse::browse;
pub use form::RequestForm;
pub use read::{Cursor, Limits, Progress, read};
pub use readings::{Everywhere, Place, Reader, Readings};
pub use serve::{Chunk, Request, Served, serve};
pub use sweep::Sweep;

/// The Topic Name in the key of a Retained Message.
pub fn topic_of(key: &[u8]) -> Option<String> {
    let mut topic = Vec::new();
    key::topic(key, &mut topic).map(str::to_owned)
}

/// The number in the row of a Retained Message, and the message.
pub fn split(value: &[u8]) -> Result<(u64, &[u8]), Error> {
    value::split(value)
}

/// Sets the Retained Message of `topic`, which was decided under `number`.
pub fn put(batch: &mut Batch, slot: SlotId, partition: u64, topic: &str, number: u64, message: &[u8]) {
    batch.put_parts(Family::Retained, &key::of(slot, partition, topic), &[&value::head(number), message]);
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
    let from = into.len();
    let found = engine.get(Family::Retained, &key::of(slot, partition, topic), into)?;
    let head = into.len() - from - value::split(&into[from..])?.1.len();
    into.drain(from..from + head);
    Ok(found)
}
