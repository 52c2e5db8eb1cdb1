//! The clocks as machines see them. The wall clock is asked now and then; in between it goes with the monotonic one, so
//! that an event costs one reading.

use convoy_actors::Now;
use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub struct Clock {
    begin: Instant,
    /// Milliseconds since the Unix epoch at `begin`.
    offset: Cell<u64>,
}

impl Clock {
    pub fn new() -> Self {
        let clock = Self { begin: Instant::now(), offset: Cell::new(0) };
        clock.adjust();
        clock
    }

    /// Asks the wall clock again.
    pub fn adjust(&self) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.offset.set(wall.saturating_sub(self.begin.elapsed().as_millis() as u64));
    }

    pub fn now(&self) -> Now {
        let monotonic = self.begin.elapsed().as_millis() as u64;
        Now { monotonic, wall: self.offset.get() + monotonic }
    }
}
