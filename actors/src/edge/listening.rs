//! The clock by which a shard judges the silence of its Clients. It stands still while the shard reads from nobody: much
//! waits for the log, or its thread had no time. What Clients say meanwhile waits in their sockets.

#[derive(Clone, Copy, Debug, Default)]
pub struct Listening {
    /// Milliseconds in which nothing was read.
    deaf: u64,
    /// Since when nothing is read.
    deaf_since: Option<u64>,
}

impl Listening {
    /// The time of this clock at a monotonic millisecond.
    pub fn at(&self, monotonic: u64) -> u64 {
        monotonic.min(self.deaf_since.unwrap_or(monotonic)).saturating_sub(self.deaf)
    }

    /// Whether anything is read from now on.
    pub fn set(&mut self, listens: bool, monotonic: u64) {
        match (listens, self.deaf_since) {
            (false, None) => self.deaf_since = Some(monotonic),
            (true, Some(since)) => {
                self.deaf += monotonic.saturating_sub(since);
                self.deaf_since = None;
            }
            _ => {}
        }
    }

    /// So many milliseconds have just passed in which the shard did nothing at all.
    pub fn was_away(&mut self, millis: u64) {
        // Else they are left out already.
        if self.deaf_since.is_none() {
            self.deaf += millis;
        }
    }

    pub fn is_deaf(&self) -> bool {
        self.deaf_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_while_nothing_is_read() {
        let mut listening = Listening::default();
        listening.set(true, 1_000);
        assert_eq!(listening.at(1_000), 1_000);
        listening.set(false, 2_000);
        listening.set(false, 3_000);
        assert_eq!((listening.at(4_000), listening.is_deaf()), (2_000, true));
        listening.was_away(500);
        listening.set(true, 5_000);
        assert_eq!((listening.at(5_000), listening.at(6_000)), (2_000, 3_000));
        listening.was_away(500);
        assert_eq!(listening.at(6_000), 2_500);
    }
}
