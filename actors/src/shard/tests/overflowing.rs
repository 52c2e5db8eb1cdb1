//! A queue that is full: what is under way stays, what has expired goes, then the oldest.

use super::*;
use crate::session::QueueLimits;

/// Ten messages may wait.
fn world() -> World {
    with(QueueLimits { messages: 10, bytes: 1 << 20, age: HOUR })
}

fn with(queue: QueueLimits) -> World {
    World::with(Limits { queue, ..Limits::default() })
}

fn at_most(receive_maximum: u16) -> Connect<'static> {
    let receive_maximum = std::num::NonZeroU16::new(receive_maximum);
    let connect = lasting("s");
    Connect { properties: ConnectProperties { receive_maximum, ..connect.properties }, ..connect }
}

/// Publishes messages of these numbers, and waits for each.
fn publish_all(world: &mut World, publisher: Client, qos: QoS, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        let payload = number.to_string();
        world.publish(publisher, Publish { qos, ..publish("x/y", &payload, 1) });
        if qos == QoS::ExactlyOnce {
            world.send_and_settle(publisher, pubrel(1));
        }
        world.got(publisher);
    }
}

fn numbers(ranges: &[std::ops::RangeInclusive<u32>]) -> Vec<String> {
    ranges.iter().flat_map(|range| range.clone().map(|number| number.to_string())).collect()
}

fn dropped(world: &World) -> u64 {
    world.shards.iter().map(|shard| shard.observe().messages_dropped).sum()
}

#[derive(Clone, Copy, Debug)]
enum End {
    Cut,
    TakenOver,
    Restart,
}

const ENDS: [End; 3] = [End::Cut, End::TakenOver, End::Restart];

/// The Client comes again, after its connection ended so.
fn again(world: &mut World, subscriber: Client, end: End, connect: Connect<'static>) -> Client {
    match end {
        End::Cut => world.cut_and_settle(subscriber),
        End::TakenOver => {}
        End::Restart => world.restart(),
    }
    world.connect(connect)
}

#[test]
fn what_is_not_acknowledged_is_sent_again_whatever_came_since() {
    // [MQTT-4.4.0-1]
    for end in ENDS {
        let mut world = world();
        let subscriber = world.subscriber(at_most(5), &["x/y"]);
        let publisher = world.connect(passing("p"));
        publish_all(&mut world, publisher, QoS::AtLeastOnce, 1..=40);
        assert_eq!(world.payloads(subscriber), numbers(&[1..=5]));
        assert_eq!(dropped(&world), 25);
        let subscriber = again(&mut world, subscriber, end, at_most(100));
        assert_eq!(world.payloads(subscriber), numbers(&[1..=5, 31..=40]), "{end:?}");
    }
}

#[test]
fn what_is_under_way_stays_while_its_client_is_away() {
    for end in ENDS {
        let mut world = world();
        let subscriber = world.subscriber(at_most(5), &["x/y"]);
        let publisher = world.connect(passing("p"));
        publish_all(&mut world, publisher, QoS::AtLeastOnce, 1..=12);
        assert_eq!(world.payloads(subscriber), numbers(&[1..=5]));
        // Some of them are acknowledged, and others are under way in their place.
        for packet_id in 2..=4 {
            world.send_and_settle(subscriber, puback(packet_id));
        }
        assert_eq!(world.payloads(subscriber), numbers(&[6..=8]));
        world.pass(200);
        let subscriber = again(&mut world, subscriber, end, at_most(3));
        assert_eq!(world.payloads(subscriber), ["1", "5", "6"]);
        world.cut_and_settle(subscriber);
        let publisher = match end {
            End::Restart => world.connect(passing("p")),
            _ => publisher,
        };
        publish_all(&mut world, publisher, QoS::AtLeastOnce, 13..=40);
        let subscriber = world.connect(at_most(100));
        let got = world.payloads(subscriber);
        assert_eq!(got[..5], ["1", "5", "6", "7", "8"], "{end:?}");
        // Where nobody knows any more what was sent, all that waited then may have been: it stays, and what comes after
        // that is kept as ever.
        let rest = match end {
            End::Restart => numbers(&[9..=12, 31..=40]),
            _ => numbers(&[31..=40]),
        };
        assert_eq!(got[5..], rest, "{end:?}");
    }
}

#[test]
fn a_pubrel_that_is_due_comes_whatever_came_since() {
    for end in ENDS {
        let mut world = world();
        let subscriber = world.subscriber(at_most(3), &["x/y"]);
        let publisher = world.connect(lasting("p"));
        publish_all(&mut world, publisher, QoS::ExactlyOnce, 1..=3);
        assert_eq!(world.payloads(subscriber), numbers(&[1..=3]));
        world.send_and_settle(subscriber, pubrec(1));
        assert_eq!(world.got(subscriber), [Got::Pubrel(1)]);
        publish_all(&mut world, publisher, QoS::ExactlyOnce, 4..=40);
        let subscriber = again(&mut world, subscriber, end, at_most(3));
        let expected = [
            Got::Pubrel(1),
            received("x/y", "2").at(2, 2).again().got(),
            received("x/y", "3").at(2, 3).again().got(),
        ];
        assert_eq!(world.got(subscriber), expected, "{end:?}");
        world.send_and_settle(subscriber, pubcomp(1));
        world.send_and_settle(subscriber, pubrec(2));
        world.send_and_settle(subscriber, pubcomp(2));
        world.pass(200);
        assert_eq!(world.got(subscriber).len(), 3);
    }
}

#[test]
fn what_has_expired_goes_before_what_has_not() {
    for connect in [at_most(100), at_most(1)] {
        let mut world = world();
        let subscriber = world.subscriber(connect, &["x/y"]);
        let publisher = world.connect(passing("p"));
        if connect == at_most(100) {
            world.cut_and_settle(subscriber);
        } else {
            // It is there, and its window is full.
            publish_all(&mut world, publisher, QoS::AtLeastOnce, 0..=0);
        }
        publish_all(&mut world, publisher, QoS::AtLeastOnce, 1..=5);
        for _ in 0..5 {
            let mut message = publish("x/y", "expired", 1);
            message.properties.message_expiry_interval = Some(1);
            world.publish(publisher, message);
        }
        world.pass(2_000);
        publish_all(&mut world, publisher, QoS::AtLeastOnce, 6..=10);
        assert_eq!(dropped(&world), 0);
        // Nothing has expired any more: now the oldest goes.
        publish_all(&mut world, publisher, QoS::AtLeastOnce, 11..=11);
        assert_eq!(dropped(&world), 1);
        world.got(subscriber);
        let subscriber = again(&mut world, subscriber, End::TakenOver, at_most(100));
        let got = world.payloads(subscriber);
        assert!(got.ends_with(&numbers(&[2..=11])), "{got:?}");
        assert!(got.len() <= 11);
    }
}

#[test]
fn a_window_larger_than_the_queue_loses_nothing() {
    for end in ENDS {
        let mut world = world();
        let subscriber = world.subscriber(at_most(100), &["x/y"]);
        let publisher = world.connect(passing("p"));
        publish_all(&mut world, publisher, QoS::AtLeastOnce, 1..=50);
        assert_eq!(world.payloads(subscriber), numbers(&[1..=50]));
        assert_eq!(dropped(&world), 0);
        let subscriber = again(&mut world, subscriber, end, at_most(100));
        assert_eq!(world.payloads(subscriber), numbers(&[1..=50]), "{end:?}");
    }
}

#[test]
fn bytes_are_bounded_and_what_is_under_way_stays() {
    let payload = "p".repeat(1000);
    let mut world = with(QueueLimits { messages: 1000, bytes: 10_000, age: HOUR });
    let subscriber = world.subscriber(at_most(2), &["x/y"]);
    let publisher = world.connect(passing("p"));
    for _ in 0..40 {
        world.publish(publisher, publish("x/y", &payload, 1));
    }
    assert_eq!(world.got(subscriber).len(), 2);
    let subscriber = again(&mut world, subscriber, End::Cut, at_most(100));
    let got = world.got(subscriber);
    let again = |got: &&Got| matches!(got, Got::Publish(received) if received.dup);
    assert_eq!(got.iter().filter(again).count(), 2);
    assert!((9..=12).contains(&got.len()), "{}", got.len());
}

#[test]
fn one_burst_is_cut_to_what_may_wait() {
    let mut world = world();
    let subscriber = world.subscriber(at_most(5), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    for number in 1..=500_u32 {
        let payload = number.to_string();
        world.send(publisher, Packet::Publish(publish("x/y", &payload, number as u16)));
    }
    world.settle();
    assert_eq!(dropped(&world), 490);
    let subscriber = world.connect(at_most(100));
    assert_eq!(world.payloads(subscriber), numbers(&[491..=500]));
}

#[test]
fn a_message_that_is_never_acknowledged_costs_no_more_for_what_passes_it() {
    let mut world = world();
    let subscriber = world.subscriber(at_most(1), &["x/y"]);
    let publisher = world.connect(passing("p"));
    publish_all(&mut world, publisher, QoS::AtLeastOnce, 1..=1);
    for _ in 0..70 {
        for packet_id in 1..=1000 {
            world.send(publisher, Packet::Publish(publish("x/y", "passes", packet_id)));
        }
        world.settle();
        world.got(publisher);
    }
    publish_all(&mut world, publisher, QoS::AtLeastOnce, 2..=11);
    assert_eq!(world.payloads(subscriber), ["1"]);
    // The next one would have the identifier of one that is still under way.
    let subscriber = again(&mut world, subscriber, End::Cut, at_most(20));
    assert_eq!(world.payloads(subscriber), ["1"]);
    world.send_and_settle(subscriber, puback(1));
    assert_eq!(world.payloads(subscriber), numbers(&[2..=11]));
}
