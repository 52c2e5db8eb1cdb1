//! What a fleet of three nodes has promised holds, whoever leads.

use super::fleet::Fleet;
use super::*;
use crate::options::Without;

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
