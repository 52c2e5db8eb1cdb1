use convoy_ids::NodeId;

/// One start of a node: what it promised in an earlier one is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub node: NodeId,
    /// Not the same as that of another start of the node.
    pub start: u64,
}
