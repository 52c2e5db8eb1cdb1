//! Three nodes of one shard each, which hold every slot together; of each slot another one is preferred to lead it. What
//! one has for another arrives when everything settles, unless they are cut off from each other. Their clocks show
//! different times.

use std::collections::BTreeSet;

use bytes::Bytes;
use convoy_ids::ActorId;
use convoy_storage::replica::Outgoing;

use super::*;
use crate::channel::Frame;
use crate::options::{CatchUp, Moves, Without};

/// A message about a copy of a slot's state, and the node that sends it.
pub type Letter = (usize, Outgoing);

/// What becomes of such messages on their way.
pub type Weather = Box<dyn FnMut(Vec<Letter>) -> Vec<Letter>>;

/// What becomes of frames of channels on their way, beside the node that sends each.
pub type FrameWeather = Box<dyn FnMut(Vec<(usize, Parcel)>) -> Vec<(usize, Parcel)>>;

pub const WELCOME: Got = Got::Connack(ReasonCode::Success, false);
pub const WELCOME_BACK: Got = Got::Connack(ReasonCode::Success, true);
pub const TURNED_AWAY: [Got; 2] = [Got::Connack(ReasonCode::ServerBusy, false), Got::Closed];
pub const SENT_AWAY: [Got; 2] = [Got::Disconnect(ReasonCode::ServerBusy), Got::Closed];

/// Milliseconds after which everything is as it is to be, whatever happened before.
pub const REST: u64 = 8_000;

pub struct Fleet {
    pub nodes: Vec<World>,
    /// Nodes that nobody hears and that hear nobody.
    pub cut: BTreeSet<usize>,
    /// From whom to whom frames of channels are lost.
    pub lost: BTreeSet<(usize, usize)>,
    pub weather: Weather,
    pub frame_weather: FrameWeather,
    /// Milliseconds after which nodes look at what has become due: 100, at which they tick, or a part of that.
    pub step: u64,
    paused: Option<Paused>,
}

/// A node that gets no time to do anything, while frames wait for it.
struct Paused {
    at: usize,
    millis: u64,
    frames: Vec<Vec<u8>>,
}

pub fn node(at: usize) -> NodeId {
    NodeId::new(at as u64 + 1).expect("it is not zero")
}

/// The node that leads a slot while all are well.
pub fn preferred(slot: SlotId) -> usize {
    if slot.is_meta() { 0 } else { usize::from(slot.0) % 3 }
}

pub fn slot_of_client(client_id: &str) -> SlotId {
    convoy_membership::slot_of(&ActorId::Session { tenant: TENANT, client_id }, 8)
}

pub fn slot_of_topic(topic: &str) -> SlotId {
    options(Limits::default(), 1).partitioning.locate(TENANT, topic, 8).1
}

/// A Client Identifier that begins so, with a Session that this node leads while all are well.
pub fn client_of(leader: usize, begins: &str) -> String {
    let mut names = (0..).map(|number| format!("{begins}{number}"));
    names.find(|name| preferred(slot_of_client(name)) == leader).expect("there is always another")
}

/// A Topic Name that begins so, of a partition that this node leads while all are well.
pub fn topic_of(leader: usize, begins: &str) -> String {
    let mut names = (0..).map(|number| format!("{begins}{number}/t"));
    names.find(|name| preferred(slot_of_topic(name)) == leader).expect("there is always another")
}

impl Fleet {
    pub fn new(without: Without) -> Self {
        Self::with(CatchUp::default(), without)
    }

    pub fn with(catch_up: CatchUp, without: Without) -> Self {
        let replicas: Vec<_> = (0..3).map(node).collect();
        let options = Options { replicas, catch_up, without, ..options(Limits::default(), 1) };
        Self::of((0..3).map(|at| World::opened(node(at), options.clone())).collect())
    }

    /// Three nodes that found a fleet whose replicas move, and others that have nothing yet.
    pub fn moving(nodes: usize) -> Self {
        Self::founded(3, nodes)
    }

    /// The same with so many founders.
    pub fn founded(founders: usize, nodes: usize) -> Self {
        let replicas: Vec<_> = (0..nodes).map(node).collect();
        let of = replicas[..founders].to_vec();
        let moves =
            |at| Some(Moves { founders: of.clone(), founds: at < founders, given: 0, replace_after: None });
        let options = Options { replicas, ..options(Limits::default(), 1) };
        let opened = |at| World::opened(node(at), Options { moves: moves(at), ..options.clone() });
        Self::of((0..nodes).map(opened).collect())
    }

    fn of(mut nodes: Vec<World>) -> Self {
        nodes.iter_mut().zip(1..).for_each(|(node, at)| node.now.monotonic += at * 1_000_000);
        let (cut, lost) = (BTreeSet::new(), BTreeSet::new());
        let mut fleet = Self {
            nodes,
            cut,
            lost,
            weather: Box::new(|letters| letters),
            frame_weather: Box::new(|frames| frames),
            step: 100,
            paused: None,
        };
        fleet.pass(REST);
        fleet
    }

    pub fn settle(&mut self) {
        loop {
            let (mut letters, mut of_copies, mut parcels) = (Vec::new(), Vec::new(), Vec::new());
            let paused = self.paused.as_ref().map(|paused| paused.at);
            for (at, node) in self.nodes.iter_mut().enumerate().filter(|(at, _)| Some(*at) != paused) {
                node.settle();
                letters.extend(node.shards[0].take_to_replicas().into_iter().map(|letter| (at, letter)));
                let said = node.shards[0].take_snapshot_messages();
                of_copies.extend(said.into_iter().map(|letter| (at, letter)));
                parcels.extend(node.shards[0].take_to_shards(node.now).into_iter().map(|said| (at, said)));
            }
            let of_copies = (self.weather)(of_copies);
            let parcels = (self.frame_weather)(parcels);
            if letters.is_empty() && of_copies.is_empty() && parcels.is_empty() {
                return;
            }
            self.carry(letters, |shard, now, from, letter| {
                shard.step(now, from, letter.slot, &letter.bytes);
            });
            self.carry(of_copies, |shard, now, from, letter| {
                shard.hear_snapshot_message(now, from, letter.slot, &letter.bytes);
            });
            parcels.into_iter().for_each(|(from, parcel)| self.bring(from, parcel));
        }
    }

    fn is_paused(&self, at: usize) -> bool {
        self.paused.as_ref().is_some_and(|paused| paused.at == at)
    }

    fn carry(&mut self, letters: Vec<Letter>, hear: impl Fn(&mut Shard, Now, NodeId, &Outgoing)) {
        for (from, letter) in letters {
            let to = letter.to.get() as usize - 1;
            if !self.cut.contains(&from) && !self.cut.contains(&to) && !self.is_paused(to) {
                let world = &mut self.nodes[to];
                hear(&mut world.shards[0], world.now, node(from), &letter);
            }
        }
    }

    fn bring(&mut self, from: usize, parcel: Parcel) {
        let to = parcel.to.get() as usize - 1;
        if let Some(paused) = self.paused.as_mut().filter(|paused| paused.at == to) {
            return paused.frames.push(parcel.bytes);
        }
        if !self.cut.contains(&from) && !self.cut.contains(&to) && !self.lost.contains(&(from, to)) {
            self.hear(to, parcel.bytes);
        }
    }

    /// Bytes arrive at the shard of a node from the one that they name, if they are a frame, or else from another one.
    pub fn hear(&mut self, at: usize, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let named = Frame::decode(&bytes, usize::MAX).map(|frame| frame.from.process.node);
        let world = &mut self.nodes[at];
        world.shards[0].hear_shard(world.now, named.unwrap_or(node((at + 1) % 3)), &bytes);
    }

    pub fn pass(&mut self, millis: u64) {
        for _ in 0..millis / self.step {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                if let Some(paused) = self.paused.as_mut().filter(|paused| paused.at == at) {
                    paused.millis += self.step;
                    continue;
                }
                node.now.monotonic += self.step;
                node.now.wall += self.step;
                if node.now.monotonic.is_multiple_of(100) {
                    node.shards[0].tick(node.now);
                    node.shards[0].tick_connections(node.now);
                }
            }
            self.settle();
        }
    }

    /// A node gets no time to do anything from now on.
    pub fn pause(&mut self, at: usize) {
        self.paused = Some(Paused { at, millis: 0, frames: Vec::new() });
    }

    /// It goes on, and reads first what has come meanwhile.
    pub fn wake(&mut self) {
        let Paused { at, millis, frames } = self.paused.take().expect("a node is paused");
        self.nodes[at].now.monotonic += millis;
        self.nodes[at].now.wall += millis;
        frames.into_iter().for_each(|bytes| self.hear(at, bytes));
        self.settle();
    }

    /// Time passes until something is so: how many milliseconds that took.
    pub fn pass_until(&mut self, is_so: impl Fn(&Self) -> bool) -> u64 {
        let mut passed = 0;
        while !is_so(self) {
            assert!(passed < 60_000, "it is not so after a minute");
            self.pass(self.step);
            passed += self.step;
        }
        passed
    }

    /// Which nodes serve Clients.
    pub fn ready(&self) -> Vec<usize> {
        (0..3).filter(|at| self.nodes[*at].is_ready()).collect()
    }

    /// The slots that a node leads.
    pub fn led(&self, at: usize) -> Vec<SlotId> {
        self.nodes[at].shards[0].slots.iter().filter(|slot| slot.leading).map(|slot| slot.id).collect()
    }

    /// A Client comes to a node.
    pub fn join(&mut self, at: usize, connect: Connect<'_>) -> (Client, Vec<Got>) {
        let client = self.nodes[at].ask(connect);
        self.settle();
        let got = self.nodes[at].got(client);
        (client, got)
    }

    /// The same of one that is welcome, and had no Session.
    pub fn connect(&mut self, at: usize, connect: Connect<'_>) -> Client {
        let (client, got) = self.join(at, connect);
        assert_eq!(got, [WELCOME]);
        client
    }

    pub fn send(&mut self, at: usize, client: Client, packet: Packet<'_>) -> Vec<Got> {
        self.nodes[at].send(client, packet);
        self.settle();
        self.nodes[at].got(client)
    }

    pub fn publish(&mut self, at: usize, client: Client, publish: Publish<'_>) -> Vec<Got> {
        self.send(at, client, Packet::Publish(publish))
    }

    pub fn got(&mut self, at: usize, client: Client) -> Vec<Got> {
        self.nodes[at].got(client)
    }

    pub fn is_connected(&self, at: usize, client: Client) -> bool {
        self.nodes[at].lines[client.0].key.is_some()
    }

    /// Whether it is connected, and heard.
    pub fn is_served(&self, at: usize, client: Client) -> bool {
        let Some(key) = self.nodes[at].lines[client.0].key else { return false };
        let connections = &self.nodes[at].shards[0].outlet.edge.connections;
        connections.get(key as usize).is_some_and(|connection| connection.unled_since().is_none())
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
        assert!(!got.is_empty(), "no SUBACK for {filter}");
        let first = got.remove(0);
        assert!(matches!(&first, Got::Suback(77, reasons) if (reasons[0] as u8) < 0x80), "{first:?}");
        self.nodes[at].lines[client.0].got = got;
    }
}
