//! Malformed Packets and Protocol Errors (MQTT 5.0, 4.13; 3.1.1, 4.8) of a Client that is connected: bytes that break a
//! rule, the DISCONNECT that says so, and the end of the Network Connection. 3.x hears the end alone.

use super::*;

const MALFORMED: u8 = 0x81;
const PROTOCOL: u8 = 0x82;

/// What 5.0 is told before its Network Connection is closed.
#[track_caller]
fn assert_told(bytes: &[u8], reason: u8) {
    let got = World::new().exchange(passing("c"), bytes);
    assert_eq!(got, (vec![0xe0, 1, reason], true), "{bytes:02x?}");
}

#[track_caller]
fn assert_closed(version: ProtocolVersion, bytes: &[u8]) {
    let got = World::new().exchange(Connect::new(version, "c"), bytes);
    assert_eq!(got, (vec![], true), "{version:?} {bytes:02x?}");
}

/// Of 5.0, at QoS 1 to `topic`, with these properties.
fn with_properties(properties: &[u8]) -> Vec<u8> {
    let mut body = hex("0005 'topic' 1234");
    body.push(properties.len() as u8);
    body.extend_from_slice(properties);
    body.extend_from_slice(b"payload");
    packet(0x32, &body)
}

#[test]
fn reserved_flags_of_the_fixed_header_have_one_value() {
    // [MQTT-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1], [MQTT-3.15.1-1]
    for (good, body) in [
        (0x40, "0001"),
        (0x50, "0001"),
        (0x62, "0001"),
        (0x70, "0001"),
        (0x82, "0001 00 0001 'a' 00"),
        (0xa2, "0001 00 0001 'a'"),
        (0xc0, ""),
        (0xe0, ""),
        (0xf0, ""),
    ] {
        for flags in (0..16).filter(|flags| good & 0x0f != *flags) {
            let bytes = packet(good & 0xf0 | flags, &hex(body));
            assert_told(&bytes, MALFORMED);
            assert_closed(V311, &bytes);
        }
    }
}

#[test]
fn a_length_of_five_bytes_is_malformed_before_anything_follows() {
    // MQTT 5.0, 1.5.5
    assert_told(&hex("30 ffffffff"), MALFORMED);
    assert_closed(V311, &hex("30 ffffffff 7f"));
}

#[test]
fn a_length_spelled_with_more_bytes_than_it_needs_is_malformed() {
    // [MQTT-1.5.5-1]
    assert_told(&hex("c0 8000"), MALFORMED);
    assert_told(&hex("30 8800 0001 'a' 8000"), MALFORMED);
}

#[test]
fn packet_type_0_is_reserved_and_auth_is_too_before_5_0() {
    // MQTT 5.0, 2.1.2; 3.1.1, 2.2.1
    assert_told(&hex("00 00"), MALFORMED);
    for version in [V31, V311] {
        assert_closed(version, &hex("00 00"));
        assert_closed(version, &hex("f0 00"));
    }
}

#[test]
fn what_only_a_server_sends_is_a_protocol_error() {
    // MQTT 5.0, 2.1.2; [MQTT-4.13.1-1]; of 3.1.1 [MQTT-4.8.0-1]
    for bytes in ["20 03 00 00 00", "90 04 0001 00 00", "b0 04 0001 00 00", "d0 00"] {
        assert_told(&hex(bytes), PROTOCOL);
    }
    for bytes in ["20 02 00 00", "90 03 0001 00", "b0 02 0001", "d0 00"] {
        assert_closed(V311, &hex(bytes));
        assert_closed(V31, &hex(bytes));
    }
}

#[test]
fn ill_formed_utf_8_and_nul_are_malformed_wherever_they_stand() {
    // [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.7-1], [MQTT-3.3.2-1], [MQTT-3.3.2-13], [MQTT-3.3.2-19],
    // [MQTT-3.8.3-1], [MQTT-3.10.3-1], [MQTT-4.7.3-2]; of 3.1.1 [MQTT-1.5.3-1], [MQTT-1.5.3-2]
    for text in ["'to' 00 'ic'", "'to' eda080", "'topi' ff", "c0af 'pic'"] {
        let text = hex(text);
        let with = |first, before: &str, after: &str| {
            packet(first, &[&hex(before)[..], &[0, text.len() as u8], &text, &hex(after)].concat())
        };
        assert_told(&with(0x30, "", "00"), MALFORMED);
        assert_told(&with(0x82, "0001 00", "00"), MALFORMED);
        assert_told(&with(0xa2, "0001 00", ""), MALFORMED);
        assert_closed(V311, &with(0x30, "", ""));
        assert_closed(V311, &with(0x82, "0001", "00"));
        assert_closed(V311, &with(0xa2, "0001", ""));
        let length = [0, text.len() as u8];
        for (before, after) in [
            // Content Type, Response Topic, and name and value of a User Property.
            (&b"\x03"[..], &b""[..]),
            (b"\x08", b""),
            (b"\x26", b"\0\x01v"),
            (b"\x26\0\x01k", b""),
        ] {
            assert_told(&with_properties(&[before, &length, &text, after].concat()), MALFORMED);
        }
    }
}

#[test]
fn topics_with_control_characters_are_malformed() {
    // MQTT 5.0, 1.5.4
    for text in ["'top' 0a 'c'", "'top' 7f 'c'", "'top' c29f", "'to' efbfbf"] {
        let topic = [&[0, 5][..], &hex(text)].concat();
        assert_told(&packet(0x30, &[&topic[..], &[0]].concat()), MALFORMED);
        assert_told(&packet(0x82, &[&[0, 1, 0][..], &topic, &[0]].concat()), MALFORMED);
        assert_closed(V311, &packet(0x30, &topic));
    }
}

#[test]
fn topic_names_without_characters_or_with_wildcards_are_refused() {
    // [MQTT-3.3.2-2], [MQTT-4.7.0-1], [MQTT-4.7.3-1]; of 3.1.1 [MQTT-4.7.1-1]
    for topic in ["'#'", "'+'", "'a/#'", "'a+b'"] {
        let topic = hex(topic);
        let body = [&[0, topic.len() as u8][..], &topic].concat();
        assert_closed(V311, &packet(0x30, &body));
        assert_told(&packet(0x30, &[&body[..], &[0]].concat()), MALFORMED);
    }
    // MQTT 5.0, 3.3.2.1: without a Topic Alias.
    assert_told(&hex("30 03 0000 00"), PROTOCOL);
    assert_closed(V311, &hex("30 02 0000"));
}

#[test]
fn topic_filters_that_break_the_grammar_are_malformed() {
    // [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1]; of 3.1.1 [MQTT-4.7.1-2], [MQTT-4.7.1-3]
    for filter in ["", "a#", "a/#/b", "#/a", "+a", "a/b+", "a/+b/c", "$share/g/a#"] {
        let body = [&[0, filter.len() as u8][..], filter.as_bytes()].concat();
        assert_told(&packet(0x82, &[b"\0\x01\0", &body[..], &[0]].concat()), MALFORMED);
        assert_told(&packet(0xa2, &[b"\0\x01\0", &body[..]].concat()), MALFORMED);
        assert_closed(V311, &packet(0x82, &[b"\0\x01", &body[..], &[0]].concat()));
        assert_closed(V311, &packet(0xa2, &[b"\0\x01", &body[..]].concat()));
    }
}

#[test]
fn shared_subscriptions_have_a_share_name_and_a_topic_filter() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2], [MQTT-3.8.3-4]
    for filter in ["$share/", "$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/+/a", "$share/#/a"]
    {
        let body = [&[0, 1, 0, 0, filter.len() as u8][..], filter.as_bytes(), &[0]].concat();
        assert_told(&packet(0x82, &body), PROTOCOL);
    }
    assert_told(&packet(0x82, b"\0\x01\0\0\x0a$share/g/a\x04"), PROTOCOL);
}

#[test]
fn packet_identifiers_are_not_zero() {
    // [MQTT-2.2.1-3]; of 3.1.1 [MQTT-2.3.1-1]
    for (bytes, bytes_of_3) in [
        ("32 06 0001 'a' 0000 00", "32 05 0001 'a' 0000"),
        ("34 06 0001 'a' 0000 00", "34 05 0001 'a' 0000"),
        ("82 07 0000 00 0001 'a' 00", "82 06 0000 0001 'a' 00"),
        ("a2 06 0000 00 0001 'a'", "a2 05 0000 0001 'a'"),
        ("40 02 0000", "40 02 0000"),
        ("50 02 0000", "50 02 0000"),
        ("62 02 0000", "62 02 0000"),
        ("70 02 0000", "70 02 0000"),
    ] {
        assert_told(&hex(bytes), PROTOCOL);
        assert_closed(V311, &hex(bytes_of_3));
    }
}

#[test]
fn flags_of_a_publish_agree_with_each_other() {
    // [MQTT-3.3.1-2], [MQTT-3.3.1-4]
    assert_told(&hex("38 04 0001 'a' 00"), MALFORMED);
    assert_told(&hex("36 06 0001 'a' 0001 00"), MALFORMED);
    assert_closed(V311, &hex("38 03 0001 'a'"));
    assert_closed(V311, &hex("36 05 0001 'a' 0001"));
    assert_closed(V31, &hex("36 05 0001 'a' 0001"));
}

#[test]
fn subscribe_and_unsubscribe_have_topic_filters_and_whole_options() {
    // [MQTT-3.8.3-2], [MQTT-3.8.3-5], [MQTT-3.10.3-2]; of 3.1.1 [MQTT-3.8.3-3], [MQTT-3-8.3-4], [MQTT-3.10.3-2]
    assert_told(&hex("82 03 0001 00"), PROTOCOL);
    assert_told(&hex("a2 03 0001 00"), PROTOCOL);
    assert_told(&hex("82 06 0001 00 0001 'a'"), MALFORMED);
    assert_told(&hex("82 08 0001 00 0001 'a' 00 00"), MALFORMED);
    for (options, reason) in [(0x40, MALFORMED), (0x80, MALFORMED), (0x03, PROTOCOL), (0x30, PROTOCOL)] {
        assert_told(&[&hex("82 07 0001 00 0001 'a'")[..], &[options]].concat(), reason);
    }
    assert_closed(V311, &hex("82 02 0001"));
    assert_closed(V311, &hex("a2 02 0001"));
    assert_closed(V311, &hex("82 05 0001 0001 'a'"));
    for options in [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
        assert_closed(V311, &[&hex("82 06 0001 0001 'a'")[..], &[options]].concat());
    }
}

#[test]
fn a_property_that_stands_once_does_not_stand_twice() {
    // MQTT 5.0, 3.3.2.3 and 3.8.2.1.2
    for property in ["01 01", "02 00000001", "23 0001", "08 0001 'p'", "09 0001 'p'", "03 0001 'p'"] {
        let property = hex(property);
        assert_told(&with_properties(&[&property[..], &property].concat()), PROTOCOL);
    }
    assert_told(&hex("82 0b 0001 04 0b01 0b01 0001 'a' 00"), PROTOCOL);
    assert_told(&hex("e0 0c 00 0a 11 00000000 11 00000000"), PROTOCOL);
}

#[test]
fn a_property_of_another_packet_or_of_none_is_malformed() {
    // MQTT 5.0, 2.2.2.2
    for property in [
        "11 00000001",
        "12 0001 'p'",
        "13 0005",
        "15 0001 'p'",
        "16 0001 'p'",
        "17 00",
        "18 00000001",
        "19 00",
        "1a 0001 'p'",
        "1c 0001 'p'",
        "1f 0001 'p'",
        "21 0005",
        "22 0005",
        "24 00",
        "25 00",
        "27 00000001",
        "28 00",
        "29 00",
        "2a 00",
        "00 01",
        "04 01",
        "0a 01",
        "7f 01",
        "8001 01",
        "ffff7f 01",
    ] {
        assert_told(&with_properties(&hex(property)), MALFORMED);
    }
    assert_told(&hex("82 09 0001 02 0101 0001 'a' 00"), MALFORMED);
    assert_told(&hex("a2 08 0001 02 0b01 0001 'a'"), MALFORMED);
    assert_told(&hex("e0 04 00 02 0101"), MALFORMED);
}

#[test]
fn a_property_has_a_whole_value_in_its_range() {
    // MQTT 5.0, 2.2.2.2, 3.3.2.3 and 3.8.2.1.2; [MQTT-3.3.2-8], [MQTT-3.3.2-14], [MQTT-3.3.4-6]
    for property in
        ["01", "02 0000", "23 00", "08", "08 0005 'p'", "09 0002 'p'", "03 00", "26", "26 0001 'p'", "0b"]
    {
        assert_told(&with_properties(&hex(property)), MALFORMED);
    }
    for property in ["01 02", "0b 00", "0b 01", "08 0001 '#'", "08 0003 'a/+'", "08 0000"] {
        assert_told(&with_properties(&hex(property)), PROTOCOL);
    }
    assert_told(&with_properties(&hex("23 0000")), 0x94);
    assert_told(&hex("82 09 0001 02 0b00 0001 'a' 00"), PROTOCOL);
    // A block that ends beyond its packet.
    assert_told(&hex("30 04 0001 'a' 05"), MALFORMED);
}

#[test]
fn fields_end_with_their_packet_and_nothing_follows_them() {
    // MQTT 5.0, 4.13.1; of 3.1.1 [MQTT-4.8.0-1]
    for bytes in
        ["40 01 00", "62 01 00", "40 05 0001 00 00 00", "c0 01 00", "32 03 0001 'a'", "82 01 00", "30 00"]
    {
        assert_told(&hex(bytes), MALFORMED);
    }
    for bytes in
        ["40 01 00", "40 03 0001 00", "62 03 0001 00", "c0 01 00", "e0 01 00", "32 03 0001 'a'", "30 00"]
    {
        assert_closed(V311, &hex(bytes));
    }
}

#[test]
fn a_reason_code_is_one_of_its_packet() {
    // [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.14.2-1], [MQTT-3.15.2-1]
    for bytes in ["40 03 0001 92", "50 03 0001 92", "62 03 0001 10", "70 03 0001 87", "e0 01 8e", "e0 01 01"]
    {
        assert_told(&hex(bytes), PROTOCOL);
    }
    // One that nobody knows.
    for bytes in ["40 03 0001 7f", "e0 01 03"] {
        assert_told(&hex(bytes), MALFORMED);
    }
}

#[test]
fn an_auth_that_was_not_agreed_on_is_a_protocol_error() {
    // [MQTT-4.12.0-6], [MQTT-4.12.0-7]
    for bytes in ["f0 00", "f0 06 18 04 15 0001 'm'", "f0 06 19 04 15 0001 'm'"] {
        assert_told(&hex(bytes), PROTOCOL);
    }
}

#[test]
fn a_packet_larger_than_was_allowed_is_refused_by_its_header() {
    // MQTT 5.0, 3.2.2.3.6
    let mut world = World::with(Limits { packet_bytes: 1000, ..Limits::default() });
    assert_eq!(world.exchange(passing("c"), &hex("30 e607")), (hex("e0 01 95"), true));
    assert_eq!(world.exchange(Connect::new(V311, "d"), &hex("30 e607")), (vec![], true));
}

#[test]
fn nothing_behind_a_broken_rule_is_taken_and_nothing_follows_the_disconnect() {
    // [MQTT-4.13.1-1], [MQTT-4.13.2-1], [MQTT-3.14.4-1], [MQTT-3.14.4-2]
    let mut world = World::new();
    let watcher = world.subscriber(passing("w"), &["#"]);
    // The PUBACK of what came before is not known yet when the rule is broken; a SUBACK has always left.
    let _kept = world.subscriber(lasting("kept"), &["topic"]);
    let mut bytes = hex("82 07 0007 00 0001 'a' 00");
    bytes.extend_from_slice(&with_properties(&[]));
    bytes.extend_from_slice(&hex("d0 00  c0 00  30 06 0001 'a' 00 'no'"));
    let client = world.connect(lasting("c"));
    world.bytes(client);
    world.send_bytes(client, &bytes);
    world.settle();
    assert_eq!(world.bytes(client), (hex("90 04 0007 00 00  e0 01 82"), true));
    assert_eq!(world.payloads(watcher), ["payload"]);
}

#[test]
fn others_do_not_notice_a_client_that_breaks_rules() {
    let mut world = World::new();
    let subscriber = world.subscriber(passing("s"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    for bytes in ["00 00", "30 ffffffff", "36 06 0001 'a' 0001 00", "f0 00", "82 03 0001 00"] {
        assert!(world.exchange(passing("c"), &hex(bytes)).1);
        world.publish(publisher, publish("x/y", "1", 1));
        assert_eq!(world.got(publisher).len(), 1);
        assert_eq!(world.payloads(subscriber).len(), 1);
    }
}
