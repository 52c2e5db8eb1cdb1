//! Clients that stay connected while the slots of their Sessions move.

use super::fleet::{Fleet, REST, WELCOME_BACK, client_of, slot_of_client, topic_of};
use super::refusing::hand_over;
use super::*;
use crate::options::Without;

/// How the leader of a Session goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Going {
    Dies,
    HandsOver,
}

/// A lasting Client at the first node whose Session this node leads, that gets what is published on the topic, and a
/// publisher; neither the topic's partition nor the publisher's Session is where that is.
fn served(leader: usize) -> (Fleet, String, [Client; 2]) {
    let mut fleet = Fleet::new(Without::Nothing);
    let topic = topic_of(2, "a");
    let reader = fleet.connect(0, lasting(&client_of(leader, "reader")));
    fleet.subscribe_at(0, reader, &topic, QoS::ExactlyOnce);
    let writer = fleet.connect(2, lasting(&client_of(2, "writer")));
    (fleet, topic, [reader, writer])
}

fn move_away(fleet: &mut Fleet, going: Going) {
    match going {
        Going::Dies => {
            fleet.cut.insert(1);
            fleet.pass(REST);
        }
        Going::HandsOver => hand_over(fleet, slot_of_client(&client_of(1, "reader")), 1, 2),
    }
}

#[test]
fn what_is_published_reaches_a_client_whose_session_has_moved() {
    for going in [Going::Dies, Going::HandsOver] {
        let (mut fleet, topic, [reader, writer]) = served(1);
        move_away(&mut fleet, going);
        fleet.publish(2, writer, publish(&topic, "1", 7));
        assert_eq!(fleet.nodes[0].payloads(reader), ["1"], "{going:?}");
    }
}

#[test]
fn what_a_client_has_finished_does_not_come_again_and_what_it_has_not_goes_on_where_it_was() {
    for going in [Going::Dies, Going::HandsOver] {
        let (mut fleet, topic, [reader, writer]) = served(1);
        for (payload, packet_id) in [("1", 1), ("2", 2), ("3", 3)] {
            fleet.publish(2, writer, publish(&topic, payload, packet_id));
        }
        let sent = |payload: &str, packet_id| received(&topic, payload).at(1, packet_id).got();
        assert_eq!(fleet.got(0, reader), [sent("1", 1), sent("2", 2), sent("3", 3)]);
        // The leader hears of the first, and not of the second.
        fleet.send(0, reader, Packet::Puback(Puback::new(id(1), ReasonCode::Success)));
        fleet.lost.insert((0, 1));
        fleet.send(0, reader, Packet::Puback(Puback::new(id(2), ReasonCode::Success)));
        move_away(&mut fleet, going);
        fleet.lost.clear();
        fleet.pass(REST);
        assert_eq!(fleet.got(0, reader), [], "{going:?}");
        fleet.send(0, reader, Packet::Puback(Puback::new(id(3), ReasonCode::Success)));
        fleet.publish(2, writer, publish(&topic, "4", 4));
        assert_eq!(fleet.got(0, reader), [sent("4", 4)], "{going:?}");
        // Nothing of it comes on a later connection.
        fleet.send(0, reader, Packet::Puback(Puback::new(id(4), ReasonCode::Success)));
        fleet.pass(1_000);
        let (_, got) = fleet.join(0, lasting(&client_of(1, "reader")));
        assert_eq!(got, [WELCOME_BACK], "{going:?}");
    }
}

#[test]
fn exactly_once_goes_on_at_the_step_that_was_reached() {
    let pubrec = || Packet::Pubrec(Pubrec::new(id(1), ReasonCode::Success));
    let pubcomp = || Packet::Pubcomp(Pubcomp::new(id(1), ReasonCode::Success));
    for going in [Going::Dies, Going::HandsOver] {
        for steps in 0..=3 {
            let (mut fleet, topic, [reader, writer]) = served(1);
            let message = Publish { qos: QoS::ExactlyOnce, ..publish(&topic, "1", 7) };
            fleet.publish(2, writer, message);
            assert_eq!(fleet.got(0, reader), [received(&topic, "1").at(2, 1).got()]);
            if steps == 1 {
                // PUBREC came, and the leader has not heard of it.
                fleet.lost.insert((0, 1));
            }
            if steps >= 1 {
                let got = fleet.send(0, reader, pubrec());
                assert_eq!(got.len(), usize::from(steps > 1));
            }
            if steps == 3 {
                fleet.lost.insert((0, 1));
                assert_eq!(fleet.send(0, reader, pubcomp()), []);
            }
            move_away(&mut fleet, going);
            fleet.lost.clear();
            fleet.pass(REST);
            let what = format!("{going:?} {steps}");
            let released = [Got::Pubrel(1)];
            let got = fleet.got(0, reader);
            match steps {
                0 => {
                    assert_eq!(got, [], "{what}");
                    assert_eq!(fleet.send(0, reader, pubrec()), released, "{what}");
                }
                1 => assert_eq!(got, released, "{what}"),
                _ => assert_eq!(got, [], "{what}"),
            }
            if steps < 3 {
                assert_eq!(fleet.send(0, reader, pubcomp()), [], "{what}");
            }
            fleet.pass(1_000);
            let (_, got) = fleet.join(0, lasting(&client_of(1, "reader")));
            assert_eq!(got, [WELCOME_BACK], "{what}");
        }
    }
}

#[test]
fn a_client_is_not_heard_while_nobody_leads_its_session_and_what_it_says_is_taken_up_then() {
    let (mut fleet, topic, [reader, writer]) = served(1);
    fleet.lost.insert((2, 0));
    move_away(&mut fleet, Going::HandsOver);
    assert_eq!(fleet.send(0, reader, Packet::Pingreq), []);
    fleet.lost.clear();
    fleet.pass(1_000);
    assert_eq!(fleet.got(0, reader), [Got::Pingresp]);
    fleet.publish(2, writer, publish(&topic, "1", 7));
    assert_eq!(fleet.nodes[0].payloads(reader), ["1"]);
}

#[test]
fn a_session_that_was_granted_to_another_connection_meanwhile_is_not_served_by_the_old_one() {
    let (mut fleet, topic, [reader, writer]) = served(1);
    // The leader and the node of the connection do not hear each other.
    fleet.lost.extend([(0, 1), (1, 0)]);
    let again = fleet.nodes[2].ask(lasting(&client_of(1, "reader")));
    fleet.pass_until(|fleet| !fleet.nodes[2].lines[again.0].got.is_empty());
    assert_eq!(fleet.got(2, again), [WELCOME_BACK]);
    assert_eq!(fleet.send(0, reader, Packet::Pingreq), []);
    fleet.lost.clear();
    fleet.pass(1_000);
    let taken = [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed];
    assert_eq!(fleet.got(0, reader), taken);
    fleet.publish(2, writer, publish(&topic, "1", 7));
    assert_eq!(fleet.nodes[2].payloads(again), ["1"]);
}
