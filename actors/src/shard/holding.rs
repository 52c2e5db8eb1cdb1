//! While the disk is behind with what was written, memory holds it: see [`convoy_storage::engine::Engine::is_behind`]. Then a
//! shard writes nothing more, so that what comes waits for its record, where each publisher is held to its credit. What
//! needs no record goes on.

use super::Shard;
use crate::clock::Now;
use crate::metric;

/// Milliseconds after which something is written all the same: it goes through, or says what is wrong with the disk.
const LONGEST: u64 = 1000;

impl Shard {
    /// Whether nothing is to be written now. Asked before each piece that is written.
    pub(super) fn holds(&mut self, now: Now) -> bool {
        if self.failure.is_some() || !self.state.engine().is_behind() {
            self.held_since = None;
            return false;
        }
        if self.held_since.is_none() {
            metrics::counter!(metric::STORAGE_BEHIND).increment(1);
        }
        let since = *self.held_since.get_or_insert(now.monotonic);
        if now.monotonic.saturating_sub(since) < LONGEST {
            return true;
        }
        self.held_since = None;
        false
    }

    /// Whether a turn is due in some milliseconds, though nothing happens until then: the disk tells nobody when it has
    /// caught up.
    pub fn is_held(&self) -> bool {
        self.held_since.is_some()
    }
}
