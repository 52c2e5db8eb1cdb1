//! What crosses from shard to shard: gathered over one turn of the loop, handed over as one batch with one wake-up.
//! Bytes of messages lie in the batch itself, so that a fan-out carries each message once.

use std::ops::Range;

use convoy_ids::SlotId;

use crate::session::{Grant, Home, SessionNumber};
use crate::slot::{Again, Delivery, SessionCall};
use crate::topic::Announcement;
use convoy_wire::{PacketId, ReasonCode};

/// To whom an operation's outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub home: Home,
    /// The connection's own number for what it asked.
    pub token: u64,
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
    /// Nothing was changed.
    Refused(ReasonCode),
    Granted(Grant),
}

/// Where a message comes from, as far as Shared Subscriptions choose by it.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Hash of the publisher's Client Identifier.
    pub client: u64,
    /// Of a message that is dispatched again.
    pub again: Option<Again>,
}

/// One item of a batch.
#[derive(Debug)]
pub enum Letter {
    /// Match and pass on a message of QoS 0 or 1 (or of QoS 2 from a Session that ends with its connection).
    Publish {
        place: crate::session::Place,
        origin: Origin,
        message: Range<u32>,
        reply: Option<ReplyTo>,
    },
    /// Queue a message for Sessions of a slot.
    Enqueue {
        slot: SlotId,
        message: Range<u32>,
        targets: Range<u32>,
        reply: Option<ReplyTo>,
    },
    /// A QoS 0 message for a Session that outlives its connection: delivered if there is one.
    Pass {
        session: SessionNumber,
        delivery: Delivery,
        message: Range<u32>,
    },
    Session {
        slot: SlotId,
        call: SessionCall,
    },
    /// An operation out of a slot's outbox.
    Outbox {
        from: SlotId,
        to: SlotId,
        number: u64,
        op: Range<u32>,
        reply: Option<ReplyTo>,
    },
    /// The operation has been applied.
    OutboxApplied {
        from: SlotId,
        to: SlotId,
        number: u64,
    },
    /// A Subscription whose first level is a wildcard begins or ends; every shard holds these.
    RootRoute {
        filter: String,
        subscriber: SessionNumber,
        route: Option<crate::slot::RouteRow>,
        reply: Option<ReplyTo>,
    },
    /// The routes above are all there are so far: slots may be led.
    RootIsKnown,
    /// What a connection tells of a member of Shared Subscriptions.
    Presence(Announcement),
    /// Read a chunk of Retained Messages for a connection.
    Retained(Box<crate::retained::Request>),

    /// A message for a Session that lives with its connection.
    Deliver {
        home: Home,
        session: SessionNumber,
        delivery: Delivery,
        message: Range<u32>,
    },
    /// A message from a Session's queue, or one of QoS 0 for it.
    Send {
        home: Home,
        packet_id: Option<PacketId>,
        dup: bool,
        delivery: Delivery,
        message: Range<u32>,
    },
    Release {
        home: Home,
        packet_id: PacketId,
    },
    Answer {
        to: ReplyTo,
        answer: Answer,
    },
    /// Another connection got the Session: close, then hand the grant on.
    TakenOver {
        home: Home,
        then: Option<(ReplyTo, Box<Answer>)>,
    },
    RetainedChunk(Box<crate::retained::Chunk>),
    /// An operator closes a connection, perhaps with the Session that it had.
    Evict {
        home: Home,
        session_ended: bool,
    },
}

/// A batch of letters from one shard to another.
#[derive(Debug, Default)]
pub struct Mail {
    pub bytes: Vec<u8>,
    pub letters: Vec<Letter>,
}

impl Mail {
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Lays bytes into the batch.
    pub fn lay(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<u32> {
        let from = self.bytes.len() as u32;
        write(&mut self.bytes);
        from..self.bytes.len() as u32
    }
}

/// Letters of this turn, by the shard they go to.
#[derive(Debug)]
pub struct Post {
    here: u16,
    out: Vec<Mail>,
}

impl Post {
    pub fn new(here: u16, shards: u16) -> Self {
        Self { here, out: (0..shards).map(|_| Mail::default()).collect() }
    }

    pub fn here(&self) -> u16 {
        self.here
    }

    pub fn shards(&self) -> u16 {
        self.out.len() as u16
    }

    /// The shard that leads a slot.
    pub fn shard_of(&self, slot: SlotId) -> u16 {
        if slot.is_meta() { 0 } else { slot.0 % self.shards() }
    }

    pub fn is_here(&self, slot: SlotId) -> bool {
        self.shard_of(slot) == self.here
    }

    pub fn to(&mut self, shard: u16) -> &mut Mail {
        debug_assert_ne!(shard, self.here);
        &mut self.out[usize::from(shard)]
    }

    pub fn send(&mut self, shard: u16, letter: Letter) {
        self.to(shard).letters.push(letter);
    }

    /// The batches that are not empty, with the shards they go to.
    pub fn take(&mut self) -> impl Iterator<Item = (u16, Mail)> + '_ {
        self.out
            .iter_mut()
            .enumerate()
            .filter(|(_, mail)| !mail.is_empty())
            .map(|(shard, mail)| (shard as u16, std::mem::take(mail)))
    }
}
