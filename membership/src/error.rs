//! Why a ring version or a setting is refused.

use convoy_ids::NodeId;

/// What was asked for cannot be. Nothing has changed: the ring or the options stand as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `slots` is outside of its bounds. A fleet's slots are fixed when it is born, so this is told before it is.
    Slots { slots: u16, most: u16 },
    /// `replication` is outside of its bounds.
    Replication { replication: u8, most: u8 },
    /// More members than a ring has room for.
    Members { members: usize, most: usize },
    /// A member's weight is beyond its bound.
    Weight { node: Option<NodeId>, weight: u16, most: u16 },
    /// `partitions` is outside of its bounds.
    Partitions { partitions: u16, most: u16 },
    /// `partition_levels` is zero: a Topic Name has at least one level.
    PartitionLevels,
    /// The node is a member already. Remove it first if its zone or weight is to change.
    Duplicate { node: NodeId },
    /// The node is no member.
    Unknown { node: NodeId },
    /// No member has a weight, so no slot would have a replica.
    Empty,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slots { slots, most } => write!(f, "slots = {slots}: use 1 to {most}"),
            Self::Replication { replication, most } => {
                write!(f, "replication = {replication}: use 1 to {most}")
            }
            Self::Members { members, most } => write!(f, "{members} members of a ring: {most} at most"),
            Self::Weight { node: Some(node), weight, most } => {
                write!(f, "weight = {weight} of node {node}: use 0 to {most}")
            }
            Self::Weight { node: None, weight, most } => write!(f, "weight = {weight}: use 0 to {most}"),
            Self::Partitions { partitions, most } => write!(f, "partitions = {partitions}: use 1 to {most}"),
            Self::PartitionLevels => f.write_str("partition_levels = 0: use 1 or more"),
            Self::Duplicate { node } => write!(f, "node {node} is a member of the ring already"),
            Self::Unknown { node } => write!(f, "node {node} is not a member of the ring"),
            Self::Empty => f.write_str("no member of the ring has a weight"),
        }
    }
}

impl std::error::Error for Error {}
