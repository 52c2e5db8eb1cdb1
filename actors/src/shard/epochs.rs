//! A Client may have come back on another node, while what it sent on the connection before is still on its way from the old
//! one. What comes so late is not taken: the Client has sent it again, perhaps with more behind it, and a Retained Message
//! would win over newer ones. Each partition's shard remembers the newest epoch of the Sessions that have published there
//! lately.

use rustc_hash::FxHashMap;

use crate::session::{Epoch, SessionNumber};

/// Milliseconds for which it is remembered, at least. What is on its way for longer is behind much else in a channel that is
/// heard all the time, and passes for what it was.
const REMEMBERED: u64 = 10_000;

/// Sessions that are remembered in each of the two halves. Of more the oldest are forgotten sooner.
const SESSIONS: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Of now, and of before.
    known: [FxHashMap<SessionNumber, Epoch>; 2],
    /// When they change places, monotonic milliseconds.
    turns_at: u64,
}

impl Epochs {
    /// Whether nothing has come of a later connection of this Session: then this is the newest one.
    pub fn take(&mut self, session: SessionNumber, epoch: Epoch, now: u64) -> bool {
        if now >= self.turns_at || self.known[0].len() >= SESSIONS {
            self.known.swap(0, 1);
            self.known[0].clear();
            self.turns_at = now + REMEMBERED;
        }
        let [new, old] = &mut self.known;
        let known = new.entry(session).or_insert_with(|| old.get(&session).copied().unwrap_or_default());
        *known = epoch.max(*known);
        *known == epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_of_an_earlier_connection_is_not_taken() {
        let (mut epochs, one, two) = (Epochs::default(), SessionNumber(1), SessionNumber(2));
        assert!(epochs.take(one, Epoch(5), 0) && epochs.take(two, Epoch(4), 0));
        assert!(!epochs.take(one, Epoch(4), 0) && epochs.take(one, Epoch(5), REMEMBERED));
        assert!(!epochs.take(one, Epoch(4), 2 * REMEMBERED));
        assert!(epochs.take(two, Epoch(3), 4 * REMEMBERED), "it is forgotten");
    }

    #[test]
    fn so_many_are_remembered() {
        let mut epochs = Epochs::default();
        for session in 0..3 * SESSIONS as u64 {
            epochs.take(SessionNumber(session), Epoch(1), 0);
        }
        assert!(epochs.known.iter().all(|half| half.len() <= SESSIONS));
    }
}
