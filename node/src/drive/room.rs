//! How much mail may wait for a shard: as much as it opens in a while, as it was seen of late. What a letter costs hangs on
//! what it asks for; a bound in bytes alone is a tenth of a second of cheap mail and many seconds of dear mail, which whoever
//! is behind it waits for.

use std::time::Duration;

/// What waits is opened in about so much time of opening.
const WAIT: Duration = Duration::from_millis(100);

/// So much time gives a figure.
const SAMPLE: Duration = Duration::from_millis(5);

/// At least so many bytes, and at most so many, whatever they cost.
const LEAST: usize = 16 << 10;
const MOST: usize = 16 << 20;

#[derive(Debug)]
pub struct Room {
    spent: Duration,
    opened: usize,
    bytes: usize,
}

impl Default for Room {
    /// Nobody knows what mail costs before there was some.
    fn default() -> Self {
        Self { spent: Duration::ZERO, opened: 0, bytes: 256 << 10 }
    }
}

impl Room {
    /// Bytes that may wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// So much time was spent on mail, in which mail of so many bytes was opened.
    pub fn note(&mut self, spent: Duration, opened: usize) {
        self.spent += spent;
        self.opened += opened;
        if self.spent < SAMPLE {
            return;
        }
        let of_wait = self.opened as f64 * (WAIT.as_secs_f64() / self.spent.as_secs_f64());
        // Less at once, more by and by.
        let bytes =
            if of_wait < self.bytes as f64 { of_wait } else { (self.bytes as f64 * 2.0).min(of_wait) };
        self.bytes = (bytes as usize).clamp(LEAST, MOST);
        (self.spent, self.opened) = (Duration::ZERO, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_mail_has_as_much_room_as_is_opened_in_a_tenth_of_a_second() {
        let mut room = Room::default();
        // 2 MB a second: 8,000 steps for each message of 200 bytes.
        for _ in 0..3 {
            room.note(Duration::from_millis(2), 4_000);
        }
        assert!((195_000..205_000).contains(&room.bytes()), "{room:?}");
        room.note(Duration::from_secs(1), 0);
        assert_eq!(room.bytes(), LEAST);
    }

    #[test]
    fn cheap_mail_has_more_and_more() {
        let mut room = Room::default();
        (0..3).for_each(|_| room.note(Duration::from_millis(1), 1 << 20));
        assert_eq!(room.bytes(), 256 << 10);
        (0..8).for_each(|_| room.note(SAMPLE, 4 << 20));
        assert_eq!(room.bytes(), MOST);
    }
}
