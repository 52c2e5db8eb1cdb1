//! PUBLISH of Clients: QoS 2 inbound, flow control, Topic Aliases, refusals.

use super::*;

fn qos_2(payload: &str, packet_id: u16) -> Publish<'_> {
    Publish { qos: QoS::ExactlyOnce, ..publish("x/y", payload, packet_id) }
}

fn aliased(topic: &str, alias: u16) -> Publish<'_> {
    let topic_alias = convoy_wire::TopicAlias::new(alias);
    let mut publish = publish(topic, "1", 0);
    publish.properties.topic_alias = topic_alias;
    publish
}

#[test]
fn pubrec_and_pubcomp_leave_only_when_they_are_on_record() {
    let mut world = World::new();
    let publisher = world.connect(lasting("p"));
    world.send(publisher, Packet::Publish(qos_2("1", 1)));
    assert_eq!(world.got(publisher), []);
    world.settle();
    assert_eq!(world.got(publisher), [Got::Pubrec(1, ReasonCode::Success)]);
    world.send(publisher, pubrel(1));
    assert_eq!(world.got(publisher), []);
    world.settle();
    assert_eq!(world.got(publisher), [Got::Pubcomp(1, ReasonCode::Success)]);
}

#[test]
fn a_message_sent_again_before_pubrel_is_not_routed_twice() {
    // [MQTT-4.3.3-10]
    for publisher in [lasting("p"), passing("p")] {
        let mut world = World::new();
        let subscriber = world.subscriber(passing("s"), &["x/y"]);
        let publisher = world.connect(publisher);
        world.publish(publisher, qos_2("1", 1));
        world.publish(publisher, Publish { dup: true, ..qos_2("1", 1) });
        let pubrec = Got::Pubrec(1, ReasonCode::Success);
        assert_eq!(world.got(publisher), [pubrec.clone(), pubrec]);
        world.send_and_settle(publisher, pubrel(1));
        assert_eq!(world.got(publisher), [Got::Pubcomp(1, ReasonCode::Success)]);
        // From here on the identifier is another message's.
        world.publish(publisher, qos_2("2", 1));
        assert_eq!(world.payloads(subscriber), ["1", "2"]);
    }
}

#[test]
fn a_message_sent_again_over_another_connection_is_not_routed_twice() {
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(lasting("p"));
    // The connection breaks before PUBREC, and after.
    world.send(publisher, Packet::Publish(qos_2("1", 1)));
    world.cut_and_settle(publisher);
    for _ in 0..2 {
        let publisher = world.connect(lasting("p"));
        world.publish(publisher, Publish { dup: true, ..qos_2("1", 1) });
        assert_eq!(world.got(publisher), [Got::Pubrec(1, ReasonCode::Success)]);
        world.cut_and_settle(publisher);
    }
    let publisher = world.connect(lasting("p"));
    world.send_and_settle(publisher, pubrel(1));
    world.publish(publisher, qos_2("2", 1));
    assert_eq!(world.payloads(subscriber), ["1", "2"]);
}

#[test]
fn a_pubrel_of_nothing_is_answered_so_that_the_client_can_forget_it() {
    let mut world = World::new();
    for (connect, reason) in
        [(passing("p"), ReasonCode::PacketIdentifierNotFound), (Connect::new(V311, "q"), ReasonCode::Success)]
    {
        let publisher = world.connect(connect);
        world.send_and_settle(publisher, pubrel(9));
        assert_eq!(world.got(publisher), [Got::Pubcomp(9, reason)]);
    }
}

#[test]
fn acknowledgements_leave_in_the_order_of_the_messages() {
    // [MQTT-4.6.0-2]: the first waits for a record and the second for nothing.
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.send(publisher, Packet::Publish(publish("x/y", "1", 1)));
    world.send(publisher, Packet::Publish(publish("nobody", "2", 2)));
    assert_eq!(world.got(publisher), []);
    world.settle();
    let expected = [Got::Puback(1, ReasonCode::Success), Got::Puback(2, ReasonCode::Success)];
    assert_eq!(world.got(publisher), expected);
    assert_eq!(world.payloads(subscriber), ["1"]);
}

#[test]
fn no_more_is_read_than_may_be_unacknowledged() {
    let mut world = World::with(Limits { receive_maximum: 2, ..Limits::default() });
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    for (name, version) in [("p", V5), ("q", V311)] {
        let publisher = world.connect(Connect::new(version, name));
        let mut bytes = Vec::new();
        for packet_id in 1..=5 {
            publish("x/y", &packet_id.to_string(), packet_id).encode(version, &mut bytes).unwrap();
        }
        world.send_bytes(publisher, &bytes);
        assert!(!world.is_reading(publisher));
        world.settle();
        let expected: Vec<_> = (1..=5).map(|id| Got::Puback(id, ReasonCode::Success)).collect();
        assert_eq!(world.got(publisher), expected);
        assert_eq!(world.payloads(subscriber), ["1", "2", "3", "4", "5"]);
        assert!(world.is_reading(publisher));
    }
}

#[test]
fn a_client_that_passes_its_receive_maximum_with_unreleased_messages_is_closed() {
    // [MQTT-3.3.4-9], MQTT 5.0, 4.9
    let mut world = World::with(Limits { receive_maximum: 2, ..Limits::default() });
    let publisher = world.connect(passing("p"));
    for packet_id in 1..=3 {
        world.publish(publisher, qos_2("1", packet_id));
    }
    let expected = [
        Got::Pubrec(1, ReasonCode::Success),
        Got::Pubrec(2, ReasonCode::Success),
        Got::Disconnect(ReasonCode::ReceiveMaximumExceeded),
        Got::Closed,
    ];
    assert_eq!(world.got(publisher), expected);
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let mut world = World::new();
    let subscriber = world.subscriber(passing("s"), &["x/#"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, aliased("x/y", 1));
    world.publish(publisher, aliased("x/z", 2));
    world.publish(publisher, aliased("", 1));
    world.publish(publisher, aliased("x/w", 1));
    world.publish(publisher, aliased("", 1));
    let topics: Vec<_> = ["x/y", "x/z", "x/y", "x/w", "x/w"].map(|topic| received(topic, "1").got()).into();
    assert_eq!(world.got(subscriber), topics);
}

#[test]
fn a_topic_alias_that_is_not_known_or_too_large_is_refused() {
    // [MQTT-3.3.2-9], MQTT 5.0, 3.3.2.3.4
    for (publish, reason) in
        [(aliased("", 1), ReasonCode::ProtocolError), (aliased("x", 17), ReasonCode::TopicAliasInvalid)]
    {
        let mut world = World::new();
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish);
        assert_eq!(world.got(publisher), [Got::Disconnect(reason), Got::Closed]);
    }
}

#[test]
fn topic_names_beyond_the_limits_are_refused() {
    let mut world = World::with(Limits { topic_levels: 3, topic_bytes: 10, ..Limits::default() });
    for topic in ["a/b/c/d", "a-long-topic"] {
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish(topic, "1", 1));
        assert_eq!(world.got(publisher), [Got::Disconnect(ReasonCode::TopicNameInvalid), Got::Closed]);
    }
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("a/b/c", "1", 1));
    assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
}

#[test]
fn what_travels_with_a_message_reaches_the_subscriber() {
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    let users = [("k", "v"), ("k", "w")];
    let mut message = publish("x/y", "1", 1);
    message.properties.response_topic = Some(convoy_wire::TopicName::new("answer").unwrap());
    message.properties.correlation_data = Some(b"7");
    message.properties.content_type = Some("text");
    message.properties.user_properties = List::new(&users);
    world.lines[subscriber.0].raw = true;
    world.publish(publisher, message);
    let bytes = std::mem::take(&mut world.lines[subscriber.0].bytes);
    let Cut::Whole { first, body, .. } = cut(&bytes, WireLimits::all(1 << 20)).unwrap() else { panic!() };
    let got = Publish::decode(V5, first, body).unwrap();
    assert_eq!(got.properties, message.properties);
}

#[test]
fn a_full_disk_refuses_what_needs_it_and_lets_the_rest_pass() {
    let mut world = World::new();
    let kept = world.subscriber(lasting("kept"), &["x/y"]);
    let passed = world.subscriber(passing("passed"), &["#"]);
    let publisher = world.connect(passing("p"));
    world.engine.set_full(true);
    world.publish(publisher, publish("x/y", "unknown", 1));
    world.publish(publisher, publish("x/y", "refused", 2));
    world.publish(publisher, publish("z", "1", 3));
    assert_eq!(world.payloads(passed).last().unwrap(), "1");
    // Acknowledgements keep their order, so all of them wait for the first.
    assert_eq!(world.got(publisher), []);
    assert!(world.shards.iter().any(|shard| shard.observe().stalled));
    world.engine.set_full(false);
    world.pass(100);
    world.pass(100);
    let expected = [
        Got::Puback(1, ReasonCode::Success),
        Got::Puback(2, ReasonCode::QuotaExceeded),
        Got::Puback(3, ReasonCode::Success),
    ];
    assert_eq!(world.got(publisher), expected);
    assert_eq!(world.payloads(kept), ["unknown"]);
    world.publish(publisher, publish("x/y", "2", 4));
    assert_eq!(world.got(publisher), [Got::Puback(4, ReasonCode::Success)]);
    assert_eq!(world.payloads(kept), ["2"]);
}

#[test]
fn a_publisher_that_waits_too_long_for_its_acknowledgement_is_closed() {
    let mut world = World::with(Limits { acknowledge_timeout: 30_000, ..Limits::default() });
    let _kept = world.subscriber(lasting("kept"), &["x/y"]);
    let publisher = world.connect(Connect::new(V311, "p"));
    world.engine.set_full(true);
    world.publish(publisher, publish("x/y", "1", 1));
    world.pass(30_001);
    assert_eq!(world.got(publisher), [Got::Closed]);
}

#[test]
fn nothing_is_acknowledged_after_a_sync_that_failed() {
    let mut world = World::new();
    let _kept = world.subscriber(lasting("kept"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.send(publisher, Packet::Publish(publish("x/y", "1", 1)));
    world.shards.iter_mut().for_each(|shard| shard.sync_failed("the disk is gone"));
    world.send(publisher, Packet::Publish(publish("x/y", "2", 2)));
    world.flow();
    assert_eq!(world.got(publisher), []);
    assert!(!world.is_ready());
}

#[test]
fn a_client_of_3_x_that_cannot_be_told_of_a_refusal_is_closed() {
    let mut world = World::new();
    let _kept = world.subscriber(lasting("kept"), &["x/y"]);
    let publisher = world.connect(Connect::new(V311, "p"));
    world.engine.leave_free(1000);
    world.publish(publisher, publish("x/y", "1", 1));
    world.publish(publisher, publish("nobody", "2", 2));
    // No acknowledgement passes the one that cannot be given [MQTT-4.6.0-2].
    assert_eq!(world.got(publisher), []);
    world.pass(5_000);
    assert_eq!(world.got(publisher), [Got::Closed]);
}

#[test]
fn little_room_on_the_disk_refuses_what_needs_it_until_there_is_enough() {
    let mut world = World::new();
    let kept = world.subscriber(lasting("kept"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.engine.leave_free(1000);
    world.publish(publisher, publish("x/y", "1", 1));
    world.publish(publisher, Publish { retain: true, ..publish("z", "1", 2) });
    world.publish(publisher, publish("z", "1", 3));
    world.engine.leave_free(u64::MAX);
    world.pass(100);
    world.publish(publisher, publish("x/y", "2", 4));
    let expected = [
        Got::Puback(1, ReasonCode::QuotaExceeded),
        Got::Puback(2, ReasonCode::QuotaExceeded),
        Got::Puback(3, ReasonCode::Success),
        Got::Puback(4, ReasonCode::Success),
    ];
    assert_eq!(world.got(publisher), expected);
    assert_eq!(world.payloads(kept), ["2"]);
}

fn at_most(messages_per_second: u32, excess: crate::Excess) -> Limits {
    let publish = crate::RateLimits { messages_per_second, bytes_per_second: 0, excess };
    Limits { publish, ..Limits::default() }
}

#[test]
fn whoever_publishes_faster_than_it_may_is_read_later() {
    for connect in [passing("p"), lasting("p")] {
        let mut world = World::with(at_most(2, crate::Excess::Wait));
        let subscriber = world.subscriber(passing("s"), &["a"]);
        let publisher = world.connect(connect);
        let mut bytes = Vec::new();
        for (payload, packet_id) in [("1", 0), ("2", 1), ("3", 2), ("4", 0)] {
            Packet::Publish(publish("a", payload, packet_id)).encode(V5, &mut bytes).unwrap();
        }
        world.send_bytes(publisher, &bytes);
        world.settle();
        assert_eq!(world.payloads(subscriber), ["1", "2"]);
        assert!(!world.is_reading(publisher));
        world.pass(400);
        assert_eq!(world.got(subscriber), []);
        world.pass(100);
        assert_eq!(world.payloads(subscriber), ["3"]);
        world.pass(500);
        assert_eq!(world.payloads(subscriber), ["4"]);
        assert_eq!(world.got(publisher), [1, 2].map(|id| Got::Puback(id, ReasonCode::Success)));
    }
}

#[test]
fn a_message_beyond_the_rate_is_refused_where_that_is_set() {
    for (connect, qos) in [(passing("p"), QoS::AtLeastOnce), (lasting("p"), QoS::ExactlyOnce)] {
        let mut world = World::with(at_most(1, crate::Excess::Refuse));
        let subscriber = world.subscriber(passing("s"), &["a"]);
        let publisher = world.connect(connect);
        world.publish(publisher, Publish { qos, ..publish("a", "1", 1) });
        world.publish(publisher, Publish { qos, ..publish("a", "2", 2) });
        world.publish(publisher, publish("a", "3", 0));
        assert_eq!(world.payloads(subscriber), ["1"]);
        let answer = |id, reason| match qos {
            QoS::ExactlyOnce => Got::Pubrec(id, reason),
            _ => Got::Puback(id, reason),
        };
        let told = [answer(1, ReasonCode::Success), answer(2, ReasonCode::QuotaExceeded)];
        assert_eq!(world.got(publisher), told);
        world.pass(1000);
        // The identifier of a message that was refused is free [MQTT-4.3.3-9].
        world.publish(publisher, Publish { qos, ..publish("a", "4", 2) });
        assert_eq!(world.got(publisher), [answer(2, ReasonCode::Success)]);
        assert_eq!(world.payloads(subscriber), ["4"]);
    }
}

#[test]
fn a_publisher_hears_that_nobody_has_subscribed() {
    // MQTT 5.0, 3.4.2.1 and 3.5.2.1
    let mut world = World::new();
    let told = |world: &mut World, connect: Connect<'_>, qos, topic, retain| {
        let publisher = world.connect(connect);
        world.lines[publisher.0].raw = true;
        world.publish(publisher, Publish { qos, retain, ..publish(topic, "1", 7) });
        std::mem::take(&mut world.lines[publisher.0].bytes)
    };
    let (once, exactly) = (QoS::AtLeastOnce, QoS::ExactlyOnce);
    for retain in [false, true] {
        assert_eq!(told(&mut world, passing("p"), once, "x/y", retain), [0x40, 3, 0, 7, 0x10]);
        assert_eq!(told(&mut world, passing("p"), exactly, "x/y", retain), [0x50, 3, 0, 7, 0x10]);
        assert_eq!(told(&mut world, Connect::new(V311, "p"), once, "x/y", retain), [0x40, 2, 0, 7]);
    }
    // By the log a message is matched after it was accepted.
    assert_eq!(told(&mut world, lasting("q"), exactly, "x/y", false), [0x50, 2, 0, 7]);
    world.subscriber(lasting("s"), &["x/#"]);
    assert_eq!(told(&mut world, passing("p"), once, "x/y", false), [0x40, 2, 0, 7]);
}
