//! Replicas are the same. A node applies records for days in one piece; another one is started again after each. Both come
//! to the same rows, byte for byte, those of outboxes among them, and to those of the leader, which has connections besides
//! and decides.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use convoy_storage::engine::Family;
use convoy_storage::replica::Committed;
use convoy_wire::{TopicName, Will, WillProperties};

use super::*;
use crate::query::Query;
use crate::session::QueueLimits;
use crate::slot::Op;

type Rows = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

const FAMILIES: [Family; 4] = [Family::Session, Family::Queue, Family::Retained, Family::Archive];

fn rows(engine: &Model) -> Rows {
    let mut rows = Rows::new();
    for family in FAMILIES {
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.insert((family, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        };
        engine.scan(family, &[], &[0xff; 32], visit).unwrap();
    }
    rows
}

/// A replica that follows: it gets records and nothing else.
struct Twin {
    engine: Arc<Model>,
    shard: Shard,
    options: Options,
    /// It is started again after each record.
    restarts: bool,
}

impl Twin {
    fn new(options: &Options, restarts: bool) -> Self {
        let engine = Arc::new(Model::new());
        let shard = open(first(), &engine, 1, options, &Arc::default(), 1).remove(0);
        Self { engine, shard, options: options.clone(), restarts }
    }

    fn apply(&mut self, now: Now, record: &Committed) {
        self.shard.apply(now, record);
        let slot = self.shard.slots.get(record.slot).expect("one shard has every slot");
        assert_eq!(slot.failure, None);
        assert!(!slot.leading);
        // Its log has none of the records: what it says of them is nobody's.
        self.shard.applied.clear();
        self.shard.write_state(now, u64::MAX);
        let mut batch = Batch::new();
        batch.delete_range(Family::Log, &[], &[0xff; 4]);
        self.engine.write(&batch).unwrap();
        if self.restarts {
            self.engine = Arc::new(self.engine.restart());
            self.shard = open(first(), &self.engine, 1, &self.options, &Arc::default(), 1).remove(0);
        }
    }
}

/// A random history. The same seed makes the same one.
struct Story {
    world: World,
    state: u64,
    /// Client Identifier -> its connection.
    clients: BTreeMap<usize, Client>,
    packet_ids: u16,
    shares: bool,
    twins: [Twin; 2],
    applied: usize,
    seen: BTreeSet<&'static str>,
}

const NAMES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];
const FILTERS: [&str; 8] = ["a/b", "a/+", "#", "+/b", "$share/g/a/#", "$share/g/+/b", "$share/h/r/#", "r/#"];
const SHARED_FILTERS: [&str; 3] = ["$share/g/a/#", "$share/g/+/b", "a/b"];
const TOPICS: [&str; 5] = ["a/b", "a/c", "r/x", "x/b", "r/y"];

impl Story {
    fn new(seed: u64) -> Self {
        let queue = QueueLimits { messages: 4, bytes: 4096, age: HOUR };
        let world = World::with(Limits { queue, ..Limits::default() });
        let twins = [false, true].map(|restarts| Twin::new(&world.options, restarts));
        let (clients, seen) = (BTreeMap::new(), BTreeSet::new());
        Self { world, state: seed, clients, packet_ids: 0, shares: seed % 2 == 1, twins, applied: 0, seen }
    }

    fn below(&mut self, end: u64) -> u64 {
        // Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn step(&mut self) {
        let name = self.below(NAMES.len() as u64) as usize;
        match self.below(14) {
            0 | 1 => self.connect(name),
            2 | 3 => self.subscribe(name),
            4 => {
                let filter = self.pick(&FILTERS);
                if let Some(client) = self.client(name) {
                    self.world.unsubscribe(client, &[filter]);
                }
            }
            5..=8 => self.publish(name),
            9 | 10 => self.answer(name),
            11 => {
                let says_goodbye = self.one_in(2);
                if let Some(client) = self.client(name) {
                    match says_goodbye {
                        true => self.world.send_and_settle(client, goodbye()),
                        false => self.world.cut_and_settle(client),
                    }
                }
            }
            12 => {
                let millis = 50 + self.below(3_000);
                self.world.pass(millis);
            }
            _ if self.one_in(3) => self.restart(),
            _ => {
                let client_id = NAMES[name].to_owned();
                let query = match self.below(3) {
                    0 => Query::EndSession { client_id },
                    1 => Query::Kick { client_id },
                    _ => Query::DeleteRetained { topic: self.pick(&TOPICS).into() },
                };
                self.world.shards[0].query(self.world.now, 1, query);
                self.world.settle();
                self.world.shards[0].take_answers();
            }
        }
        self.follow();
    }

    /// The connection of this Client, if it has one.
    fn client(&self, name: usize) -> Option<Client> {
        self.clients.get(&name).copied().filter(|client| self.world.lines[client.0].key.is_some())
    }

    fn connect(&mut self, name: usize) {
        let mut connect = if self.one_in(3) { passing(NAMES[name]) } else { lasting(NAMES[name]) };
        if self.one_in(5) {
            connect.clean_start = true;
        }
        if self.one_in(4) && !connect.clean_start {
            connect.properties.session_expiry_interval = Some(2);
        }
        if self.one_in(3) {
            let delay = self.one_in(2).then_some(1);
            connect.will = Some(Will {
                topic: TopicName::new(self.pick(&TOPICS)).unwrap(),
                payload: b"will",
                qos: QoS::AtLeastOnce,
                retain: self.one_in(3),
                properties: WillProperties { will_delay_interval: delay, ..WillProperties::default() },
            });
        }
        let client = self.world.join(connect);
        self.clients.insert(name, client);
    }

    fn subscribe(&mut self, name: usize) {
        // Every second story is one of Shared Subscriptions.
        let filters = if self.shares { &SHARED_FILTERS[..] } else { &FILTERS[..] };
        let (filter, qos) =
            (self.pick(filters), self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]));
        let identifier = self.one_in(3).then_some(7);
        let very_many = self.one_in(25);
        if let Some(client) = self.client(name) {
            if very_many {
                // More than one record takes away.
                let filter = |number: u32| match number % 2 {
                    0 => format!("m{number}/+"),
                    _ => format!("+/m{number}"),
                };
                let filters: Vec<_> = (0..600).map(filter).collect();
                self.world.subscribe_all(client, &filters.iter().map(String::as_str).collect::<Vec<_>>());
            }
            self.world.subscribe_by(client, filter, SubscriptionOptions::new(qos), identifier);
        }
    }

    fn publish(&mut self, name: usize) {
        self.packet_ids = self.packet_ids % 60_000 + 1;
        let qos = self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { self.packet_ids };
        let (topic, retain) = (self.pick(&TOPICS), self.one_in(4));
        let payload = match self.below(8) {
            0 => String::new(),
            1 => "x".repeat(300_000),
            _ => format!("payload {}", self.packet_ids),
        };
        let mut packet = Publish { qos, retain, ..publish(topic, &payload, packet_id) };
        if self.one_in(5) {
            packet.properties.message_expiry_interval = Some(1);
        }
        if let Some(client) = self.client(name) {
            self.world.publish(client, packet);
        }
    }

    /// Says what the Client owes, and now and then not all of it.
    fn answer(&mut self, name: usize) {
        let Some(client) = self.client(name) else { return };
        for got in self.world.got(client) {
            if self.client(name).is_none() || self.one_in(5) {
                return;
            }
            match got {
                Got::Publish(received) if received.qos == 1 => {
                    self.world.send(client, puback(received.packet_id))
                }
                Got::Publish(received) if received.qos == 2 => {
                    self.world.send(client, pubrec(received.packet_id))
                }
                Got::Pubrec(packet_id, _) => self.world.send(client, pubrel(packet_id)),
                Got::Pubrel(packet_id) => self.world.send(client, pubcomp(packet_id)),
                _ => {}
            }
        }
        self.world.settle();
    }

    fn restart(&mut self) {
        self.follow();
        self.world.restart();
        self.applied = 0;
        self.clients.clear();
    }

    /// The twins apply what was committed meanwhile.
    fn follow(&mut self) {
        let records = self.world.shards[0].tape[self.applied..].to_vec();
        self.applied += records.len();
        for record in &records {
            let [whole, parts] = &mut self.twins;
            whole.apply(self.world.now, record);
            parts.apply(self.world.now, record);
            let kinds = kinds(record);
            assert_same(&rows(&whole.engine), &rows(&parts.engine), &format!("after {kinds:?}"));
            self.seen.extend(kinds);
        }
        if self.world.shards[0].state.is_empty() {
            assert_same(&rows(&self.twins[0].engine), &rows(&self.world.engine), "as the leader's");
        }
    }
}

fn assert_same(one: &Rows, other: &Rows, when: &str) {
    let differs = |key: &&(Family, Vec<u8>)| one.get(key) != other.get(key);
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).filter(differs).collect();
    if let Some((family, key)) = keys.first() {
        let key = (*family, key.clone());
        let (number, name) = (keys.len(), key.1.escape_ascii());
        panic!(
            "{number} rows differ {when}; {family:?} {name}: {:02x?} and {:02x?}",
            one.get(&key),
            other.get(&key)
        );
    }
}

fn kinds(record: &Committed) -> Vec<&'static str> {
    if record.data.is_empty() {
        return Vec::new();
    }
    let (_, ops) = crate::slot::open_record(&record.data).unwrap();
    crate::slot::ops_of(ops).map(|op| kind(&op.unwrap())).collect()
}

fn kind(op: &Op<'_>) -> &'static str {
    match op {
        Op::Connect { .. } => "Connect",
        Op::Disconnect { .. } => "Disconnect",
        Op::Subscribe { .. } => "Subscribe",
        Op::Unsubscribe { .. } => "Unsubscribe",
        Op::Enqueue { .. } => "Enqueue",
        Op::Finished { .. } => "Finished",
        Op::Received { .. } => "Received",
        Op::Accept { .. } => "Accept",
        Op::Release { .. } => "Release",
        Op::Route { .. } => "Route",
        Op::Unroute { .. } => "Unroute",
        Op::Publish { .. } => "Publish",
        Op::Redispatch { .. } => "Redispatch",
        Op::Retain { .. } => "Retain",
        Op::Expire { .. } => "Expire",
        Op::Inbox { op, .. } | Op::Live { op, .. } => kind(&convoy_storage::record::decode(op).unwrap()),
        Op::Trim { .. } => "Trim",
        Op::Due { .. } => "Due",
        Op::End { .. } => "End",
        Op::Will { .. } => "Will",
        Op::InLine { .. } => "InLine",
        Op::EndOn { .. } => "EndOn",
        Op::EnqueueBody { .. } => "EnqueueBody",
        Op::Roots { .. } => "Roots",
        Op::RootsBody { .. } => "RootsBody",
        Op::Given { .. } => "Given",
        Op::GivenUp { .. } => "GivenUp",
    }
}

/// All that a record can hold. A Will is made a `Publish` by who leads, `EnqueueBody` an `Enqueue`, and `RootsBody` a `Roots`.
const KINDS: [&str; 21] = [
    "Accept",
    "Connect",
    "Disconnect",
    "Due",
    "End",
    "EndOn",
    "Enqueue",
    "Expire",
    "Finished",
    "InLine",
    "Publish",
    "Received",
    "Redispatch",
    "Release",
    "Retain",
    "Roots",
    "Route",
    "Subscribe",
    "Trim",
    "Unroute",
    "Unsubscribe",
];

#[test]
fn replicas_come_to_the_same_rows_however_often_they_start() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let mut story = Story::new(seed);
        for _ in 0..150 {
            story.step();
        }
        seen.extend(story.seen);
    }
    assert_eq!(Vec::from_iter(seen), KINDS);
}
