//! Shards tell each other which of them has a full slot. `edge/shortage.rs` says what that is to publishers.

use super::Shard;
use super::mail::Letter;
use crate::metric;

impl Shard {
    /// Tells all shards whether one of the slots here is full, where that has changed.
    pub(super) fn tell_shortage(&mut self) {
        let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
        let was = self.outlet.edge.shortage.is_of(here);
        let is = self.is_short || self.slots.iter().any(|slot| slot.pending.is_full());
        if is != was {
            metrics::counter!(metric::SHORTAGES).increment(u64::from(is));
            self.outlet.edge.note_shortage(here, is);
            for shard in (0..shards).filter(|shard| *shard != here) {
                self.outlet.post.send(shard, Letter::Short { shard: here, is });
            }
        }
        let shortage = &self.outlet.edge.shortage;
        if shortage.is_on() || shortage.has_parked() {
            self.outlet.edge.admit_on();
        }
    }
}
