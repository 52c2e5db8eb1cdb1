//! What a fleet of three nodes has promised holds, whoever leads.

use super::fleet::{
    Fleet, REST, SENT_AWAY, TURNED_AWAY, WELCOME, WELCOME_BACK, client_of, node, preferred, slot_of_topic,
    topic_of,
};
use super::*;
use crate::options::Without;

#[test]
fn each_node_leads_the_slots_that_it_is_the_first_for_and_all_serve() {
    let mut fleet = Fleet::new(Without::Nothing);
    for at in 0..3 {
        let led = fleet.led(at);
        assert!(led.len() >= 2 && led.iter().all(|slot| preferred(*slot) == at), "{at}: {led:?}");
    }
    assert_eq!((0..3).map(|at| fleet.led(at).len()).sum::<usize>(), 9);
    assert_eq!(fleet.ready(), [0, 1, 2]);
    for at in 0..3 {
        for leader in 0..3 {
            let name = client_of(leader, &format!("at{at}"));
            assert_eq!(fleet.join(at, passing(&name)).1, [WELCOME], "at {at}, led by {leader}");
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_when_another_node_leads() {
    for (of, from) in [(0, 0), (0, 1), (1, 0)] {
        let mut fleet = Fleet::new(Without::Nothing);
        let (name, topic) = (client_of(of, "reader"), topic_of(from, "a"));
        let reader = fleet.connect(2, lasting(&name));
        fleet.subscribe(2, reader, &topic);
        fleet.subscribe(2, reader, "+/b");
        assert_eq!(fleet.send(2, reader, goodbye()), [Got::Closed]);
        let writer_name = client_of(1, "writer");
        let writer = fleet.connect(1, passing(&writer_name));
        let got = fleet.publish(1, writer, publish(&topic, "1", 7));
        assert_eq!(got, [Got::Puback(7, ReasonCode::Success)]);

        fleet.cut.insert(0);
        fleet.pass(REST);
        assert_eq!(fleet.ready(), [1, 2]);
        assert!(fleet.led(1).contains(&SlotId(3)), "the next in the order");
        assert!(fleet.is_connected(1, writer), "nothing of it was led there");
        let (reader, got) = fleet.join(1, lasting(&name));
        let [connack, Got::Publish(message)] = &got[..] else { panic!("{got:?}") };
        assert_eq!(*connack, WELCOME_BACK);
        assert_eq!((&message.payload[..], message.qos), ("1", 1));
        // Its Subscriptions are there too, and match at once.
        fleet.publish(1, writer, publish("x/b", "2", 8));
        fleet.publish(1, writer, publish(&topic, "3", 9));
        assert_eq!(fleet.nodes[1].payloads(reader), ["2", "3"]);
    }
}

#[test]
fn a_leader_that_was_cut_off_acknowledges_nothing_and_sends_its_clients_away() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (topic, name) = (topic_of(0, "a"), client_of(0, "writer"));
    let reader = fleet.connect(0, passing(&client_of(0, "reader")));
    fleet.subscribe(0, reader, &topic);
    let writer = fleet.connect(0, passing(&name));
    fleet.cut.insert(0);
    // Matched as it knows it, which may be old: another node may lead and have other subscribers.
    assert_eq!(fleet.publish(0, writer, publish(&topic, "1", 7)), []);
    fleet.pass(REST);
    assert_eq!((fleet.got(0, writer), fleet.ready()), (SENT_AWAY.to_vec(), vec![1, 2]));
    assert_eq!(fleet.join(0, passing(&name)).1, TURNED_AWAY);
}

#[test]
fn without_a_proof_it_would() {
    let mut fleet = Fleet::new(Without::Proof);
    let topic = topic_of(0, "a");
    let writer = fleet.connect(0, passing(&client_of(0, "writer")));
    fleet.cut.insert(0);
    let got = fleet.publish(0, writer, publish(&topic, "1", 7));
    assert_eq!(got, [Got::Puback(7, ReasonCode::Success)]);
}

/// What its Client hears of a second message that was matched while the proof for the first one was under way, if the node
/// hears that proof and nothing more.
fn with_an_older_proof(without: Without) -> Vec<Got> {
    let mut fleet = Fleet::new(without);
    let topic = topic_of(0, "a");
    let writer = fleet.connect(0, passing(&client_of(0, "writer")));
    fleet.nodes[0].send(writer, Packet::Publish(publish(&topic, "1", 7)));
    fleet.nodes[0].settle();
    let asked = fleet.nodes[0].shards[0].take_to_replicas();
    fleet.nodes[0].send(writer, Packet::Publish(publish(&topic, "2", 8)));
    fleet.nodes[0].settle();
    for question in asked {
        let other = &mut fleet.nodes[question.to.get() as usize - 1];
        other.shards[0].step(other.now, node(0), question.slot, &question.bytes);
        other.settle();
        for answer in other.shards[0].take_to_replicas() {
            let me = &mut fleet.nodes[0];
            me.shards[0].step(me.now, question.to, answer.slot, &answer.bytes);
        }
    }
    fleet.nodes[0].settle();
    fleet.got(0, writer)
}

#[test]
fn a_proof_that_was_begun_before_the_match_proves_nothing() {
    let [first, second] = [7, 8].map(|packet_id| Got::Puback(packet_id, ReasonCode::Success));
    assert_eq!(with_an_older_proof(Without::Nothing), std::slice::from_ref(&first));
    assert_eq!(with_an_older_proof(Without::LaterProof), [first, second]);
}

#[test]
fn a_node_that_comes_back_leads_again_and_whoever_was_served_meanwhile_stays() {
    let mut fleet = Fleet::new(Without::Nothing);
    fleet.cut.insert(0);
    fleet.pass(REST);
    let [moves, stays] = [0, 1].map(|leader| client_of(leader, "reader"));
    let clients = [&moves, &stays].map(|name| {
        let reader = fleet.connect(1, lasting(name));
        fleet.subscribe(1, reader, "a/b");
        reader
    });
    fleet.cut.clear();
    fleet.pass(REST);
    assert_eq!(fleet.ready(), [0, 1, 2]);
    assert!(fleet.led(0).iter().all(|slot| preferred(*slot) == 0) && fleet.led(0).len() == 4);
    for client in clients {
        assert_eq!(fleet.send(1, client, Packet::Pingreq), [Got::Pingresp]);
    }
    assert_eq!(fleet.join(0, lasting(&moves)).1, [WELCOME_BACK]);
}

#[test]
fn a_node_that_starts_again_learns_what_it_has_missed() {
    let mut fleet = Fleet::new(Without::Nothing);
    let name = client_of(0, "reader");
    let reader = fleet.connect(0, lasting(&name));
    fleet.cut.insert(2);
    fleet.pass(REST);
    fleet.subscribe(0, reader, "a/b");
    fleet.cut.clear();
    fleet.nodes[2].start_again(Model::restart);
    fleet.pass(2_000);
    fleet.cut.insert(0);
    fleet.nodes[1].start_again(|engine| engine.crash(0));
    fleet.pass(REST);
    assert_eq!(fleet.ready(), [1, 2]);
    let (reader, got) = fleet.join(1, lasting(&name));
    assert_eq!(got, [WELCOME_BACK]);
    let writer = fleet.connect(2, passing("writer"));
    fleet.publish(2, writer, publish("a/b", "1", 7));
    assert_eq!(fleet.nodes[1].payloads(reader), ["1"]);
}

#[test]
fn a_node_that_leads_again_takes_leave_of_the_connections_that_it_had_before() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (topic, name) = (topic_of(0, "a"), client_of(0, "reader"));
    let reader = fleet.connect(0, lasting(&name));
    fleet.subscribe(0, reader, &topic);
    let writer = fleet.connect(0, passing(&client_of(0, "writer")));
    fleet.publish(0, writer, publish(&topic, "1", 7));
    let sent = received(&topic, "1").at(1, 1);
    assert_eq!(fleet.got(0, reader), [sent.clone().got()]);
    fleet.cut.insert(0);
    fleet.pass(3_000);
    fleet.cut.clear();
    fleet.pass(REST);
    assert_eq!(fleet.ready(), [0, 1, 2]);
    // What their ends said went nowhere. The message was sent, though nobody knows: it comes again with DUP.
    assert_eq!(fleet.join(0, lasting(&name)).1, [WELCOME_BACK, sent.again().got()]);
    let sessions = fleet.nodes[0].shards[0].observe().sessions;
    assert_eq!(sessions, 1, "the writer's ended with its connection");
}

/// What leads a slot that has stopped is silent to the other replicas, and has nothing more to say to its own node either.
#[test]
fn where_a_slot_stopped_its_next_leader_is_taken_for_one_as_soon_as_it_is_heard() {
    let mut fleet = Fleet::new(Without::Nothing);
    fleet.step = 10;
    let (topic, name) = (topic_of(0, "a"), client_of(1, "writer"));
    let (writer, slot) = (fleet.connect(0, passing(&name)), slot_of_topic(&topic));
    fleet.nodes[0].shards[0].sync_failed("the disk is gone");
    let leads = |fleet: &Fleet| (1..3).find(|at| fleet.led(*at).contains(&slot));
    fleet.pass_until(|fleet| leads(fleet).is_some());
    fleet.pass(50);
    let got = fleet.publish(0, writer, publish(&topic, "1", 7));
    assert_eq!(got, [Got::Puback(7, ReasonCode::Success)]);
    fleet.pass(REST);
    assert!(!fleet.led(0).contains(&slot), "it does not come back to where it stopped");
    assert!(fleet.is_connected(0, writer));
}
