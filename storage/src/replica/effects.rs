//! What leaves a driver: the caller carries these out in any order, except where a field says more.

use bytes::Bytes;
use convoy_ids::{Index, NodeId, SlotId, Term};

use super::{Error, Replica};

/// Names one sync. The caller hands it back when the sync is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub(super) u64);

/// Names what one call of [`Driver::prove`](super::Driver::prove) asked. Numbers are not used twice by a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProofId(pub(super) u64);

/// What a replica is, in a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// At most one in a term. Its state is current once the first entry of `term` has come out as [`Committed`].
    Leader {
        term: Term,
    },
    Follower {
        term: Term,
        leader: Option<NodeId>,
    },
    /// Asks to be elected, or is elected and has not yet made its vote durable.
    Candidate {
        term: Term,
    },
}

impl Role {
    pub const fn term(self) -> Term {
        match self {
            Self::Leader { term } | Self::Follower { term, .. } | Self::Candidate { term } => term,
        }
    }

    pub const fn is_leader(self) -> bool {
        matches!(self, Self::Leader { .. })
    }
}

/// A record a quorum holds on stable storage. Those of a slot come in the order of its log, each once, beginning
/// behind the applied index that was on disk when the slot was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub slot: SlotId,
    pub term: Term,
    pub index: Index,
    /// Empty for the first entry of a leader and for changes of the group, which are carried out inside: there is
    /// nothing to apply, but the applied index advances all the same.
    pub data: Bytes,
}

/// Bytes for [`Driver::step`](super::Driver::step) of the same slot on node `to`. May be lost, doubled or late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub slot: SlotId,
    pub to: NodeId,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    pub slot: SlotId,
    pub role: Role,
}

/// Another member of a group, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    pub replica: Replica,
    /// It was heard within about an election timeout. Of one that is well it is not true at every moment.
    pub is_heard: bool,
    /// It has nearly all that is committed: what is missing is no more than may be on its way.
    pub is_current: bool,
}

/// The answer for one of the slots that were asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub id: ProofId,
    pub slot: SlotId,
    pub answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// At some moment after it was asked, this replica led in `term`, and nobody was promised anything of this slot that is
    /// behind `index`: once that is applied, the state is current.
    Proven { term: Term, index: Index },
    /// It leads no longer, or never did. Ask `leader`.
    NotLeader { term: Term, leader: Option<NodeId> },
    /// Too many wait for their proof. Ask again when they have it.
    Busy,
}

/// Node `to` is so far behind that the entries it needs are truncated. The caller carries a copy of the slot's applied
/// state there, with the [`Base`](super::Base) that [`Driver::base`](super::Driver::base) tells for the same moment;
/// the receiver uses [`Driver::put_base`](super::Driver::put_base) and opens the slot; then the leader is told by
/// [`Driver::snapshot_ended`](super::Driver::snapshot_ended). This module never moves state by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotWanted {
    pub slot: SlotId,
    pub to: NodeId,
}

/// The replica of this slot takes no further part: close it. The others of its group go on without it.
#[derive(Debug)]
pub struct Failure {
    pub slot: SlotId,
    pub error: Error,
}

/// Kept and cleared rather than dropped: it allocates nothing once grown.
#[derive(Debug, Default)]
pub struct Effects {
    /// Call the engine's sync, on any thread, then [`Driver::synced`](super::Driver::synced). One at a time is
    /// asked for. If the sync fails, drop the driver: nothing written since the last one may be acknowledged.
    pub sync: Option<Round>,
    pub committed: Vec<Committed>,
    pub messages: Vec<Outgoing>,
    pub roles: Vec<RoleChange>,
    pub proofs: Vec<Proof>,
    pub snapshots: Vec<SnapshotWanted>,
    pub failures: Vec<Failure>,
}

impl Effects {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.sync.is_none()
            && self.committed.is_empty()
            && self.messages.is_empty()
            && self.roles.is_empty()
            && self.proofs.is_empty()
            && self.snapshots.is_empty()
            && self.failures.is_empty()
    }

    pub fn clear(&mut self) {
        self.sync = None;
        self.committed.clear();
        self.messages.clear();
        self.roles.clear();
        self.proofs.clear();
        self.snapshots.clear();
        self.failures.clear();
    }
}
