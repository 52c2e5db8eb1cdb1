//! Messages between the replicas of a slot as bytes, and what is checked before raft sees one: raft panics on several
//! that a broken or foreign peer could send.
//!
//! In the envelope of records, little-endian:
//!
//! ```text
//! type: u8   flags: u8 (1 reject)   to, from (numbers of replicas), term, log term, index, commit, commit term, reject hint: u64
//! priority: i64   context length: u32, context   count: u32   entry*
//! entry = type: u8   term: u64   length: u32   payload          its index follows from the message's
//! ```

use bytes::Bytes;
use convoy_ids::{NodeId, ReplicaId, Term};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::StepError;
use super::members::{Replica, Roster};
use super::row::EntryKind;
use super::tail::TailEntry;
use crate::envelope;

const KIND: u8 = 0x21;
const VERSION: u8 = 1;
const FIELDS: usize = 2 + 8 * 9;
const ENTRY_HEAD: usize = 13;

/// Terms and indexes beyond are refused, so that no sum of them overflows.
const NUMBER_LIMIT: u64 = 1 << 62;

/// A message with its payloads apart: raft gets the one, the tail the others.
#[derive(Debug)]
pub(super) struct Received {
    pub message: Message,
    pub entries: Vec<TailEntry>,
}

/// What replicas say to each other. raft knows more types, which stay within a node or are never sent here.
fn type_number(kind: MessageType) -> Option<u8> {
    match kind {
        MessageType::MsgAppend => Some(1),
        MessageType::MsgAppendResponse => Some(2),
        MessageType::MsgHeartbeat => Some(3),
        MessageType::MsgHeartbeatResponse => Some(4),
        MessageType::MsgRequestVote => Some(5),
        MessageType::MsgRequestVoteResponse => Some(6),
        MessageType::MsgRequestPreVote => Some(7),
        MessageType::MsgRequestPreVoteResponse => Some(8),
        MessageType::MsgTimeoutNow => Some(9),
        _ => None,
    }
}

fn type_of(number: u8) -> Option<MessageType> {
    match number {
        1 => Some(MessageType::MsgAppend),
        2 => Some(MessageType::MsgAppendResponse),
        3 => Some(MessageType::MsgHeartbeat),
        4 => Some(MessageType::MsgHeartbeatResponse),
        5 => Some(MessageType::MsgRequestVote),
        6 => Some(MessageType::MsgRequestVoteResponse),
        7 => Some(MessageType::MsgRequestPreVote),
        8 => Some(MessageType::MsgRequestPreVoteResponse),
        9 => Some(MessageType::MsgTimeoutNow),
        _ => None,
    }
}

/// `None` if the message is not one for a peer, or one of its payloads is no longer there: the log went on under
/// another leader, and the message with it.
pub(super) fn encode(
    message: &Message,
    mut payload: impl FnMut(u64, u64) -> Option<Bytes>,
) -> Option<Vec<u8>> {
    let kind = type_number(message.get_msg_type())?;
    let mut payloads = Vec::with_capacity(message.entries.len());
    let mut length = envelope::HEADER + FIELDS + 8 + message.context.len();
    for (index, entry) in (message.index + 1..).zip(message.get_entries()) {
        assert_eq!(entry.index, index, "entries follow each other");
        let bytes = payload(entry.index, entry.term)?;
        length += ENTRY_HEAD + bytes.len();
        payloads.push(bytes);
    }
    let mut bytes = Vec::with_capacity(length);
    envelope::seal(KIND, VERSION, &mut bytes, |into| {
        into.extend_from_slice(&[kind, u8::from(message.reject)]);
        let numbers = [
            message.to,
            message.from,
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.reject_hint,
        ];
        for number in numbers {
            into.extend_from_slice(&number.to_le_bytes());
        }
        into.extend_from_slice(&message.priority.to_le_bytes());
        put_length(into, message.context.len());
        into.extend_from_slice(&message.context);
        put_length(into, payloads.len());
        for (entry, payload) in message.get_entries().iter().zip(&payloads) {
            into.push(kind_of(entry) as u8);
            into.extend_from_slice(&entry.term.to_le_bytes());
            put_length(into, payload.len());
            into.extend_from_slice(payload);
        }
    });
    Some(bytes)
}

/// Reads a message that came from a node, and refuses what no replica there sends to this one, whatever state it is in.
pub(super) fn decode(
    bytes: &[u8],
    from: NodeId,
    me: Replica,
    roster: &Roster,
) -> Result<Received, StepError> {
    let (version, body) =
        envelope::open(KIND, bytes).map_err(|_| StepError::Malformed("not a message of a replica"))?;
    if version != VERSION {
        return Err(StepError::Malformed("unknown version"));
    }
    let received = parse(body).ok_or(StepError::Malformed("torn or of an unknown type"))?;
    check_ends(&received.message, from, me, roster)?;
    check(&received).map_err(StepError::Malformed)?;
    Ok(received)
}

/// Whom a message of a replica is for, where that one is not here to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed {
    pub from: ReplicaId,
    pub to: ReplicaId,
    pub term: Term,
    /// It comes from a leader, which sends to members of its group alone.
    pub leads: bool,
    /// It gives a vote, of which there is one in a term.
    pub votes: bool,
}

/// Reads that. `None` if it is no message of a replica.
pub fn addressed(bytes: &[u8]) -> Option<Addressed> {
    let (version, body) = envelope::open(KIND, bytes).ok()?;
    let received = (version == VERSION).then(|| parse(body)).flatten()?;
    check(&received).ok()?;
    let message = &received.message;
    let leads = matches!(message.get_msg_type(), MessageType::MsgAppend | MessageType::MsgHeartbeat);
    let votes = message.get_msg_type() == MessageType::MsgRequestVoteResponse && !message.reject;
    let (from, to) = (ReplicaId::new(message.from)?, ReplicaId::new(message.to)?);
    Some(Addressed { from, to, term: Term(message.term), leads, votes })
}

fn parse(mut body: &[u8]) -> Option<Received> {
    let mut message = Message::default();
    message.set_msg_type(type_of(take_u8(&mut body)?)?);
    message.reject = match take_u8(&mut body)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut numbers = [0; 8];
    for number in &mut numbers {
        *number = take_u64(&mut body)?;
    }
    let [to, from, term, log_term, index, commit, commit_term, reject_hint] = numbers;
    message.to = to;
    message.from = from;
    message.term = term;
    message.log_term = log_term;
    message.index = index;
    message.commit = commit;
    message.commit_term = commit_term;
    message.reject_hint = reject_hint;
    message.priority = take_u64(&mut body)? as i64;
    let context = take_length(&mut body)?;
    message.context = take(&mut body, context)?.to_vec();

    let count = take_length(&mut body)?;
    // A declared count costs memory only for entries that are there.
    let mut entries = Vec::with_capacity(count.min(body.len() / ENTRY_HEAD));
    let mut shadows = Vec::with_capacity(entries.capacity());
    for offset in 0..count as u64 {
        let kind = EntryKind::from_number(take_u8(&mut body)?)?;
        let term = take_u64(&mut body)?;
        let length = take_length(&mut body)?;
        let payload = Bytes::copy_from_slice(take(&mut body, length)?);
        shadows.push(shadow(kind, term, index.checked_add(offset + 1)?));
        entries.push(TailEntry { term, kind, payload });
    }
    message.set_entries(shadows);
    body.is_empty().then_some(Received { message, entries })
}

/// Who sends is where the group has it; one that the group does not have may have come since. Who receives is this one: what
/// was said to a replica that was here before, its successor has not heard.
fn check_ends(message: &Message, from: NodeId, me: Replica, roster: &Roster) -> Result<(), StepError> {
    let malformed = |reason| Err(StepError::Malformed(reason));
    if from == me.node || message.from == me.id.get() {
        return malformed("from the receiver itself");
    }
    if message.from == 0 || roster.node_of(message.from).is_some_and(|node| node != from) {
        return malformed("of a replica that is not there");
    }
    match ReplicaId::new(message.to) {
        None => malformed("for no replica"),
        Some(to) if to != me.id => Err(StepError::OtherReplica { to }),
        Some(_) => Ok(()),
    }
}

fn check(received: &Received) -> Result<(), &'static str> {
    let message = &received.message;
    if message.term == 0 {
        return Err("without a term");
    }
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.index.saturating_add(received.entries.len() as u64),
    ];
    if numbers.iter().any(|number| *number > NUMBER_LIMIT) {
        return Err("a number out of range");
    }
    let append = message.get_msg_type() == MessageType::MsgAppend;
    if !append && !received.entries.is_empty() {
        return Err("entries where none belong");
    }
    let mut term = message.log_term;
    for entry in &received.entries {
        if entry.term < term || entry.term == 0 || entry.term > message.term {
            return Err("terms out of order");
        }
        term = entry.term;
    }
    if append && message.log_term > message.term {
        return Err("terms out of order");
    }
    if append && (message.index == 0) != (message.log_term == 0) {
        return Err("a term without an entry");
    }
    if message.get_msg_type() == MessageType::MsgAppendResponse
        && message.reject
        && message.reject_hint > message.index
    {
        return Err("a hint behind what was refused");
    }
    Ok(())
}

/// What raft sees of an entry: all but its payload.
pub(super) fn shadow(kind: EntryKind, term: u64, index: u64) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(match kind {
        EntryKind::Record => EntryType::EntryNormal,
        EntryKind::Change => EntryType::EntryConfChangeV2,
    });
    entry.term = term;
    entry.index = index;
    entry
}

pub(super) fn kind_of(entry: &Entry) -> EntryKind {
    match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Record,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => EntryKind::Change,
    }
}

fn put_length(into: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("what is proposed is shorter than 4 GiB");
    into.extend_from_slice(&length.to_le_bytes());
}

fn take<'a>(body: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(taken)
}

fn take_u8(body: &mut &[u8]) -> Option<u8> {
    take(body, 1).map(|bytes| bytes[0])
}

fn take_u64(body: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(body, 8)?.try_into().ok()?))
}

fn take_length(body: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(body, 4)?.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::ConfState;

    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// Of replica 2, of a group in which 1 and 2 are on the nodes of these numbers, and 30 on node 3.
    fn read(bytes: &[u8], from: u64) -> Result<Received, StepError> {
        let places = [(1, node(1)), (2, node(2)), (30, node(3))].into();
        let roster = Roster::new(ConfState::from((vec![1, 2, 30], vec![])), &places).unwrap();
        decode(bytes, node(from), Replica::first(node(2)), &roster)
    }

    fn append() -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.from, message.to, message.term) = (1, 2, 4);
        (message.log_term, message.index, message.commit) = (3, 9, 8);
        let entries = vec![shadow(EntryKind::Record, 3, 10), shadow(EntryKind::Change, 4, 11)];
        message.set_entries(entries);
        message
    }

    fn encoded(message: &Message) -> Vec<u8> {
        encode(message, |index, _| Some(Bytes::from(format!("payload {index}")))).unwrap()
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let received = read(&encoded(&append()), 1).unwrap();
        assert_eq!(received.message, append());
        let payloads: Vec<_> = received.entries.iter().map(|entry| entry.payload.clone()).collect();
        assert_eq!(payloads, ["payload 10", "payload 11"]);
    }

    #[test]
    fn whom_a_message_is_for_is_read_without_a_replica() {
        let [from, to] = [1, 2].map(|id| ReplicaId::new(id).unwrap());
        let bytes = encoded(&append());
        assert_eq!(addressed(&bytes), Some(Addressed { from, to, term: Term(4), leads: true, votes: false }));
        let mut vote = append();
        vote.set_msg_type(MessageType::MsgRequestVote);
        vote.set_entries(Vec::new());
        assert!(!addressed(&encoded(&vote)).unwrap().leads);
        vote.set_msg_type(MessageType::MsgRequestVoteResponse);
        assert!(addressed(&encoded(&vote)).unwrap().votes);
        vote.reject = true;
        assert!(!addressed(&encoded(&vote)).unwrap().votes);
        assert_eq!([addressed(&bytes[1..]), addressed(&[])], [None, None]);
    }

    #[test]
    fn a_message_whose_payload_is_gone_is_not_sent() {
        assert_eq!(encode(&append(), |index, _| (index != 11).then(Bytes::new)), None);
    }

    #[test]
    fn torn_and_changed_bytes_are_refused() {
        let bytes = encoded(&append());
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut], 1).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert!(read(&changed, 1).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn what_no_replica_sends_is_refused() {
        let refused = |change: fn(&mut Message)| {
            let mut message = append();
            change(&mut message);
            match read(&encoded(&message), 1) {
                Err(StepError::Malformed(reason)) => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(|m| m.from = 30), "of a replica that is not there");
        assert_eq!(refused(|m| m.from = 0), "of a replica that is not there");
        assert_eq!(refused(|m| m.from = 2), "from the receiver itself");
        assert_eq!(refused(|m| m.to = 0), "for no replica");
        assert_eq!(refused(|m| m.term = 0), "without a term");
        assert_eq!(refused(|m| m.commit = u64::MAX), "a number out of range");
        let far = |m: &mut Message| {
            m.index = NUMBER_LIMIT + 1;
            m.set_entries(Vec::new());
        };
        assert_eq!(refused(far), "a number out of range");
        assert_eq!(refused(|m| m.term = 3), "terms out of order");
        assert_eq!(refused(|m| m.log_term = 0), "a term without an entry");
        assert_eq!(refused(|m| m.set_msg_type(MessageType::MsgHeartbeat)), "entries where none belong");
    }

    #[test]
    fn a_message_is_taken_by_the_replica_that_it_is_for_from_the_node_that_its_sender_is_on() {
        let from_node = |from: u64, node: u64| {
            let mut message = append();
            message.from = from;
            read(&encoded(&message), node).map(|received| received.message.from)
        };
        let absent = Err(StepError::Malformed("of a replica that is not there"));
        assert_eq!(from_node(30, 3), Ok(30));
        assert_eq!([from_node(30, 1), from_node(1, 3)], [absent.clone(), absent]);
        // It may have come since, also where another one was.
        assert_eq!([from_node(40, 4), from_node(40, 3)], [Ok(40), Ok(40)]);
        assert_eq!(from_node(40, 2), Err(StepError::Malformed("from the receiver itself")));

        let mut late = append();
        late.to = 9;
        let refused = read(&encoded(&late), 1).unwrap_err();
        assert_eq!(refused, StepError::OtherReplica { to: ReplicaId::new(9).unwrap() });
    }

    #[test]
    fn messages_that_stay_within_a_node_are_not_encoded() {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgHup);
        assert_eq!(encode(&message, |_, _| None), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut bytes = Vec::new();
            envelope::seal(KIND, VERSION, &mut bytes, |into| into.extend_from_slice(&body));
            let _ = read(&bytes, 1);
        }
    }
}
