//! Nodes are cut off, die and start again, frames between them are lost, doubled, late, damaged and out of order, and Clients
//! move: whatever was acknowledged arrives, in its order, and when it is over everybody is served.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::fleet::{Fleet, FrameWeather, client_of, topic_of};
use super::*;
use crate::options::Without;

/// Steps of 100 ms with faults, and as many without as everything may take to heal.
const STEPS: u64 = 300;
const HEALING: u64 = 200;

/// Steps in which a message that was acknowledged has come to a subscriber without a queue, or its connection has ended.
const SOON: u64 = 30;

#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Loses, doubles, damages and reorders.
fn storm(mut dice: Dice) -> FrameWeather {
    let mut late = Vec::new();
    Box::new(move |frames| {
        let mut arrive = Vec::new();
        let copy = |(from, parcel): &(usize, Parcel)| {
            let Parcel { to, shard, bytes } = parcel;
            (*from, Parcel { to: *to, shard: *shard, bytes: bytes.clone() })
        };
        for mut frame in frames {
            match dice.below(12) {
                0 => {}
                1 => arrive.extend([copy(&frame), frame]),
                2 => arrive.insert(0, frame),
                3 => late.push(frame),
                4 => {
                    let at = dice.below(frame.1.bytes.len() as u64) as usize;
                    frame.1.bytes[at] ^= 0x10;
                    arrive.push(frame);
                }
                _ => arrive.push(frame),
            }
        }
        if !late.is_empty() && dice.below(4) == 0 {
            arrive.append(&mut late);
        }
        arrive
    })
}

/// A Client that comes back whenever its connection ends, to whichever node.
struct Person {
    name: String,
    is_lasting: bool,
    line: Option<(usize, Client)>,
    is_welcome: bool,
}

impl Person {
    fn new(name: String, is_lasting: bool) -> Self {
        Self { name, is_lasting, line: None, is_welcome: false }
    }

    fn come(&mut self, at: usize, fleet: &mut Fleet) {
        let connect = if self.is_lasting { lasting(&self.name) } else { passing(&self.name) };
        self.line = Some((at, fleet.nodes[at].ask(connect)));
        self.is_welcome = false;
    }

    /// What it got of use.
    fn hear(&mut self, fleet: &mut Fleet) -> Vec<Got> {
        let Some((at, client)) = self.line else { return Vec::new() };
        let mut got = fleet.got(at, client);
        self.is_welcome |= got.iter().any(|got| matches!(got, Got::Connack(ReasonCode::Success, _)));
        got.retain(|got| !matches!(got, Got::Connack(..) | Got::Disconnect(_) | Got::Closed));
        if !fleet.is_connected(at, client) {
            self.line = None;
            self.is_welcome = false;
        }
        got
    }

    fn say(&self, fleet: &mut Fleet, packet: Packet<'_>) {
        if let Some((at, client)) = self.line
            && fleet.is_connected(at, client)
        {
            fleet.nodes[at].send(client, packet);
        }
    }
}

struct Writer {
    of: usize,
    person: Person,
    topic: String,
    /// The last message that was published.
    last: u16,
    unacknowledged: VecDeque<u16>,
    /// In which step messages were acknowledged.
    acknowledged: BTreeMap<u16, u64>,
}

struct Reader {
    person: Person,
    is_subscribed: bool,
    /// Of each writer, in the order in which they came first, in this connection of one whose Session ends with it.
    seen: [Vec<u16>; 3],
    /// Of each writer, what it had published when this one had subscribed.
    since: [u16; 3],
}

struct Story {
    seed: u64,
    fleet: Fleet,
    dice: Dice,
    step: u64,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    /// The node that is cut off.
    cut: Option<usize>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut fleet = Fleet::new(Without::Nothing);
        let writer = |of: usize| Writer {
            of,
            person: Person::new(client_of(of, "writer"), false),
            topic: topic_of((of + 1) % 3, "s"),
            last: 0,
            unacknowledged: VecDeque::new(),
            acknowledged: BTreeMap::new(),
        };
        let reader = |of: usize| Reader {
            person: match of < 3 {
                true => Person::new(client_of(of, "reader"), true),
                false => Person::new(client_of(of % 3, "watcher"), false),
            },
            is_subscribed: false,
            seen: Default::default(),
            since: [0; 3],
        };
        let (writers, readers) = ((0..3).map(writer).collect(), (0..6).map(reader).collect());
        fleet.settle();
        let mut story = Self { seed, fleet, dice: Dice(seed), step: 0, writers, readers, cut: None };
        for _ in 0..5 {
            story.go_on(false);
        }
        assert!(story.readers.iter().all(|reader| reader.is_subscribed));
        story
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.dice.below(one_in) == 0
    }

    fn any_node(&mut self) -> usize {
        self.dice.below(3) as usize
    }

    /// At most one node is away, or all slots wait.
    fn faults(&mut self) {
        if let Some(at) = self.cut {
            if self.chance(25) {
                self.fleet.cut.remove(&at);
                self.cut = None;
            }
        } else if self.chance(40) {
            let at = self.any_node();
            self.fleet.cut.insert(at);
            self.cut = Some(at);
        } else if self.chance(60) {
            let (at, keep) = (self.any_node(), [0, 1, usize::MAX][self.dice.below(3) as usize]);
            self.fleet.nodes[at].start_again(|engine| engine.crash(keep));
        }
        if self.chance(30) {
            let (from, to) = (self.any_node(), self.any_node());
            self.fleet.lost.insert((from, to));
        } else if self.chance(8) {
            self.fleet.lost.clear();
        }
        if self.chance(40) {
            self.fleet.frame_weather = match self.chance(2) {
                true => storm(self.dice.clone()),
                false => Box::new(|frames| frames),
            };
        }
    }

    fn go_on(&mut self, with_faults: bool) {
        self.step += 1;
        if with_faults {
            self.faults();
        }
        let Self { fleet, dice, writers, .. } = self;
        for writer in writers.iter_mut() {
            if writer.person.line.is_none() {
                writer.person.come(dice.below(3) as usize, fleet);
            } else if writer.person.is_welcome && writer.unacknowledged.len() < 2 && with_faults {
                writer.last += 1;
                writer.unacknowledged.push_back(writer.last);
                writer.publish(writer.last, fleet);
            }
        }
        for reader in &mut self.readers {
            if reader.person.line.is_none() || with_faults && dice.below(60) == 0 {
                reader.person.come(dice.below(3) as usize, fleet);
                reader.begin();
            }
        }
        self.fleet.pass(100);
        self.writers.iter_mut().for_each(|writer| writer.hear(self.step, &mut self.fleet));
        for at in 0..self.readers.len() {
            self.hear_reader(at);
        }
        self.judge_watchers();
    }

    fn hear_reader(&mut self, at: usize) {
        let (seed, step) = (self.seed, self.step);
        let (reader, fleet) = (&mut self.readers[at], &mut self.fleet);
        let was_welcome = reader.person.is_welcome;
        let got = reader.person.hear(fleet);
        if reader.person.is_welcome && !was_welcome && !reader.is_subscribed {
            let options = SubscriptionOptions::new(QoS::AtLeastOnce);
            let subscriptions = [Subscription { filter: TopicFilter::new("+/t").unwrap(), options }];
            let subscriptions = List::new(&subscriptions);
            let subscribe = Subscribe { packet_id: id(77), properties: Default::default(), subscriptions };
            reader.person.say(fleet, Packet::Subscribe(subscribe));
        }
        for got in got {
            match got {
                Got::Suback(_, reasons) => {
                    let name = &reader.person.name;
                    assert_eq!(reasons, [ReasonCode::GrantedQoS1], "seed {seed} step {step}: {name}");
                    reader.is_subscribed = true;
                    reader.since = [0, 1, 2].map(|of: usize| self.writers[of].last);
                }
                Got::Publish(received) => {
                    let (writer, number) = received.payload.split_once('-').expect("a writer wrote it");
                    let (writer, number): (usize, u16) = (writer.parse().unwrap(), number.parse().unwrap());
                    let seen = &mut reader.seen[writer];
                    let is_new = !seen.contains(&number);
                    // It may have come between two messages that are sent again.
                    let is_early = !reader.is_subscribed || number <= reader.since[writer];
                    let is_behind = is_early || seen.last().is_none_or(|last| *last < number);
                    let name = &reader.person.name;
                    assert!(
                        !is_new || is_behind,
                        "seed {seed} step {step}: {name} got {number} behind {seen:?}"
                    );
                    if is_new {
                        seen.push(number);
                    }
                    if received.qos == 1 {
                        reader.person.say(fleet, puback(received.packet_id));
                    }
                }
                _ => {}
            }
        }
        if reader.person.line.is_none() {
            reader.begin();
        }
    }

    /// Whoever is connected has what was acknowledged since it had subscribed.
    fn judge_watchers(&self) {
        let (seed, step) = (self.seed, self.step);
        let watchers = self.readers.iter().filter(|reader| !reader.person.is_lasting && reader.is_subscribed);
        for watcher in watchers {
            for (of, writer) in self.writers.iter().enumerate() {
                let due = writer.acknowledged.range(watcher.since[of] + 1..);
                let mut due = due.filter(|(_, at)| **at + SOON <= step);
                let missing = due.find(|(number, _)| !watcher.seen[of].contains(number));
                let name = &watcher.person.name;
                assert_eq!(missing, None, "seed {seed} step {step}: {name} misses a message of {of}");
            }
        }
    }

    fn run(seed: u64) {
        let mut story = Self::new(seed);
        (0..STEPS).for_each(|_| story.go_on(true));
        story.fleet.cut.clear();
        story.fleet.lost.clear();
        story.fleet.frame_weather = Box::new(|frames| frames);
        (0..HEALING).for_each(|_| story.go_on(false));
        assert_eq!(story.fleet.ready(), [0, 1, 2], "seed {seed}");
        for writer in &story.writers {
            assert!(writer.unacknowledged.is_empty() && writer.last > 5, "seed {seed}: {}", writer.last);
        }
        for reader in &story.readers {
            let name = &reader.person.name;
            assert!(reader.person.is_welcome && reader.is_subscribed, "seed {seed}: {name}");
            for (of, seen) in reader.seen.iter().enumerate().filter(|_| reader.person.is_lasting) {
                let all: BTreeSet<u16> = (1..=story.writers[of].last).collect();
                let missing: Vec<_> = all.difference(&seen.iter().copied().collect()).copied().collect();
                assert_eq!(missing, [], "seed {seed}: {name} misses messages of {of}");
            }
        }
        assert_eq!(story.fleet.nodes[0].shards[0].outlet.unreached.len(), 0);
    }
}

impl Reader {
    /// What a connection finds that begins.
    fn begin(&mut self) {
        if !self.person.is_lasting {
            self.is_subscribed = false;
            self.seen = Default::default();
        }
    }
}

impl Writer {
    fn publish(&self, number: u16, fleet: &mut Fleet) {
        let payload = format!("{}-{number}", self.of);
        self.person.say(fleet, Packet::Publish(publish(&self.topic, &payload, number)));
    }

    fn hear(&mut self, step: u64, fleet: &mut Fleet) {
        let was_welcome = self.person.is_welcome;
        for got in self.person.hear(fleet) {
            match got {
                Got::Puback(number, ReasonCode::Success) => {
                    self.unacknowledged.retain(|of| *of != number);
                    self.acknowledged.insert(number, step);
                }
                got => panic!("{got:?}"),
            }
        }
        if self.person.is_welcome && !was_welcome {
            // In their order, before anything new.
            self.unacknowledged.iter().for_each(|number| self.publish(*number, fleet));
        }
    }
}

#[test]
fn what_was_acknowledged_arrives_in_its_order_whatever_becomes_of_nodes_and_frames() {
    (3..7).for_each(Story::run);
}
