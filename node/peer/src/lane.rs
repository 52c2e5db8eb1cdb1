//! Lanes: each has a connection of its own, so that what is large on the one delays nothing on the other.

/// What is said between two nodes, by how long it may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Messages of Raft, of all groups that two nodes have in common. Elections hang on them.
    Raft,
    /// Mail between shards: messages and calls.
    Shards,
    /// Copies of slots' state.
    Snapshots,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Raft, Self::Shards, Self::Snapshots];

    /// As it is written, and counted in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Shards => "shards",
            Self::Snapshots => "snapshots",
        }
    }

    pub fn to_byte(self) -> u8 {
        self as u8
    }

    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Bytes that may wait for a peer; what comes beyond is dropped. A channel between shards holds back by itself long before.
    pub fn queue_bytes(self) -> usize {
        match self {
            Self::Raft | Self::Shards => 64 << 20,
            Self::Snapshots => 8 << 20,
        }
    }
}
