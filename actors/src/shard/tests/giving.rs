//! Sessions that end with their connection stay while the slots move whose messages they get, and get each of them once.

use super::adopting::Going;
use super::fleet::{Fleet, REST, SENT_AWAY, client_of, slot_of_topic, topic_of};
use super::refusing::{first_times, hand_over};
use super::*;
use crate::options::Without;

const GOINGS: [Going; 2] = [Going::Dies, Going::HandsOver];

/// A Client without a queue at the first node that gets what is published on a topic of the second one, and a publisher
/// at the third one, which leads the Sessions of both.
fn without_queue() -> (Fleet, String, [Client; 2]) {
    without_queue_and(Without::Nothing)
}

fn without_queue_and(without: Without) -> (Fleet, String, [Client; 2]) {
    let mut fleet = Fleet::new(without);
    let topic = topic_of(1, "a");
    let reader = fleet.connect(0, passing(&client_of(2, "reader")));
    fleet.subscribe_at(0, reader, &topic, QoS::ExactlyOnce);
    let writer = fleet.connect(2, lasting(&client_of(2, "writer")));
    (fleet, topic, [reader, writer])
}

/// The leader of the topic's partition goes.
fn go(fleet: &mut Fleet, going: Going, topic: &str) {
    match going {
        Going::Dies => {
            fleet.cut.insert(1);
            fleet.pass(REST);
        }
        Going::HandsOver => hand_over(fleet, slot_of_topic(topic), 1, 2),
    }
}

fn exactly_once<'a>(topic: &'a str, payload: &'a str, packet_id: u16) -> Publish<'a> {
    Publish { qos: QoS::ExactlyOnce, ..publish(topic, payload, packet_id) }
}

fn pubrec(packet_id: u16) -> Got {
    Got::Pubrec(packet_id, ReasonCode::Success)
}

#[test]
fn a_message_that_came_by_the_log_and_was_given_to_nobody_is_given_by_the_next_leader() {
    for going in GOINGS {
        let (mut fleet, topic, [reader, writer]) = without_queue();
        fleet.lost.insert((1, 0));
        assert_eq!(fleet.publish(2, writer, exactly_once(&topic, "1", 7)), [pubrec(7)]);
        assert_eq!(fleet.publish(2, writer, exactly_once(&topic, "2", 8)), [pubrec(8)]);
        assert_eq!(fleet.got(0, reader), [], "{going:?}");
        go(&mut fleet, going, &topic);
        fleet.lost.clear();
        fleet.pass(REST);
        fleet.publish(2, writer, exactly_once(&topic, "3", 9));
        assert_eq!(fleet.nodes[0].payloads(reader), ["1", "2", "3"], "{going:?}");
    }
}

#[test]
fn without_that_rule_it_would_be_lost() {
    for going in GOINGS {
        let (mut fleet, topic, [reader, writer]) = without_queue_and(Without::Again);
        fleet.lost.insert((1, 0));
        assert_eq!(fleet.publish(2, writer, exactly_once(&topic, "1", 7)), [pubrec(7)]);
        go(&mut fleet, going, &topic);
        fleet.lost.clear();
        fleet.pass(REST);
        fleet.publish(2, writer, exactly_once(&topic, "2", 8));
        assert_eq!(fleet.nodes[0].payloads(reader), ["2"], "{going:?}");
    }
}

#[test]
fn what_a_connection_was_given_it_is_not_given_again() {
    for going in GOINGS {
        for millis in [0, 1_000] {
            let (mut fleet, topic, [reader, writer]) = without_queue();
            for (payload, packet_id) in [("1", 7), ("2", 8), ("3", 9)] {
                fleet.publish(2, writer, exactly_once(&topic, payload, packet_id));
            }
            assert_eq!(fleet.nodes[0].payloads(reader), ["1", "2", "3"]);
            // It is on record, or not yet.
            fleet.pass(millis);
            go(&mut fleet, going, &topic);
            fleet.publish(2, writer, exactly_once(&topic, "4", 10));
            assert_eq!(fleet.nodes[0].payloads(reader), ["4"], "{going:?} {millis}");
            assert!(fleet.is_connected(0, reader));
        }
    }
}

#[test]
fn without_knowing_what_it_was_given_it_gets_it_twice() {
    let (mut fleet, topic, [reader, writer]) = without_queue_and(Without::Known);
    // That the first was given is on record at once, that the second was not yet.
    for (payload, packet_id) in [("1", 7), ("2", 8)] {
        fleet.publish(2, writer, exactly_once(&topic, payload, packet_id));
    }
    assert_eq!(fleet.nodes[0].payloads(reader), ["1", "2"]);
    go(&mut fleet, Going::HandsOver, &topic);
    fleet.pass(REST);
    assert_eq!(fleet.nodes[0].payloads(reader), ["2"]);
}

#[test]
fn a_leader_that_had_reached_some_of_those_a_message_is_for_is_followed_by_one_that_reaches_the_rest() {
    for going in GOINGS {
        let (mut fleet, topic, [reader, writer]) = without_queue();
        let near = fleet.connect(2, passing(&client_of(2, "near")));
        fleet.subscribe_at(2, near, &topic, QoS::ExactlyOnce);
        fleet.lost.insert((1, 0));
        fleet.publish(2, writer, exactly_once(&topic, "1", 7));
        assert_eq!(fleet.nodes[2].payloads(near), ["1"]);
        go(&mut fleet, going, &topic);
        fleet.lost.clear();
        fleet.pass(REST);
        assert_eq!(fleet.nodes[2].payloads(near), [""; 0], "{going:?}");
        assert_eq!(fleet.nodes[0].payloads(reader), ["1"], "{going:?}");
    }
}

#[test]
fn a_message_that_is_passed_on_in_pieces_reaches_everybody_once() {
    for going in GOINGS {
        let (mut fleet, topic, [reader, writer]) = without_queue();
        let near = [1, 2].map(|at| {
            [0, 1, 2].map(|number| {
                let client = fleet.connect(at, passing(&client_of(2, &format!("near{at}-{number}-"))));
                fleet.subscribe_at(at, client, &topic, QoS::ExactlyOnce);
                client
            })
        });
        for node in &mut fleet.nodes {
            node.shards[0].outlet.casts.piece = 2;
        }
        fleet.lost.insert((1, 0));
        fleet.publish(2, writer, exactly_once(&topic, "1", 7));
        for (clients, at) in near.iter().zip([1, 2]) {
            clients.iter().for_each(|near| assert_eq!(fleet.nodes[at].payloads(*near), ["1"]));
        }
        go(&mut fleet, going, &topic);
        fleet.lost.clear();
        fleet.pass(REST);
        assert_eq!(fleet.nodes[0].payloads(reader), ["1"], "{going:?}");
        for near in near[1] {
            assert_eq!(fleet.nodes[2].payloads(near), [""; 0], "{going:?}");
        }
    }
}

#[test]
fn who_publishes_without_a_log_sends_again_and_nobody_is_sent_away() {
    for going in GOINGS {
        let (mut fleet, topic, [reader, writer]) = without_queue();
        fleet.lost.insert((1, 0));
        assert_eq!(fleet.publish(2, writer, publish(&topic, "1", 7)), []);
        assert_eq!(fleet.publish(2, writer, publish(&topic, "2", 8)), []);
        go(&mut fleet, going, &topic);
        fleet.lost.clear();
        fleet.pass(REST);
        let taken = [7, 8].map(|packet_id| Got::Puback(packet_id, ReasonCode::Success));
        assert_eq!(fleet.got(2, writer), taken, "{going:?}");
        assert_eq!(first_times(fleet.nodes[0].payloads(reader)), ["1", "2"], "{going:?}");
        assert!(fleet.is_connected(0, reader));
    }
}

#[test]
fn a_subscription_is_not_answered_while_what_was_published_before_may_come_again() {
    let (mut fleet, topic, [reader, writer]) = without_queue();
    fleet.lost.insert((1, 0));
    let retained = |payload, packet_id| Publish { retain: true, ..exactly_once(&topic, payload, packet_id) };
    for (payload, packet_id) in [("1", 7), ("2", 8)] {
        fleet.publish(2, writer, retained(payload, packet_id));
    }
    let late = fleet.connect(2, passing(&client_of(2, "late")));
    let options = SubscriptionOptions::new(QoS::ExactlyOnce);
    let subscriptions = [Subscription { filter: TopicFilter::new(&topic).unwrap(), options }];
    let subscriptions = List::new(&subscriptions);
    let subscribe = Subscribe { packet_id: id(77), properties: Default::default(), subscriptions };
    assert_eq!(fleet.send(2, late, Packet::Subscribe(subscribe)), []);
    go(&mut fleet, Going::HandsOver, &topic);
    fleet.lost.clear();
    fleet.pass(REST);
    let payload = |got: Got| match got {
        Got::Publish(received) => Some(received.payload),
        Got::Suback(77, _) => None,
        got => panic!("{got:?}"),
    };
    let came: Vec<_> = fleet.got(2, late).into_iter().filter_map(payload).collect();
    assert!(came.is_sorted() && came.last().is_some_and(|last| last == "2"), "{came:?}");
    assert_eq!(fleet.nodes[0].payloads(reader), ["1", "2"]);
}

#[test]
fn connections_that_nobody_gives_anything_end_after_a_while() {
    let (mut fleet, _, [reader, _]) = without_queue();
    let publisher = fleet.connect(0, passing(&client_of(0, "publisher")));
    // It hears a majority, and not who leads the topic.
    fleet.lost.extend([(1, 0), (0, 1)]);
    fleet.pass(5_000);
    assert!(fleet.is_connected(0, reader));
    fleet.pass(3_000);
    assert_eq!(fleet.got(0, reader), SENT_AWAY);
    assert!(fleet.is_connected(0, publisher), "it waits for nothing");
}
