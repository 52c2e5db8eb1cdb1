//! Orders of events that are known to be dangerous where the leader of a partition (P), the leader of a Session's slot (S) and
//! the node of a connection (N) are three nodes: what one hears of another, and when, is told step by step.

mod copies;
mod leaders;
mod links;
mod outboxes;
mod routes;
mod wills;

use std::collections::BTreeSet;

use super::fleet::{Fleet, client_of, node, slot_of_client, slot_of_topic, topic_of};
use super::*;
use crate::options::Without;

/// The leader of the partition, the leader of the Session's slot, the node of the connection.
const P: usize = 0;
const S: usize = 1;
const N: usize = 2;

const TAKEN: [Got; 1] = [Got::Puback(7, ReasonCode::Success)];

/// A fleet, and what its nodes hear of each other.
struct Stage {
    fleet: Fleet,
    /// From whom to whom nothing arrives.
    cut: BTreeSet<(usize, usize)>,
    /// From whom to whom nothing arrives that replicas say.
    mute: BTreeSet<(usize, usize)>,
    /// Slots whose replicas do not hear each other.
    silent: BTreeSet<SlotId>,
    /// From whom to whom what shards say is held back.
    held: BTreeSet<(usize, usize)>,
    late: Vec<(usize, Parcel)>,
    /// A node whose clock stands still at one in so many steps.
    lags: Option<(usize, u64)>,
    steps: u64,
}

/// Both ways between two nodes.
fn between(one: usize, other: usize) -> [(usize, usize); 2] {
    [(one, other), (other, one)]
}

impl Stage {
    fn new(without: Without) -> Self {
        Self::of(Fleet::new(without))
    }

    fn of(mut fleet: Fleet) -> Self {
        fleet.step = 10;
        let (cut, mute) = (BTreeSet::new(), BTreeSet::new());
        let (silent, held, late) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        Self { fleet, cut, mute, silent, held, late, lags: None, steps: 0 }
    }

    fn settle(&mut self) {
        loop {
            let (mut letters, mut of_copies, mut parcels) = (Vec::new(), Vec::new(), Vec::new());
            for (at, world) in self.fleet.nodes.iter_mut().enumerate() {
                world.settle();
                letters.extend(world.shards[0].take_to_replicas().into_iter().map(|letter| (at, letter)));
                of_copies.extend(world.shards[0].take_snapshot_messages().into_iter().map(|said| (at, said)));
                parcels.extend(world.shards[0].take_to_shards(world.now).into_iter().map(|said| (at, said)));
            }
            if letters.is_empty() && of_copies.is_empty() && parcels.is_empty() {
                return;
            }
            let is_heard = |from: usize, to: NodeId, slot: SlotId| {
                let way = (from, to.get() as usize - 1);
                !self.cut.contains(&way) && !self.mute.contains(&way) && !self.silent.contains(&slot)
            };
            letters.retain(|(from, letter)| is_heard(*from, letter.to, letter.slot));
            of_copies.retain(|(from, letter)| is_heard(*from, letter.to, letter.slot));
            for (from, letter) in letters {
                let world = &mut self.fleet.nodes[letter.to.get() as usize - 1];
                world.shards[0].step(world.now, node(from), letter.slot, &letter.bytes);
            }
            for (from, letter) in of_copies {
                let world = &mut self.fleet.nodes[letter.to.get() as usize - 1];
                world.shards[0].hear_snapshot_message(world.now, node(from), letter.slot, &letter.bytes);
            }
            parcels.into_iter().for_each(|(from, parcel)| self.bring(from, parcel));
        }
    }

    fn bring(&mut self, from: usize, parcel: Parcel) {
        let to = parcel.to.get() as usize - 1;
        if self.held.contains(&(from, to)) {
            self.late.push((from, parcel));
        } else if !self.cut.contains(&(from, to)) {
            self.fleet.hear(to, parcel.bytes);
        }
    }

    /// What was held back arrives, in its order.
    fn release(&mut self) {
        self.held.clear();
        for (from, parcel) in std::mem::take(&mut self.late) {
            self.bring(from, parcel);
        }
        self.settle();
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / self.fleet.step {
            self.steps += 1;
            let lags = self.lags.filter(|(_, every)| self.steps.is_multiple_of(*every));
            for (at, world) in self.fleet.nodes.iter_mut().enumerate() {
                if lags.is_some_and(|(lags, _)| lags == at) {
                    continue;
                }
                world.now.monotonic += self.fleet.step;
                world.now.wall += self.fleet.step;
                if world.now.monotonic.is_multiple_of(100) {
                    world.shards[0].tick(world.now);
                    world.shards[0].tick_connections(world.now);
                }
            }
            self.settle();
        }
    }

    /// Time passes until something is so: how many milliseconds that took.
    fn pass_until(&mut self, most: u64, is_so: impl Fn(&Fleet) -> bool) -> u64 {
        let mut passed = 0;
        while !is_so(&self.fleet) {
            assert!(passed <= most, "it is not so after {most} ms");
            self.pass(self.fleet.step);
            passed += self.fleet.step;
        }
        passed
    }

    /// Everybody hears everybody again, for long enough.
    fn heal(&mut self) {
        self.cut.clear();
        self.mute.clear();
        self.silent.clear();
        self.release();
        self.pass(super::fleet::REST);
        assert_eq!(self.fleet.ready(), [0, 1, 2]);
    }

    fn send(&mut self, at: usize, client: Client, packet: Packet<'_>) -> Vec<Got> {
        self.fleet.nodes[at].send(client, packet);
        self.settle();
        self.fleet.got(at, client)
    }

    fn publish(&mut self, at: usize, client: Client, publish: Publish<'_>) -> Vec<Got> {
        self.send(at, client, Packet::Publish(publish))
    }

    /// A Client comes to a node.
    fn join(&mut self, at: usize, connect: Connect<'_>) -> (Client, Vec<Got>) {
        let client = self.fleet.nodes[at].ask(connect);
        self.settle();
        (client, self.fleet.got(at, client))
    }

    /// Another node leads a slot from now on, if it hears that.
    fn hand_over(&mut self, slot: SlotId, from: usize, to: usize) {
        assert!(self.fleet.led(from).contains(&slot));
        self.fleet.nodes[from].shards[0].driver.transfer(slot, node(to));
        self.settle();
        assert!(self.fleet.led(to).contains(&slot) && !self.fleet.led(from).contains(&slot));
    }

    /// Whether something has come to a Client.
    fn has_news(&self, at: usize, client: Client) -> bool {
        !self.fleet.nodes[at].lines[client.0].got.is_empty()
    }
}

/// A subscriber whose Session S leads and whose connection is at N, of a topic that P leads, and somebody at P who publishes it.
fn cast(without: Without, subscriber: fn(&str) -> Connect<'_>) -> (Stage, String, [Client; 2]) {
    let mut fleet = Fleet::new(without);
    let topic = topic_of(P, "a");
    let reader = fleet.connect(N, subscriber(&reader()));
    fleet.subscribe(N, reader, &topic);
    let writer = fleet.connect(P, passing(&client_of(P, "writer")));
    (Stage::of(fleet), topic, [writer, reader])
}

/// The subscriber's Client Identifier.
fn reader() -> String {
    client_of(S, "reader")
}

/// The subscriber comes to another node as often as it is turned away: after how many milliseconds its old connection was
/// closed, and after how many its Session was granted.
fn take_over(stage: &mut Stage, to: usize, old: Client) -> (u64, u64, Client) {
    let (name, mut passed, mut closed) = (reader(), 0, None);
    let mut asks = stage.fleet.nodes[to].ask(lasting(&name));
    loop {
        stage.settle();
        if closed.is_none() && !stage.fleet.is_served(N, old) {
            closed = Some(passed);
        }
        if stage.fleet.nodes[to].lines[asks.0].got.contains(&super::fleet::WELCOME_BACK) {
            return (closed.unwrap_or(u64::MAX), passed, asks);
        }
        assert!(passed < 20_000, "it is never granted");
        stage.pass(stage.fleet.step);
        passed += stage.fleet.step;
        if !stage.fleet.is_connected(to, asks) {
            asks = stage.fleet.nodes[to].ask(lasting(&name));
        }
    }
}
