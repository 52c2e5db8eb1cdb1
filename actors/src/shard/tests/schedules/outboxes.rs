//! Two slots whose outboxes towards each other are full.

use super::super::fleet::preferred;
use super::*;

/// Messages of this size fill an outbox with few of them.
const BYTES: usize = 200_000;

/// Slots that P and S lead, and for each of them a publisher of it and a topic of the other one.
fn pair() -> [(usize, String, String); 2] {
    let (one, other) = (SlotId(0), SlotId(1));
    assert_eq!((preferred(one), preferred(other)), (P, S));
    let client = |slot| (0..).map(|n| format!("w{n}")).find(|name| slot_of_client(name) == slot).unwrap();
    let topic = |slot| (0..).map(|n| format!("o{n}/t")).find(|name| slot_of_topic(name) == slot).unwrap();
    [(P, client(one), topic(other)), (S, client(other), topic(one))]
}

fn exactly_once<'a>(topic: &'a str, payload: &'a str, packet_id: u16) -> Packet<'a> {
    Packet::Publish(Publish { qos: QoS::ExactlyOnce, ..publish(topic, payload, packet_id) })
}

#[test]
fn two_full_outboxes_towards_each_other_empty_when_they_can_and_nothing_is_lost() {
    let mut stage = Stage::new(Without::Nothing);
    let pair = pair();
    let reader = stage.fleet.connect(N, lasting(&client_of(N, "reader")));
    for (_, _, topic) in &pair {
        stage.fleet.subscribe_at(N, reader, topic, QoS::ExactlyOnce);
    }
    let writers = pair.each_ref().map(|(at, name, _)| stage.fleet.connect(*at, lasting(name)));
    stage.held.extend(between(P, S));
    // More than an outbox takes, and nobody waits for an answer: those come when the other node has heard.
    let payload = "x".repeat(BYTES);
    for (of, (at, _, topic)) in pair.iter().enumerate() {
        for id in 1..=60 {
            stage.fleet.nodes[*at].send(writers[of], exactly_once(topic, &payload, id));
        }
    }
    stage.settle();
    stage.release();
    let (mut taken, mut refused, mut came) = ([0; 2], [0; 2], [0; 2]);
    for _ in 0..600 {
        stage.pass(10);
        for (of, (at, ..)) in pair.iter().enumerate() {
            for got in stage.fleet.got(*at, writers[of]) {
                match got {
                    Got::Pubrec(id, ReasonCode::Success) => {
                        taken[of] += 1;
                        stage.fleet.nodes[*at].send(writers[of], pubrel(id));
                    }
                    Got::Pubrec(_, ReasonCode::QuotaExceeded) => refused[of] += 1,
                    Got::Pubcomp(..) => {}
                    got => panic!("{got:?}"),
                }
            }
        }
        for got in stage.fleet.got(N, reader) {
            match got {
                Got::Publish(received) => {
                    came[usize::from(received.topic != pair[0].2)] += 1;
                    stage.fleet.nodes[N].send(reader, pubrec(received.packet_id));
                }
                Got::Pubrel(id) => stage.fleet.nodes[N].send(reader, pubcomp(id)),
                got => panic!("{got:?}"),
            }
        }
    }
    assert_eq!([0, 1].map(|of| taken[of] + refused[of]), [60, 60], "{taken:?} {refused:?}");
    assert!(taken.iter().chain(&refused).all(|count| *count > 5), "{taken:?} {refused:?}");
    assert_eq!(came, taken, "each of them once");
    for (of, (at, _, topic)) in pair.iter().enumerate() {
        let got = stage.send(*at, writers[of], exactly_once(topic, "more", 900));
        assert_eq!(got, [Got::Pubrec(900, ReasonCode::Success)], "there is room again");
    }
}
