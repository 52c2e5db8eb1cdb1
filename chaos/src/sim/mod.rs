//! A fleet of one node or more in simulated time: the real machines of `actors` and `storage` over models of the disks and
//! of the links, driven as the node drives them, by Clients whose bytes travel in pieces, with syncs that take time, until
//! a node dies or stands still, the power goes, or the links are cut.
//!
//! Everything follows from one seed: which Client acts when and asks which node, how bytes are cut, in which order shards
//! are served, how long a sync takes and what of it survives, what of nodes' messages arrives and when, who is cut off
//! from whom. A run that failed is run again by its seed.

pub mod client;
pub mod clock;
pub mod disk;
pub mod links;
pub mod net;
mod node;
pub mod node_clock;
mod places;
pub mod seed;
pub mod shrink;
pub mod strike;
mod verdict;
mod world;

pub use verdict::Verdict;
pub use world::{Cuts, Moving, Outcome, Setup, run};
