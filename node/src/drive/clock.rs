//! The clocks as machines see them. The wall clock is asked now and then; in between it goes with the monotonic one, so
//! that an event costs one reading.

use convoy_actors::Now;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Clock {
    begin: u64,
    /// Milliseconds since the Unix epoch at `begin`.
    offset: Cell<u64>,
}

/// Milliseconds of a clock that goes on while the machine sleeps: another node goes on meanwhile, and gives away what this one
/// does not ask for.
pub fn boot_time() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    (time.tv_sec * 1_000 + time.tv_nsec / 1_000_000).unsigned_abs()
}

/// Milliseconds since the Unix epoch, by the wall clock.
pub fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Clock {
    /// One that counts since `begin`, as [`boot_time`] had it.
    pub fn since(begin: u64) -> Self {
        let clock = Self { begin, offset: Cell::new(0) };
        clock.adjust();
        clock
    }

    /// Asks the wall clock again.
    pub fn adjust(&self) {
        self.offset.set(wall().saturating_sub(boot_time() - self.begin));
    }

    pub fn now(&self) -> Now {
        let monotonic = boot_time() - self.begin;
        Now { monotonic, wall: self.offset.get() + monotonic }
    }
}
