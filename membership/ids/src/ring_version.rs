//! Placement is a pure function of a ring version; the meta group commits them in order.

use core::fmt;

/// Number of a ring version; the fleet is born with version 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingVersion(pub u64);

impl fmt::Display for RingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
