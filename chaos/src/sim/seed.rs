//! One number from which every choice of a run follows.
//!
//! Real processes do not replay to the microsecond; what the seed replays is the plan: which Clients come, what they do
//! and when which fault strikes. Each actor of a run takes a stream of its own, so one more draw in one of them does not
//! change the others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// From `CHAOS_SEED`, else from the clock.
    pub fn from_env() -> Self {
        match std::env::var("CHAOS_SEED") {
            Ok(text) => Self(text.trim().parse().expect("CHAOS_SEED is a decimal number")),
            Err(_) => Self::fresh(),
        }
    }

    pub fn fresh() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self((now.as_nanos() as u64) % 1_000_000_007)
    }

    /// The stream of the actor called `name`.
    pub fn stream(self, name: &str) -> Stream {
        // FNV-1a: stable over releases, which the standard hasher does not promise.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Stream { state: self.0 ^ hash }
    }
}

/// SplitMix64: one word of state, good enough to choose by.
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

impl Stream {
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below zero");
        self.word() % bound
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_replays_its_streams_and_streams_differ() {
        let draw = |name: &str| {
            let mut stream = Seed(7).stream(name);
            [stream.word(), stream.word(), stream.word()]
        };
        assert_eq!(draw("faults"), draw("faults"));
        assert_ne!(draw("faults"), draw("van-1"));
    }

    #[test]
    fn bounds_are_kept() {
        let mut stream = Seed(1).stream("bounds");
        assert!((0..1000).all(|_| (3..=5).contains(&stream.between(3, 5))));
    }
}
