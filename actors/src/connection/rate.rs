//! How fast one Client may publish: two buckets of tokens, for messages and for bytes, each of which holds what one
//! second brings.

use crate::options::{Excess, RateLimits};

/// What a message may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// It may go, and the next one not before this monotonic millisecond.
    GoThenWait(u64),
    Refused,
}

#[derive(Debug)]
struct Bucket {
    per_second: i64,
    /// Thousandths of tokens; less than none while what was taken in advance is paid back.
    level: i64,
}

impl Bucket {
    fn new(per_second: u32) -> Self {
        let per_second = i64::from(per_second);
        Self { per_second, level: per_second * 1000 }
    }

    fn fill(&mut self, millis: u64) {
        let more = i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(self.per_second);
        self.level = self.level.saturating_add(more).min(self.per_second * 1000);
    }

    fn has(&self, tokens: i64) -> bool {
        // What is larger than the bucket must pass one day.
        self.per_second == 0 || self.level >= (tokens * 1000).min(self.per_second * 1000)
    }

    fn take(&mut self, tokens: i64) {
        if self.per_second > 0 {
            self.level -= tokens * 1000;
        }
    }

    /// Milliseconds until it holds a token again.
    fn debt(&self) -> u64 {
        match (self.per_second, 1000 - self.level) {
            (0, _) | (_, ..=0) => 0,
            (per_second, missing) => (missing as u64).div_ceil(per_second as u64),
        }
    }
}

#[derive(Debug)]
pub struct Rate {
    messages: Bucket,
    bytes: Bucket,
    excess: Excess,
    filled_at: u64,
}

impl Rate {
    pub fn new(limits: &RateLimits, now: u64) -> Self {
        Self {
            messages: Bucket::new(limits.messages_per_second),
            bytes: Bucket::new(limits.bytes_per_second),
            excess: limits.excess,
            filled_at: now,
        }
    }

    /// A message of so many bytes came at a monotonic millisecond.
    pub fn take(&mut self, bytes: usize, now: u64) -> Verdict {
        let passed = now.saturating_sub(self.filled_at);
        self.filled_at = now;
        self.messages.fill(passed);
        self.bytes.fill(passed);
        let bytes = bytes as i64;
        if self.excess == Excess::Refuse && !(self.messages.has(1) && self.bytes.has(bytes)) {
            return Verdict::Refused;
        }
        self.messages.take(1);
        self.bytes.take(bytes);
        match self.messages.debt().max(self.bytes.debt()) {
            wait if wait == 0 || self.excess == Excess::Refuse => Verdict::Go,
            wait => Verdict::GoThenWait(now + wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(messages_per_second: u32, bytes_per_second: u32, excess: Excess) -> Rate {
        Rate::new(&RateLimits { messages_per_second, bytes_per_second, excess }, 1_000)
    }

    #[test]
    fn a_second_may_come_at_once_and_the_rest_at_the_rate() {
        let mut rate = rate(2, 0, Excess::Wait);
        assert_eq!(rate.take(9, 1_000), Verdict::Go);
        assert_eq!(rate.take(9, 1_000), Verdict::GoThenWait(1_500));
        assert_eq!(rate.take(9, 1_500), Verdict::GoThenWait(2_000));
        assert_eq!(rate.take(9, 9_000), Verdict::Go);
    }

    #[test]
    fn bytes_count_as_well_and_a_message_larger_than_a_second_is_paid_back() {
        let mut rate = rate(0, 1000, Excess::Wait);
        assert_eq!(rate.take(999, 1_000), Verdict::Go);
        assert_eq!(rate.take(3_000, 2_000), Verdict::GoThenWait(4_001));
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let mut rate = rate(1, 100, Excess::Refuse);
        assert_eq!(rate.take(60, 1_000), Verdict::Go);
        assert_eq!(rate.take(10, 1_500), Verdict::Refused);
        assert_eq!(rate.take(10, 2_000), Verdict::Go);
        // One that is larger than a second of bytes goes when there is a second's worth.
        assert_eq!(rate.take(500, 3_000), Verdict::Go);
        assert_eq!(rate.take(1, 4_000), Verdict::Refused);
        assert_eq!(rate.take(1, 8_000), Verdict::Go);
    }

    #[test]
    fn no_time_is_too_long() {
        let mut rate = rate(u32::MAX, u32::MAX, Excess::Wait);
        assert_eq!(rate.take(1, u64::MAX / 2), Verdict::Go);
    }
}
