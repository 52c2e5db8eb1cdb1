//! A message is refused while others of its publisher are on their way behind it. None of them is taken before the publisher was
//! told: its connection may end first, and then the refused one comes again, behind them.

use super::fleet::{Fleet, REST, SENT_AWAY, client_of, slot_of_topic, topic_of};
use super::*;
use crate::options::Without;

fn disk_of(fleet: &mut Fleet, at: usize, is_full: bool) {
    fleet.nodes[at].engine.leave_free(if is_full { 1_000 } else { u64::MAX });
    fleet.pass(100);
}

/// What becomes of two messages of a publisher at the second node, of which the first one is refused by a node and the second one
/// finds room there, when nobody has heard of that yet. And of a third one, when that was told.
fn told(
    fleet: &mut Fleet,
    by: usize,
    deaf: (usize, usize),
    writer: Client,
    message: impl Fn(u16) -> Publish<'static>,
) -> Vec<Got> {
    disk_of(fleet, by, true);
    fleet.lost.insert(deaf);
    assert_eq!(fleet.publish(1, writer, message(7)), []);
    disk_of(fleet, by, false);
    assert_eq!(fleet.publish(1, writer, message(8)), []);
    fleet.lost.clear();
    fleet.pass(1_000);
    let mut got = fleet.got(1, writer);
    got.extend(fleet.publish(1, writer, message(9)));
    got
}

const REFUSED: ReasonCode = ReasonCode::QuotaExceeded;
const TAKEN: ReasonCode = ReasonCode::Success;

/// The rule is left out too: then the second message is taken.
const RULES: [(Without, [ReasonCode; 3]); 2] =
    [(Without::Nothing, [REFUSED, REFUSED, TAKEN]), (Without::TurnAway, [REFUSED, TAKEN, TAKEN])];

/// A reader with a queue that one node leads, a publisher at the second node, and a topic that the first one leads.
fn is_refused_by(by: usize, queue: usize, deaf: (usize, usize)) {
    for (without, reasons) in RULES {
        let mut fleet = Fleet::new(without);
        let topic: &str = topic_of(0, "a").leak();
        let reader = fleet.connect(2, lasting(&client_of(queue, "reader")));
        fleet.subscribe(2, reader, topic);
        let writer = fleet.connect(1, passing(&client_of(1, "writer")));
        let got =
            told(&mut fleet, by, deaf, writer, |id| publish(topic, ["7", "8", "9"][usize::from(id) - 7], id));
        let expected: Vec<_> = (7..).zip(reasons).map(|(id, reason)| Got::Puback(id, reason)).collect();
        assert_eq!(got, expected, "without {without:?}");
        let came = expected.len() - reasons.iter().filter(|reason| reason.is_error()).count();
        assert_eq!(fleet.nodes[2].payloads(reader), ["8", "9"][2 - came..]);
    }
}

#[test]
fn what_is_behind_a_message_that_a_queue_refused_is_refused_there() {
    is_refused_by(2, 2, (2, 0));
}

#[test]
fn what_is_behind_a_message_that_its_partition_refused_is_refused_there() {
    is_refused_by(0, 0, (0, 1));
}

#[test]
fn what_is_behind_a_qos_2_message_that_the_log_of_its_session_refused_is_refused_there() {
    for (without, reasons) in RULES {
        let mut fleet = Fleet::new(without);
        let writer = fleet.connect(1, lasting(&client_of(0, "writer")));
        let message = |id| Publish { qos: QoS::ExactlyOnce, ..publish("a", "1", id) };
        let got = told(&mut fleet, 0, (0, 1), writer, message);
        let expected: Vec<_> = (7..).zip(reasons).map(|(id, reason)| Got::Pubrec(id, reason)).collect();
        assert_eq!(got, expected, "without {without:?}");
    }
}

#[test]
fn what_is_behind_a_message_whose_refusal_waits_for_an_older_answer_is_refused_too() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (slow, topic) = (topic_of(0, "a"), topic_of(1, "b"));
    let reader = fleet.connect(1, lasting(&client_of(1, "reader")));
    fleet.subscribe(1, reader, &topic);
    let writer = fleet.connect(1, passing(&client_of(1, "writer")));
    // Of the first message nothing is heard yet; the partition of the others is in the publisher's shard.
    fleet.lost.insert((0, 1));
    assert_eq!(fleet.publish(1, writer, publish(&slow, "1", 7)), []);
    fleet.nodes[1].engine.leave_free(1_000);
    fleet.pass(100);
    assert_eq!(fleet.publish(1, writer, publish(&topic, "2", 8)), []);
    disk_of(&mut fleet, 1, false);
    assert_eq!(fleet.publish(1, writer, publish(&topic, "3", 9)), []);
    fleet.lost.clear();
    fleet.pass(1_000);
    let puback = |id, reason| Got::Puback(id, reason);
    assert_eq!(fleet.got(1, writer), [puback(7, TAKEN), puback(8, REFUSED), puback(9, REFUSED)]);
    assert_eq!(fleet.publish(1, writer, publish(&topic, "4", 10)), [puback(10, TAKEN)]);
    assert_eq!(fleet.nodes[1].payloads(reader), ["4"]);
}

/// A publisher at the second node whose first message was refused, and which has sent a SUBSCRIBE and another message behind it
/// before that was said.
fn hurried(fleet: &mut Fleet) -> (Client, Client, &'static str) {
    let topic: &str = topic_of(0, "a").leak();
    let reader = fleet.connect(2, lasting(&client_of(2, "reader")));
    fleet.subscribe(2, reader, topic);
    let writer = fleet.connect(1, passing(&client_of(1, "writer")));
    disk_of(fleet, 2, true);
    fleet.lost.insert((0, 1));
    assert_eq!(fleet.publish(1, writer, publish(topic, "7", 7)), []);
    // Behind it nothing is read before it is answered.
    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    let subscriptions = [Subscription { filter: TopicFilter::new("other").unwrap(), options }];
    let subscriptions = List::new(&subscriptions);
    let subscribe = Subscribe { packet_id: id(77), properties: Default::default(), subscriptions };
    assert_eq!(fleet.send(1, writer, Packet::Subscribe(subscribe)), []);
    assert_eq!(fleet.publish(1, writer, publish(topic, "8", 8)), []);
    disk_of(fleet, 2, false);
    (reader, writer, topic)
}

#[test]
fn what_a_client_sent_before_it_could_hear_of_a_refusal_is_refused_with_it() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (reader, writer, topic) = hurried(&mut fleet);
    fleet.lost.clear();
    fleet.pass(1_000);
    let mut got = fleet.got(1, writer);
    got.retain(|got| !matches!(got, Got::Suback(..)));
    got.extend(fleet.publish(1, writer, publish(topic, "9", 9)));
    let puback = |id, reason| Got::Puback(id, reason);
    assert_eq!(got, [puback(7, REFUSED), puback(8, REFUSED), puback(9, TAKEN)]);
    assert_eq!(fleet.nodes[2].payloads(reader), ["9"]);
}

#[test]
fn who_has_not_heard_of_a_refusal_begins_anew_when_a_leader_is_lost() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (slow, topic) = (topic_of(0, "a"), topic_of(1, "b"));
    let reader = fleet.connect(1, lasting(&client_of(1, "reader")));
    fleet.subscribe(1, reader, &topic);
    let writer = fleet.connect(1, passing(&client_of(1, "writer")));
    // The leader that is to answer for the first message is lost, and the refusal of the second one waits for that.
    fleet.lost.insert((0, 1));
    assert_eq!(fleet.publish(1, writer, publish(&slow, "1", 7)), []);
    fleet.nodes[1].engine.leave_free(1_000);
    fleet.pass(100);
    assert_eq!(fleet.publish(1, writer, publish(&topic, "2", 8)), []);
    disk_of(&mut fleet, 1, false);
    fleet.cut.insert(0);
    let has_lost = |fleet: &Fleet| fleet.led(2).contains(&slot_of_topic(&slow));
    fleet.pass_until(has_lost);
    if fleet.is_connected(1, writer) {
        fleet.nodes[1].send(writer, Packet::Publish(publish(&topic, "3", 9)));
    }
    fleet.pass(REST);
    // Else the third one would be taken.
    assert_eq!(fleet.got(1, writer), SENT_AWAY);
    assert_eq!(fleet.nodes[1].payloads(reader), [""; 0]);
}
