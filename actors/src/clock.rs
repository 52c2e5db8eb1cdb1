//! Time is handed in: no machine reads a clock, so a test or a simulator can be the clock.

/// Milliseconds since the Unix epoch, as records carry them.
pub type Millis = u64;

/// The two clocks at the moment of an event. Deadlines of connections follow the monotonic one; what stands in
/// records and outlives the process follows the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never jumps; its zero has no meaning.
    pub monotonic: u64,
    /// Milliseconds since the Unix epoch.
    pub wall: Millis,
}
