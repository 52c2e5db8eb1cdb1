//! A slot is a share of the key space and the unit of replication.

use core::fmt;

/// Number of a slot, below the fleet's `slots` (64 by default, fixed when the fleet is born).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u16);

impl SlotId {
    /// The group every node follows: ring versions and Topic Filters whose first level is a wildcard.
    pub const META: SlotId = SlotId(u16::MAX);

    /// Whether this is the meta group and not a share of the key space.
    pub const fn is_meta(self) -> bool {
        self.0 == u16::MAX
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_meta() { f.write_str("meta") } else { write!(f, "{}", self.0) }
    }
}
