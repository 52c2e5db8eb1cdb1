//! A consistent-hash ring with virtual nodes: each member stands at as many points of a circle of 2⁶⁴ as it has weight,
//! slots stand at even distances, and the replicas of a slot are the nodes met clockwise from it.
//!
//! No node gets more than a tenth beyond its share of what its zone keeps, or of what the fleet leads, by weight. Adding a
//! member only adds points, so it takes the place of others in about its share of the slots; what moves besides is
//! what finds room again where it would rather be, an eighth of that share in fleets of thirty nodes. Removing one is
//! the reverse. Every node computes the same placement from a ring version, in every release.

mod bounded;
mod moves;
mod place;
mod replicas;
#[cfg(test)]
mod tests;
mod version;
pub mod walk;

pub use moves::{Move, moves};
pub use version::{Member, Ring, check_sizes};

/// Each slot is a Raft group with a cost even when idle; the largest number is [`convoy_ids::SlotId::META`].
pub const MAX_SLOTS: u16 = 16_384;
/// More replicas than this make every write wait for many disks and protect from nothing likely.
pub const MAX_REPLICATION: u8 = 7;
/// Nodes of a fleet; each costs the ring as many points as it has weight.
pub const MAX_MEMBERS: usize = 1024;
/// A member's weight is the number of its points on the ring.
pub const MAX_WEIGHT: u16 = 4096;
