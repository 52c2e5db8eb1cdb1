//! A node's copy of a slot has an identity of its own: a node may lose a copy and be given another.

use core::{fmt, num::NonZeroU64};

/// Number of a replica, by which it votes: never zero, and never given to another replica of the same slot. One that lost
/// its log is another replica and has another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub NonZeroU64);

impl ReplicaId {
    /// `None` for zero.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
