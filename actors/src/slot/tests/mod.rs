//! A slot by itself: a record goes in, rows and effects come out.

mod giving;
mod leading;
mod messages;
mod partitions;
mod sessions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use convoy_ids::{Index, SlotId, Term};
use convoy_membership::Partitioning;
use convoy_storage::engine::{Engine, Family, Model};
use convoy_storage::record;
use convoy_wire::{PacketId, QoS, ReasonCode};

use super::*;
use crate::author::Author;
use crate::budget::Allowance;
use crate::call::{Answer, Farewell, ReplyTo};
use crate::chance::Secret;
use crate::message::Message;
use crate::options::Options;
use crate::session::{
    Delivery, Epoch, Grant, Home, Place, QueueLimits, SessionNumber, Subscription, SubscriptionRow, Target,
    Will, name_of,
};
use crate::topic::{Found, RouteRow};
use crate::unread::Unread;

const SLOT: SlotId = SlotId(1);

/// Another slot.
const OTHER: SlotId = SlotId(2);

/// A Session Expiry Interval.
const FOREVER: u32 = u32::MAX;

const NOW: Now = Now { monotonic: 1_000, wall: 1_700_000_000_000 };

/// What a slot has done outside of itself, a connection by its key.
#[derive(Debug, PartialEq)]
enum Effect {
    Told(u64, Answer),
    TakenOver(Option<u32>, u64, Answer),
    Closed(u32),
    Evicted(u32),
    BrokenOff(u32, ReasonCode),
    Released(u32, u16),
    ReleasedUnknown(u32, u16),
    /// To a Session that lives with its connection, with this payload.
    Delivered(u32, String),
    /// Under this identifier, perhaps again, with this payload.
    Sent(u32, Option<u16>, bool, String),
    Cast(usize, String),
    /// What comes next is this message, which came by the log.
    Live(SlotId, u64),
    /// Nothing of that outbox up to this number is given again.
    LiveEnds(u64),
    /// What `from` had in its outbox up to this number, and none up to that one again.
    Applied(SlotId, u64, u64),
    /// Connections of this node, so many times.
    GivenUp(u64, u64),
    Noted(Note),
    /// An operation for another slot, by its number and name.
    Emitted(SlotId, u64, &'static str),
    /// A copy of QoS 0 for a Session.
    Copied(SessionNumber, String),
}

#[derive(Default)]
struct Recorder {
    effects: Vec<Effect>,
    /// Connections that are too many for one piece.
    many: Option<usize>,
}

fn text(payload: &[u8]) -> String {
    String::from_utf8(payload.to_vec()).expect("a test publishes text")
}

impl Effects for Recorder {
    fn answer(&mut self, to: ReplyTo, answer: Answer) {
        self.effects.push(Effect::Told(to.token, answer));
    }

    fn take_over(&mut self, old: Option<Home>, to: ReplyTo, answer: Answer) {
        self.effects.push(Effect::TakenOver(old.map(|old| old.key), to.token, answer));
    }

    fn close_old(&mut self, old: Home) {
        self.effects.push(Effect::Closed(old.key));
    }

    fn evict(&mut self, home: Home, session_ended: bool) {
        assert!(session_ended);
        self.effects.push(Effect::Evicted(home.key));
    }

    fn break_off(&mut self, home: Home, reason: ReasonCode) {
        self.effects.push(Effect::BrokenOff(home.key, reason));
    }

    fn release(&mut self, home: Home, packet_id: PacketId) {
        self.effects.push(Effect::Released(home.key, packet_id.get()));
    }

    fn release_unknown(&mut self, home: Home, packet_id: PacketId) {
        self.effects.push(Effect::ReleasedUnknown(home.key, packet_id.get()));
    }

    fn begin_message(&mut self) {}

    fn begin_with(&mut self, _: &Bytes) {}

    fn whole(&mut self, message: &Message<'_>) -> Bytes {
        let mut bytes = Vec::new();
        message.encode_into(&mut bytes);
        bytes.into()
    }

    fn deliver(&mut self, home: Home, _: SessionNumber, _: &Delivery, message: &Message<'_>, _: Now) {
        self.effects.push(Effect::Delivered(home.key, text(message.payload)));
    }

    fn send(&mut self, home: Home, seq: Option<Seq>, dup: bool, _: &Delivery, message: &Message<'_>, _: Now) {
        let packet_id = seq.map(|seq| crate::session::packet_id(seq).get());
        self.effects.push(Effect::Sent(home.key, packet_id, dup, text(message.payload)));
    }

    fn is_cast(&self, _: &str, connections: usize) -> bool {
        self.many.is_some_and(|many| connections >= many)
    }

    fn cast(&mut self, _: &str, whole: Bytes, found: Vec<Found>, _: Leadership) {
        let message = Message::decode(&whole).expect("it was encoded");
        self.effects.push(Effect::Cast(found.len(), text(message.payload)));
    }

    fn begin_live(&mut self, live: Live) {
        assert_eq!(live.by.slot, SLOT);
        self.effects.push(Effect::Live(live.from, live.number));
    }

    fn end_live(&mut self, given: u64) {
        self.effects.push(Effect::LiveEnds(given));
    }

    fn outbox_applied(&mut self, from: SlotId, to: SlotId, number: u64, given: u64) {
        assert_eq!(to, SLOT);
        self.effects.push(Effect::Applied(from, number, given));
    }

    fn given_up(&mut self, slot: SlotId, node: u64, times: u64) {
        assert_eq!(slot, SLOT);
        self.effects.push(Effect::GivenUp(node, times));
    }

    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Noted(note));
    }
}

/// A slot with its rows.
struct Bench {
    engine: Arc<Model>,
    options: Options,
    slot: Slot,
    state: State,
    budget: Budget,
    roots: Roots,
    /// All of them.
    led: Led,
    index: u64,
    now: Now,
    recorder: Recorder,
    work: u64,
}

impl Bench {
    /// Its slot leads.
    fn new() -> Self {
        let partitioning = Partitioning { partitions: 4, partition_levels: 2 };
        let options =
            Options { min_free_bytes: 0, ..Options::alone(8, partitioning, Secret::from_number(7)) };
        Self::on(Arc::new(Model::new()), options, NOW, 0)
    }

    fn on(engine: Arc<Model>, options: Options, now: Now, index: u64) -> Self {
        let mut roots = Roots::new(7, [SLOT].into_iter(), 1);
        let mut budget = Budget::new(Allowance::default());
        let mut slot = Slot::recover(SLOT, &*engine, &options, &mut roots, &mut budget).unwrap();
        slot.lead();
        let mut led = Led::default();
        (0..options.slots).for_each(|slot| assert!(led.set(SlotId(slot), true)));
        let state = State::new(engine.clone(), Unread::new(usize::MAX));
        let recorder = Recorder::default();
        let mut bench =
            Self { engine, options, slot, state, budget, roots, led, index, now, recorder, work: 0 };
        bench.turn(|slot, turn| while slot.lead_on(turn).unwrap() {});
        bench
    }

    /// The same slot out of its rows.
    fn recovered(mut self) -> Self {
        self.write();
        Self::on(self.engine, self.options, self.now, self.index)
    }

    fn write(&mut self) {
        let batch = std::mem::take(self.state.batch());
        self.engine.write(&batch).unwrap();
        self.state = State::new(self.engine.clone(), Unread::new(usize::MAX));
    }

    /// One record with these operations, the first of which the connection `key` waits for; what it causes.
    fn apply(&mut self, key: u32, ops: &[Op<'_>]) -> Vec<Effect> {
        let mut reply = Some(ReplyTo { home: home(key), token: 7 });
        for op in ops {
            self.slot.pending.push(self.now.wall, op, reply.take());
        }
        self.apply_pending()
    }

    /// What waits for the log is applied.
    fn apply_pending(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(record) = self.slot.pending.take() {
            self.index += 1;
            let (term, index, bytes) = (Term(1), Index(self.index), record.bytes.clone());
            self.slot.underway.push(term, index, record);
            effects.extend(self.turn(|slot, turn| slot.apply(term, index, &bytes, turn).unwrap()));
        }
        self.write();
        effects
    }

    fn turn(&mut self, act: impl FnOnce(&mut Slot, &mut Turn<'_>)) -> Vec<Effect> {
        let mut emitted = VecDeque::new();
        let mut turn = Turn {
            now: self.now,
            state: &mut self.state,
            budget: &mut self.budget,
            effects: &mut self.recorder,
            work: &mut self.work,
            roots: &mut self.roots,
            led: &self.led,
            fan_out: &mut FanOut::default(),
            emitted: &mut emitted,
        };
        act(&mut self.slot, &mut turn);
        let mut effects = std::mem::take(&mut self.recorder.effects);
        effects.extend(emitted.into_iter().map(|emitted| match emitted {
            Emitted::Op { to, number, op, .. } => Effect::Emitted(to, number, name(&op)),
            Emitted::Message { to, number, .. } => Effect::Emitted(to, number, "EnqueueBody"),
            Emitted::Copy { session, message, .. } => {
                let message = Message::decode(&message).expect("it was encoded");
                Effect::Copied(session, text(message.payload))
            }
        }));
        effects
    }

    /// CONNECT of a Client: its Session and epoch, which must be granted.
    fn connect(&mut self, key: u32, client_id: &str, expiry_seconds: u32) -> Grant {
        let name = name_of("", client_id);
        let op = connect(&name, key, expiry_seconds, None);
        match self.apply(key, &[op]).pop() {
            Some(Effect::TakenOver(_, 7, Answer::Granted(grant))) => grant,
            other => panic!("{client_id} was not granted its Session: {other:?}"),
        }
    }

    /// CONNACK was written: what waits goes out.
    fn ready(&mut self, key: u32, grant: &Grant) -> Vec<Effect> {
        let (session, epoch) = (grant.session, grant.epoch);
        self.turn(|slot, turn| slot.ready(session, epoch, home(key), 10, turn).unwrap())
    }

    /// The connection of a grant ends.
    fn leave(&mut self, grant: &Grant, farewell: Farewell) -> Vec<Effect> {
        let (session, epoch) = (grant.session, grant.epoch);
        let sent = self.slot.sent(session);
        self.apply(0, &[Op::Disconnect { session, epoch, farewell, expiry_seconds: None, sent }])
    }

    /// A message is queued for a Session.
    fn enqueue(&mut self, session: SessionNumber, qos: QoS, payload: &str) -> Vec<Effect> {
        let message = message("t", payload, qos);
        let targets = targets(&[(session, qos)]);
        self.apply(0, &[Op::Enqueue { message: &message, targets: &targets }])
    }

    /// All rows.
    fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        for family in [Family::Session, Family::Queue, Family::Retained] {
            let visit = &mut |key: &[u8], value: &[u8]| {
                rows.insert(key.to_vec(), value.to_vec());
                std::ops::ControlFlow::Continue(())
            };
            self.engine.scan(family, &[], &[0xff; 32], visit).unwrap();
        }
        rows
    }

    fn has(&self, key: &[u8]) -> bool {
        self.rows().contains_key(key)
    }
}

/// Whoever waited for the operation is told that it was done.
fn done() -> Effect {
    Effect::Told(7, Answer::Done)
}

fn home(key: u32) -> Home {
    Home { node: 1, shard: 0, key, serial: u64::from(key) }
}

fn connect(name: &[u8], key: u32, expiry_seconds: u32, will: Option<Will>) -> Op<'_> {
    Op::Connect {
        name,
        clean_start: false,
        owner: "",
        binds: false,
        expiry_seconds,
        home: home(key),
        limits: QueueLimits { messages: 100, bytes: 1 << 20, age: 3_600_000 },
        will,
        sent: 0,
        yields: false,
    }
}

/// A Will of this topic, whose partition is in another slot.
fn will(payload: &str, delay_seconds: u32) -> Option<Will> {
    Some(Will {
        place: Place { slot: OTHER.0, partition: 3 },
        message: message("will", payload, QoS::AtLeastOnce),
        expiry_seconds: None,
        delay_seconds,
        author: Author { client_id: "a".into(), user: None, address: 0, listener: "test".into() },
    })
}

fn message(topic: &str, payload: &str, qos: QoS) -> Vec<u8> {
    encoded(topic, payload, qos, false)
}

fn encoded(topic: &str, payload: &str, qos: QoS, retain: bool) -> Vec<u8> {
    let message = Message {
        topic,
        properties: &[],
        payload: payload.as_bytes(),
        qos,
        retain,
        published_at: NOW.wall,
        expires_at: None,
        publisher: SessionNumber(0),
        user: User::NOBODY,
        author: &[],
    };
    let mut bytes = Vec::new();
    message.encode_into(&mut bytes);
    bytes
}

fn targets(of: &[(SessionNumber, QoS)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(session, qos) in of {
        Target { session, delivery: Delivery::new(qos, false, 0) }.push(&mut bytes);
    }
    bytes
}

/// The name of an encoded operation.
fn name(op: &[u8]) -> &'static str {
    match record::decode::<Op<'_>>(op).expect("it was encoded") {
        Op::Publish { .. } => "Publish",
        Op::Enqueue { .. } => "Enqueue",
        Op::Route { .. } => "Route",
        Op::Unroute { .. } => "Unroute",
        Op::Roots { .. } => "Roots",
        Op::Will { .. } => "Will",
        other => panic!("{other:?} does not go from slot to slot"),
    }
}
