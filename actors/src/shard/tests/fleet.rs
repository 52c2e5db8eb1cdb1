//! Three nodes of one shard each, which hold every slot together. What one has for another arrives when everything settles,
//! unless they are cut off from each other.

use std::collections::BTreeSet;

use convoy_storage::replica::Outgoing;

use super::*;
use crate::options::{CatchUp, Without};

/// A message about a copy of a slot's state, and the node that sends it.
pub type Letter = (usize, Outgoing);

/// What becomes of such messages on their way.
pub type Weather = Box<dyn FnMut(Vec<Letter>) -> Vec<Letter>>;

pub struct Fleet {
    pub nodes: Vec<World>,
    /// Nodes that nobody hears and that hear nobody.
    pub cut: BTreeSet<usize>,
    pub weather: Weather,
}

pub fn node(at: usize) -> NodeId {
    NodeId::new(at as u64 + 1).expect("it is not zero")
}

impl Fleet {
    /// The first node leads.
    pub fn new(without: Without) -> Self {
        Self::with(CatchUp::default(), without)
    }

    pub fn with(catch_up: CatchUp, without: Without) -> Self {
        let replicas: Vec<_> = (0..3).map(node).collect();
        let options = Options { replicas, catch_up, without, ..options(Limits::default(), 1) };
        let nodes = (0..3).map(|at| World::opened(node(at), options.clone())).collect();
        let mut fleet = Self { nodes, cut: BTreeSet::new(), weather: Box::new(|letters| letters) };
        fleet.pass(8_000);
        fleet
    }

    pub fn settle(&mut self) {
        loop {
            let (mut letters, mut of_copies) = (Vec::new(), Vec::new());
            for (at, node) in self.nodes.iter_mut().enumerate() {
                node.settle();
                letters.extend(node.shards[0].take_to_replicas().into_iter().map(|letter| (at, letter)));
                let said = node.shards[0].take_snapshot_messages();
                of_copies.extend(said.into_iter().map(|letter| (at, letter)));
            }
            let of_copies = (self.weather)(of_copies);
            if letters.is_empty() && of_copies.is_empty() {
                return;
            }
            self.carry(letters, |shard, now, from, letter| {
                shard.step(now, from, letter.slot, &letter.bytes);
            });
            self.carry(of_copies, |shard, now, from, letter| {
                shard.hear_snapshot_message(now, from, letter.slot, &letter.bytes);
            });
        }
    }

    fn carry(&mut self, letters: Vec<Letter>, hear: impl Fn(&mut Shard, Now, NodeId, &Outgoing)) {
        for (from, letter) in letters {
            let to = letter.to.get() as usize - 1;
            if !self.cut.contains(&from) && !self.cut.contains(&to) {
                let world = &mut self.nodes[to];
                hear(&mut world.shards[0], world.now, node(from), &letter);
            }
        }
    }

    pub fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 100 {
            for node in &mut self.nodes {
                node.now.monotonic += 100;
                node.now.wall += 100;
                node.shards[0].tick(node.now);
                node.shards[0].tick_connections(node.now);
            }
            self.settle();
        }
    }

    /// Which nodes serve Clients.
    pub fn ready(&self) -> Vec<usize> {
        (0..3).filter(|at| self.nodes[*at].is_ready()).collect()
    }

    pub fn join(&mut self, at: usize, connect: Connect<'_>) -> (Client, Vec<Got>) {
        let client = self.nodes[at].ask(connect);
        self.settle();
        let got = self.nodes[at].got(client);
        (client, got)
    }

    pub fn send(&mut self, at: usize, client: Client, packet: Packet<'_>) -> Vec<Got> {
        self.nodes[at].send(client, packet);
        self.settle();
        self.nodes[at].got(client)
    }

    pub fn subscribe(&mut self, at: usize, client: Client, filter: &str) {
        self.subscribe_at(at, client, filter, QoS::AtLeastOnce);
    }

    pub fn subscribe_at(&mut self, at: usize, client: Client, filter: &str, qos: QoS) {
        let options = SubscriptionOptions::new(qos);
        let subscriptions = [Subscription { filter: TopicFilter::new(filter).unwrap(), options }];
        let subscriptions = List::new(&subscriptions);
        let subscribe = Subscribe { packet_id: id(77), properties: Default::default(), subscriptions };
        let mut got = self.send(at, client, Packet::Subscribe(subscribe));
        let first = got.remove(0);
        assert!(matches!(first, Got::Suback(77, _)), "{first:?}");
        self.nodes[at].lines[client.0].got = got;
    }
}
