//! What can go wrong, and what is true afterwards. One enum per operation.

use convoy_ids::{Index, NodeId, ReplicaId, SlotId, Term};

use crate::engine;

/// Why the replica of a slot cannot be opened or cannot go on. Other slots are not affected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row of the log is not what was written. It was not served; the replica takes no further part.
    #[error("slot {slot}: the log is damaged at index {index}: {reason}")]
    Damaged { slot: SlotId, index: Index, reason: String },
    /// The log ends before what this replica had committed: records it acknowledged are gone. It must not vote
    /// again; let another replica take its place.
    #[error("slot {slot}: committed up to index {committed}, but the log ends at {last}")]
    LogLost { slot: SlotId, committed: Index, last: Index },
    /// The log begins behind what was applied: the state between the two is gone.
    #[error("slot {slot}: applied up to index {applied}, but the log begins behind {base}")]
    StateLost { slot: SlotId, applied: Index, base: Index },
    /// The slot is open already; nothing was changed.
    #[error("slot {slot} is open already")]
    Open { slot: SlotId },
    /// The voters given to a new slot are no group: none, or one twice, or this replica on another node. Nothing was
    /// written.
    #[error("slot {slot}: the voters are no group: {reason}")]
    Voters { slot: SlotId, reason: String },
    /// A replica of that number was here, or one that came after it, and is over: it has voted. Nothing was written.
    #[error("slot {slot}: replica {replica} was ended on this node, and has no other life")]
    Ended { slot: SlotId, replica: ReplicaId },
    /// The engine could not read.
    #[error("slot {slot}: {source}")]
    Engine { slot: SlotId, source: engine::Error },
}

/// Why a record was not proposed. Nothing of it is in the log; the caller has its bytes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The caller may offer the record to `leader`, or wait for a [`RoleChange`](super::RoleChange).
    #[error("not the leader in term {term}")]
    NotLeader { term: Term, leader: Option<NodeId> },
    /// Too much is proposed and not yet committed, or leadership is being handed over. Offer it again after the
    /// next commit.
    #[error("too much waits for its commit")]
    Busy,
    /// The disk has no room. Offer it again once [`Driver::round`](super::Driver::round) succeeds.
    #[error("the disk is full")]
    Stalled,
    /// The record will never fit.
    #[error("the record is greater than {limit} bytes")]
    TooLarge { limit: usize },
}

/// Why a message of a peer was not taken. The replica is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// No replica of this slot is open here.
    #[error("slot {0} is not open")]
    NotOpen(SlotId),
    /// Not a message of a replica. Close the link: its other end is broken or of an incompatible version.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The leader counts on entries this replica does not have: its log was lost. It must not vote again; let
    /// another replica take its place.
    #[error("the leader knows index {committed} to be here, but the log ends at {last}")]
    LogLost { committed: Index, last: Index },
    /// It is for another replica of this node, of which this one is another life. Late, or its sender has not heard: the
    /// link is well.
    #[error("for replica {to}, which is not here")]
    OtherReplica { to: ReplicaId },
    /// The disk is full, so entries are not taken. The leader sends them again.
    #[error("the disk is full")]
    Stalled,
}

/// Why a change of a group was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconfigureError {
    #[error("not the leader in term {term}")]
    NotLeader { term: Term, leader: Option<NodeId> },
    /// Another change is under way, or the disk is full. Offer it again after the next commit.
    #[error("another change is under way")]
    Busy,
    /// A replica never moves: one on another node is another replica, with a number of its own.
    #[error("replica {replica} is on node {node}")]
    Elsewhere { replica: ReplicaId, node: NodeId },
    /// A group without voters could decide nothing.
    #[error("a group needs a voter")]
    NoVoters,
}

/// Why a round was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundError {
    /// Nothing of the round is on disk and nothing is lost: the next call offers it again, with the caller's batch,
    /// which was left as it was. Until then proposals are refused as Stalled.
    #[error("no space left on the disk of {path}")]
    Full { path: String },
    /// Nothing of the round is on disk, and nothing is written any more. What was written before may be synced yet.
    #[error("{0}")]
    Stopped(String),
    /// The engine failed. What is on disk is unknown: nothing may be acknowledged until the slots are opened again.
    #[error("storage failed: {0}")]
    Failed(String),
}
