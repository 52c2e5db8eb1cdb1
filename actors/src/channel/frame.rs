//! What the two ends of a channel say to each other.

use bytes::Bytes;
use convoy_ids::NodeId;

use super::{End, Side};

/// What goes over a link, at once or as a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub from: End,
    /// How many shards the sender's process has.
    pub shards: u16,
    pub to_node: NodeId,
    pub to_shard: u16,
    /// What the sender is called, beside its start.
    pub epoch: u64,
    /// What the sender takes the receiver to be called. Unless it is called so, the rest of the frame is not for it.
    pub of: Option<Side>,
    /// All payloads up to this number were taken.
    pub acknowledged: u64,
    /// By the sender's clock. It comes back in `heard`.
    pub sent_at: u64,
    /// The newest `sent_at` of the receiver that the sender has got in this pair.
    pub heard: Option<u64>,
    pub payload: Option<Payload>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// From 1 on in each pair.
    pub number: u64,
    pub bytes: Bytes,
}

impl Frame {
    /// What the sender is called.
    pub fn side(&self) -> Side {
        Side { start: self.from.process.start, epoch: self.epoch }
    }
}
