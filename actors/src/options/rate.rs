//! How fast one Client may publish, as the configuration says it. Each connection is held to it.

/// What becomes of a message beyond the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Excess {
    /// It is taken, and then nothing more is read from the Client until the rate is kept again.
    #[default]
    Wait,
    /// It is refused: with Quota Exceeded at QoS 1 and 2, without a word at QoS 0.
    Refuse,
}

/// Rates of one Client; zero for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub messages_per_second: u32,
    /// Of Topic Names, properties and payloads.
    pub bytes_per_second: u32,
    pub excess: Excess,
}

impl RateLimits {
    pub fn is_unlimited(&self) -> bool {
        self.messages_per_second == 0 && self.bytes_per_second == 0
    }
}
