//! Messages towards Clients: acknowledgements, resending, flow control, expiry and bounds.

use super::*;

const HELLO: &str = "hello";

fn qos_2(topic: &'static str, payload: &'static str, packet_id: u16) -> Publish<'static> {
    Publish { qos: QoS::ExactlyOnce, ..publish(topic, payload, packet_id) }
}

/// A publisher and a subscriber of `x/y` whose Session lasts, which is offline.
fn with_offline_subscriber() -> (World, Client) {
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    (world, publisher)
}

/// A publisher and a subscriber of `x/y` with this Receive Maximum.
fn with_window(lasting_session: bool, receive_maximum: u16) -> (World, Client, Client) {
    let mut world = World::new();
    let connect = if lasting_session { lasting("s") } else { passing("s") };
    let receive_maximum = std::num::NonZeroU16::new(receive_maximum);
    let properties = ConnectProperties { receive_maximum, ..connect.properties };
    let subscriber = world.subscriber(Connect { properties, ..connect }, &["x/y"]);
    let publisher = world.connect(passing("p"));
    (world, publisher, subscriber)
}

#[test]
fn everybody_who_subscribed_gets_a_message_at_the_lower_qos() {
    let mut world = World::new();
    let mut subscribers = Vec::new();
    for (name, qos) in [("s0", QoS::AtMostOnce), ("s1", QoS::AtLeastOnce), ("s2", QoS::ExactlyOnce)] {
        for connect in [passing(name), Connect { client_id: &format!("{name}l"), ..lasting("") }] {
            let client = world.connect(connect);
            world.subscribe(client, "x/+", SubscriptionOptions::new(qos));
            subscribers.push((client, qos as u8));
        }
    }
    let publisher = world.connect(passing("p"));
    for (sent, message) in
        [publish("x/y", "0", 0), publish("x/y", "1", 1), qos_2("x/y", "2", 2)].into_iter().enumerate()
    {
        let payload = sent.to_string();
        world.publish(publisher, message);
        for (subscriber, qos) in &subscribers {
            let got = world.got(*subscriber);
            let [Got::Publish(got)] = &got[..] else { panic!("{got:?}") };
            assert_eq!((&got.payload, got.qos), (&payload, (*qos).min(sent as u8)));
        }
    }
    let expected = [Got::Puback(1, ReasonCode::Success), Got::Pubrec(2, ReasonCode::Success)];
    assert_eq!(world.got(publisher), expected);
}

#[test]
fn puback_of_a_message_for_an_offline_session_leaves_only_when_it_is_synced() {
    let (mut world, publisher) = with_offline_subscriber();
    world.send(publisher, Packet::Publish(publish("x/y", HELLO, 9)));
    assert_eq!(world.got(publisher), []);
    world.settle();
    assert_eq!(world.got(publisher), [Got::Puback(9, ReasonCode::Success)]);
}

#[test]
fn puback_of_a_message_that_nobody_keeps_waits_for_nothing() {
    let mut world = World::new();
    let subscriber = world.subscriber(passing("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.send(publisher, Packet::Publish(publish("x/y", HELLO, 9)));
    assert_eq!(world.got(publisher), [Got::Puback(9, ReasonCode::Success)]);
    assert_eq!(world.got(subscriber), [received("x/y", HELLO).at(1, 1).got()]);
}

#[test]
fn what_came_while_a_client_was_away_comes_when_it_is_back() {
    let (mut world, publisher) = with_offline_subscriber();
    world.publish(publisher, publish("x/y", "lost", 0));
    world.publish(publisher, publish("x/y", "1", 1));
    world.publish(publisher, qos_2("x/y", "2", 2));
    let subscriber = world.join(lasting("s"));
    let expected = [
        Got::Connack(ReasonCode::Success, true),
        received("x/y", "1").at(1, 1).got(),
        received("x/y", "2").at(2, 2).got(),
    ];
    assert_eq!(world.got(subscriber), expected);
}

#[test]
fn unacknowledged_messages_are_sent_again_in_order_under_their_identifiers() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-3.3.1-1]
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    for packet_id in 1..=4 {
        world.publish(publisher, publish("x/y", &packet_id.to_string(), packet_id));
    }
    world.publish(publisher, qos_2("x/y", "5", 5));
    assert_eq!(world.payloads(subscriber), ["1", "2", "3", "4", "5"]);
    world.send(subscriber, puback(2));
    world.cut_and_settle(subscriber);
    let subscriber = world.join(lasting("s"));
    let expected = [
        Got::Connack(ReasonCode::Success, true),
        received("x/y", "1").at(1, 1).again().got(),
        received("x/y", "3").at(1, 3).again().got(),
        received("x/y", "4").at(1, 4).again().got(),
        received("x/y", "5").at(2, 5).again().got(),
    ];
    assert_eq!(world.got(subscriber), expected);
    world.publish(publisher, publish("x/y", "6", 6));
    assert_eq!(world.got(subscriber), [received("x/y", "6").at(1, 6).got()]);
}

#[test]
fn what_a_connection_was_sent_before_it_was_taken_over_is_sent_again_with_dup() {
    for acknowledged in [false, true] {
        let mut world = World::new();
        let old = world.subscriber(lasting("s"), &["x/y"]);
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        world.publish(publisher, publish("x/y", "2", 2));
        if acknowledged {
            world.send(old, puback(1));
        }
        let new = world.join(lasting("s"));
        let mut expected = vec![
            Got::Connack(ReasonCode::Success, true),
            received("x/y", "1").at(1, 1).again().got(),
            received("x/y", "2").at(1, 2).again().got(),
        ];
        if acknowledged {
            expected.remove(1);
        }
        assert_eq!(world.got(new), expected);
    }
}

#[test]
fn what_comes_while_a_session_is_taken_over_is_sent_to_the_new_connection() {
    let mut world = World::new();
    let old = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    let new = world.ask(lasting("s"));
    world.publish(publisher, publish("x/y", "1", 1));
    world.publish(publisher, publish("x/y", "2", 2));
    let mut to_the_old = world.got(old);
    to_the_old.retain(|got| matches!(got, Got::Publish(_)));
    let mut got = world.got(new);
    assert_eq!(got.remove(0), Got::Connack(ReasonCode::Success, true));
    for (at, got) in (1..).zip(got) {
        let Got::Publish(got) = got else { panic!("{got:?}") };
        assert_eq!((got.packet_id, got.dup), (at, usize::from(at) <= to_the_old.len()));
    }
}

#[test]
fn acknowledged_messages_do_not_come_again() {
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    world.publish(publisher, qos_2("x/y", "2", 2));
    world.send(subscriber, puback(1));
    world.send_and_settle(subscriber, pubrec(2));
    world.send_and_settle(subscriber, pubcomp(2));
    world.got(subscriber);
    world.cut_and_settle(subscriber);
    let subscriber = world.join(lasting("s"));
    assert_eq!(world.got(subscriber), [Got::Connack(ReasonCode::Success, true)]);
}

#[test]
fn pubrel_leaves_only_when_pubrec_is_on_record() {
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, qos_2("x/y", "1", 1));
    assert_eq!(world.got(subscriber), [received("x/y", "1").at(2, 1).got()]);
    world.send(subscriber, pubrec(1));
    assert_eq!(world.got(subscriber), []);
    world.settle();
    assert_eq!(world.got(subscriber), [Got::Pubrel(1)]);
}

#[test]
fn a_message_whose_pubrec_is_on_record_is_released_again_and_not_sent_again() {
    // [MQTT-4.3.3-4], [MQTT-4.4.0-1]
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, qos_2("x/y", "1", 1));
    world.send_and_settle(subscriber, pubrec(1));
    world.cut_and_settle(subscriber);
    for _ in 0..2 {
        let subscriber = world.join(lasting("s"));
        assert_eq!(world.got(subscriber), [Got::Connack(ReasonCode::Success, true), Got::Pubrel(1)]);
        world.cut_and_settle(subscriber);
    }
    let subscriber = world.connect(lasting("s"));
    world.send_and_settle(subscriber, pubcomp(1));
    world.cut_and_settle(subscriber);
    let subscriber = world.join(lasting("s"));
    assert_eq!(world.got(subscriber), [Got::Connack(ReasonCode::Success, true)]);
}

#[test]
fn a_passing_session_ends_qos_2_at_once() {
    let mut world = World::new();
    let subscriber = world.subscriber(passing("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, qos_2("x/y", "1", 1));
    world.send(subscriber, pubrec(1));
    world.send(subscriber, pubcomp(1));
    assert_eq!(world.got(subscriber), [received("x/y", "1").at(2, 1).got(), Got::Pubrel(1)]);
}

#[test]
fn no_more_is_under_way_than_receive_maximum_allows() {
    // [MQTT-3.3.4-9]
    for lasting_session in [true, false] {
        let (mut world, publisher, subscriber) = with_window(lasting_session, 2);
        world.subscribe(subscriber, "x/z", SubscriptionOptions::new(QoS::AtMostOnce));
        world.got(subscriber);
        for packet_id in 1..=5 {
            world.publish(publisher, publish("x/y", &packet_id.to_string(), packet_id));
        }
        assert_eq!(world.payloads(subscriber), ["1", "2"]);
        // QoS 0 does not count, but waits behind what is of its topic.
        world.publish(publisher, publish("x/z", "0", 0));
        assert_eq!(world.payloads(subscriber), ["0"]);
        world.send_and_settle(subscriber, puback(2));
        assert_eq!(world.payloads(subscriber), ["3"]);
        world.send_and_settle(subscriber, puback(1));
        world.send_and_settle(subscriber, puback(3));
        assert_eq!(world.payloads(subscriber), ["4", "5"]);
    }
}

#[test]
fn acknowledgements_of_nothing_are_ignored() {
    let (mut world, publisher, subscriber) = with_window(true, 10);
    world.send_and_settle(subscriber, puback(3));
    world.send_and_settle(subscriber, pubcomp(4));
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.payloads(subscriber), ["1"]);
}

#[test]
fn the_oldest_go_when_more_wait_than_a_session_may_keep() {
    let mut world = World::with(Limits {
        queue: crate::session::QueueLimits { messages: 3, bytes: 1 << 20, age: HOUR },
        ..Limits::default()
    });
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    for packet_id in 1..=5 {
        world.publish(publisher, publish("x/y", &packet_id.to_string(), packet_id));
    }
    assert_eq!(world.got(publisher).len(), 5);
    let subscriber = world.connect(lasting("s"));
    assert_eq!(world.payloads(subscriber), ["3", "4", "5"]);
}

#[test]
fn a_message_older_than_a_session_may_keep_it_is_not_delivered() {
    let mut world = World::with(Limits {
        queue: crate::session::QueueLimits { messages: 3, bytes: 1 << 20, age: 60_000 },
        ..Limits::default()
    });
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    world.pass(50_000);
    world.publish(publisher, publish("x/y", "2", 2));
    world.pass(20_000);
    let subscriber = world.connect(lasting("s"));
    assert_eq!(world.payloads(subscriber), ["2"]);
}

#[test]
fn the_message_expiry_interval_is_what_is_left_of_it() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let (mut world, publisher) = with_offline_subscriber();
    for (packet_id, expiry) in [(1, 5), (2, 60)] {
        let mut message = publish("x/y", HELLO, packet_id);
        message.properties.message_expiry_interval = Some(expiry);
        world.publish(publisher, message);
    }
    world.pass(10_000);
    let subscriber = world.connect(lasting("s"));
    let left = Received { expiry: Some(50), ..received("x/y", HELLO).at(1, 2) };
    assert_eq!(world.got(subscriber), [left.got()]);
    // What has expired does not come back, and its place in the window is free.
    world.send_and_settle(subscriber, puback(2));
    world.pass(1000);
    world.cut_and_settle(subscriber);
    world.publish(publisher, publish("x/y", "3", 3));
    let subscriber = world.connect(lasting("s"));
    assert_eq!(world.got(subscriber), [received("x/y", "3").at(1, 3).got()]);
}

#[test]
fn a_packet_larger_than_a_client_takes_is_not_sent_and_counts_as_delivered() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    for connect in [lasting("s"), passing("s")] {
        let mut world = World::new();
        let maximum_packet_size = std::num::NonZeroU32::new(50);
        let receive_maximum = std::num::NonZeroU16::new(1);
        let properties = ConnectProperties { maximum_packet_size, receive_maximum, ..connect.properties };
        let subscriber = world.subscriber(Connect { properties, ..connect }, &["x/y"]);
        let publisher = world.connect(passing("p"));
        let large = "-".repeat(50);
        for packet_id in 1..=3 {
            world.publish(publisher, publish("x/y", &large, packet_id));
        }
        world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", &large, 4) });
        world.publish(publisher, publish("x/y", "small", 5));
        assert_eq!(world.payloads(subscriber), ["small"]);
    }
}

#[test]
fn a_large_message_is_shared_and_whole() {
    let mut world = World::new();
    let payload = "0123456789".repeat(10_000);
    let subscribers: Vec<_> =
        ["s", "t"].map(|name| world.subscriber(passing(name), &["x/y"])).into_iter().collect();
    let kept = world.subscriber(lasting("u"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "before", 1));
    world.publish(publisher, publish("x/y", &payload, 2));
    world.publish(publisher, publish("x/y", "behind", 3));
    for subscriber in subscribers.into_iter().chain([kept]) {
        assert!(world.payloads(subscriber) == ["before", &payload, "behind"]);
    }
}

#[test]
fn messages_of_a_publisher_keep_their_order_at_each_qos() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    for (subscriber, publisher) in
        [(lasting("s"), passing("p")), (passing("s"), lasting("p")), (lasting("s"), lasting("p"))]
    {
        let mut world = World::new();
        let receive_maximum = std::num::NonZeroU16::new(100);
        let properties = ConnectProperties { receive_maximum, ..subscriber.properties };
        let subscriber = world.subscriber(Connect { properties, ..subscriber }, &["x/y"]);
        let publisher = world.connect(publisher);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let payloads: Vec<_> = (0..20).map(|at| format!("{at} at {qos:?}")).collect();
            let mut bytes = Vec::new();
            for (packet_id, payload) in (qos as u16 * 100 + 1..).zip(&payloads) {
                Publish { qos, ..publish("x/y", payload, packet_id) }.encode(V5, &mut bytes).unwrap();
            }
            world.send_bytes(publisher, &bytes);
            world.settle();
            assert_eq!(world.payloads(subscriber), payloads);
        }
    }
}

#[test]
fn a_client_that_does_not_read_harms_nobody_else_and_fills_no_memory() {
    let mut world = World::with(Limits { output_bytes: 10_000, ..Limits::default() });
    let stuck = [world.subscriber(passing("s"), &["x/y"]), world.subscriber(lasting("t"), &["x/y"])];
    let reading = world.subscriber(passing("r"), &["x/y"]);
    stuck.iter().for_each(|client| world.lines[client.0].stuck = true);
    let publisher = world.connect(passing("p"));
    let payload = "-".repeat(1000);
    for packet_id in 1..=100 {
        world.publish(publisher, publish("x/y", &payload, 0));
        world.publish(publisher, publish("x/y", &payload, packet_id));
        assert_eq!(world.got(publisher), [Got::Puback(packet_id, ReasonCode::Success)]);
        assert_eq!(world.payloads(reading).len(), 2);
        world.send_and_settle(reading, puback(packet_id));
    }
    for client in stuck {
        let Line { shard, key, .. } = world.lines[client.0];
        let connection = &world.shards[shard].outlet.edge.connections[key.unwrap() as usize];
        // QoS 0 up to its bound, and what the window of QoS 1 holds.
        assert!(connection.output.len() < 10_000 + 33 * 1100, "{} bytes", connection.output.len());
    }
    // Everything of QoS 1 comes as soon as the Client reads and acknowledges.
    for client in stuck {
        world.unstick(client);
        let mut numbered = 0;
        loop {
            let got = world.got(client);
            if got.is_empty() {
                break;
            }
            for got in got {
                let Got::Publish(received) = got else { panic!("{got:?}") };
                if received.qos == 1 {
                    numbered += 1;
                    world.send(client, puback(received.packet_id));
                }
            }
            world.settle();
        }
        assert_eq!(numbered, 100);
    }
}

#[test]
fn sessions_that_left_memory_are_found_again() {
    let mut world = World::new();
    // More than stay active in all slots.
    let names: Vec<_> = (0..3000).map(|at| format!("s{at}")).collect();
    for name in &names {
        let client = world.ask(Connect { client_id: name, ..lasting("") });
        world.settle();
        let subscriptions = [Subscription {
            filter: TopicFilter::new("x/y").unwrap(),
            options: SubscriptionOptions::new(QoS::AtLeastOnce),
        }];
        let properties = SubscribeProperties::default();
        let subscriptions = List::new(&subscriptions);
        world.send(client, Packet::Subscribe(Subscribe { packet_id: id(1), properties, subscriptions }));
        world.settle();
        world.cut(client);
    }
    world.settle();
    let active: u64 = world.shards.iter().map(|shard| shard.observe().sessions_active).sum();
    assert!(active < 2500, "{active}");
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
    for name in names.iter().step_by(100) {
        let client = world.join(Connect { client_id: name, ..lasting("") });
        let expected = [Got::Connack(ReasonCode::Success, true), received("x/y", "1").at(1, 1).got()];
        assert_eq!(world.got(client), expected);
    }
}

#[test]
fn identifiers_begin_again_after_the_last_one() {
    let mut world = World::new();
    let receive_maximum = std::num::NonZeroU16::new(1000);
    let properties = ConnectProperties { receive_maximum, ..lasting("s").properties };
    let subscriber = world.subscriber(Connect { properties, ..lasting("s") }, &["x/y"]);
    let publisher = world.connect(passing("p"));
    let mut expected = 1_u16;
    for _ in 0..132 {
        let mut bytes = Vec::new();
        for packet_id in 1..=500 {
            publish("x/y", "1", packet_id).encode(V5, &mut bytes).unwrap();
        }
        world.send_bytes(publisher, &bytes);
        world.settle();
        assert_eq!(world.got(publisher).len(), 500);
        let mut acks = Vec::new();
        for got in world.got(subscriber) {
            let Got::Publish(received) = got else { panic!("{got:?}") };
            assert_eq!(received.packet_id, expected);
            expected = if expected == u16::MAX { 1 } else { expected + 1 };
            puback(received.packet_id).encode(V5, &mut acks).unwrap();
        }
        world.send_bytes(subscriber, &acks);
        world.settle();
    }
    assert_eq!(u32::from(expected), 132 * 500 - 65_535 + 1);
}

#[test]
fn a_topic_is_named_once_to_a_client_that_takes_aliases() {
    // [MQTT-3.1.2-26], [MQTT-3.1.2-27], MQTT 5.0, 3.3.2.3.4
    let mut world = World::new();
    let mut connect = lasting("s");
    connect.properties.topic_alias_maximum = Some(1);
    let subscriber = world.subscriber(connect, &["x/#"]);
    world.subscribe_by(subscriber, "y", SubscriptionOptions::new(QoS::AtMostOnce), Some(9));
    world.got(subscriber);
    let publisher = world.connect(passing("p"));
    let alias = convoy_wire::TopicAlias::new(1);
    for (at, (payload, topic)) in [("1", "x/1"), ("2", "x/1"), ("3", "x/2")].into_iter().enumerate() {
        // The Client names its topics as it likes: its aliases are of the other direction.
        let mut message = publish(topic, payload, at as u16);
        message.properties.topic_alias = convoy_wire::TopicAlias::new(7);
        world.publish(publisher, message);
    }
    let by_alias = |received: Received| Received { alias: alias.map_or(0, |alias| alias.get()), ..received };
    assert_eq!(
        world.got(subscriber),
        [
            by_alias(received("x/1", "1")).got(),
            by_alias(received("", "2").at(1, 1)).got(),
            received("x/2", "3").at(1, 2).got()
        ]
    );
    // [MQTT-3.3.2-7]: they end with the Network Connection.
    world.cut_and_settle(subscriber);
    let mut connect = lasting("s");
    connect.properties.topic_alias_maximum = Some(2);
    let subscriber = world.connect(connect);
    assert_eq!(
        world.got(subscriber),
        [
            by_alias(received("x/1", "2").at(1, 1).again()).got(),
            Received { alias: 2, ..received("x/2", "3").at(1, 2).again() }.got()
        ]
    );
}

#[test]
fn an_alias_that_did_not_fit_is_not_used() {
    let mut world = World::new();
    let mut connect = passing("s");
    connect.properties.topic_alias_maximum = Some(1);
    connect.properties.maximum_packet_size = std::num::NonZeroU32::new(40);
    let subscriber = world.subscriber(connect, &["x/#"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/1", &"long".repeat(20), 0));
    world.publish(publisher, publish("x/1", "1", 0));
    assert_eq!(world.got(subscriber), [Received { alias: 1, ..received("x/1", "1") }.got()]);
}

#[test]
fn a_message_that_expires_at_once_goes_to_those_who_can_be_sent_it_at_once() {
    // MQTT 5.0, 3.3.2.3.3 and [MQTT-3.3.2-6]: it has not waited.
    for by_log in [false, true] {
        let mut world = World::new();
        let lasts = world.subscriber(lasting("l"), &["x/y"]);
        let passes = world.subscriber(passing("q"), &["x/y"]);
        let away = world.subscriber(lasting("a"), &["x/y"]);
        let receive_maximum = std::num::NonZeroU16::new(1);
        let full = Connect {
            properties: ConnectProperties { receive_maximum, ..Default::default() },
            ..passing("f")
        };
        let full = world.subscriber(full, &["x/y"]);
        world.cut_and_settle(away);
        let publisher = world.connect(lasting("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        for client in [lasts, passes, full] {
            assert_eq!(world.payloads(client), ["1"]);
        }
        let qos = if by_log { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let mut message = Publish { qos, retain: true, ..publish("x/y", "now", 2) };
        message.properties.message_expiry_interval = Some(0);
        world.send(publisher, Packet::Publish(message));
        world.now.wall += 7;
        world.settle();
        let now = Received { expiry: Some(0), ..received("x/y", "now").at(qos as u8, 2) };
        for client in [lasts, passes] {
            assert_eq!(world.got(client), [now.clone().got()], "{by_log}");
        }
        // It waits for nobody: not for a window, nor for a Client that is away, nor for a Subscription.
        world.send_and_settle(full, puback(1));
        assert_eq!(world.got(full), []);
        let away = world.connect(lasting("a"));
        assert_eq!(world.payloads(away), ["1"]);
        let late = world.subscriber(passing("late"), &["x/y"]);
        assert_eq!(world.got(late), []);
    }
}
