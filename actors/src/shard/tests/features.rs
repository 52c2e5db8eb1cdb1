//! What an operator has switched off (MQTT 5.0, 3.2.2.3): CONNACK says so, and whoever asks for it all the same is told
//! by the Reason Code that there is for it.

use super::*;
use crate::options::Features;

const SUBSCRIBE: &str = "82 09 0001 02 0b01 0001 'a' 02";

fn world(features: Features) -> World {
    World::with(Limits { features, ..Limits::default() })
}

/// CONNECT of 5.0 with Clean Start: flags of a Will, properties, and what follows the Client Identifier.
fn connect(flags: u8, properties: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = hex("0004 'MQTT' 05");
    body.extend_from_slice(&[2 | flags, 0, 10, properties.len() as u8]);
    body.extend_from_slice(properties);
    body.extend_from_slice(b"\0\x01c");
    body.extend_from_slice(rest);
    packet(0x10, &body)
}

#[test]
fn everything_is_on_unless_it_is_switched_off() {
    // MQTT 5.0, 3.2.2.3: what is not said is available.
    let mut world = World::new();
    let welcome = hex("20 0e 00 00 0b 21 0400 27 00100000 22 0010");
    assert_eq!(world.begin(&connect(0x34, b"", &hex("00 0001 't' 0001 'm'"))), (welcome, false));
    assert_eq!(world.exchange(passing("d"), &hex(SUBSCRIBE)), (hex("90 04 0001 00 02"), false));
}

#[test]
fn connack_says_what_is_off() {
    // [MQTT-3.2.2-9]
    for (features, said) in [
        (Features { maximum_qos: QoS::AtLeastOnce, ..Features::default() }, "24 01"),
        (Features { maximum_qos: QoS::AtMostOnce, ..Features::default() }, "24 00"),
        (Features { retain_available: false, ..Features::default() }, "25 00"),
        (Features { wildcard_subscription_available: false, ..Features::default() }, "28 00"),
        (Features { subscription_identifiers_available: false, ..Features::default() }, "29 00"),
        (Features { shared_subscription_available: false, ..Features::default() }, "2a 00"),
    ] {
        let mut world = world(features);
        let (bytes, closed) = world.begin(&connect(0, b"", b""));
        assert_eq!((bytes[..5].to_vec(), bytes.len(), closed), (hex("20 10 00 00 0d"), 18, false));
        assert!(bytes.windows(2).any(|two| two == hex(said)), "{said}: {bytes:02x?}");
        // 3.1.1 has no words for it.
        let of_4 = hex("10 0d 0004 'MQTT' 04 02 000a 0001 'd'");
        assert_eq!(world.begin(&of_4), (hex("20 02 00 00"), false));
    }
}

#[test]
fn a_publish_beyond_maximum_qos_ends_the_connection_and_a_subscription_is_granted_less() {
    // [MQTT-3.2.2-10], [MQTT-3.8.4-7], [MQTT-3.8.4-8]; MQTT 5.0, 3.2.2.3.4
    let features = Features { maximum_qos: QoS::AtLeastOnce, ..Features::default() };
    let qos_2 = hex("34 06 0001 'a' 0001 00");
    assert_eq!(world(features.clone()).exchange(passing("c"), &qos_2), (hex("e0 01 9b"), true));
    let qos_2 = hex("34 05 0001 'a' 0001");
    assert_eq!(world(features.clone()).exchange(Connect::new(V311, "c"), &qos_2), (vec![], true));
    let mut world = world(features);
    for connect in [passing("s"), lasting("t")] {
        let subscriber = world.connect(connect);
        world.subscribe_by(subscriber, "x/y", SubscriptionOptions::new(QoS::ExactlyOnce), None);
        assert_eq!(world.got(subscriber), [Got::Suback(77, vec![ReasonCode::GrantedQoS1])]);
    }
    assert_eq!(world.exchange(passing("d"), &hex(SUBSCRIBE)), (hex("90 04 0001 00 01"), false));
}

#[test]
fn a_will_that_is_not_supported_refuses_the_connection() {
    // [MQTT-3.2.2-12], [MQTT-3.2.2-13], [MQTT-3.1.4-2]
    let will = hex("00 0001 't' 0001 'm'");
    let lower = Features { maximum_qos: QoS::AtMostOnce, ..Features::default() };
    assert_eq!(world(lower.clone()).begin(&connect(0x0c, b"", &will)), (hex("20 03 00 9b 00"), true));
    let off = Features { retain_available: false, ..Features::default() };
    assert_eq!(world(off.clone()).begin(&connect(0x24, b"", &will)), (hex("20 03 00 9a 00"), true));
    // 3.1.1 has no return code for either.
    for (features, flags) in [(lower, 0x0e), (off, 0x26)] {
        let mut body = hex("0004 'MQTT' 04");
        body.push(flags);
        body.extend_from_slice(&hex("000a 0001 'c' 0001 't' 0001 'm'"));
        assert_eq!(world(features).begin(&packet(0x10, &body)), (vec![], true));
    }
    let deep = Limits { topic_levels: 2, ..Limits::default() };
    let bytes = connect(0x04, b"", &hex("00 0005 'a/b/c' 0001 'm'"));
    assert_eq!(World::with(deep).begin(&bytes), (hex("20 03 00 90 00"), true));
}

#[test]
fn a_retained_publish_ends_the_connection_where_nothing_is_retained() {
    // MQTT 5.0, 3.2.2.3.5
    let off = Features { retain_available: false, ..Features::default() };
    assert_eq!(world(off.clone()).exchange(passing("c"), &hex("31 04 0001 'a' 00")), (hex("e0 01 9a"), true));
    assert_eq!(world(off).exchange(Connect::new(V311, "c"), &hex("31 03 0001 'a'")), (vec![], true));
}

#[test]
fn subscriptions_that_are_off_end_a_connection_that_was_told() {
    // MQTT 5.0, 3.2.2.3.11 to 3.2.2.3.13; of 3.1.1 [MQTT-3.8.3-2]
    let wildcard = Features { wildcard_subscription_available: false, ..Features::default() };
    let identifiers = Features { subscription_identifiers_available: false, ..Features::default() };
    let shared = Features { shared_subscription_available: false, ..Features::default() };
    for (features, bytes, reason) in [
        (wildcard.clone(), "82 09 0001 00 0003 'a/#' 00", "e0 01 a2"),
        (wildcard.clone(), "82 11 0001 00 000b '$share/g/+/' 00", "e0 01 a2"),
        (identifiers, SUBSCRIBE, "e0 01 a1"),
        (shared.clone(), "82 10 0001 00 000a '$share/g/a' 00", "e0 01 9e"),
    ] {
        assert_eq!(world(features).exchange(passing("c"), &hex(bytes)), (hex(reason), true), "{bytes}");
    }
    // 3.1.1 was not told, and hears of each.
    for (features, bytes) in [
        (wildcard, "82 0c 0001 0003 'a/+' 00 0001 'a' 01"),
        (shared, "82 13 0001 000a '$share/g/a' 00 0001 'a' 01"),
    ] {
        let got = world(features).exchange(Connect::new(V311, "c"), &hex(bytes));
        assert_eq!(got, (hex("90 04 0001 80 01"), false), "{bytes}");
    }
}

#[test]
fn a_payload_is_what_it_is_said_to_be_where_that_is_checked() {
    // MQTT 5.0, 3.3.2.3.2 and 3.1.3.2.3
    let check = || world(Features { check_payload_format: true, ..Features::default() });
    for (bytes, answer, closed) in [
        ("30 08 0001 'a' 02 0101 c328", "e0 01 99", true),
        ("32 0a 0001 'a' 0007 02 0101 c328", "40 03 0007 99", false),
        ("34 0a 0001 'a' 0007 02 0101 c328", "50 03 0007 99", false),
        // Not said to be UTF-8.
        ("32 0a 0001 'a' 0007 02 0100 c328", "40 03 0007 10", false),
        ("32 0a 0001 'a' 0007 02 0101 c3bc", "40 03 0007 10", false),
    ] {
        assert_eq!(check().exchange(passing("c"), &hex(bytes)), (hex(answer), closed), "{bytes}");
    }
    // After a refusal the identifier is free [MQTT-4.3.3-9].
    let bytes = hex("34 0a 0001 'a' 0007 02 0101 c328  34 06 0001 'a' 0007 00");
    assert_eq!(check().exchange(passing("c"), &bytes), (hex("50 03 0007 99 50 03 0007 10"), false));
    let will = hex("02 0101 0001 't' 0002 c328");
    assert_eq!(check().begin(&connect(4, b"", &will)), (hex("20 03 00 99 00"), true));
    // Where it is not checked it passes, indicator and all.
    let bytes = hex("30 08 0001 'a' 02 0101 c328");
    assert_eq!(World::new().exchange(passing("c"), &bytes), (vec![], false));
}

#[test]
fn response_information_is_told_to_those_who_ask() {
    // [MQTT-3.1.2-28]
    let with = || world(Features { response_information: "answers/".into(), ..Features::default() });
    let plain = hex("20 0e 00 00 0b 21 0400 27 00100000 22 0010");
    assert_eq!(with().begin(&connect(0, b"", b"")), (plain.clone(), false));
    assert_eq!(with().begin(&connect(0, &hex("19 00"), b"")), (plain.clone(), false));
    assert_eq!(World::new().begin(&connect(0, &hex("19 01"), b"")), (plain, false));
    let told = hex("20 1a 00 00 17 21 0400 27 00100000 22 0010 1a 0009 'answers/c'");
    assert_eq!(with().begin(&connect(0, &hex("19 01"), b"")), (told, false));
}

#[test]
fn without_problem_information_nothing_is_said_beyond_reason_codes() {
    // [MQTT-3.1.2-29]
    let mut world = world(Features { maximum_qos: QoS::AtLeastOnce, ..Features::default() });
    let properties =
        ConnectProperties { request_problem_information: Some(false), ..ConnectProperties::default() };
    let connect = Connect { properties, ..passing("c") };
    let bytes = hex(
        "32 06 0001 'a' 0001 00  62 02 0009  50 02 0009  82 07 0002 00 0001 'a' 00  a2 06 0003 00 0001 'b'",
    );
    let answers = hex("40 03 0001 10  70 03 0009 92  62 03 0009 92  90 04 0002 00 00  b0 04 0003 00 11");
    assert_eq!(world.exchange(connect, &bytes), (answers, false));
}
