//! What each version of the protocol says in its own bytes, and what passes between them.

use super::*;

#[test]
fn acknowledgements_have_the_bytes_of_their_version() {
    // [MQTT-2.2.1-5], [MQTT-2.2.1-6], [MQTT-2.2.2-1], [MQTT-3.8.4-2], [MQTT-3.10.4-5], [MQTT-3.12.4-1]; of 3.1.1
    // [MQTT-2.3.1-6], [MQTT-2.3.1-7], [MQTT-3.8.4-2], [MQTT-3.9.3-2], [MQTT-3.10.4-4], [MQTT-3.12.4-1]
    let of_3 = [
        ("c0 00", "d0 00"),
        ("32 05 0001 'a' 1234", "40 02 1234"),
        ("3a 05 0001 'a' 1234", "40 02 1234"),
        ("34 05 0001 'a' 1235", "50 02 1235"),
        ("3c 05 0001 'a' 1235", "50 02 1235"),
        ("62 02 1235", "70 02 1235"),
        ("62 02 1235", "70 02 1235"),
        ("82 0e 1236 0001 'b' 00 0001 'c' 01 0001 'd' 02", "90 05 1236 00 01 02"),
        ("a2 08 1237 0001 'b' 0001 'e'", "b0 02 1237"),
    ];
    let of_5 = [
        ("c0 00", "d0 00"),
        ("34 06 0001 'a' 1235 00", "50 03 1235 10"),
        ("62 02 1235", "70 02 1235"),
        ("62 02 1235", "70 03 1235 92"),
        ("62 03 1235 00", "70 03 1235 92"),
        ("62 04 1235 00 00", "70 03 1235 92"),
        ("82 0f 1236 00 0001 'b' 00 0001 'c' 01 0001 'd' 02", "90 06 1236 00 00 01 02"),
        ("a2 09 1237 00 0001 'b' 0001 'e'", "b0 05 1237 00 00 11"),
        ("82 0e 0001 07 26 0001 'k' 0001 'v' 0001 'b' 00", "90 04 0001 00 00"),
        ("a2 0d 0001 07 26 0001 'k' 0001 'v' 0001 'b'", "b0 04 0001 00 00"),
    ];
    for (version, exchanges) in [(V31, &of_3[..]), (V311, &of_3), (V5, &of_5)] {
        for connect in
            [Connect::new(version, "c"), Connect { clean_start: false, ..Connect::new(version, "d") }]
        {
            let mut world = World::new();
            let client = world.connect(connect);
            world.bytes(client);
            for (sent, expected) in exchanges {
                world.send_bytes(client, &hex(sent));
                world.settle();
                assert_eq!(world.bytes(client), (hex(expected), false), "{version:?} {sent}");
            }
        }
    }
}

#[test]
fn what_5_0_adds_is_not_passed_on_to_older_clients_and_nothing_is_lost_between_new_ones() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-6], [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20]
    let sent = "32 3b 0003 'x/y' 1234 2c 01 01 02 0000003c 03 0004 'text' 08 0001 'r' 09 0002 00ff
        26 0001 'z' 0001 '1' 26 0001 'a' 0001 '2' 26 0001 'z' 0001 '1' 'hello'";
    let mut sent = hex(sent);
    sent[1] = sent.len() as u8 - 2;
    sent[9] = sent.len() as u8 - 10 - 5;
    let mut world = World::new();
    let new = [passing("a"), lasting("b")].map(|connect| world.subscriber(connect, &["x/y"]));
    let old = [V31, V311].map(|version| {
        world.subscriber(Connect::new(version, if version == V31 { "c" } else { "d" }), &["x/y"])
    });
    new.iter().chain(&old).for_each(|client| drop(world.bytes(*client)));
    let publisher = world.connect(passing("p"));
    world.send_bytes(publisher, &sent);
    world.settle();
    for client in new {
        let (bytes, _) = world.bytes(client);
        let Cut::Whole { first, body, .. } = cut(&bytes, WireLimits::NONE).unwrap() else {
            panic!("{bytes:02x?}")
        };
        let received = Publish::decode(V5, first, body).unwrap();
        let Cut::Whole { first, body, .. } = cut(&sent, WireLimits::NONE).unwrap() else { panic!() };
        let published = Publish::decode(V5, first, body).unwrap();
        assert_eq!(received.properties, published.properties);
        let users: Vec<_> = received.properties.user_properties.iter().collect();
        assert_eq!(users, [("z", "1"), ("a", "2"), ("z", "1")]);
        assert_eq!((received.payload, received.dup, received.retain), (&b"hello"[..], false, false));
    }
    for client in old {
        assert_eq!(world.bytes(client), (hex("32 0c 0003 'x/y' 0001 'hello'"), false));
    }
    // From an older Client there is nothing to pass on.
    let old_publisher = world.connect(Connect::new(V311, "q"));
    world.publish(old_publisher, publish("x/y", "1", 0));
    assert_eq!(world.bytes(new[0]), (hex("30 07 0003 'x/y' 00 '1'"), false));
}

#[test]
fn a_refused_subscription_is_0x80_before_5_0() {
    // Of 3.1.1 [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.9.3-2]
    let limits = Limits { topic_levels: 2, ..Limits::default() };
    let mut world = World::with(limits);
    let bytes = hex("82 14 0001 0001 'a' 01 0005 'a/b/c' 01 0003 'a/b' 02");
    assert_eq!(world.exchange(Connect::new(V311, "c"), &bytes), (hex("90 05 0001 01 80 02"), false));
    let bytes = hex("82 15 0001 00 0001 'a' 01 0005 'a/b/c' 01 0003 'a/b' 02");
    assert_eq!(world.exchange(passing("d"), &bytes), (hex("90 06 0001 00 01 8f 02"), false));
}

#[test]
fn a_byte_order_mark_is_a_character_like_any_other() {
    // [MQTT-1.5.4-3], [MQTT-4.7.3-4]; of 3.1.1 [MQTT-1.5.3-3], [MQTT-4.7.3-4]
    let mut world = World::new();
    let with = world.subscriber(passing("with"), &["\u{feff}a"]);
    let without = world.subscriber(passing("without"), &["a", "\u{e9}"]);
    world.bytes(with);
    world.bytes(without);
    let publisher = world.connect(passing("p"));
    // The second one is not what it looks like: a letter and an accent.
    for topic in ["\u{feff}a", "e\u{301}"] {
        world.publish(publisher, publish(topic, "1", 0));
    }
    assert_eq!(world.bytes(with), (hex("30 08 0004 efbbbf 'a' 00 '1'"), false));
    assert_eq!(world.bytes(without), (vec![], false));
    // It names another Client as well.
    let plain = world.join(lasting("id"));
    assert_eq!(world.got(plain), [Got::Connack(ReasonCode::Success, false)]);
    let marked = world.join(lasting("\u{feff}id"));
    assert_eq!(world.got(marked), [Got::Connack(ReasonCode::Success, false)]);
    assert_eq!(world.got(plain), []);
}

#[test]
fn topics_may_be_as_long_as_their_length_field_says() {
    // [MQTT-4.7.3-3]; of 3.1.1 [MQTT-4.7.3-3]
    let limits = Limits { topic_bytes: u16::MAX, ..Limits::default() };
    let mut world = World::with(limits);
    let topic = "t".repeat(65_535);
    let subscriber = world.subscriber(passing("s"), &[&topic]);
    let publisher = world.connect(Connect::new(V311, "p"));
    world.publish(publisher, publish(&topic, "1", 0));
    assert_eq!(world.got(subscriber), [received(&topic, "1").got()]);
}

#[test]
fn the_dup_flag_of_a_publisher_is_its_own() {
    // [MQTT-3.3.1-3]; of 3.1.1 [MQTT-3.3.1-3]
    for connect in [passing("s"), lasting("s"), Connect::new(V311, "s")] {
        let mut world = World::new();
        let subscriber = world.subscriber(connect, &["x/y"]);
        let publisher = world.connect(passing("p"));
        world.publish(publisher, Publish { dup: true, ..publish("x/y", "1", 1) });
        assert_eq!(world.got(subscriber), [received("x/y", "1").at(1, 1).got()]);
    }
}

#[test]
fn in_3_1_dup_at_qos_0_and_on_other_packets_means_nothing() {
    let mut world = World::new();
    let subscriber = world.subscriber(passing("s"), &["a"]);
    let bytes = hex("38 04 0001 'a' '1' 8a 06 0001 0001 'b' 00 6a 02 0001");
    let answers = hex("90 03 0001 00 70 02 0001");
    assert_eq!(world.exchange(Connect::new(V31, "c"), &bytes), (answers, false));
    assert_eq!(world.got(subscriber), [received("a", "1").got()]);
}

#[test]
fn a_session_that_3_1_1_resumes_has_subscriptions_as_that_version_has_them() {
    for filter in ["x/y", "+/y"] {
        let mut world = World::new();
        let client = world.connect(lasting("s"));
        let options = SubscriptionOptions {
            no_local: true,
            retain_as_published: true,
            ..SubscriptionOptions::new(QoS::AtLeastOnce)
        };
        world.subscribe_by(client, filter, options, Some(7));
        world.got(client);
        world.publish(client, publish("x/y", "own", 1));
        assert_eq!(world.got(client).len(), 1);
        world.cut_and_settle(client);
        let client = world.connect(Connect { clean_start: false, ..Connect::new(V311, "s") });
        world.publish(client, Publish { retain: true, ..publish("x/y", "own", 1) });
        let got = world.got(client);
        assert_eq!(got.len(), 2, "{got:?}");
        assert!(got.contains(&received("x/y", "own").at(1, 1).got()), "{got:?}");
        // They stay so: what they were is not known any more.
        world.cut_and_settle(client);
        let client = world.connect(lasting("s"));
        world.got(client);
        world.publish(client, publish("x/y", "more", 2));
        assert!(world.got(client).contains(&received("x/y", "more").at(1, 2).got()));
    }
}
