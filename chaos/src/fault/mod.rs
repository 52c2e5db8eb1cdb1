//! What goes wrong on purpose, and how it is made on a plain Linux machine.
//!
//! kill -9 and SIGSTOP are in [`crate::fleet`]. What a machine lacks is [`Lacking`]: a test says so by name, out loud,
//! and fails where `CHAOS_REQUIRE_ALL` asks for everything.

pub mod damage;
mod mount;
pub mod power;
pub mod space;
pub mod stall;

use std::fmt;
use std::io::Write;

/// This machine cannot make this fault.
#[derive(Debug)]
pub struct Lacking {
    pub what: &'static str,
    pub why: String,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// Says that `test` was skipped, past the capture of the test's own output.
pub fn skipped(test: &str, lacking: &Lacking) {
    assert!(std::env::var_os("CHAOS_REQUIRE_ALL").is_none(), "{test} cannot run here: {lacking}");
    // A lost line on stderr is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: this machine lacks {lacking}");
}
