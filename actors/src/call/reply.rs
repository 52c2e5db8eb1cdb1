//! What a connection is told of what it asked.

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use crate::retained;
use crate::session::{Grant, Home};

/// To whom an operation's outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub home: Home,
    /// The connection's own number for what it asked.
    pub token: u64,
}

impl ReplyTo {
    /// Whether it tells of bytes that are not under way any more, and of nothing else.
    pub fn is_credit(&self) -> bool {
        self.token & token::KIND == token::KEPT
    }

    /// Whether it acknowledges a PUBLISH of QoS 1 or 2.
    pub fn is_publish(&self) -> bool {
        self.token & token::KIND == 0
    }

    /// Whether it acknowledges one to its Client or, on the way there, to the shard of its partition.
    pub fn is_of_publisher(&self) -> bool {
        self.is_publish() || self.token & token::KIND == token::QUEUED
    }

    /// The same, of one Topic Filter among those of a SUBSCRIBE.
    pub fn of_entry(self, at: u64) -> Self {
        Self { token: self.token | at.min(token::ENTRY), ..self }
    }
}

/// What became of a message at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Parts that have yet to become safe.
    pub parts: u32,
    /// Whether anybody had subscribed.
    pub matched: bool,
}

/// The outcome of what a connection asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many parts have been begun, each of which answers for itself: some perhaps sooner than this is heard.
    Begun(Begun),
    /// One part is safe.
    Done,
    /// As `Begun`, for a SUBSCRIBE, with `more` parts; which of its Topic Filters were subscribed before.
    Subscribed {
        more: u32,
        existed: Vec<bool>,
    },
    /// Which Topic Filters of a SUBSCRIBE there is room for: comes before `Subscribed`, which tells of those alone.
    Granting(Vec<bool>),
    /// As `Done`, for one place of a SUBSCRIBE's Topic Filter.
    Registered(retained::Place),
    /// As `Done`, for Topic Filters of a SUBSCRIBE that begin with a wildcard: this slot has them. `until`: see
    /// [`retained::Place`].
    RootsRegistered {
        slot: SlotId,
        until: u64,
    },
    /// It was taken, and the slot that it waits in is full: no more should come for now.
    Full,
    /// Nothing was changed.
    Refused(ReasonCode),
    /// The slot is led elsewhere since, and what became of it is not known: it may have been done, or may yet be.
    Unknown,
    Granted(Grant),
}

/// What a token asks about; in its upper byte, zero for a PUBLISH. Below it is what tells one from another.
pub mod token {
    pub const KIND: u64 = 0xFF << 56;
    /// Of a PUBLISH and of a PUBREL: which attempt it is, by a connection that waited for another leader.
    const ATTEMPT: u64 = 0xFF << 48;

    /// The same question, as it is asked in this attempt.
    pub const fn of_attempt(token: u64, attempt: u8) -> u64 {
        token & !ATTEMPT | (attempt as u64) << 48
    }

    /// A question and the attempt in which it was asked.
    pub const fn split_attempt(token: u64) -> (u64, u8) {
        (token & !ATTEMPT, ((token & ATTEMPT) >> 48) as u8)
    }

    pub const CONNECT: u64 = 1 << 56;
    /// Between it and [`ENTRY`] is the number of the packet.
    pub const ASK: u64 = 2 << 56;
    /// Of an [`ASK`], which of its Topic Filters.
    pub const ENTRY: u64 = (1 << 24) - 1;
    pub const LEAVE: u64 = 4 << 56;
    /// The rest is the Packet Identifier.
    pub const RELEASE: u64 = 3 << 56;
    /// Asks nothing: PUBREL for an identifier that the slot knows nothing of. The rest is the identifier.
    pub const UNKNOWN: u64 = 5 << 56;
    /// Asks nothing: the slot has found a broken rule.
    pub const BREAK: u64 = 6 << 56;
    /// Whether a shard has taken what it was sent; the rest is that of the [`ASK`] which waits for it.
    pub const HEARD: u64 = 7 << 56;
    /// A message of QoS 0 by the log of its partition; the rest is how many bytes it has.
    pub const KEPT: u64 = 8 << 56;
    /// Whether a shard has opened the mail that a connection has caused.
    pub const OPENED: u64 = 9 << 56;
    /// Whether another node has closed a connection whose Session another one gets; the rest says which.
    pub const TAKEN: u64 = 10 << 56;
    /// Whether another shard has queued a message: of which attempt, of which of the publishers that ask by this shard, and a
    /// number.
    pub const QUEUED: u64 = 11 << 56;
    pub const QUEUED_NUMBER: u64 = (1 << QUEUED_NUMBER_BITS) - 1;
    pub const QUEUED_NUMBER_BITS: u32 = 30;
    /// Whether the slot goes on with a connection that it did not know.
    pub const ADOPT: u64 = 12 << 56;
    /// Whether what a shard has said before has come; the rest says which CONNECT waits for that.
    pub const LATE: u64 = 13 << 56;
}
