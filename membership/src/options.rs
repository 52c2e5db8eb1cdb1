//! Settings of placement.

use crate::ring::{MAX_WEIGHT, check_sizes};
use crate::{Error, Partitioning};

/// Settings of placement. Those of the fleet are fixed by the node that founds it; later nodes learn them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Shares of the key space, each a Raft group; fixed when the fleet is born. Raise it for a fleet that will have
    /// more than about ten nodes (1024 for hundreds): each slot costs a few KB on each of its replicas and a
    /// little work when idle, and smaller slots spread better and move faster.
    pub slots: u16,
    /// Replicas of a slot, in distinct zones while zones last. Three outlive the loss of one; each further replica
    /// costs every write a copy.
    pub replication: u8,
    /// This node's share of the replicas, relative to the other nodes'. Raise it on a larger machine; zero keeps
    /// replicas away from it.
    pub weight: u16,
    /// How parent topics without a setting of their own are spread.
    pub partitioning: Partitioning,
}

impl Default for Options {
    fn default() -> Self {
        Self { slots: 64, replication: 3, weight: 128, partitioning: Partitioning::default() }
    }
}

impl Options {
    /// Tells the first setting that cannot be.
    pub fn check(&self) -> Result<(), Error> {
        check_sizes(self.slots, self.replication)?;
        check_weight(self.weight)?;
        self.partitioning.check()
    }
}

fn check_weight(weight: u16) -> Result<(), Error> {
    if weight > MAX_WEIGHT {
        return Err(Error::Weight { node: None, weight, most: MAX_WEIGHT });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Options::default().check(), Ok(()));
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_bounds() {
        let of = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert_eq!(of(|o| o.slots = 0), "slots = 0: use 1 to 16384");
        assert_eq!(of(|o| o.slots = u16::MAX), "slots = 65535: use 1 to 16384");
        assert_eq!(of(|o| o.replication = 8), "replication = 8: use 1 to 7");
        assert_eq!(of(|o| o.weight = 5000), "weight = 5000: use 0 to 4096");
        assert_eq!(of(|o| o.partitioning.partitions = 0), "partitions = 0: use 1 to 1024");
        assert_eq!(of(|o| o.partitioning.partition_levels = 0), "partition_levels = 0: use 1 or more");
    }
}
