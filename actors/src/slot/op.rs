//! What a slot's log holds: a record is a time and a run of operations, in the order they are applied.
//!
//! Applying is deterministic: time, limits and decisions of admission were made by the leader and stand here.

use convoy_storage::record::{self, BorrowDecode, Encode, de, enc, error};

use crate::author::Author;
use crate::call::Farewell;
use crate::clock::Millis;
use crate::session::{
    Epoch, Home, Place, QueueLimits, Seq, SessionNumber, Subscription, SubscriptionRow, Target, Will,
};
use crate::topic::{Again, RouteRow};

/// Version of the records this release writes.
pub const VERSION: u8 = 1;

/// A Topic Filter and the Subscription to it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Entry<'a> {
    pub filter: &'a str,
    pub row: SubscriptionRow,
}

/// A Topic Filter that begins with a wildcard, and the Subscription to it; none where that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub struct RootFilter<'a> {
    pub filter: &'a str,
    pub subscription: Option<Subscription>,
}

/// Bytes that an earlier release wrote and nobody reads any more. None are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obsolete;

impl Encode for Obsolete {
    fn encode<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        <&[u8] as Encode>::encode(&&[][..], encoder)
    }
}

impl<'de, C> BorrowDecode<'de, C> for Obsolete {
    fn borrow_decode<D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError> {
        <&[u8]>::borrow_decode(decoder).map(|_| Self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub enum Op<'a> {
    /// A connection asks for the Session of its Client Identifier; it gets a new epoch.
    Connect {
        name: &'a [u8],
        clean_start: bool,
        owner: &'a str,
        /// Not to be granted if it belongs to another owner.
        binds: bool,
        expiry_seconds: u32,
        home: Home,
        limits: QueueLimits,
        will: Option<Will>,
        /// An earlier connection was sent the messages before this one.
        sent: Seq,
        /// Not to be granted while another connection has the Session.
        yields: bool,
    },
    /// The connection of `epoch` has ended.
    Disconnect {
        session: SessionNumber,
        epoch: Epoch,
        farewell: Farewell,
        expiry_seconds: Option<u32>,
        sent: Seq,
    },
    Subscribe {
        session: SessionNumber,
        epoch: Epoch,
        entries: Vec<Entry<'a>>,
    },
    Unsubscribe {
        session: SessionNumber,
        epoch: Epoch,
        filters: Vec<&'a str>,
    },
    /// One message for Sessions of this slot: `targets` as [`Target`] packs them.
    Enqueue {
        message: &'a [u8],
        targets: &'a [u8],
    },
    /// These messages, of so many bytes each, leave the queue: the Client has finished them, or they were not sent and have
    /// expired, or had to make room. It was sent those before `sent`.
    Finished {
        session: SessionNumber,
        messages: Vec<(Seq, u32)>,
        sent: Seq,
    },
    /// The Client has said PUBREC for these messages.
    Received {
        session: SessionNumber,
        seqs: Vec<Seq>,
    },
    /// A QoS 2 message came in under `packet_id`; unless that is taken, `publish` goes to its partition.
    Accept {
        session: SessionNumber,
        epoch: Epoch,
        packet_id: u16,
        place: Place,
        message: &'a [u8],
    },
    /// PUBREL: `packet_id` may be used again.
    Release {
        session: SessionNumber,
        epoch: Epoch,
        packet_id: u16,
    },
    /// Subscriber `subscriber` of `filter` in a partition.
    Route {
        partition: u64,
        subscriber: SessionNumber,
        filter: &'a str,
        route: RouteRow,
    },
    Unroute {
        partition: u64,
        subscriber: SessionNumber,
        filter: &'a str,
    },
    /// A message that its own record brought here: matched, retained and passed on when this is applied. `client` is
    /// the hash of the publisher's Client Identifier. The leader has decided whom it chose of Shared Subscriptions.
    Publish {
        partition: u64,
        message: &'a [u8],
        client: u64,
        again: Option<Again>,
        /// What the root routes matched when these were another slot's.
        root_targets: Obsolete,
        chosen: Vec<SessionNumber>,
    },
    /// The Client is gone: these messages, which its Session got as a member of Shared Subscriptions, go to other
    /// members.
    Redispatch {
        session: SessionNumber,
        seqs: Vec<Seq>,
    },
    /// Sets (or, with no payload, deletes) the Retained Message of a topic.
    Retain {
        partition: u64,
        message: &'a [u8],
    },
    /// Removes Retained Messages, of those that have expired.
    Expire {
        topics: Vec<(u64, &'a str)>,
    },
    /// An operation out of another slot's outbox.
    Inbox {
        from: u16,
        number: u64,
        op: &'a [u8],
    },
    /// Slot `to` has applied everything up to `number`.
    Trim {
        to: u16,
        number: u64,
    },
    /// What was due at `at` for `session` is to happen now, if it is still due.
    Due {
        at: Millis,
        session: SessionNumber,
    },
    /// An operator ends the Session, whether it has a connection or not.
    End {
        session: SessionNumber,
    },
    /// A Will on its way to its partition, whose leader makes a [`Op::Publish`] of it if its author may publish it.
    /// It stands in outboxes only.
    Will {
        partition: u64,
        message: &'a [u8],
        client: u64,
        author: Author,
    },
    /// As [`Op::Publish`], for a Retained Message and for what comes behind one of its topic. The numbers of a slot
    /// ascend.
    InLine {
        number: u64,
        partition: u64,
        message: &'a [u8],
        /// As in [`Op::Publish`].
        root_targets: Obsolete,
        chosen: Vec<SessionNumber>,
    },
    /// More goes of what these Sessions had, which have ended: so many units of work together.
    EndOn {
        sessions: Vec<SessionNumber>,
        work: u32,
    },
    /// As [`Op::Enqueue`], with a message of so many bytes that several operations share: see
    /// [`super::outbox_body`]. It stands in outboxes only.
    EnqueueBody {
        body: u64,
        bytes: u32,
        targets: &'a [u8],
    },
    /// Root routes of a subscriber begin, change or end. Every slot gets it.
    Roots {
        subscriber: SessionNumber,
        home: Option<Home>,
        filters: Vec<RootFilter<'a>>,
    },
    /// As [`Op::Roots`], of so many bytes, which the operations for all slots share: see [`super::outbox_body`]. It
    /// stands in outboxes only.
    RootsBody {
        body: u64,
        bytes: u32,
    },
    /// As [`Op::Inbox`], of a message that connections on other nodes may have to be given: until [`Op::Given`] says
    /// that they have it, the next leader gives it to them again.
    Live {
        from: u16,
        number: u64,
        op: &'a [u8],
    },
    /// What came out of that slot's outbox up to `number` is with the connections that it was for.
    Given {
        from: u16,
        number: u64,
    },
    /// Connections of this node are owed messages of this slot that they cannot be given: they are to end.
    GivenUp {
        node: u64,
    },
}

impl Op<'_> {
    /// About how many Sessions and messages it is for, and one.
    pub fn work(&self) -> usize {
        1 + match self {
            Self::Enqueue { targets, .. } => targets.len() / Target::LEAST,
            Self::Finished { messages, .. } => messages.len(),
            Self::Subscribe { entries, .. } => entries.len(),
            Self::Unsubscribe { filters, .. } => filters.len(),
            Self::Redispatch { seqs, .. } => seqs.len(),
            Self::EndOn { work, .. } => *work as usize,
            Self::Roots { filters, .. } => filters.len(),
            // Of what other slots send the rest is for one Session, or is copied.
            Self::Inbox { op, .. } | Self::Live { op, .. } => match record::decode(op) {
                Ok(Op::Roots { filters, .. }) => filters.len(),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Whether it is a Client's wish that adds to what is stored, as far as its kind tells. What depends on what is there
    /// is decided by [`super::Slot::adds`].
    pub fn adds(&self) -> bool {
        matches!(
            self,
            Self::Enqueue { .. }
                | Self::Accept { .. }
                | Self::Retain { .. }
                | Self::InLine { .. }
                | Self::Subscribe { .. }
        )
    }
}

/// Bytes of targets after which another [`Op::Enqueue`] begins, for a message of so many bytes: an operation is applied in
/// one piece, so it is for a thousand Sessions or so, or for as many as make the copies of the message worth it. Replicas
/// of all releases must agree on it: it never changes.
pub fn targets_run(message: usize) -> usize {
    message.max(16 << 10)
}

/// Begins a record.
pub fn begin(at: Millis, record: &mut Vec<u8>) {
    record.clear();
    record.push(VERSION);
    record.extend_from_slice(&at.to_le_bytes());
}

/// Appends one operation to a record; `write` appends its bytes.
pub fn frame(record: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = record.len();
    record.extend_from_slice(&[0; 4]);
    write(record);
    let len = (record.len() - at - 4) as u32;
    record[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// The time of a record and its operations.
pub fn open(bytes: &[u8]) -> Result<(Millis, &[u8]), record::Error> {
    match bytes.split_at_checked(9) {
        Some((head, ops)) if head[0] == VERSION => {
            Ok((u64::from_le_bytes(head[1..].try_into().expect("eight bytes")), ops))
        }
        _ => Err(record::Error::Value("a slot's record of an unknown version".into())),
    }
}

/// The operations of a record, in their order.
pub fn iter(mut ops: &[u8]) -> impl Iterator<Item = Result<Op<'_>, record::Error>> {
    std::iter::from_fn(move || {
        if ops.is_empty() {
            return None;
        }
        let framed = ops
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.split_at_checked(u32::from_le_bytes(*len) as usize));
        let Some((op, rest)) = framed else {
            ops = &[];
            return Some(Err(record::Error::Short));
        };
        ops = rest;
        Some(record::decode(op))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_an_earlier_release_is_read_without_what_it_had_found_elsewhere() {
        let publish = |message| Op::Publish {
            partition: 1,
            message,
            client: 0,
            again: None,
            root_targets: Obsolete,
            chosen: vec![SessionNumber(9)],
        };
        assert_eq!(record::decode(b"\x0b\x01\x01m\0\0\x03abc\x01\x09"), Ok(publish(b"m")));
        let in_line =
            Op::InLine { number: 8, partition: 1, message: b"m", root_targets: Obsolete, chosen: Vec::new() };
        assert_eq!(record::decode(b"\x14\x08\x01\x01m\x03abc\0"), Ok(in_line));
        // It is written as before, where nothing was found.
        let mut written = Vec::new();
        record::encode_into(&publish(b"m"), &mut written);
        assert_eq!(written, b"\x0b\x01\x01m\0\0\0\x01\x09");
    }

    #[test]
    fn root_routes_of_another_slot_are_as_much_work_as_there_are() {
        let filters = vec![RootFilter { filter: "+", subscription: None }; 9];
        let (op, mut bytes) = (Op::Roots { subscriber: SessionNumber(1), home: None, filters }, Vec::new());
        record::encode_into(&op, &mut bytes);
        assert_eq!((op.work(), Op::Inbox { from: 1, number: 1, op: &bytes }.work()), (10, 10));
    }
}
