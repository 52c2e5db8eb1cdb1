//! What is back after the process dies or the power fails: all that was acknowledged, and nothing that ended with its
//! connection.

use super::*;

fn again(world: &mut World, power: bool) {
    if power { world.power_cut() } else { world.restart() }
}

#[test]
fn sessions_subscriptions_and_queues_are_back() {
    for power in [false, true] {
        let mut world = World::new();
        let subscriber = world.subscriber(lasting("s"), &["x/y", "#"]);
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
        assert_eq!(world.payloads(subscriber), ["1"]);
        again(&mut world, power);
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "2", 1));
        world.publish(publisher, publish("z", "3", 2));
        let subscriber = world.join(lasting("s"));
        let got = world.got(subscriber);
        assert_eq!(got[0], Got::Connack(ReasonCode::Success, true));
        let [Got::Publish(first), Got::Publish(second), Got::Publish(third)] = &got[1..] else {
            panic!("{got:?}")
        };
        // It is not known how far the Client was sent what waited then.
        assert_eq!(**first, received("x/y", "1").at(1, 1).again());
        assert_eq!(**second, received("x/y", "2").at(1, 2));
        assert_eq!(**third, received("z", "3").at(1, 3));
    }
}

#[test]
fn sessions_that_end_with_their_connection_are_gone_with_their_routes() {
    for power in [false, true] {
        let mut world = World::new();
        world.subscriber(passing("a"), &["x/y", "x/#", "#", "$share/g/x/y"]);
        again(&mut world, power);
        assert!(!world.has_routes());
        let client = world.join(Connect { clean_start: false, ..passing("a") });
        assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
    }
}

#[test]
fn a_lasting_session_resumed_without_expiry_is_gone_with_all_it_had() {
    let mut world = World::new();
    let client = world.subscriber(lasting("a"), &["x/y"]);
    world.cut_and_settle(client);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    world.connect(Connect { clean_start: false, ..passing("a") });
    world.restart();
    assert!(!world.has_routes());
    let mut rows = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        rows += 1;
        std::ops::ControlFlow::Continue(())
    };
    world.engine.scan(convoy_storage::engine::Family::Queue, &[], &[0xff; 8], &mut visit).unwrap();
    assert_eq!(rows, 0);
}

#[test]
fn the_will_of_a_connection_that_was_open_is_due() {
    let mut world = World::new();
    let watcher = world.subscriber(lasting("watcher"), &["will"]);
    world.cut_and_settle(watcher);
    let will = will_on("will", b"gone");
    world.connect(Connect { will: Some(will), ..passing("a") });
    world.restart();
    world.restart();
    let watcher = world.connect(lasting("watcher"));
    assert_eq!(world.payloads(watcher), ["gone"]);
}

#[test]
fn retained_messages_are_back_and_removed_ones_are_not() {
    for power in [false, true] {
        let mut world = World::new();
        let publisher = world.connect(passing("p"));
        for (topic, payload, packet_id) in [("x/a", "1", 1), ("x/b", "2", 2), ("x/a", "", 3)] {
            world.publish(publisher, Publish { retain: true, ..publish(topic, payload, packet_id) });
        }
        assert_eq!(world.got(publisher).len(), 3);
        again(&mut world, power);
        let client = world.subscriber(passing("s"), &["x/#"]);
        assert_eq!(world.got(client), [received("x/b", "2").at(1, 1).retained().got()]);
    }
}

#[test]
fn exactly_once_holds_over_a_restart_at_every_step() {
    for power in [false, true] {
        let mut world = World::new();
        world.subscriber(lasting("s"), &["x/y"]);
        world.connect(lasting("p"));
        let message = || Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 1) };
        // In: before PUBREC, behind it, before PUBCOMP, behind it.
        again(&mut world, power);
        let publisher = world.connect(lasting("p"));
        world.publish(publisher, message());
        assert_eq!(world.got(publisher), [Got::Pubrec(1, ReasonCode::Success)]);
        again(&mut world, power);
        let publisher = world.connect(lasting("p"));
        world.publish(publisher, Publish { dup: true, ..message() });
        assert_eq!(world.got(publisher), [Got::Pubrec(1, ReasonCode::Success)]);
        world.send_and_settle(publisher, pubrel(1));
        assert_eq!(world.got(publisher), [Got::Pubcomp(1, ReasonCode::Success)]);
        again(&mut world, power);
        let publisher = world.connect(lasting("p"));
        world.send_and_settle(publisher, pubrel(1));
        assert_eq!(world.got(publisher), [Got::Pubcomp(1, ReasonCode::PacketIdentifierNotFound)]);
        // Out: before PUBREC, behind it, behind PUBCOMP.
        let subscriber = world.connect(lasting("s"));
        assert_eq!(world.payloads(subscriber), ["1"]);
        again(&mut world, power);
        let subscriber = world.connect(lasting("s"));
        assert_eq!(world.got(subscriber), [received("x/y", "1").at(2, 1).again().got()]);
        world.send_and_settle(subscriber, pubrec(1));
        assert_eq!(world.got(subscriber), [Got::Pubrel(1)]);
        again(&mut world, power);
        let subscriber = world.connect(lasting("s"));
        assert_eq!(world.got(subscriber), [Got::Pubrel(1)]);
        world.send_and_settle(subscriber, pubcomp(1));
        world.cut_and_settle(subscriber);
        again(&mut world, power);
        let subscriber = world.connect(lasting("s"));
        assert_eq!(world.got(subscriber), []);
    }
}

#[test]
fn what_was_refused_or_not_answered_may_be_lost_and_nothing_else() {
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    world.send(publisher, Packet::Publish(publish("x/y", "2", 2)));
    assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
    world.power_cut();
    let subscriber = world.connect(lasting("s"));
    assert_eq!(world.payloads(subscriber), ["1"]);
}

#[test]
fn a_subscription_is_routed_after_a_restart_at_every_sync() {
    for syncs in 0..8 {
        let mut world = World::new();
        let client = world.connect(lasting("s"));
        let filters = ["x/y", "x/#", "+/y"].map(|filter| Subscription {
            filter: TopicFilter::new(filter).unwrap(),
            options: SubscriptionOptions::new(QoS::AtLeastOnce),
        });
        let properties = SubscribeProperties::default();
        let subscriptions = List::new(&filters);
        world.send(client, Packet::Subscribe(Subscribe { packet_id: id(1), properties, subscriptions }));
        let done = (0..syncs).filter(|_| !world.sync()).count() > 0;
        let acknowledged = !world.got(client).is_empty();
        assert!(!done || acknowledged);
        world.power_cut();
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        let client = world.connect(lasting("s"));
        let got = world.payloads(client);
        assert!(!acknowledged || got == ["1"], "after {syncs} syncs: {got:?}");
    }
}

#[test]
fn a_start_reads_what_another_number_of_shards_wrote() {
    let mut world = World::new();
    let client = world.subscriber(lasting("s"), &["x/y", "+/y"]);
    world.subscriber(passing("t"), &["x/y", "#"]);
    let mut other: super::super::World<2> = super::super::World::new();
    other.engine = Arc::clone(&world.engine);
    world.cut_and_settle(client);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    other.start = world.start;
    other.now = world.now;
    other.restart();
    let client = other.connect(lasting("s"));
    assert_eq!(other.payloads(client), ["1"]);
    let publisher = other.connect(passing("p"));
    other.publish(publisher, publish("x/y", "2", 1));
    assert_eq!(other.payloads(client), ["2"]);
}

#[test]
fn a_damaged_message_is_named_and_not_served() {
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    let family = convoy_storage::engine::Family::Queue;
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        std::ops::ControlFlow::Continue(())
    };
    world.engine.scan(family, &[], &[0xff; 8], &mut visit).unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    assert!(world.engine.damage(family, key));
    let subscriber = world.join(lasting("s"));
    assert!(!world.got(subscriber).iter().any(|got| matches!(got, Got::Publish(_))));
    let failures: Vec<_> = world.shards.iter().flat_map(|shard| shard.observe().failures).collect();
    let [failure] = &failures[..] else { panic!("{failures:?}") };
    assert!(failure.contains("queue"), "{failure}");
    assert!(!world.is_ready());
}

#[test]
fn what_expired_before_a_crash_was_over_is_sent_only_if_its_identifier_may_be_held() {
    // [MQTT-3.3.2-5], [MQTT-4.3.3-7]
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["a"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    for (packet_id, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
        let mut message =
            Publish { qos, ..publish("a", if packet_id == 1 { "once" } else { "exactly" }, packet_id) };
        message.properties.message_expiry_interval = Some(1);
        world.publish(publisher, message);
    }
    world.pass(2000);
    // It connects, and before anything is on record of what it was sent the power fails.
    world.ask(lasting("s"));
    world.sync();
    world.power_cut();
    let subscriber = world.connect(lasting("s"));
    assert_eq!(world.payloads(subscriber), ["exactly"]);
}

#[test]
fn damage_that_stops_writing_leaves_what_can_be_read_and_is_called_by_its_name() {
    let mut world = World::new();
    let properties = ConnectProperties {
        session_expiry_interval: Some(3600),
        receive_maximum: std::num::NonZeroU16::new(10),
        ..Default::default()
    };
    let kept = world.subscriber(Connect { properties, ..lasting("kept") }, &["x/y"]);
    let passed = world.subscriber(passing("passed"), &["#"]);
    let retained = Publish { retain: true, ..publish("r", "r", 9) };
    let publisher = world.connect(passing("p"));
    let exact = world.connect(lasting("exact"));
    world.publish(publisher, retained);
    // More than a window holds: the rest is read on.
    for packet_id in 1..=100 {
        world.publish(publisher, publish("x/y", "before", packet_id));
    }
    world.publish(exact, Publish { qos: QoS::ExactlyOnce, ..publish("nobody", "1", 1) });
    world.got(publisher);
    world.got(exact);
    world.got(passed);
    assert_eq!(world.got(kept).len(), 10);

    world.engine.stop_writing("000012.sst (family queue, slots 3 to 5)");
    let refused = ReasonCode::ImplementationSpecificError;
    world.publish(publisher, publish("x/y", "refused", 101));
    world.publish(publisher, Publish { retain: true, ..publish("z", "refused", 102) });
    world.publish(publisher, publish("z", "passes", 103));
    world.publish(publisher, publish("x/z", "passes", 0));
    world.publish(exact, Publish { qos: QoS::ExactlyOnce, ..publish("z", "refused", 2) });
    world.pass(100);
    let answers = [(101, refused), (102, refused), (103, ReasonCode::Success)];
    assert_eq!(world.got(publisher), answers.map(|(id, reason)| Got::Puback(id, reason)));
    assert_eq!(world.got(exact), [Got::Pubrec(2, refused)]);
    let mut connect = |connect| {
        let client = world.join(connect);
        world.got(client)
    };
    let late = connect(passing("late"));
    assert_eq!(late, [Got::Connack(ReasonCode::ServerUnavailable, false), Got::Closed]);
    let old = connect(Connect::new(V311, "old"));
    assert_eq!(old[1..], [Got::Closed]);
    world.subscribe_by(passed, "new", SubscriptionOptions::new(QoS::AtLeastOnce), None);
    world.unsubscribe(passed, &["#"]);
    let told = world.got(passed);
    assert!(told.contains(&Got::Suback(77, vec![refused])), "{told:?}");
    assert!(told.contains(&Got::Unsuback(78, vec![refused])), "{told:?}");
    assert!(told.iter().any(|got| matches!(got, Got::Publish(message) if message.payload == "passes")));
    // PUBREL is not answered, and its Client stays.
    world.send_and_settle(exact, pubrel(1));
    assert!(!world.got(exact).iter().any(|got| matches!(got, Got::Pubcomp(..) | Got::Closed)));

    // What can be read is delivered: the rest of the queue, as the window moves.
    let mut delivered = 10;
    for packet_id in 1..=100 {
        world.send_and_settle(kept, puback(packet_id));
        let got = world.got(kept);
        delivered += got.iter().filter(|got| matches!(got, Got::Publish(message) if message.qos > 0)).count();
    }
    assert_eq!(delivered, 100);
    for failure in world.shards.iter().flat_map(|shard| shard.observe().failures) {
        assert!(failure.contains("000012.sst (family queue, slots 3 to 5)"), "{failure}");
    }
    assert!(!world.is_ready());
}
