//! Clients on different nodes: what one publishes reaches the others, whoever leads the slots that it passes through.

use std::collections::BTreeSet;

use super::fleet::{Fleet, REST, SENT_AWAY, client_of, topic_of};
use super::*;
use crate::options::Without;

const TAKEN: [Got; 1] = [Got::Puback(7, ReasonCode::Success)];

/// Payload and QoS of the messages that a Client got.
fn messages(fleet: &mut Fleet, at: usize, client: Client) -> Vec<(String, u8)> {
    let message = |got| match got {
        Got::Publish(received) => (received.payload, received.qos),
        got => panic!("{got:?}"),
    };
    fleet.got(at, client).into_iter().map(message).collect()
}

#[test]
fn a_message_reaches_subscribers_on_other_nodes_whoever_leads_their_slots() {
    let mut fleet = Fleet::new(Without::Nothing);
    for publisher in 0..3 {
        let [clean_at, lasting_at] = [(publisher + 1) % 3, (publisher + 2) % 3];
        for (of, from) in [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)] {
            let case = format!("{publisher}{of}{from}");
            let topic = topic_of(from, &case);
            let [clean, lasts, writes] = ["c", "l", "w"].map(|kind| client_of(of, &format!("{kind}{case}-")));
            let subscribers = [(clean_at, passing(&clean)), (lasting_at, lasting(&lasts))];
            let subscribers = subscribers.map(|(at, connect)| {
                let client = fleet.connect(at, connect);
                fleet.subscribe_at(at, client, &topic, QoS::ExactlyOnce);
                (at, client)
            });
            let connect = if from == 0 { lasting(&writes) } else { passing(&writes) };
            let writer = fleet.connect(publisher, connect);
            assert_eq!(fleet.publish(publisher, writer, publish(&topic, "0", 0)), []);
            let got = fleet.publish(publisher, writer, publish(&topic, "1", 7));
            assert_eq!(got, TAKEN, "{case}");
            let exactly_once = Publish { qos: QoS::ExactlyOnce, ..publish(&topic, "2", 8) };
            let got = fleet.publish(publisher, writer, exactly_once);
            assert_eq!(got, [Got::Pubrec(8, ReasonCode::Success)], "{case}");
            let got = fleet.send(publisher, writer, pubrel(8));
            assert_eq!(got, [Got::Pubcomp(8, ReasonCode::Success)], "{case}");
            for (at, client) in subscribers {
                let expected = [("0", 0), ("1", 1), ("2", 2)].map(|(payload, qos)| (payload.to_owned(), qos));
                assert_eq!(messages(&mut fleet, at, client), expected, "{case} at {at}");
            }
        }
    }
}

#[test]
fn a_session_is_taken_over_by_a_connection_on_another_node_and_gets_again_what_was_under_way() {
    for leader in 0..3 {
        let mut fleet = Fleet::new(Without::Nothing);
        let (name, topic) = (client_of(leader, "reader"), topic_of(leader, "a"));
        let old = fleet.connect(1, lasting(&name));
        fleet.subscribe(1, old, &topic);
        let writer = fleet.connect(0, passing("writer"));
        assert_eq!(fleet.publish(0, writer, publish(&topic, "1", 7)), TAKEN);
        let sent = received(&topic, "1").at(1, 1);
        assert_eq!(fleet.got(1, old), [sent.clone().got()]);
        let (new, got) = fleet.join(2, lasting(&name));
        assert_eq!(got, [Got::Connack(ReasonCode::Success, true), sent.again().got()]);
        assert_eq!(fleet.got(1, old), [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed]);
        fleet.send(2, new, puback(1));
        assert_eq!(fleet.publish(0, writer, publish(&topic, "2", 7)), TAKEN);
        assert_eq!(messages(&mut fleet, 2, new), [("2".to_owned(), 1)]);
    }
}

/// A publisher on the first node, where everything of it is led, and a subscriber on the second one without a queue.
fn without_a_queue(without: Without) -> (Fleet, String, [Client; 2]) {
    let mut fleet = Fleet::new(without);
    let topic = topic_of(0, "a");
    let reader = fleet.connect(1, passing(&client_of(0, "reader")));
    fleet.subscribe(1, reader, &topic);
    let writer = fleet.connect(0, passing(&client_of(0, "writer")));
    (fleet, topic, [writer, reader])
}

#[test]
fn a_message_is_acknowledged_when_the_node_of_a_subscriber_without_a_queue_has_taken_it_over() {
    for direction in [(0, 1), (1, 0)] {
        let (mut fleet, topic, [writer, reader]) = without_a_queue(Without::Nothing);
        fleet.lost.insert(direction);
        assert_eq!(fleet.publish(0, writer, publish(&topic, "1", 7)), []);
        fleet.pass(1_000);
        assert_eq!(fleet.got(0, writer), [], "nobody knows whether it was taken over");
        let arrived = usize::from(direction == (1, 0));
        assert_eq!(fleet.nodes[1].lines[reader.0].got.len(), arrived);
        fleet.lost.clear();
        fleet.pass(1_000);
        assert_eq!(fleet.got(0, writer), TAKEN);
        assert_eq!(messages(&mut fleet, 1, reader), [("1".to_owned(), 1)]);
    }
}

#[test]
fn without_a_receipt_it_is_acknowledged_before() {
    let (mut fleet, topic, [writer, reader]) = without_a_queue(Without::Receipt);
    fleet.lost.insert((0, 1));
    assert_eq!(fleet.publish(0, writer, publish(&topic, "1", 7)), TAKEN);
    assert_eq!(fleet.got(1, reader), []);
}

#[test]
fn what_was_sent_to_a_node_that_is_heard_no_more_goes_to_the_next_leader() {
    let (mut fleet, topic, [writer, _]) = without_a_queue(Without::Nothing);
    fleet.cut.insert(1);
    assert_eq!(fleet.publish(0, writer, publish(&topic, "1", 7)), []);
    fleet.pass(2_300);
    assert_eq!(fleet.got(0, writer), TAKEN);
}

#[test]
fn a_message_for_a_subscriber_on_a_node_that_is_heard_no_more_is_acknowledged_when_nobody_is_served_there() {
    let (mut fleet, topic, [writer, reader]) = without_a_queue(Without::Nothing);
    fleet.cut.insert(1);
    fleet.step = 10;
    fleet.pass_until(|fleet| fleet.nodes[0].shards[0].outlet.post.others().count() == 1);
    assert_eq!(fleet.publish(0, writer, publish(&topic, "1", 7)), []);
    let passed = fleet.pass_until(|fleet| !fleet.nodes[0].lines[writer.0].got.is_empty());
    assert!(passed <= 1_000, "{passed} ms");
    assert_eq!(fleet.got(0, writer), TAKEN);
    assert_eq!(fleet.got(1, reader), SENT_AWAY);
}

#[test]
fn retained_messages_of_all_nodes_come_to_a_subscriber_of_everything() {
    let mut fleet = Fleet::new(Without::Nothing);
    let topics: Vec<_> = (0..3).map(|leader| topic_of(leader, "kept")).collect();
    let writer = fleet.connect(0, passing("writer"));
    for topic in &topics {
        let retained = Publish { retain: true, ..publish(topic, "stands", 7) };
        assert_eq!(fleet.publish(0, writer, retained), TAKEN);
    }
    for at in 0..3 {
        for (leader, connect) in
            [passing, lasting].into_iter().flat_map(|kind| [0, 1, 2].map(|of| (of, kind)))
        {
            let name = client_of(leader, &format!("reader{at}"));
            let (reader, _) = fleet.join(at, Connect { clean_start: true, ..connect(&name) });
            fleet.subscribe(at, reader, "#");
            let expected: BTreeSet<_> = topics.iter().map(|topic| (topic.clone(), true)).collect();
            let seen = |got: Vec<Got>| -> Vec<(String, bool)> {
                let topic = |got| match got {
                    Got::Publish(received) => (received.topic, received.retain),
                    got => panic!("{got:?}"),
                };
                got.into_iter().map(topic).collect()
            };
            let got = seen(fleet.got(at, reader));
            assert_eq!(
                (got.len(), got.into_iter().collect::<BTreeSet<_>>()),
                (3, expected),
                "{name} at {at}"
            );
            // What is published from now on comes too, wherever it was matched.
            for topic in &topics {
                assert_eq!(fleet.publish(0, writer, publish(topic, "new", 7)), TAKEN);
            }
            let got = seen(fleet.got(at, reader));
            assert_eq!(got, topics.iter().map(|topic| (topic.clone(), false)).collect::<Vec<_>>());
            fleet.send(at, reader, goodbye());
        }
    }
}

#[test]
fn a_shared_subscription_chooses_members_that_are_connected_elsewhere() {
    for leader in 0..3 {
        let mut fleet = Fleet::new(Without::Nothing);
        let topic = topic_of(leader, "work");
        let filter = format!("$share/group/{topic}");
        let names: Vec<_> = (0..3).map(|of| client_of(of, "member")).collect();
        let members: Vec<_> = (0..3)
            .map(|at| {
                let member = fleet.connect(at, lasting(&names[at]));
                fleet.subscribe(at, member, &filter);
                member
            })
            .collect();
        // One whose Client is not there is not chosen.
        fleet.send(2, members[2], goodbye());
        let writer = fleet.connect(2, passing("writer"));
        for number in 0..6 {
            let payload = number.to_string();
            assert_eq!(fleet.publish(2, writer, publish(&topic, &payload, 7)), TAKEN);
        }
        let counts = [0, 1].map(|at| messages(&mut fleet, at, members[at]).len());
        assert_eq!(counts, [3, 3], "led at {leader}");
        assert_eq!(fleet.join(2, lasting(&names[2])).1, [Got::Connack(ReasonCode::Success, true)]);
    }
}

#[test]
fn members_on_a_node_that_is_heard_no_more_are_not_chosen() {
    let mut fleet = Fleet::new(Without::Nothing);
    let topic = topic_of(0, "work");
    let filter = format!("$share/group/{topic}");
    let members = [0, 1].map(|at| {
        let member = fleet.connect(at, lasting(&client_of(0, &format!("member{at}"))));
        fleet.subscribe(at, member, &filter);
        member
    });
    fleet.cut.insert(1);
    fleet.pass(REST);
    let writer = fleet.connect(2, passing("writer"));
    for number in 0..4 {
        let payload = number.to_string();
        assert_eq!(fleet.publish(2, writer, publish(&topic, &payload, 7)), TAKEN);
    }
    assert_eq!(messages(&mut fleet, 0, members[0]).len(), 4);
}
