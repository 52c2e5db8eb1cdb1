//! Retained Messages that have expired go from the disk a few at a time, looked for in the order of their keys: an index
//! of what expires would cost every retained publish a row, and nobody waits for this.

use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error, Family};

use super::key::{self, FRONT};
use super::value;
use crate::clock::Millis;
use crate::message::Message;

/// Rows that are looked at in one go.
const RUN: usize = 64;

/// Where to look next; the beginning of the slot by default.
#[derive(Clone, Debug, Default)]
pub struct Sweep(Vec<u8>);

impl Sweep {
    /// What has expired among the next few Retained Messages of a slot, by partition and Topic Name. After the last one
    /// it begins again. What cannot be read is left for whoever serves it, and complains.
    pub fn expired(
        &mut self,
        engine: &dyn Engine,
        slot: SlotId,
        now: Millis,
    ) -> Result<Vec<(u64, String)>, Error> {
        let (start, end) = key::slot(slot);
        let from = std::mem::take(&mut self.0);
        let from = if from.is_empty() { start } else { from };
        let (mut seen, mut expired, mut topic) = (0, Vec::new(), Vec::new());
        engine.scan(Family::Retained, &from, &end, &mut |key, value| {
            if seen == RUN {
                self.0 = key.to_vec();
                return ControlFlow::Break(());
            }
            seen += 1;
            let message = value::split(value).ok().and_then(|(_, message)| Message::decode(message).ok());
            let is_over = message.is_some_and(|message| message.remaining(now).is_none());
            if is_over
                && let Some(partition) = key.get(2..FRONT).and_then(|bytes| bytes.try_into().ok())
                && let Some(topic) = key::topic(key, &mut topic)
            {
                expired.push((u64::from_be_bytes(partition), topic.to_owned()));
            }
            ControlFlow::Continue(())
        })?;
        Ok(expired)
    }
}
