//! One letter of each kind, as the first release writes its fields. They must be readable for ever.

use bytes::Bytes;
use convoy_ids::{ActorId, SlotId, Term};
use convoy_storage::{envelope, record};
use convoy_wire::{PacketId, QoS, ReasonCode};

use super::super::exhaust::BOUNDS;
use super::super::{Letter, Mail, Origin, Part};
use crate::author::Author;
use crate::call::{Ack, Answer, Begun, Farewell, ReplyTo, SessionCall, token};
use crate::dest::Dest;
use crate::message::Message;
use crate::retained::{self, RequestForm};
use crate::session::{
    Delivery, Epoch, Grant, Home, Place, Progress, QueueLimits, SessionNumber, Stage, Subscription, Target,
    Wanted, Will, name_of,
};
use crate::slot::Op;
use crate::topic::{Again, Announcement, Level, News};

pub(super) const SLOT: SlotId = SlotId(1);
pub(super) const SESSION: SessionNumber = SessionNumber(1 << 48 | 5);
pub(super) const HOME: Home = Home { node: 9, shard: 1, key: 300, serial: 4 };
pub(super) const REPLY: ReplyTo = ReplyTo { home: HOME, token: 7 };
pub(super) const PLACE: Place = Place { slot: 1, partition: 8 };
const EPOCH: Epoch = Epoch(6);
const ONCE: Delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
const PACKET: PacketId = PacketId::new(10).unwrap();
const SUBSCRIPTION: Subscription =
    Subscription { qos: 1, no_local: false, retain_as_published: true, identifier: 2 };

/// Parts of [`mail`].
pub(super) const MESSAGE: Part = Part { from: 0, to: 33 };
pub(super) const TARGETS: Part = Part { from: 33, to: 42 };
pub(super) const OP: Part = Part { from: 42, to: 55 };
pub(super) const SHARED: Part = Part { from: 0, to: Part::SHARED };

pub(super) fn message() -> Vec<u8> {
    let mut bytes = Vec::new();
    let message = Message { topic: "a", payload: b"m", qos: QoS::AtLeastOnce, ..Message::default() };
    message.encode_into(&mut bytes);
    bytes
}

pub(super) fn targets() -> Vec<u8> {
    let mut bytes = Vec::new();
    Target { session: SESSION, delivery: ONCE }.push(&mut bytes);
    bytes
}

pub(super) fn op() -> Vec<u8> {
    encoded(&Op::Unroute { partition: 8, subscriber: SESSION, filter: "+" })
}

pub(super) fn encoded(op: &Op<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode_into(op, &mut bytes);
    bytes
}

/// A batch of these letters with one of each that they may name.
pub(super) fn mail(letters: Vec<Letter>) -> Mail {
    let shared = Bytes::from(message());
    let bytes = [message(), targets(), op()].concat();
    Mail { bytes, shared_bytes: shared.len(), shared: vec![shared], letters, ..Mail::from_dest(Dest(0)) }
}

/// The same as bytes, where letters have these fields.
pub(super) fn body(letters: &[&[u8]]) -> Vec<u8> {
    let mut body = (letters.len() as u32).to_le_bytes().to_vec();
    let framed = letters.iter().flat_map(|fields| framed(fields)).collect::<Vec<_>>();
    body.extend(self::framed(&framed));
    body.extend(self::framed(&[message(), targets(), op()].concat()));
    body.extend(self::framed(&message()));
    body
}

pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

pub(super) fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope::seal(0x44, version, &mut bytes, |into| into.extend_from_slice(body));
    bytes
}

/// A Client Identifier whose Session is in [`SLOT`].
fn client_id() -> String {
    let of = |client_id: &String| {
        convoy_membership::slot_of(&ActorId::Session { tenant: "t", client_id }, BOUNDS.slots)
    };
    (0..).map(|number| format!("c{number}")).find(|client_id| of(client_id) == SLOT).unwrap()
}

fn author() -> Author {
    Author { client_id: "c".into(), user: Some("u".into()), address: 1, listener: "l".into() }
}

pub(super) fn request(cursor: Option<&[u8]>) -> retained::Request {
    let mut fields =
        b"\x09\x01\xfb\x2c\x01\x04\xfd\x05\0\0\0\0\0\x01\0\x06\x01\x0b\x03a/+\x01\0\x01\x02\x0c\x01\0\x08"
            .to_vec();
    match cursor {
        None => fields.push(0),
        Some(key) => fields.extend([&[1, key.len() as u8][..], key].concat()),
    }
    record::decode::<RequestForm<'_>>(&fields).unwrap().request(BOUNDS.slots).unwrap()
}

fn calls() -> Vec<SessionCall> {
    let (session, epoch, reply) = (SESSION, EPOCH, REPLY);
    let will = Will {
        place: PLACE,
        message: message(),
        expiry_seconds: Some(20),
        delay_seconds: 30,
        author: author(),
    };
    let open = vec![(7, Stage::Published), (8, Stage::Released)];
    let progress = Progress { receive_maximum: 20, next: 9, open };
    let wanted = Wanted { filter: "a/+".into(), subscription: SUBSCRIPTION, places: vec![PLACE] };
    vec![
        SessionCall::Connect {
            name: name_of("t", &client_id()),
            clean_start: true,
            owner: "u".into(),
            binds: false,
            expiry_seconds: 60,
            limits: QueueLimits { messages: 1, bytes: 2, age: 3 },
            will: Some(Box::new(will)),
            yields: true,
            reply,
        },
        SessionCall::Ready { session, epoch, home: HOME, receive_maximum: 20, is_plain: true },
        SessionCall::Disconnect {
            session,
            epoch,
            farewell: Farewell::WithWill,
            expiry_seconds: Some(60),
            reply: Some(reply),
        },
        SessionCall::Subscribe { session, epoch, wanted: vec![wanted], reply },
        SessionCall::Unsubscribe { session, epoch, filters: vec!["a/+".into(), "b".into()], reply },
        SessionCall::Ack { session, epoch, ack: Ack::Puback, packet_id: PACKET },
        SessionCall::Ack { session, epoch, ack: Ack::Pubrec { refused: true }, packet_id: PACKET },
        SessionCall::Ack { session, epoch, ack: Ack::Pubcomp, packet_id: PACKET },
        SessionCall::Accept {
            session,
            epoch,
            packet_id: PACKET,
            place: PLACE,
            message: message(),
            asks: true,
            reply,
        },
        SessionCall::Keep { session, epoch, delivery: ONCE, message: message() },
        SessionCall::Release { session, epoch, packet_id: PACKET, reply },
        SessionCall::Abandon { name: name_of("t", &client_id()), home: HOME },
        SessionCall::Adopt { session, epoch, home: HOME, progress: Some(Box::new(progress)), reply },
        SessionCall::Adopt { session, epoch, home: HOME, progress: None, reply },
    ]
}

pub(super) fn answers() -> Vec<Answer> {
    let grant = Grant {
        session: SESSION,
        epoch: EPOCH,
        present: true,
        has_queue: true,
        unreleased: vec![1, 2],
        groups: vec![3],
    };
    vec![
        Answer::Begun(Begun { parts: 2, matched: true }),
        Answer::Done,
        Answer::Subscribed { more: 1, existed: vec![true, false] },
        Answer::Granting(vec![false, true]),
        Answer::Registered(retained::Place { place: PLACE, until: 9 }),
        Answer::RootsRegistered { slot: SLOT, until: 9 },
        Answer::Full,
        Answer::Refused(ReasonCode::QuotaExceeded),
        Answer::Granted(grant),
        Answer::Unknown,
    ]
}

pub(super) fn letters() -> Vec<Letter> {
    let (session, home, reply, slot) = (SESSION, HOME, Some(REPLY), SLOT);
    let (from, to, number) = (SlotId(2), SLOT, 11);
    let again = Again { group: 3, not: SESSION, ended: true };
    let mut identified = Delivery::new(QoS::ExactlyOnce, true, 2);
    identified.merge(&Delivery::new(QoS::AtMostOnce, false, 300));
    let tells = |news| Letter::Presence(Announcement { session, epoch: EPOCH, news });
    let (next, messages) = (Some(request(None)), vec![(ONCE, message())]);
    let chunk = retained::Chunk { home, serial: 11, messages, unused: 3, next };
    let mut all = vec![
        Letter::Publish {
            place: PLACE,
            origin: Origin { client: 2, epoch: EPOCH, again: Some(again) },
            message: MESSAGE,
            reply,
        },
        Letter::Publish {
            place: PLACE,
            origin: Origin { client: 2, epoch: EPOCH, again: None },
            message: SHARED,
            reply: None,
        },
        Letter::Enqueue { from, slot, message: MESSAGE, targets: TARGETS, reply },
        Letter::Pass { from, session, delivery: identified.by_share(5), message: MESSAGE },
        Letter::Outbox { from, to, number, op: OP, reply },
        Letter::OutboxMessage { from, to, number, message: SHARED, targets: TARGETS },
        Letter::OutboxApplied { from, to, number, given: 9 },
        Letter::BackedUp { slot: SlotId::META, is: true },
        Letter::Short { is: false },
        Letter::Led { slot, term: Term(7), given: Some([(from, 11), (to, 12)].into()), given_up: 2 },
        Letter::Led { slot, term: Term(7), given: None, given_up: 0 },
        Letter::Hear { reply: ReplyTo { home, token: token::HEARD | 1 }, passes_on: true },
        tells(News::Joined { groups: vec![3], who: Box::new(author()) }),
        tells(News::Level(Level::Connected { load: 2 })),
        tells(News::Level(Level::Busy)),
        tells(News::Level(Level::Full)),
        tells(News::Left),
        Letter::Retained(Box::new(request(Some(b"\0\x01\0\0\0\0\0\0\0\x08a\0b")))),
        Letter::Deliver { home, session, delivery: ONCE, message: MESSAGE, live: None },
        Letter::Deliver { home, session, delivery: ONCE, message: MESSAGE, live: Some((2, 11)) },
        Letter::Given { by: slot, from, number, given: 9 },
        Letter::GivenUp { slot, times: 3 },
        Letter::Send { home, seq: Some(9), dup: true, delivery: identified, message: MESSAGE },
        Letter::Send {
            home,
            seq: None,
            dup: false,
            delivery: Delivery::new(QoS::AtMostOnce, false, 0),
            message: SHARED,
        },
        Letter::Release { home, packet_id: PACKET },
        Letter::TakenOver { home, then: Some((REPLY, Box::new(Answer::Done))) },
        Letter::TakenOver { home, then: None },
        Letter::RetainedChunk(Box::new(chunk)),
        Letter::Evict { home, session_ended: true },
        Letter::HeardLed { slot, term: Term(7) },
        Letter::AllAsked { slot, term: Term(7) },
    ];
    all.extend(calls().into_iter().map(|call| Letter::Session { slot, call }));
    all.extend(answers().into_iter().map(|answer| Letter::Answer { to: REPLY, answer }));
    all
}
