//! Keep Alive [MQTT-3.1.2-22]: a Client that was silent for too long is closed. What it sends while nothing is read from
//! it waits in its socket, so that this is no silence: such time does not count.

/// Times are those of `Listening` (`edge/listening.rs`), which leaves out what the shard as a whole did not read.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAlive {
    /// Milliseconds; zero for no Keep Alive. One and a half times what the Client was told.
    limit: u64,
    /// When it was heard last.
    heard_at: u64,
    /// Since when nothing is read from this Client.
    deaf_since: Option<u64>,
}

impl KeepAlive {
    /// `seconds` are what the Client was told; zero for none.
    pub fn set(&mut self, seconds: u16) {
        self.limit = u64::from(seconds) * 1500;
    }

    /// What the Client was told; zero for none.
    pub fn seconds(&self) -> u64 {
        self.limit / 1500
    }

    pub fn heard(&mut self, at: u64) {
        self.heard_at = at;
    }

    /// Whether the Client is read from from now on.
    pub fn reads(&mut self, reads: bool, at: u64) {
        match (reads, self.deaf_since) {
            (false, None) => self.deaf_since = Some(at),
            (true, Some(since)) => {
                self.heard_at += at.saturating_sub(since.max(self.heard_at));
                self.deaf_since = None;
            }
            _ => {}
        }
    }

    /// Whether nothing is read from this Client.
    pub fn is_deaf(&self) -> bool {
        self.deaf_since.is_some()
    }

    /// How long nothing has been read from this Client, if so.
    pub fn deaf_for(&self, at: u64) -> Option<u64> {
        self.deaf_since.map(|since| at.saturating_sub(since))
    }

    /// When the Client will have been silent for too long; `None` while that cannot be known.
    pub fn due(&self) -> Option<u64> {
        (self.limit > 0 && self.deaf_since.is_none()).then_some(self.heard_at + self.limit + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard_at(at: u64) -> KeepAlive {
        let mut keep_alive = KeepAlive::default();
        keep_alive.set(10);
        keep_alive.heard(at);
        keep_alive
    }

    #[test]
    fn it_is_due_one_and_a_half_times_later() {
        assert_eq!(heard_at(1_000).due(), Some(16_001));
        assert_eq!(KeepAlive::default().due(), None);
    }

    #[test]
    fn what_was_not_read_does_not_count() {
        let mut keep_alive = heard_at(1_000);
        keep_alive.reads(false, 5_000);
        keep_alive.reads(false, 20_000);
        assert_eq!((keep_alive.due(), keep_alive.deaf_for(20_000)), (None, Some(15_000)));
        keep_alive.reads(true, 45_000);
        keep_alive.reads(true, 50_000);
        // 4 seconds before and 11 after.
        assert_eq!((keep_alive.due(), keep_alive.deaf_for(50_000)), (Some(56_001), None));
    }

    #[test]
    fn what_was_heard_within_a_pause_counts_from_there() {
        // The rest of what was read before the pause.
        let mut keep_alive = heard_at(1_000);
        keep_alive.reads(false, 5_000);
        keep_alive.heard(8_000);
        keep_alive.reads(true, 9_000);
        assert_eq!(keep_alive.due(), Some(24_001));
    }
}
