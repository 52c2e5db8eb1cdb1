//! Fences: a node acknowledges for the Sessions of a slot only while the slot's leader supports it.
//!
//! A Session that moves to another node must not be acknowledged by the one it leaves, and that one may be paused, cut off, or
//! cut off in one direction only. Liveness is therefore agreed in pairs, between the leader of a slot and the process of a
//! node, and not by a gossip about everybody (CockroachDB replaced its node liveness by such store liveness in 2024):
//!
//! - The process asks, the leader supports it for a time. The process counts that time from when it asked, the leader
//!   from when it answered, so that neither needs the other's clock; what clocks drift apart is in [`Times::drift`].
//! - The leader gives support only while it has a recent proof that it leads, so that support ends soon after a leader was
//!   deposed without knowing it. A new leader reckons with what its predecessor may have given.
//! - A Session that is granted to another node is *closed* at the old one: under a number, and each support names the
//!   numbers before it that the process must have carried out. So a takeover waits for what was supported before it
//!   and for nothing later, even if the process goes on to ask and hears no answer.
//! - In a new term a process first introduces itself: which connections it has for Sessions of the slot. What is another's by
//!   then is closed before it is supported.
//!
//! All times are in milliseconds of a clock that goes on while the machine sleeps (CLOCK_BOOTTIME).

mod process;
mod supported;
mod supporter;
#[cfg(test)]
mod tests;
mod times;

pub use process::Process;
pub use supported::Supported;
pub use supporter::{Closing, Support, Supporter, Unsupported};
pub use times::Times;
