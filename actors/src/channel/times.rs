/// How often ends tell each other that they live, and how long they rely on it. Milliseconds. `relies` and `drift` are the same
/// in the whole fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Something is sent at least so often.
    pub heartbeat: u64,
    /// How long an end relies on the other, from when it sent what the other has heard. Several heartbeats must fit in, or
    /// a lost one ends the pair.
    pub relies: u64,
    /// Two clocks differ by at most one part in so many of what passes. Quartz stays within 1 in 10,000; a virtual machine
    /// whose clock is being corrected within 1 in 500.
    pub drift: u64,
    /// A payload without an acknowledgement is sent again after this, and the wait doubles with each time.
    pub resend: u64,
    /// Up to this.
    pub resend_most: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { heartbeat: 250, relies: 2_000, drift: 100, resend: 200, resend_most: 1_000 }
    }
}

impl Times {
    /// How long our clock counts until another one has surely counted more than `relies`. Both show whole milliseconds: the
    /// other relies for up to one more than it shows, and ours may have passed one less than it shows.
    pub fn gone(&self) -> u64 {
        let relies = self.relies + 1;
        relies + relies.div_ceil(self.drift) + 1
    }
}
