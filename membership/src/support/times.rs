/// How long support lasts, and what is reckoned with. Milliseconds; the same in the whole fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Support, from when it was asked for. A takeover from a node that nobody reaches waits for about as long.
    pub support: u64,
    /// A proof of leadership is recent, from when it was begun.
    pub proof: u64,
    /// A process that did not ask for so long is gone: its connections are ended by records.
    pub gone: u64,
    /// Two clocks differ by at most one part in so many of what passes. Quartz stays within 1 in 10,000; a virtual machine
    /// whose clock is being corrected within 1 in 500.
    pub drift: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { support: 2_000, proof: 1_000, gone: 30_000, drift: 100 }
    }
}

impl Times {
    /// What another clock may count, rounded up, while ours counts so long: and one more for each clock's own rounding.
    pub(super) fn stretch(&self, millis: u64) -> u64 {
        millis + millis.div_ceil(self.drift) + 2
    }
}
