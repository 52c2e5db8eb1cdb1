//! What fails together: a room, a data centre, an availability zone.

use alloc::string::String;
use core::fmt;

/// Name of an availability zone, as the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub String);

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
