//! What the two ends of a stream say to each other.

use convoy_ids::{NodeId, Term};
use convoy_membership::support::Process;

/// The sender of a stream, compared whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub process: Process,
    pub shard: u16,
    /// Given by the shard to each stream that it opens to a slot, in ascending order, and never again in this start: so a
    /// place that the slot does not know and that is not above all it knew of the shard is over, and nothing has
    /// to be remembered of it.
    pub place: u64,
}

/// A letter from the sender. Without `content` the number is void: it is filled and nothing acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<C> {
    /// From 1 on.
    pub number: u64,
    /// The sender has the answers to all numbers before this one.
    pub first: u64,
    /// How often the sender went back. A gap is answered with it, so that one gap is gone back to once.
    pub round: u32,
    pub content: Option<C>,
}

/// How a number was filled. It stands on record and never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The call has acted.
    Done(Vec<u8>),
    /// The call was refused and changed nothing.
    Refused(Vec<u8>),
    /// The number came void before the call did.
    Void,
}

/// A letter to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// How the number was filled. True whoever says so, for it is committed.
    Filled { number: u64, reply: Reply },
    /// The number was filled, and how is not on record any more.
    Forgotten { number: u64 },
    /// A later number came than this one, in that round.
    Expected { number: u64, round: u32 },
    /// This node does not lead the slot, as far as it knows in `term`; who does.
    NotLeader { term: Term, leader: Option<NodeId> },
    /// The slot has no room for another stream. Nothing of this letter was taken.
    Full,
    /// A later place of the shard came first, so this one was never opened and nothing of it acts: the sender begins anew
    /// in a new place.
    Skipped,
    /// The slot has ended all that this process had here.
    Gone,
}

impl Reply {
    /// Bytes that it takes on record.
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Done(body) | Self::Refused(body) => body.len(),
            Self::Void => 0,
        }
    }
}
