//! Who the two ends of a channel are, and what they are called in a pair.

use convoy_ids::NodeId;

/// One start of a node: what it promised in an earlier one is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub node: NodeId,
    /// Not the same as that of another start of the node.
    pub start: u64,
}

/// One shard of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    pub process: Process,
    pub shard: u16,
}

/// What an end is called in a pair. It only ever grows: whoever is called more than before has begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Side {
    /// Of the end's process.
    pub start: u64,
    /// From 1 on in each start; a lapse raises it.
    pub epoch: u64,
}
