//! What crosses from shard to shard: gathered over one turn of the loop, handed over as one batch with one wake-up.
//! Bytes of messages lie in the batch itself, so that a fan-out carries each message once; large ones are shared.

use bytes::Bytes;
use convoy_ids::SlotId;

use crate::call::{Answer, ReplyTo, SessionCall};
use crate::connection::{Encoded, is_large};
use crate::message::Message;
use crate::session::{Delivery, Home, SessionNumber};
use crate::topic::{Again, Announcement};
use convoy_wire::PacketId;

/// Where a message comes from, as far as Shared Subscriptions choose by it.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Hash of the publisher's Client Identifier.
    pub client: u64,
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
#[derive(Debug)]
pub enum Letter {
    /// Match and pass on a message of QoS 0 or 1 (or of QoS 2 from a Session that ends with its connection).
    Publish {
        place: crate::session::Place,
        origin: Origin,
        message: Part,
        reply: Option<ReplyTo>,
    },
    /// Queue a message for Sessions of a slot.
    Enqueue {
        slot: SlotId,
        message: Part,
        targets: Part,
        reply: Option<ReplyTo>,
    },
    /// A QoS 0 message for a Session that outlives its connection: delivered if there is one.
    Pass {
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
    /// The operation has been applied.
    OutboxApplied {
        from: SlotId,
        to: SlotId,
        number: u64,
    },
    /// So much waits in a slot for another one that it is asked before a message is taken for it; or no more.
    BackedUp {
        slot: SlotId,
        is: bool,
    },
    /// A shard has a full slot, or none any more.
    Short {
        shard: u16,
        is: bool,
    },
    /// A slot is led in the shard that sends this, which has applied so much of the outboxes of others; or no longer.
    Led {
        slot: SlotId,
        applied: Option<Box<[(SlotId, u64)]>>,
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

    /// A message for a Session that lives with its connection.
    Deliver {
        home: Home,
        session: SessionNumber,
        delivery: Delivery,
        message: Part,
    },
    /// A message from a Session's queue, or one of QoS 0 for it.
    Send {
        home: Home,
        packet_id: Option<PacketId>,
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
#[derive(Debug, Default)]
pub struct Mail {
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

impl Mail {
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

/// A batch is closed at this size, and another one begun: so much is handed over at once.
const MAIL_BYTES: usize = 1 << 20;

/// Letters of this turn, by the shard they go to.
#[derive(Debug)]
pub struct Post {
    here: u16,
    out: Vec<Mail>,
    /// Closed batches, in their order.
    closed: Vec<(u16, Mail)>,
    /// Bytes so far.
    sent: u64,
    /// Where they went since that was asked last, as [`Post::bit_of`] tells.
    sent_to: u64,
    /// Of each shard: bytes for it in this turn, and so many as it opens in a while.
    laid: Vec<(usize, usize)>,
    /// Since that was asked last something went to a shard that gets enough in this turn.
    is_enough: bool,
}

impl Post {
    pub fn new(here: u16, shards: u16) -> Self {
        Self {
            here,
            out: (0..shards).map(|_| Mail::default()).collect(),
            closed: Vec::new(),
            sent: 0,
            sent_to: 0,
            laid: vec![(0, usize::MAX); usize::from(shards)],
            is_enough: false,
        }
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

    /// The batch that the next letter goes to.
    pub fn to(&mut self, shard: u16) -> &mut Mail {
        debug_assert_ne!(shard, self.here);
        &mut self.out[usize::from(shard)]
    }

    pub fn send(&mut self, shard: u16, letter: Letter) {
        let mail = self.to(shard);
        mail.letters.push(letter);
        let len = mail.len_bytes();
        let more = len - std::mem::replace(&mut mail.counted, len);
        let closed = (len >= MAIL_BYTES).then(|| std::mem::take(mail));
        self.sent += more as u64;
        self.sent_to |= Self::bit_of(shard);
        let (laid, room) = &mut self.laid[usize::from(shard)];
        *laid += more;
        self.is_enough |= *laid >= *room;
        if let Some(mail) = closed {
            self.closed.push((shard, mail));
        }
    }

    /// Bytes that were sent so far, to whichever shard.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The shards that something was sent to since this was asked last.
    pub fn take_sent_to(&mut self) -> u64 {
        std::mem::take(&mut self.sent_to)
    }

    /// Another shard opens so many bytes in a while.
    pub fn set_room(&mut self, shard: u16, bytes: usize) {
        self.laid[usize::from(shard)].1 = bytes;
    }

    /// Whether since this was asked last something went to a shard that gets as much in this turn as it opens in a while.
    pub fn take_is_enough(&mut self) -> bool {
        std::mem::take(&mut self.is_enough)
    }

    /// Stands for a shard in a set of them; on very large machines for a few.
    pub fn bit_of(shard: u16) -> u64 {
        1 << (shard % 64)
    }

    /// The batches that are not empty, with the shards they go to; those to one shard in their order.
    pub fn take(&mut self) -> impl Iterator<Item = (u16, Mail)> + '_ {
        self.laid.iter_mut().for_each(|(laid, _)| *laid = 0);
        let open = self
            .out
            .iter_mut()
            .enumerate()
            .filter(|(_, mail)| !mail.is_empty())
            .map(|(shard, mail)| (shard as u16, std::mem::take(mail)));
        self.closed.drain(..).chain(open)
    }
}
