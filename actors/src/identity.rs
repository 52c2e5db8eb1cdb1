//! Which shard one is, of which node, in which of its lives. What it draws by chance is its own by that.

use convoy_ids::NodeId;

/// Who this shard is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub node: NodeId,
    /// How often the node has been started.
    pub start: u32,
    pub shard: u16,
    /// Shards of the node.
    pub shards: u16,
}
