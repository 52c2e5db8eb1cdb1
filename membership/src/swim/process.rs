//! A process of a node, as SWIM knows it.

use std::sync::Arc;

use convoy_ids::NodeId;

/// Bytes of an address.
pub const ADDRESS_LIMIT: usize = 255;

/// One life of a node. It is told apart from the lives before it by its start, and from itself before others took it for down
/// by how often it has come back since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub node: NodeId,
    /// How often the node has been started.
    pub start: u32,
    /// How often this process was taken for down and has said that it is not.
    pub returns: u32,
    /// Where its datagrams are to go: a name or a number, and a port.
    pub address: Arc<str>,
}

impl Process {
    pub fn new(node: NodeId, start: u32, address: &str) -> Self {
        Self { node, start, returns: 0, address: address.into() }
    }

    /// Of a node that was not heard yet: any of its lives may answer.
    pub(super) fn any_of(node: NodeId, address: Arc<str>) -> Self {
        Self { node, start: 0, returns: 0, address }
    }
}

impl foca::Identity for Process {
    /// A fleet has one process of a node, wherever it is.
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { returns: self.returns.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.start, self.returns) > (other.start, other.returns)
    }
}
