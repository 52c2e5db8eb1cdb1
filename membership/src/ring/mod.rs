//! A consistent-hash ring with virtual nodes: each member stands at as many points of a circle of 2⁶⁴ as it has weight,
//! slots stand at even distances, and the replicas of a slot are the nodes met clockwise from it.
//!
//! Adding a member only adds points, so a slot's replicas change by the new node taking the place of another, or not at
//! all; removing one is the reverse. Every node computes the same placement from a ring version, in every release.

mod moves;
mod place;
mod replicas;
#[cfg(test)]
mod tests;
mod version;

pub use moves::{Move, moves};
pub use version::{Member, Ring};

/// Each slot is a Raft group with a cost even when idle; the largest number is [`convoy_ids::SlotId::META`].
pub const MAX_SLOTS: u16 = 16_384;
/// More replicas than this make every write wait for many disks and protect from nothing likely.
pub const MAX_REPLICATION: u8 = 7;
/// Nodes of a fleet; each costs the ring as many points as it has weight.
pub const MAX_MEMBERS: usize = 1024;
/// A member's weight is the number of its points on the ring.
pub const MAX_WEIGHT: u16 = 4096;
