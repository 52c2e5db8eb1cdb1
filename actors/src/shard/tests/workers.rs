//! Workers that share a subscription, and come and go by chance: what was acknowledged to its publisher reaches one of
//! them, whatever happens in between (MQTT 5.0, 4.8.2).

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// SplitMix64: a seed makes one run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[derive(Clone, Copy)]
struct Story {
    /// Workers whose Sessions end with their connections, beside three that last.
    passing: usize,
    restarts: bool,
    qos: QoS,
    filter: &'static str,
}

struct Run {
    world: World,
    chance: Chance,
    story: Story,
    publisher: Client,
    workers: Vec<(String, Option<Client>)>,
    /// Identifiers of messages that wait for their acknowledgement, with their payloads.
    asked: BTreeMap<u16, String>,
    sent: usize,
    acknowledged: BTreeSet<String>,
    /// How often a message came, without those that were marked as sent again.
    came: BTreeMap<String, usize>,
}

impl Run {
    fn new(story: Story, seed: u64) -> Self {
        let mut world = World::new();
        let publisher = world.connect(lasting("publisher"));
        let mut run = Self {
            world,
            chance: Chance(seed),
            story,
            publisher,
            workers: (0..3 + story.passing).map(|worker| (format!("worker-{worker}"), None)).collect(),
            asked: BTreeMap::new(),
            sent: 0,
            acknowledged: BTreeSet::new(),
            came: BTreeMap::new(),
        };
        for worker in 0..3 {
            run.arrive(worker);
            let client = run.workers[worker].1.expect("it has arrived");
            run.world.subscribe(client, story.filter, SubscriptionOptions::new(QoS::ExactlyOnce));
        }
        run
    }

    fn arrive(&mut self, worker: usize) {
        let name = self.workers[worker].0.clone();
        let connect = if worker < 3 { lasting(&name) } else { passing(&name) };
        let receive_maximum = std::num::NonZeroU16::new(1 + self.chance.below(4) as u16);
        let properties = ConnectProperties { receive_maximum, ..connect.properties };
        let client = self.world.connect(Connect { properties, ..connect });
        self.workers[worker].1 = Some(client);
        if worker >= 3 {
            self.world.subscribe(client, self.story.filter, SubscriptionOptions::new(QoS::ExactlyOnce));
        }
    }

    fn leave(&mut self, worker: usize) {
        if let Some(client) = self.workers[worker].1.take() {
            self.hear(client, 0);
            match self.chance.below(2) {
                0 => self.world.cut(client),
                _ => self.world.send(client, goodbye()),
            }
        }
    }

    fn publish(&mut self) {
        let (packet_id, payload) = (1 + self.sent as u16, self.sent.to_string());
        self.sent += 1;
        let message = Publish { qos: self.story.qos, ..publish("x/y", &payload, packet_id) };
        self.world.send(self.publisher, Packet::Publish(message));
        self.asked.insert(packet_id, payload);
    }

    fn hear_publisher(&mut self) {
        for got in self.world.got(self.publisher) {
            match got {
                Got::Puback(id, ReasonCode::Success) => {
                    self.acknowledged.extend(self.asked.remove(&id));
                }
                Got::Pubrec(id, ReasonCode::Success) => {
                    self.acknowledged.extend(self.asked.remove(&id));
                    self.world.send(self.publisher, pubrel(id));
                }
                Got::Pubcomp(..) => {}
                got => panic!("{got:?}"),
            }
        }
    }

    /// What a worker got; of it `of_four` quarters are acknowledged.
    fn hear(&mut self, client: Client, of_four: usize) {
        for got in self.world.got(client) {
            let answers = self.chance.below(4) < of_four;
            match got {
                Got::Publish(received) => {
                    *self.came.entry(received.payload).or_default() += usize::from(!received.dup);
                    if answers {
                        let answer = if received.qos == 2 { pubrec } else { puback };
                        self.world.send(client, answer(received.packet_id));
                    }
                }
                Got::Pubrel(id) => self.world.send(client, pubcomp(id)),
                got => panic!("{got:?}"),
            }
        }
    }

    fn restart(&mut self) {
        match self.chance.below(2) {
            0 => self.world.restart(),
            _ => self.world.power_cut(),
        }
        self.workers.iter_mut().for_each(|(_, client)| *client = None);
        // What was not acknowledged may be lost, and is not asked for again.
        self.asked.clear();
        self.publisher = self.world.connect(lasting("publisher"));
        self.hear_publisher();
    }

    fn go(mut self) -> Self {
        for _ in 0..120 {
            let worker = self.chance.below(self.workers.len());
            match self.chance.below(12) {
                0 if self.workers[worker].1.is_none() => self.arrive(worker),
                1 | 2 => self.leave(worker),
                3 if self.story.restarts && self.chance.below(4) == 0 => self.restart(),
                4..=7 => self.publish(),
                8 => self.world.settle(),
                9 => self.world.pass(200),
                _ => {
                    if let Some(client) = self.workers[worker].1 {
                        self.hear(client, 3);
                    }
                }
            }
            self.world.flow();
            self.hear_publisher();
        }
        // The passing ones go first: what they leave is for those who stay.
        for worker in (0..self.workers.len()).rev() {
            self.leave(worker);
            self.world.settle();
        }
        for worker in 0..3 {
            self.arrive(worker);
        }
        for _ in 0..400 {
            self.world.pass(200);
            self.hear_publisher();
            for worker in 0..3 {
                let client = self.workers[worker].1.expect("it has arrived");
                self.hear(client, 4);
            }
        }
        self
    }
}

fn stories() -> impl Iterator<Item = (Story, u64)> {
    let seeds = 0..25;
    [QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .flat_map(|qos| ["$share/g/x/y", "$share/g/#"].map(|filter| (qos, filter)))
        .flat_map(|(qos, filter)| {
            // A crash takes what Sessions held that end with their connections, and so does the end of one at QoS 2.
            let passing = if qos == QoS::AtLeastOnce { 2 } else { 0 };
            [(passing, false), (0, true)].map(|(passing, restarts)| Story { passing, restarts, qos, filter })
        })
        .flat_map(move |story| seeds.clone().map(move |seed| (story, seed)))
}

#[test]
fn what_was_acknowledged_reaches_a_worker() {
    for (story, seed) in stories() {
        let run = Run::new(story, seed).go();
        let Story { passing, restarts, qos, filter } = story;
        let of = format!("seed {seed}, {passing} passing, restarts {restarts}, {qos:?}, {filter}");
        assert!(run.acknowledged.len() > 10, "{of}: {} acknowledged", run.acknowledged.len());
        let lost: Vec<_> =
            run.acknowledged.iter().filter(|payload| !run.came.contains_key(*payload)).collect();
        assert!(lost.is_empty(), "{of}: lost {lost:?}");
        if qos == QoS::ExactlyOnce {
            let twice: Vec<_> = run.came.iter().filter(|(_, times)| **times > 1).collect();
            assert!(twice.is_empty(), "{of}: more than once {twice:?}");
        }
    }
}
