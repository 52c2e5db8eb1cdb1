//! What is refused, though its checksum is right: each is what a handler would otherwise rely on.

use convoy_ids::{SlotId, Term};
use convoy_storage::{envelope, record, sealed as seals};
use convoy_wire::QoS;

use super::samples::{
    HOME, MESSAGE, OP, PLACE, REPLY, SESSION, SHARED, SLOT, TARGETS, encoded, framed, letters, mail, message,
    op, request, targets,
};
use super::{BOUNDS, FIELDS, body, decode, encode, sealed};
use crate::call::{Answer, Begun, ReplyTo, SessionCall, token};
use crate::message::Message;
use crate::session::{Delivery, Epoch, Home, Place, SessionNumber, Subscription, Target, Wanted};
use crate::shard::mail::{Bounds, Error, Letter, Mail, Origin, Part};
use crate::slot::Op;
use crate::topic::{Announcement, Level, News};

const ONCE: Delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
const ELSEWHERE: SessionNumber = SessionNumber(2 << 48 | 5);

fn refusal(letter: Letter) -> Error {
    decode(encode(&mail(vec![letter]))).unwrap_err()
}

/// The same with a letter about these bytes.
fn refusal_of(bytes: &[u8], letter: impl FnOnce(Part) -> Letter) -> Error {
    let mut mail = mail(Vec::new());
    let part = mail.lay(|into| into.extend_from_slice(bytes));
    mail.letters.push(letter(part));
    decode(encode(&mail)).unwrap_err()
}

fn deliver(message: Part) -> Letter {
    Letter::Deliver { home: HOME, session: SESSION, delivery: ONCE, message, live: None }
}

fn outbox(op: Part) -> Letter {
    Letter::Outbox { from: SLOT, to: SLOT, number: 1, op, reply: None }
}

fn enqueue(targets: Part) -> Letter {
    Letter::Enqueue { from: SLOT, slot: SLOT, message: MESSAGE, targets, reply: None }
}

fn call(call: SessionCall) -> Letter {
    Letter::Session { slot: SLOT, call }
}

fn subscribe(filter: &str, subscription: Subscription, place: Place) -> Letter {
    let wanted = vec![Wanted { filter: filter.into(), subscription, places: vec![place] }];
    call(SessionCall::Subscribe { session: SESSION, epoch: Epoch(1), wanted, reply: REPLY })
}

#[test]
fn what_is_no_mail_of_ours_is_refused() {
    let body = body(&FIELDS);
    let bytes = sealed(1, &body);
    let bounds = Bounds { bytes: bytes.len() - 1, ..BOUNDS };
    let long = Error::Long { bytes: bytes.len(), most: bytes.len() - 1 };
    assert_eq!(Mail::decode(bytes.clone().into(), &bounds), Err(long));
    let version = seals::Error::Version { found: 2, known: 1 };
    assert_eq!(decode(sealed(2, &body)), Err(Error::Sealed(version)));
    let foreign = envelope::Error::Foreign { found: *b"GE" };
    assert_eq!(decode(b"GET / HTTP/1.1\r\n".into()), Err(Error::Sealed(foreign.into())));
    let mut other = Vec::new();
    envelope::seal(0x41, 1, &mut other, |into| into.extend_from_slice(&body));
    let kind = envelope::Error::Kind { expected: 0x44, found: 0x41 };
    assert_eq!(decode(other), Err(Error::Sealed(kind.into())));
    for end in 0..bytes.len() {
        assert!(matches!(decode(bytes[..end].into()), Err(Error::Sealed(seals::Error::Envelope(_)))));
    }
    // Without the last part a batch is whole, and its letters name what is not there.
    for end in 0..body.len() {
        assert!(decode(sealed(1, &body[..end])).is_err(), "{end}");
    }
    assert_eq!(decode(sealed(1, &[&body[..], b"x"].concat())), Err(Error::Impossible("length")));
}

#[test]
fn a_letter_is_whole_and_alone_in_its_frame() {
    for fields in FIELDS {
        for end in 1..fields.len() {
            let found = decode(sealed(1, &body(&[&fields[..end]])));
            assert!(
                matches!(found, Err(Error::Sealed(seals::Error::Record(_)))),
                "{fields:x?} {end} {found:?}"
            );
        }
        let trailing = decode(sealed(1, &body(&[&[fields, b"\0"].concat()])));
        let excess = seals::Error::Record(record::Error::Trailing { excess: 1 });
        assert_eq!(trailing, Err(Error::Sealed(excess)), "{fields:x?}");
    }
}

#[test]
fn the_number_of_letters_is_that_of_their_frames() {
    for claimed in [0, 2, u32::MAX] {
        let mut body = body(&FIELDS[..1]);
        body[..4].copy_from_slice(&claimed.to_le_bytes());
        assert!(matches!(decode(sealed(1, &body)), Err(Error::Impossible("number" | "length"))), "{claimed}");
    }
}

#[test]
fn a_list_that_lies_about_its_length_ends_with_its_letter() {
    // Groups of a grant: 2^60.
    let fields =
        b"\x10\t\x01\xfb,\x01\x04\x07\x08\xfd\x05\0\0\0\0\0\x01\0\x06\x01\x01\0\xfd\0\0\0\0\0\0\0\x10\x01";
    let short = seals::Error::Record(record::Error::Short);
    assert_eq!(decode(sealed(1, &body(&[fields]))), Err(Error::Sealed(short)));
}

#[test]
fn parts_lie_in_their_batch() {
    let laid = (message().len() + targets().len() + op().len()) as u32;
    for message in [
        Part { from: 0, to: laid + 1 },
        Part { from: laid + 1, to: laid + 2 },
        Part { from: 5, to: u32::MAX - 1 },
        Part { from: 1, to: Part::SHARED },
    ] {
        assert_eq!(refusal(deliver(message)), Error::Impossible("part"), "{message:?}");
        assert_eq!(refusal(enqueue(message)), Error::Impossible("part"));
        assert_eq!(refusal(outbox(message)), Error::Impossible("part"));
    }
    // From and length together are more than a part can name.
    let fields =
        b"\r\t\x01\xfb,\x01\x04\xfd\x05\0\0\0\0\0\x01\0\x01\0\xfc\xff\xff\xff\xff\xfc\xff\xff\xff\xff\0";
    assert_eq!(decode(sealed(1, &body(&[fields]))), Err(Error::Impossible("part")));
    let (from, to) = (SLOT, SLOT);
    let letter = Letter::OutboxMessage { from, to, number: 1, message: MESSAGE, targets: TARGETS };
    assert_eq!(refusal(letter), Error::Impossible("part that is not shared"));
}

#[test]
fn a_message_is_a_message() {
    let reply = None;
    let origin = Origin { client: 1, epoch: Epoch(1), again: None };
    let mut properties = Vec::new();
    let topic_alias = &[0x23, 0, 1][..];
    Message { topic: "a", properties: topic_alias, ..Message::default() }.encode_into(&mut properties);
    let mut wildcard = Vec::new();
    Message { topic: "a/+", ..Message::default() }.encode_into(&mut wildcard);
    for bytes in [&b""[..], &message()[..30], &targets(), &properties, &wildcard] {
        let epoch = Epoch(1);
        let of_part: [fn(Part) -> Letter; 2] =
            [deliver, |message| Letter::Pass { from: SLOT, session: SESSION, delivery: ONCE, message }];
        for letter in of_part {
            assert!(matches!(refusal_of(bytes, letter), Error::Message(_)), "{bytes:x?}");
        }
        let publish = |message| Letter::Publish { place: PLACE, origin, message, reply };
        assert!(matches!(refusal_of(bytes, publish), Error::Message(_)));
        let enqueue = |message| Letter::Enqueue { from: SLOT, slot: SLOT, message, targets: TARGETS, reply };
        assert!(matches!(refusal_of(bytes, enqueue), Error::Message(_)));
        let keep = SessionCall::Keep { session: SESSION, epoch, delivery: ONCE, message: bytes.into() };
        assert!(matches!(refusal(call(keep)), Error::Message(_)));
        let answered = Box::new(request(None).answered(vec![(ONCE, bytes.into())]));
        assert!(matches!(refusal(Letter::RetainedChunk(answered)), Error::Message(_)));
        let publish = encoded(&crate::slot::publish(PLACE, bytes, 1, None));
        assert!(matches!(refusal_of(&publish, outbox), Error::Message(_)));
    }
    // What was found to be one before is not what comes behind it.
    let letters = vec![deliver(MESSAGE), deliver(SHARED), deliver(TARGETS)];
    assert!(matches!(decode(encode(&mail(letters))), Err(Error::Message(_))));
}

#[test]
fn receivers_are_of_the_slot_and_bounded() {
    assert_eq!(refusal(enqueue(MESSAGE)), Error::Impossible("receiver"));
    let cut = Part { to: TARGETS.to - 1, ..TARGETS };
    assert_eq!(refusal(enqueue(cut)), Error::Impossible("run of receivers"));
    let run = targets().repeat((16 << 10) / Target::LEAST + 5);
    assert_eq!(refusal_of(&run, enqueue), Error::Impossible("run of receivers"));
    for (session, qos) in [(ELSEWHERE, QoS::AtLeastOnce), (SESSION, QoS::AtMostOnce)] {
        let mut bytes = targets();
        Target { session, delivery: Delivery::new(qos, false, 0) }.push(&mut bytes);
        assert_eq!(refusal_of(&bytes, enqueue), Error::Impossible("receiver"));
        let op = encoded(&Op::Enqueue { message: &message(), targets: &bytes });
        assert_eq!(refusal_of(&op, outbox), Error::Impossible("receiver"));
        let letter =
            Letter::OutboxMessage { from: SLOT, to: SlotId(3), number: 1, message: SHARED, targets: TARGETS };
        assert_eq!(refusal(letter), Error::Impossible("receiver"));
    }
}

#[test]
fn slots_and_shards_are_there() {
    let (beyond, meta) = (SlotId(BOUNDS.slots), SlotId::META);
    let origin = Origin { client: 1, epoch: Epoch(1), again: None };
    let session = SessionNumber(u64::from(beyond.0) << 48);
    for slot in [beyond, meta] {
        let place = Place { slot: slot.0, partition: 1 };
        for letter in [
            Letter::Publish { place, origin, message: MESSAGE, reply: None },
            Letter::Enqueue { from: SLOT, slot, message: MESSAGE, targets: TARGETS, reply: None },
            Letter::Outbox { from: slot, to: SLOT, number: 1, op: OP, reply: None },
            Letter::OutboxApplied { from: SLOT, to: slot, number: 1, given: 1 },
            Letter::Answer { to: REPLY, answer: Answer::RootsRegistered { slot, until: 1 } },
        ] {
            assert_eq!(refusal(letter), Error::Impossible("slot"));
        }
    }
    for letter in [
        Letter::BackedUp { slot: beyond, is: true },
        Letter::HeardLed { slot: beyond, term: Term(1) },
        Letter::Pass { from: beyond, session: SESSION, delivery: ONCE, message: MESSAGE },
        Letter::Led { slot: beyond, term: Term(1), given: None, given_up: 0 },
        Letter::GivenUp { slot: beyond, times: 1 },
        Letter::Given { by: SLOT, from: beyond, number: 2, given: 1 },
        Letter::Deliver {
            home: HOME,
            session: SESSION,
            delivery: ONCE,
            message: MESSAGE,
            live: Some((9_999, 1)),
        },
        Letter::Led { slot: SLOT, term: Term(1), given: Some([(beyond, 1)].into()), given_up: 0 },
        Letter::Pass { from: SLOT, session, delivery: ONCE, message: MESSAGE },
    ] {
        assert_eq!(refusal(letter), Error::Impossible("slot"));
    }
    let home = Home { shard: BOUNDS.shards, ..HOME };
    for letter in [
        Letter::Evict { home, session_ended: true },
        Letter::Hear { reply: ReplyTo { home, token: 1 }, passes_on: false },
        Letter::TakenOver { home: HOME, then: Some((ReplyTo { home, token: 1 }, Box::new(Answer::Done))) },
    ] {
        assert_eq!(refusal(letter), Error::Impossible("shard"));
    }
}

#[test]
fn a_call_is_for_the_slot_of_its_session() {
    let (epoch, reply) = (Epoch(1), REPLY);
    let filters = vec!["a".into()];
    let unsubscribe = SessionCall::Unsubscribe { session: ELSEWHERE, epoch, filters, reply };
    assert_eq!(refusal(call(unsubscribe)), Error::Impossible("Session"));
    let calls = letters().into_iter().filter_map(|letter| match letter {
        Letter::Session { call, .. } => Some(call),
        _ => None,
    });
    for found in calls {
        let is_named = matches!(found, SessionCall::Connect { .. } | SessionCall::Abandon { .. });
        let expected = if is_named { "name of a Session" } else { "Session" };
        let elsewhere = Letter::Session { slot: SlotId(2), call: found };
        assert_eq!(refusal(elsewhere), Error::Impossible(expected));
    }
}

#[test]
fn topic_filters_and_subscriptions_are_possible() {
    let fine = Subscription::plain(1);
    for filter in ["", "a#", "a/#/b", "$share/g", "é+"] {
        assert_eq!(refusal(subscribe(filter, fine, PLACE)), Error::Impossible("Topic Filter"), "{filter}");
        let unroute = encoded(&Op::Unroute { partition: 1, subscriber: SESSION, filter });
        assert_eq!(refusal_of(&unroute, outbox), Error::Impossible("Topic Filter"));
    }
    assert_eq!(refusal(subscribe("a", Subscription::plain(3), PLACE)), Error::Impossible("Subscription"));
    let beyond = Place { slot: BOUNDS.slots, partition: 1 };
    assert_eq!(refusal(subscribe("a", fine, beyond)), Error::Impossible("slot"));
}

#[test]
fn what_is_read_of_retained_messages_is_in_its_partition() {
    // Of another slot, of another partition, and cut short.
    for key in [&b"\0\x02\0\0\0\0\0\0\0\x08a"[..], b"\0\x01\0\0\0\0\0\0\0\x09a", b"\0\x01\0\0"] {
        let fields = [&FIELDS[17][..FIELDS[17].len() - 14], &[key.len() as u8], key].concat();
        assert_eq!(decode(sealed(1, &body(&[&fields]))), Err(Error::Impossible("place to read at")));
    }
    let filter_at = FIELDS[17].windows(4).position(|bytes| bytes == b"\x03a/+").unwrap();
    for filter in ["\u{e9}+", "$share/g/a", ""] {
        let (front, behind) = (&FIELDS[17][..filter_at], &FIELDS[17][filter_at + 4..]);
        let fields = [front, &[filter.len() as u8], filter.as_bytes(), behind].concat();
        assert_eq!(decode(sealed(1, &body(&[&fields]))), Err(Error::Impossible("place to read at")));
    }
}

#[test]
fn operations_are_such_as_slots_send_each_other() {
    for op in [
        Op::Inbox { from: 1, number: 1, op: &op() },
        Op::Due { at: 1, session: SESSION },
        Op::RootsBody { body: 1, bytes: 1 },
        Op::EnqueueBody { body: 1, bytes: 1, targets: &targets() },
    ] {
        let found = refusal_of(&encoded(&op), outbox);
        assert_eq!(found, Error::Impossible("operation of an outbox"), "{op:?}");
    }
    assert!(matches!(refusal_of(b"\xff", outbox), Error::Sealed(seals::Error::Record(_))));
}

#[test]
fn an_answer_is_one_that_a_connection_can_be_told() {
    for kind in [token::RELEASE, token::UNKNOWN] {
        let to = ReplyTo { token: kind | 1 << 16, ..REPLY };
        assert_eq!(refusal(Letter::Answer { to, answer: Answer::Done }), Error::Impossible("token"));
    }
    let begun = Answer::Begun(Begun { parts: u32::MAX, matched: true });
    let subscribed = Answer::Subscribed { more: 1 << 31, existed: Vec::new() };
    for answer in [begun, subscribed] {
        assert_eq!(refusal(Letter::Answer { to: REPLY, answer }), Error::Impossible("number of parts"));
    }
    let reason = b"\x10\t\x01\xfb,\x01\x04\x07\x07\x05";
    assert_eq!(decode(sealed(1, &body(&[reason]))), Err(Error::Impossible("Reason Code")));
}

#[test]
fn a_message_has_a_number_if_its_qos_does() {
    let home = HOME;
    let send = Letter::Send { home, seq: None, dup: false, delivery: ONCE, message: MESSAGE };
    assert_eq!(refusal(send), Error::Impossible("number for its QoS"));
    let release = b"\x0f\t\x01\xfb,\x01\x04\0";
    assert_eq!(decode(sealed(1, &body(&[release]))), Err(Error::Impossible("Packet Identifier")));
}

#[test]
fn a_connection_tells_of_itself_only() {
    for level in [Level::Absent, Level::Unheard, Level::Not, Level::Gone, Level::Denied] {
        let news = News::Level(level);
        let letter = Letter::Presence(Announcement { session: SESSION, epoch: Epoch(1), news });
        assert_eq!(refusal(letter), Error::Impossible("level of a member"));
    }
}

#[test]
fn an_empty_frame_is_no_letter() {
    let body = [&1_u32.to_le_bytes()[..], &framed(&framed(b"")), &framed(b"")].concat();
    assert_eq!(decode(sealed(1, &body)), Err(Error::Impossible("number")));
}
