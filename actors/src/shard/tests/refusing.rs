//! What another node may not have taken, and what no node sends: neither comes out of order, and neither does harm.

use bytes::Bytes;
use convoy_storage::replica::Role;

use super::fleet::{
    Fleet, REST, SENT_AWAY, WELCOME, client_of, node, slot_of_client, slot_of_topic, topic_of,
};
use super::*;
use crate::channel::{Frame, Payload};
use crate::options::Without;

/// Another node leads a slot from now on.
pub fn hand_over(fleet: &mut Fleet, slot: SlotId, from: usize, to: usize) {
    assert!(fleet.led(from).contains(&slot));
    fleet.nodes[from].shards[0].driver.transfer(slot, node(to));
    fleet.settle();
    assert!(fleet.led(to).contains(&slot) && !fleet.led(from).contains(&slot));
}

/// A publisher at the second node, and a subscriber with a queue that the third one leads, of a topic that the first one
/// leads.
pub fn between_leaders() -> (Fleet, String, [Client; 2]) {
    let mut fleet = Fleet::new(Without::Nothing);
    let topic = topic_of(0, "a");
    let reader = fleet.connect(2, lasting(&client_of(2, "reader")));
    fleet.subscribe(2, reader, &topic);
    let writer = fleet.connect(1, passing(&client_of(1, "writer")));
    (fleet, topic, [writer, reader])
}

#[test]
fn a_message_that_comes_between_two_leaders_is_sent_again_before_what_is_behind_it() {
    let (mut fleet, topic, [writer, reader]) = between_leaders();
    let slot = slot_of_topic(&topic);
    // The publisher's node does not hear who leads.
    fleet.lost.extend([(0, 1), (2, 1)]);
    hand_over(&mut fleet, slot, 0, 2);
    assert_eq!(fleet.publish(1, writer, publish(&topic, "1", 7)), []);
    hand_over(&mut fleet, slot, 2, 0);
    assert_eq!(fleet.publish(1, writer, publish(&topic, "2", 8)), []);
    fleet.lost.clear();
    fleet.pass(1_000);
    assert_eq!(fleet.got(1, writer), BOTH_TAKEN);
    assert_eq!(fleet.nodes[2].payloads(reader), ["1", "2"]);
}

/// The acknowledgements of messages 7 and 8.
pub const BOTH_TAKEN: [Got; 2] = [Got::Puback(7, ReasonCode::Success), Got::Puback(8, ReasonCode::Success)];

/// What a Client got, each for the first time.
pub fn first_times(payloads: Vec<String>) -> Vec<String> {
    let mut first = Vec::new();
    payloads.into_iter().for_each(|payload| {
        if !first.contains(&payload) {
            first.push(payload);
        }
    });
    first
}

/// A frame with a letter from the second node to the first one.
fn frame_with_payload(fleet: &mut Fleet, writer: Client, topic: &str) -> Frame {
    fleet.nodes[1].send(writer, Packet::Publish(publish(topic, "1", 7)));
    fleet.nodes[1].settle();
    let now = fleet.nodes[1].now;
    let parcels = fleet.nodes[1].shards[0].take_to_shards(now);
    let frames =
        parcels.into_iter().map(|parcel| Frame::decode(&Bytes::from(parcel.bytes), 1 << 20).unwrap());
    let mut frames = frames.filter(|frame| frame.to_node == node(0) && frame.payload.is_some());
    frames.next().expect("a letter for the partition goes there")
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode_into(&mut bytes);
    bytes
}

#[test]
fn a_channel_whose_peer_sends_impossible_mail_is_given_up_and_opened_anew() {
    let (mut fleet, topic, [writer, reader]) = between_leaders();
    let rests = fleet.connect(0, lasting(&client_of(1, "rests")));
    let stays = fleet.connect(0, lasting(&client_of(2, "stays")));
    let mut frame = frame_with_payload(&mut fleet, writer, &topic);
    let payload = frame.payload.take().expect("it has one");
    let rubbish = Bytes::from_static(b"this is no mail");
    frame.payload = Some(Payload { number: payload.number, bytes: rubbish });
    fleet.hear(0, encoded(&frame));
    fleet.settle();
    assert_eq!(fleet.got(0, rests), SENT_AWAY, "who leads its Session cannot be believed");
    assert_eq!(fleet.got(0, stays), []);
    assert_eq!(fleet.got(1, writer), []);
    fleet.pass(2_500);
    assert_eq!(fleet.got(1, writer), [Got::Puback(7, ReasonCode::Success)], "it was sent again");
    assert_eq!(fleet.ready(), [0, 1, 2]);
    assert_eq!(fleet.join(0, lasting(&client_of(1, "another"))).1, [WELCOME]);
    let writer = fleet.connect(1, passing(&client_of(1, "writer")));
    assert_eq!(fleet.publish(1, writer, publish(&topic, "2", 7)), [Got::Puback(7, ReasonCode::Success)]);
    assert_eq!(first_times(fleet.nodes[2].payloads(reader)), ["1", "2"]);
}

/// What is seen of a node from outside.
pub fn seen(fleet: &Fleet, at: usize) -> (bool, Vec<SlotId>, Vec<(SlotId, Role)>, usize) {
    let shard = &fleet.nodes[at].shards[0];
    (shard.is_ready(), fleet.led(at), shard.roles().collect(), shard.outlet.post.others_known().count())
}

#[test]
fn frames_that_no_node_of_the_fleet_sends_change_nothing() {
    let (mut fleet, topic, [writer, reader]) = between_leaders();
    let frame = frame_with_payload(&mut fleet, writer, &topic);
    let bytes = encoded(&frame);
    let before = seen(&fleet, 0);
    for len in 0..bytes.len() {
        fleet.hear(0, bytes[..len].to_vec());
    }
    for at in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        fleet.hear(0, bytes);
    }
    let mut long = bytes.clone();
    long.push(0);
    fleet.hear(0, long);
    let with = |change: &dyn Fn(&mut Frame)| {
        let mut frame = frame.clone();
        change(&mut frame);
        encoded(&frame)
    };
    let hostile = [
        with(&|frame| frame.from.process.node = node(8)),
        with(&|frame| (frame.from.shard, frame.shards) = (u16::MAX - 1, u16::MAX)),
        with(&|frame| frame.to_node = node(2)),
        with(&|frame| frame.to_shard = 5),
        with(&|frame| frame.acknowledged = u64::MAX),
        with(&|frame| frame.heard = Some(u64::MAX)),
        with(&|frame| frame.payload.as_mut().unwrap().number += 7),
        with(&|frame| frame.of.as_mut().unwrap().epoch += 1),
        with(&|frame| frame.from.process.start = 0),
    ];
    for bytes in hostile {
        fleet.hear(0, bytes);
        assert!(!fleet.nodes[0].shards[0].reaching.has_arrived());
    }
    assert_eq!(seen(&fleet, 0), before);
    // The true one arrives all the same, once.
    fleet.hear(0, bytes.clone());
    fleet.hear(0, bytes);
    fleet.settle();
    assert_eq!(fleet.got(1, writer), [Got::Puback(7, ReasonCode::Success)]);
    assert_eq!(fleet.nodes[2].payloads(reader), ["1"]);
}

#[test]
fn an_unsubscribe_behind_a_message_that_is_sent_again_is_asked_for_once() {
    let mut fleet = Fleet::new(Without::Nothing);
    let topic = topic_of(0, "a");
    let client = fleet.connect(1, lasting(&client_of(1, "client")));
    fleet.subscribe(1, client, &topic);
    // Neither the message nor what becomes of it arrives.
    fleet.lost.extend([(0, 1), (1, 0)]);
    let filters = [TopicFilter::new(&topic).unwrap()];
    let (packet_id, properties) = (id(9), Default::default());
    let unsubscribe = Unsubscribe { packet_id, properties, filters: List::new(&filters) };
    fleet.nodes[1].send(client, Packet::Publish(publish(&topic, "1", 7)));
    fleet.nodes[1].send(client, Packet::Unsubscribe(unsubscribe));
    fleet.settle();
    hand_over(&mut fleet, slot_of_topic(&topic), 0, 2);
    fleet.lost.clear();
    fleet.pass(REST);
    let got = fleet.got(1, client);
    assert!(got.contains(&Got::Puback(7, ReasonCode::Success)), "{got:?}");
    assert_eq!(got.last(), Some(&Got::Unsuback(9, vec![ReasonCode::Success])), "{got:?}");
}

/// What a Client at the second node is answered, without an end of its connection.
fn granted() -> [Got; 1] {
    [Got::Suback(77, vec![ReasonCode::GrantedQoS1])]
}

fn subscribe_at_second(fleet: &mut Fleet, client: Client, filter: &str) {
    fleet.nodes[1].subscribe_by(client, filter, SubscriptionOptions::new(QoS::AtLeastOnce), None);
    fleet.settle();
    assert_eq!(fleet.got(1, client), []);
}

#[test]
fn a_subscribe_whose_route_waits_where_the_disk_fails_is_not_refused_and_asked_for_anew() {
    let mut fleet = Fleet::new(Without::Nothing);
    let topic = topic_of(2, "a");
    let reader = fleet.connect(1, lasting(&client_of(1, "reader")));
    // What the partition's slot is told by the log of the Session's slot has no record there yet.
    fleet.nodes[2].engine.set_full(true);
    subscribe_at_second(&mut fleet, reader, &topic);
    fleet.nodes[2].shards[0].sync_failed("the disk is gone");
    fleet.settle();
    assert_eq!(fleet.got(1, reader), [], "it stands in the outbox, and the next leader carries it out");
    fleet.cut.insert(2);
    fleet.pass(REST);
    assert_eq!(fleet.got(1, reader), granted());
    let writer = fleet.connect(0, passing(&client_of(0, "writer")));
    fleet.publish(0, writer, publish(&topic, "1", 7));
    assert_eq!(fleet.nodes[1].payloads(reader), ["1"]);
}

/// A SUBSCRIBE was carried out by a leader whose answer is lost, and is about to be asked for anew of the third node.
fn carried_out_unheard() -> (Fleet, Client) {
    let mut fleet = Fleet::new(Without::Nothing);
    let name = client_of(0, "reader");
    let reader = fleet.connect(1, lasting(&name));
    fleet.lost.extend([(0, 1), (2, 1)]);
    subscribe_at_second(&mut fleet, reader, "a/b");
    hand_over(&mut fleet, slot_of_client(&name), 0, 2);
    (fleet, reader)
}

#[test]
fn a_subscribe_that_was_carried_out_is_not_refused_for_want_of_room_when_it_is_asked_for_anew() {
    let (mut fleet, reader) = carried_out_unheard();
    fleet.nodes[2].engine.leave_free(1_000);
    fleet.lost.remove(&(2, 1));
    fleet.pass(900);
    assert_eq!(fleet.got(1, reader), granted());
}

#[test]
fn a_subscribe_that_was_carried_out_is_not_said_to_be_refused_where_the_next_leader_can_write_nothing() {
    let (mut fleet, reader) = carried_out_unheard();
    fleet.step = 10;
    let slot = slot_of_client(&client_of(0, "reader"));
    let led_at = |fleet: &Fleet| fleet.nodes[1].shards[0].outlet.post.where_is(slot);
    let before = led_at(&fleet);
    fleet.lost.remove(&(2, 1));
    fleet.pass_until(|fleet| led_at(fleet) != before && fleet.is_served(1, reader));
    fleet.nodes[2].engine.set_full(true);
    fleet.nodes[2].shards[0].stalled = true;
    fleet.pass(900);
    assert_eq!(fleet.got(1, reader), SENT_AWAY, "it comes again, and finds its Session as it is");
}
