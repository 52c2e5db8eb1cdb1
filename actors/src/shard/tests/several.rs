//! Three nodes of one shard each, which hold every slot together. What one has for another arrives when everything settles,
//! unless they are cut off from each other.

use std::collections::BTreeSet;

use super::*;
use crate::options::Without;

struct Fleet {
    nodes: Vec<World>,
    /// Nodes that nobody hears and that hear nobody.
    cut: BTreeSet<usize>,
}

fn node(at: usize) -> NodeId {
    NodeId::new(at as u64 + 1).expect("it is not zero")
}

impl Fleet {
    /// The first node leads.
    fn new(without: Without) -> Self {
        let replicas: Vec<_> = (0..3).map(node).collect();
        let nodes = replicas.iter().map(|node| World::of(*node, &replicas, without)).collect();
        let mut fleet = Self { nodes, cut: BTreeSet::new() };
        fleet.pass(8_000);
        fleet
    }

    fn settle(&mut self) {
        loop {
            let mut letters = Vec::new();
            for (at, node) in self.nodes.iter_mut().enumerate() {
                node.settle();
                letters.extend(node.shards[0].take_to_replicas().into_iter().map(|letter| (at, letter)));
            }
            if letters.is_empty() {
                return;
            }
            for (from, letter) in letters {
                let to = letter.to.get() as usize - 1;
                if !self.cut.contains(&from) && !self.cut.contains(&to) {
                    let world = &mut self.nodes[to];
                    world.shards[0].step(world.now, node(from), letter.slot, &letter.bytes);
                }
            }
        }
    }

    fn pass(&mut self, millis: u64) {
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
    fn ready(&self) -> Vec<usize> {
        (0..3).filter(|at| self.nodes[*at].is_ready()).collect()
    }

    fn join(&mut self, at: usize, connect: Connect<'_>) -> (Client, Vec<Got>) {
        let client = self.nodes[at].ask(connect);
        self.settle();
        let got = self.nodes[at].got(client);
        (client, got)
    }

    fn send(&mut self, at: usize, client: Client, packet: Packet<'_>) -> Vec<Got> {
        self.nodes[at].send(client, packet);
        self.settle();
        self.nodes[at].got(client)
    }

    fn subscribe(&mut self, at: usize, client: Client, filter: &str) {
        let options = SubscriptionOptions::new(QoS::AtLeastOnce);
        let subscriptions = [Subscription { filter: TopicFilter::new(filter).unwrap(), options }];
        let subscriptions = List::new(&subscriptions);
        let subscribe = Subscribe { packet_id: id(77), properties: Default::default(), subscriptions };
        let got = self.send(at, client, Packet::Subscribe(subscribe));
        assert!(matches!(got[0], Got::Suback(77, _)), "{got:?}");
    }
}

const WELCOME: Got = Got::Connack(ReasonCode::Success, false);
const TURNED_AWAY: [Got; 2] = [Got::Connack(ReasonCode::ServerBusy, false), Got::Closed];

#[test]
fn one_node_leads_all_slots_and_serves_and_the_others_send_clients_away() {
    let mut fleet = Fleet::new(Without::Nothing);
    assert_eq!(fleet.ready(), [0]);
    assert_eq!(fleet.join(0, passing("a")).1, [WELCOME]);
    assert_eq!(fleet.join(1, passing("a")).1, TURNED_AWAY);
}

#[test]
fn what_was_acknowledged_is_there_when_another_node_leads() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (reader, _) = fleet.join(0, lasting("reader"));
    fleet.subscribe(0, reader, "a/#");
    fleet.subscribe(0, reader, "+/b");
    assert_eq!(fleet.send(0, reader, goodbye()), [Got::Closed]);
    let (writer, _) = fleet.join(0, passing("writer"));
    let got = fleet.send(0, writer, Packet::Publish(publish("a/b", "1", 7)));
    assert_eq!(got, [Got::Puback(7, ReasonCode::Success)]);

    fleet.cut.insert(0);
    fleet.pass(8_000);
    assert_eq!(fleet.ready(), [1], "the next in the order");
    let (reader, got) = fleet.join(1, lasting("reader"));
    let [connack, Got::Publish(message)] = &got[..] else { panic!("{got:?}") };
    assert_eq!(*connack, Got::Connack(ReasonCode::Success, true));
    assert_eq!((&message.payload[..], message.qos), ("1", 1));
    // Its Subscriptions are there too, and match at once.
    let (writer, _) = fleet.join(1, passing("writer"));
    fleet.send(1, writer, Packet::Publish(publish("x/b", "2", 8)));
    assert_eq!(fleet.nodes[1].payloads(reader), ["2"]);
}

#[test]
fn a_leader_that_was_cut_off_acknowledges_nothing_and_sends_its_clients_away() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (reader, _) = fleet.join(0, passing("reader"));
    fleet.subscribe(0, reader, "a/b");
    let (writer, _) = fleet.join(0, passing("writer"));
    fleet.cut.insert(0);
    // Matched as it knows it, which may be old: another node may lead and have other subscribers.
    assert_eq!(fleet.send(0, writer, Packet::Publish(publish("a/b", "1", 7))), []);
    fleet.pass(8_000);
    let busy = [Got::Disconnect(ReasonCode::ServerBusy), Got::Closed];
    assert_eq!((fleet.nodes[0].got(writer), fleet.ready()), (busy.to_vec(), vec![1]));
    assert_eq!(fleet.join(0, passing("writer")).1, TURNED_AWAY);
}

#[test]
fn without_a_proof_it_would() {
    let mut fleet = Fleet::new(Without::Proof);
    let (writer, _) = fleet.join(0, passing("writer"));
    fleet.cut.insert(0);
    let got = fleet.send(0, writer, Packet::Publish(publish("a/b", "1", 7)));
    assert_eq!(got, [Got::Puback(7, ReasonCode::Success)]);
}

#[test]
fn a_node_that_comes_back_leads_again() {
    let mut fleet = Fleet::new(Without::Nothing);
    fleet.cut.insert(0);
    fleet.pass(8_000);
    let (reader, _) = fleet.join(1, lasting("reader"));
    fleet.subscribe(1, reader, "a/b");
    fleet.cut.clear();
    fleet.pass(8_000);
    assert_eq!(fleet.ready(), [0]);
    let busy = [Got::Disconnect(ReasonCode::ServerBusy), Got::Closed];
    assert_eq!(fleet.nodes[1].got(reader), busy);
    assert_eq!(fleet.join(0, lasting("reader")).1, [Got::Connack(ReasonCode::Success, true)]);
}

#[test]
fn a_node_that_starts_again_learns_what_it_has_missed() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (reader, _) = fleet.join(0, lasting("reader"));
    fleet.cut.insert(2);
    fleet.subscribe(0, reader, "a/b");
    fleet.cut.clear();
    fleet.nodes[2].start_again(Model::restart);
    fleet.pass(2_000);
    fleet.cut.insert(0);
    fleet.nodes[1].start_again(|engine| engine.crash(0));
    fleet.pass(8_000);
    assert_eq!(fleet.ready(), [1]);
    assert_eq!(fleet.join(1, lasting("reader")).1, [Got::Connack(ReasonCode::Success, true)]);
}

#[test]
fn a_node_that_leads_again_takes_leave_of_the_connections_that_it_had_before() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (reader, _) = fleet.join(0, lasting("reader"));
    fleet.subscribe(0, reader, "a/b");
    let (writer, _) = fleet.join(0, passing("writer"));
    fleet.send(0, writer, Packet::Publish(publish("a/b", "1", 7)));
    let sent = received("a/b", "1").at(1, 1);
    assert_eq!(fleet.nodes[0].got(reader), [sent.clone().got()]);
    fleet.cut.insert(0);
    fleet.pass(3_000);
    fleet.cut.clear();
    fleet.pass(8_000);
    assert_eq!(fleet.ready(), [0]);
    // What their ends said went nowhere. The message was sent, though nobody knows: it comes again with DUP.
    let welcome = Got::Connack(ReasonCode::Success, true);
    assert_eq!(fleet.join(0, lasting("reader")).1, [welcome, sent.again().got()]);
    let sessions = fleet.nodes[0].shards[0].observe().sessions;
    assert_eq!(sessions, 1, "the writer's ended with its connection");
}
