//! What crosses from shard to shard: gathered over one turn of the loop, handed over as one batch with one wake-up.
//! Bytes of messages lie in the batch itself, so that a fan-out carries each message once; large ones are shared.

mod check;
#[cfg(test)]
mod exhaust;
mod form;
mod post;
mod seal;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use convoy_ids::{SlotId, Term};

use crate::call::{Answer, ReplyTo, SessionCall};
use crate::connection::{Encoded, is_large};
use crate::dest::Dest;
use crate::message::Message;
use crate::session::{Delivery, Epoch, Home, Seq, SessionNumber};
use crate::topic::{Again, Announcement};
use convoy_wire::PacketId;

pub use post::{Post, Where};
pub use seal::{Bounds, Error, OfOneNode};

/// Where a message comes from, as far as Shared Subscriptions choose by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Hash of the publisher's Client Identifier.
    pub client: u64,
    /// Of its connection; 0 where it is none of a Client's.
    pub epoch: Epoch,
    /// Of a message that is dispatched again.
    pub again: Option<Again>,
}

/// Where in a batch some bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    from: u32,
    to: u32,
}

impl Part {
    /// As the end of a part: its beginning is a place among those that are shared.
    const SHARED: u32 = u32::MAX;
}

/// One item of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Letter {
    /// Match and pass on a message of QoS 0 or 1 (or of QoS 2 from a Session that ends with its connection).
    Publish {
        place: crate::session::Place,
        origin: Origin,
        message: Part,
        reply: Option<ReplyTo>,
    },
    /// Queue a message for Sessions of a slot. `from`: where it was matched.
    Enqueue {
        from: SlotId,
        slot: SlotId,
        message: Part,
        targets: Part,
        reply: Option<ReplyTo>,
    },
    /// A QoS 0 message for a Session that outlives its connection: delivered if there is one. `from`: where it was matched.
    Pass {
        from: SlotId,
        session: SessionNumber,
        delivery: Delivery,
        message: Part,
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
        op: Part,
        reply: Option<ReplyTo>,
    },
    /// A message for Sessions of a slot, out of another slot's outbox.
    OutboxMessage {
        from: SlotId,
        to: SlotId,
        number: u64,
        message: Part,
        targets: Part,
    },
    /// The operation has been applied, and none up to `given` is asked for again.
    OutboxApplied {
        from: SlotId,
        to: SlotId,
        number: u64,
        given: u64,
    },
    /// So much waits in a slot for another one that it is asked before a message is taken for it; or no more.
    BackedUp {
        slot: SlotId,
        is: bool,
    },
    /// The shard that sends this has a full slot, or none any more.
    Short {
        is: bool,
    },
    /// A slot is led in the shard that sends this, which asks for what is in the outboxes of others behind these numbers; or
    /// no longer. `given_up`: see [`Letter::GivenUp`].
    Led {
        slot: SlotId,
        term: Term,
        given: Option<Box<[(SlotId, u64)]>>,
        given_up: u64,
    },
    /// Connections of this node could not be given messages of the slot, so many times: those that there are end.
    GivenUp {
        slot: SlotId,
        times: u64,
    },
    /// The shard that sends this has heard where the slot is led: what it sends from here on is for that leader.
    HeardLed {
        slot: SlotId,
        term: Term,
    },
    /// Every connection there of the slot's Sessions has asked to be adopted, or ends.
    AllAsked {
        slot: SlotId,
        term: Term,
    },
    /// Answer once this is read: what was sent before it is taken then. `passes_on`: ask the other shards the same.
    Hear {
        reply: ReplyTo,
        passes_on: bool,
    },
    /// What this shard has stored, as far as others have to know it.
    Stored(crate::budget::Report),
    /// What a connection tells of a member of Shared Subscriptions.
    Presence(Announcement),
    /// Read a chunk of Retained Messages for a connection.
    Retained(Box<crate::retained::Request>),

    /// A message for a Session that lives with its connection. `live`: the outbox that it came out of, and its number
    /// there.
    Deliver {
        home: Home,
        session: SessionNumber,
        delivery: Delivery,
        message: Part,
        live: Option<(u16, u64)>,
    },
    /// Everybody there was given what came out of that outbox under this number, matched by this slot. Nothing up to
    /// `given` is given again.
    Given {
        by: SlotId,
        from: SlotId,
        number: u64,
        given: u64,
    },
    /// A message from a Session's queue, or one of QoS 0 for it.
    Send {
        home: Home,
        seq: Option<Seq>,
        dup: bool,
        delivery: Delivery,
        message: Part,
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
#[derive(Debug, PartialEq, Eq)]
pub struct Mail {
    /// The shard that sends it, as the one that opens it knows it.
    pub from: Dest,
    bytes: Vec<u8>,
    /// Large messages, which the sender and other batches may hold as well.
    shared: Vec<Bytes>,
    shared_bytes: usize,
    pub letters: Vec<Letter>,
    /// The message that was laid last, by its number, and where.
    laid: Option<(u64, Part)>,
    /// Of its bytes, those that are counted.
    counted: usize,
}

impl Default for Mail {
    /// An empty batch, of the first shard of a node.
    fn default() -> Self {
        Self::from_dest(Dest(0))
    }
}

impl Mail {
    fn from_dest(from: Dest) -> Self {
        Self {
            from,
            bytes: Vec::new(),
            shared: Vec::new(),
            shared_bytes: 0,
            letters: Vec::new(),
            laid: None,
            counted: 0,
        }
    }

    /// Takes out what is here; what comes next is another batch.
    fn close(&mut self) -> Self {
        let from = self.from;
        std::mem::replace(self, Self::from_dest(from))
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Bytes that this batch holds, as far as they are laid into it.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + self.shared_bytes + self.letters.len() * size_of::<Letter>()
    }

    /// Lays bytes into the batch.
    pub fn lay(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Part {
        let from = self.bytes.len() as u32;
        write(&mut self.bytes);
        let to = u32::try_from(self.bytes.len()).ok().filter(|to| *to < Part::SHARED);
        Part { from, to: to.expect("a batch is closed long before it holds 4 GiB") }
    }

    /// Lays a reference to bytes into the batch.
    pub fn share(&mut self, bytes: Bytes) -> Part {
        self.shared_bytes += bytes.len();
        self.shared.push(bytes);
        Part { from: self.shared.len() as u32 - 1, to: Part::SHARED }
    }

    /// Lays a message into the batch, unless it is the one that was laid last.
    pub fn lay_message(&mut self, message: &Message<'_>, encoded: &mut Encoded) -> Part {
        if let Some((number, part)) = self.laid
            && number == encoded.number()
        {
            return part;
        }
        let part = match is_large(message) {
            true => self.share(encoded.whole(message)),
            false => self.lay(|bytes| message.encode_into(bytes)),
        };
        self.laid = Some((encoded.number(), part));
        part
    }

    pub fn part(&self, part: Part) -> &[u8] {
        match self.shared(part) {
            Some(bytes) => bytes,
            None => &self.bytes[part.from as usize..part.to as usize],
        }
    }

    /// The bytes of a part that is shared.
    pub fn shared(&self, part: Part) -> Option<&Bytes> {
        (part.to == Part::SHARED).then(|| &self.shared[part.from as usize])
    }
}
