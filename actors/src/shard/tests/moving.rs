//! Slots that move while Clients wait for something.

use super::fleet::{Fleet, REST, SENT_AWAY, WELCOME_BACK, client_of, node, slot_of_client, topic_of};
use super::parting::comes_back_late;
use super::refusing::{BOTH_TAKEN, between_leaders, first_times, hand_over, seen};
use super::*;
use crate::options::Without;

#[test]
fn a_fleet_of_one_node_that_others_may_join_serves() {
    let fleet = Fleet::founded(1, 1);
    assert!(fleet.nodes[0].is_ready());
    assert_eq!(fleet.led(0).len(), 8 + 1);
}

#[test]
fn a_client_that_is_turned_away_while_it_waits_for_that_waits_again() {
    for late in [0, 500, 1_000] {
        (0..3).for_each(|leader| comes_back_late(leader, late));
    }
}

#[test]
fn of_two_that_come_while_an_old_connection_may_be_served_neither_is_granted_the_session_before_that_is_closed()
 {
    let mut fleet = Fleet::new(Without::Nothing);
    fleet.step = 10;
    let name = client_of(0, "reader");
    let old = fleet.connect(1, lasting(&name));
    fleet.lost.extend([(0, 1), (1, 0)]);
    let first = fleet.nodes[2].ask(lasting(&name));
    fleet.settle();
    assert_eq!(fleet.got(2, first), []);
    let second = fleet.nodes[2].ask(lasting(&name));
    fleet.settle();
    assert!(fleet.is_connected(1, old));
    assert_eq!(fleet.got(2, second), []);
    fleet.pass(3_000);
    assert_eq!(fleet.got(2, second), [WELCOME_BACK]);
    // The other one is not heard any more, and closed when nobody leads its Session for so long.
    assert_eq!(fleet.send(1, old, Packet::Pingreq), []);
    fleet.pass(REST);
    assert_eq!(fleet.got(1, old), SENT_AWAY);
}

#[test]
fn a_message_for_a_queue_between_two_leaders_is_sent_again_before_what_is_behind_it() {
    let (mut fleet, topic, [_, reader]) = between_leaders();
    let name = client_of(2, "reader");
    fleet.send(2, reader, goodbye());
    let slot = slot_of_client(&name);
    let writer = fleet.connect(0, passing(&client_of(0, "writer")));
    // The partition's node does not hear who leads the queue.
    fleet.lost.extend([(1, 0), (2, 0)]);
    hand_over(&mut fleet, slot, 2, 1);
    assert_eq!(fleet.publish(0, writer, publish(&topic, "1", 7)), []);
    hand_over(&mut fleet, slot, 1, 2);
    assert_eq!(fleet.publish(0, writer, publish(&topic, "2", 8)), []);
    fleet.lost.clear();
    fleet.pass(1_000);
    assert_eq!(fleet.got(0, writer), BOTH_TAKEN);
    comes_in_order(&mut fleet, &name);
}

/// A Client comes back at the third node, and gets both messages.
fn comes_in_order(fleet: &mut Fleet, name: &str) {
    let (reader, mut got) = fleet.join(2, lasting(name));
    assert_eq!(got.remove(0), WELCOME_BACK);
    fleet.nodes[2].lines[reader.0].got = got;
    assert_eq!(first_times(fleet.nodes[2].payloads(reader)), ["1", "2"]);
}

#[test]
fn a_node_has_no_channel_to_itself() {
    let mut fleet = Fleet::new(Without::Nothing);
    let before = seen(&fleet, 0);
    fleet.nodes.iter_mut().for_each(|node| node.now.monotonic += 300);
    let now = fleet.nodes[0].now;
    for parcel in fleet.nodes[0].shards[0].take_to_shards(now) {
        fleet.hear(0, parcel.bytes);
    }
    let parcels = fleet.nodes[0].shards[0].take_to_shards(now);
    assert!(parcels.iter().all(|parcel| parcel.to != node(0)), "{parcels:?}");
    assert_eq!(seen(&fleet, 0), before);
    fleet.pass(REST);
}

#[test]
fn a_message_is_not_taken_behind_one_that_its_partitions_leader_has_sent_to_an_earlier_leader_of_a_queue() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (topic, name) = (super::fleet::topic_of(1, "a"), client_of(0, "reader"));
    let reader = fleet.connect(0, lasting(&name));
    fleet.subscribe(0, reader, &topic);
    fleet.send(0, reader, goodbye());
    let writer = fleet.connect(2, passing(&client_of(2, "writer")));
    // The partition's leader is not heard where the queue was led, and nobody tells the publisher's node anything.
    fleet.lost.extend([(1, 0), (1, 2), (0, 2)]);
    assert_eq!(fleet.publish(2, writer, publish(&topic, "1", 7)), []);
    hand_over(&mut fleet, slot_of_client(&name), 0, 1);
    assert_eq!(fleet.publish(2, writer, publish(&topic, "2", 8)), []);
    fleet.lost.clear();
    fleet.pass(REST);
    assert_eq!(fleet.got(2, writer), BOTH_TAKEN);
    comes_in_order(&mut fleet, &name);
}

#[test]
fn a_session_that_an_earlier_leader_granted_and_a_later_one_has_ended_is_not_one_to_be_connected_with() {
    let mut fleet = Fleet::new(Without::Nothing);
    let name = client_of(2, "reader");
    // The grant is late, and comes when it is known that another node leads.
    fleet.lost.insert((2, 1));
    let (reader, got) = fleet.join(1, passing(&name));
    assert_eq!(got, []);
    hand_over(&mut fleet, slot_of_client(&name), 2, 0);
    fleet.lost.clear();
    fleet.pass(400);
    if fleet.is_connected(1, reader) {
        fleet.subscribe(1, reader, "a/b");
    }
}

#[test]
fn a_subscribe_whose_route_is_on_its_way_to_a_slot_that_moves_is_answered_or_its_connection_ends() {
    for subscriber in [passing, lasting] {
        let mut fleet = Fleet::new(Without::Nothing);
        let topic = super::fleet::topic_of(2, "a");
        let reader = fleet.connect(1, subscriber(&client_of(1, "reader")));
        fleet.lost.insert((1, 2));
        fleet.nodes[1].subscribe_by(reader, &topic, SubscriptionOptions::new(QoS::AtLeastOnce), None);
        fleet.settle();
        assert_eq!(fleet.got(1, reader), []);
        hand_over(&mut fleet, super::fleet::slot_of_topic(&topic), 2, 0);
        fleet.pass(300);
        fleet.lost.clear();
        fleet.pass(REST);
        assert_ne!(fleet.got(1, reader), [], "it waits for ever");
    }
}

/// Else it would take effect behind what the Client says on the connection anew: it would reach a Subscription that came later.
#[test]
fn what_the_old_connection_has_published_is_taken_before_the_next_one_is_granted_the_session() {
    for leader in 0..3 {
        let mut fleet = Fleet::new(Without::Nothing);
        fleet.step = 10;
        let (name, topic) = (client_of(leader, "writer"), topic_of(0, "a"));
        let old = fleet.connect(1, lasting(&name));
        fleet.lost.insert((1, 0));
        assert_eq!(fleet.publish(1, old, publish(&topic, "late", 7)), []);
        let new = fleet.nodes[2].ask(lasting(&name));
        fleet.pass(200);
        assert_eq!(fleet.got(2, new), [], "led at {leader}");
        assert!(!fleet.is_connected(1, old));
        fleet.lost.clear();
        fleet.pass(500);
        assert_eq!(fleet.got(2, new), [WELCOME_BACK], "led at {leader}");
        fleet.subscribe(2, new, &topic);
        fleet.pass(REST);
        assert_eq!(fleet.got(2, new), []);
    }
}

#[test]
fn what_the_old_connection_has_published_to_a_node_that_is_gone_is_not_waited_for() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (name, topic) = (client_of(2, "writer"), topic_of(0, "a"));
    let old = fleet.connect(1, lasting(&name));
    fleet.cut.insert(0);
    assert_eq!(fleet.publish(1, old, publish(&topic, "late", 7)), []);
    // Whoever waits for a CONNACK when a node is lost begins anew.
    let mut new = fleet.nodes[2].ask(lasting(&name));
    let mut passed = 0;
    while fleet.got(2, new) != [WELCOME_BACK] {
        fleet.pass(500);
        passed += 500;
        assert!(passed <= 5_000);
        if !fleet.is_connected(2, new) {
            new = fleet.nodes[2].ask(lasting(&name));
        }
    }
}
