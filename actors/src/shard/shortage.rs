//! Shards tell each other which of them has a full slot. `edge/shortage.rs` says what that is to publishers.

use super::Shard;
use super::mail::Letter;
use crate::metric;

impl Shard {
    /// Tells all shards whether one of the slots here is full, where that has changed.
    pub(super) fn tell_shortage(&mut self) {
        let was = self.outlet.edge.shortage.is_of(None);
        let is = self.is_short || self.slots.iter().any(|slot| slot.pending.is_full());
        if is != was {
            metrics::counter!(metric::SHORTAGES).increment(u64::from(is));
            self.outlet.edge.note_shortage(None, is);
            for dest in self.outlet.post.others() {
                self.outlet.post.send(dest, Letter::Short { is });
            }
        }
        let shortage = &self.outlet.edge.shortage;
        if shortage.is_on() || shortage.has_parked() {
            self.outlet.edge.admit_on();
        }
    }
}
