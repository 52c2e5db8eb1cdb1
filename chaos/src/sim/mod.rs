//! One node in simulated time: the real machines of `actors` and `storage` over a model of the disk, driven as the node
//! drives them, by Clients whose bytes travel in pieces, with syncs that take time, until the power goes.
//!
//! Everything follows from one seed: which Client acts when, how bytes are cut, in which order shards are served, how long
//! a sync takes and what of it survives. A run that failed is run again by its seed.

pub mod client;
pub mod clock;
pub mod disk;
pub mod net;
pub mod seed;
mod verdict;
mod world;

pub use verdict::Verdict;
pub use world::{Outcome, Setup, run};
