//! What is seen of the credit of connections when they are visited, and what is dropped for the want of it: see
//! [`crate::connection::Credit`].

use super::Edge;
use crate::metric;

/// Connections that are held back, and bytes under way: of this visit to all of them as far as it has come, and of the last
/// one.
#[derive(Debug, Default)]
pub struct Credits {
    seen: (u64, u64),
    told: (u64, u64),
}

impl Edge {
    /// Messages of QoS 0 that would have to wait for a slot which is full.
    pub fn drop_behind(&mut self, messages: u64) {
        metrics::counter!(metric::BEHIND_DROPPED).increment(messages);
        self.tally.dropped += messages;
    }

    /// Adds what a connection that is visited has under way, and whether it is not read from for it.
    pub(super) fn count_credit(&mut self, key: u32) {
        let Some(connection) = self.connections.get(key as usize) else { return };
        self.credits.seen.0 += u64::from(connection.has_used_credit(&self.limits));
        self.credits.seen.1 += connection.underway_bytes() as u64;
    }

    /// All connections were visited: tells what was seen of them.
    pub(super) fn tell_credits(&mut self) {
        let now = std::mem::take(&mut self.credits.seen);
        let before = std::mem::replace(&mut self.credits.told, now);
        metrics::gauge!(metric::HELD_BACK).increment(now.0 as f64 - before.0 as f64);
        metrics::gauge!(metric::UNDERWAY_BYTES).increment(now.1 as f64 - before.1 as f64);
    }
}
