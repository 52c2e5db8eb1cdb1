//! The first bytes of a Network Connection (MQTT 5.0, 3.1 and 3.2): what CONNECT has to be, and what CONNACK says to the
//! letter. `connecting` has the stories of Sessions behind it.

use super::*;

/// CONNACK of 5.0 that accepts, with the limits of these tests: Receive Maximum, Maximum Packet Size, Topic Alias
/// Maximum.
const WELCOME: &str = "20 0e 00 00 0b 21 0400 27 00100000 22 0010";

/// CONNECT of 5.0: its flags, its properties, its payload.
fn connect_5(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = hex("0004 'MQTT' 05");
    body.extend_from_slice(&[flags, 0, 10, properties.len() as u8]);
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    packet(0x10, &body)
}

/// CONNECT of 3.1.1.
fn connect_4(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = hex("0004 'MQTT' 04");
    body.extend_from_slice(&[flags, 0, 10]);
    body.extend_from_slice(payload);
    packet(0x10, &body)
}

#[track_caller]
fn assert_answered(bytes: &[u8], answer: &str, closed: bool) {
    assert_eq!(World::new().begin(bytes), (hex(answer), closed), "{bytes:02x?}");
}

#[test]
fn connack_says_what_a_client_may_count_on() {
    // [MQTT-3.1.4-5], [MQTT-3.2.0-1], [MQTT-3.2.2-1], [MQTT-3.2.2-2], [MQTT-3.2.2-22]; of 3.1.1 [MQTT-3.1.4-4],
    // [MQTT-3.2.0-1], [MQTT-3.2.2-1]
    assert_answered(&connect_5(2, b"", b"\0\x01c"), WELCOME, false);
    assert_answered(&connect_4(2, b"\0\x01c"), "20 02 00 00", false);
    assert_answered(&hex("10 0f 0006 'MQIsdp' 03 02 000a 0001 'c'"), "20 02 00 00", false);
}

#[test]
fn another_packet_than_connect_is_not_answered() {
    // [MQTT-3.1.0-1], [MQTT-3.14.0-1]; of 3.1.1 [MQTT-3.1.0-1]
    for bytes in [
        "30 04 0001 'a' 00",
        "40 02 0001",
        "62 02 0001",
        "82 07 0001 00 0001 'a' 00",
        "a2 06 0001 00 0001 'a'",
        "c0 00",
        "e0 00",
        "f0 00",
        "20 03 00 00 00",
    ] {
        assert_answered(&hex(bytes), "", true);
    }
    // No packet at all.
    assert_answered(&hex("00 00"), "", true);
    assert_answered(b"GET / HTTP/1.1\r\n\r\n", "", true);
}

#[test]
fn a_second_connect_ends_the_connection() {
    // [MQTT-3.1.0-2], [MQTT-3.2.0-2]; of 3.1.1 [MQTT-3.1.0-2]
    let bytes = connect_5(2, b"", b"\0\x01c");
    let twice = [&bytes[..], &bytes].concat();
    assert_answered(&twice, &format!("{WELCOME} e0 01 82"), true);
    let bytes = connect_4(2, b"\0\x01c");
    assert_answered(&[&bytes[..], &bytes].concat(), "20 02 00 00", true);
    // Also one that is wrong: its own Reason Codes are not those of a DISCONNECT.
    for wrong in ["10 0d 0004 'MQTT' 09 02 000a 0001 'c'", "10 0c 0004 'MQTT' 04 00 000a 0000", "10 02 0000"]
    {
        let twice = [connect_5(2, b"", b"\0\x01c"), hex(wrong)].concat();
        assert_answered(&twice, &format!("{WELCOME} e0 01 82"), true);
    }
}

#[test]
fn another_protocol_name_is_not_answered() {
    // [MQTT-3.1.2-1]; of 3.1.1 [MQTT-3.1.2-1]
    for name in [
        "0004 'MQTU' 05",
        "0003 'MQT' 04",
        "0000 04",
        "0005 'MQTTT' 04",
        "0004 'mqtt' 04",
        "0006 'MQISDP' 03",
    ] {
        let bytes = packet(0x10, &[hex(name), hex("02 000a 00 0001 'c'")].concat());
        assert_answered(&bytes, "", true);
    }
}

#[test]
fn another_protocol_version_is_refused_by_return_code_1() {
    // [MQTT-3.1.2-2]; of 3.1.1 [MQTT-3.1.2-2]
    for name in ["0004 'MQTT' 00", "0004 'MQTT' 03", "0004 'MQTT' 06", "0004 'MQTT' ff", "0006 'MQIsdp' 04"] {
        let bytes = packet(0x10, &[hex(name), hex("02 000a 00 0001 'c'")].concat());
        assert_answered(&bytes, "20 02 00 01", true);
    }
}

#[test]
fn a_connect_that_is_malformed_is_told_so_in_5_0_alone() {
    // [MQTT-3.1.2-3], [MQTT-3.1.2-9], [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.1.2-13], [MQTT-3.1.2-16] to
    // [MQTT-3.1.2-19], [MQTT-3.1.3-1], [MQTT-3.1.3-3], [MQTT-3.1.4-1], [MQTT-3.2.2-6], [MQTT-3.2.2-7]; of 3.1.1
    // [MQTT-3.1.2-3], [MQTT-3.1.2-9], [MQTT-3.1.2-11], [MQTT-3.1.2-13] to [MQTT-3.1.2-15], [MQTT-3.1.2-18] to
    // [MQTT-3.1.2-22], [MQTT-3.1.4-1], [MQTT-3.2.2-6]
    for (flags, payload_of_5, payload_of_4) in [
        // The reserved flag.
        (0x03, "0001 'c'", "0001 'c'"),
        // Will QoS and Will Retain without a Will, and Will QoS 3.
        (0x0a, "0001 'c'", "0001 'c'"),
        (0x12, "0001 'c'", "0001 'c'"),
        (0x22, "0001 'c'", "0001 'c'"),
        (0x1e, "0001 'c' 00 0001 't' 0001 'm'", "0001 'c' 0001 't' 0001 'm'"),
        // A Will that is not there, or not whole, or that nobody announced.
        (0x06, "0001 'c'", "0001 'c'"),
        (0x06, "0001 'c' 00 0001 't'", "0001 'c' 0001 't'"),
        (0x06, "0001 'c' 00 0000 0001 'm'", "0001 'c' 0000 0001 'm'"),
        (0x06, "0001 'c' 00 0001 '#' 0001 'm'", "0001 'c' 0001 '#' 0001 'm'"),
        (0x02, "0001 'c' 00 0001 't' 0001 'm'", "0001 'c' 0001 't' 0001 'm'"),
        // A user name and a password that are announced and not there, or there and not announced.
        (0x82, "0001 'c'", "0001 'c'"),
        (0x02, "0001 'c' 0001 'u'", "0001 'c' 0001 'u'"),
        (0xc2, "0001 'c' 0001 'u'", "0001 'c' 0001 'u'"),
        (0x82, "0001 'c' 0001 'u' 0001 'p'", "0001 'c' 0001 'u' 0001 'p'"),
        // No Client Identifier, and one that ends beyond the packet.
        (0x02, "", ""),
        (0x02, "0005 'c'", "0005 'c'"),
    ] {
        assert_answered(&connect_5(flags, b"", &hex(payload_of_5)), "20 03 00 81 00", true);
        assert_answered(&connect_4(flags, &hex(payload_of_4)), "", true);
    }
    // Flags of the Fixed Header.
    for first in [0x11, 0x12, 0x14, 0x18] {
        let mut bytes = connect_5(2, b"", b"\0\x01c");
        bytes[0] = first;
        assert_answered(&bytes, "20 03 00 81 00", true);
        let mut bytes = connect_4(2, b"\0\x01c");
        bytes[0] = first;
        assert_answered(&bytes, "", true);
    }
    // A password needs a user name before 5.0.
    assert_answered(&connect_4(0x42, &hex("0001 'c' 0001 'p'")), "", true);
    assert_answered(&connect_5(0x42, b"", &hex("0001 'c' 0001 'p'")), WELCOME, false);
}

#[test]
fn texts_of_a_connect_are_utf_8_and_its_binary_data_is_anything() {
    // [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12]; of 3.1.1 [MQTT-3.1.3-4], [MQTT-3.1.3-10], [MQTT-3.1.3-11]
    for text in ["'to' 00", "eda080", "c0af 'c'", "'to' ff", "'to' 01", "'t' c29f"] {
        let text = [&[0, 3][..], &hex(text)].concat();
        for (flags, before, after, before_of_4) in [
            (0x02, "", "", ""),
            (0x82, "0001 'c'", "", "0001 'c'"),
            (0x06, "0001 'c' 00", "0001 'm'", "0001 'c'"),
        ] {
            let payload = [&hex(before)[..], &text, &hex(after)].concat();
            assert_answered(&connect_5(flags, b"", &payload), "20 03 00 81 00", true);
            let payload = [&hex(before_of_4)[..], &text, &hex(after)].concat();
            assert_answered(&connect_4(flags, &payload), "", true);
        }
    }
    let anything = "0004 00 ff c0 af";
    assert_answered(&connect_5(0xc2, b"", &hex(&format!("0001 'c' 0001 'u' {anything}"))), WELCOME, false);
    assert_answered(&connect_5(0x06, b"", &hex(&format!("0001 'c' 00 0001 't' {anything}"))), WELCOME, false);
    assert_answered(&connect_4(0xc2, &hex(&format!("0001 'c' 0001 'u' {anything}"))), "20 02 00 00", false);
    // An empty user name is one.
    assert_answered(&connect_5(0x82, b"", &hex("0001 'c' 0000")), WELCOME, false);
}

#[test]
fn properties_of_a_connect_are_its_own_and_in_their_range() {
    // MQTT 5.0, 2.2.2.2 and 3.1.2.11
    for property in [
        "11 0000000a",
        "21 0001",
        "27 00100000",
        "22 0000",
        "19 00",
        "17 01",
        "26 0001 'k' 0001 'v' 26 0001 'k' 0001 'v'",
    ] {
        assert_answered(&connect_5(2, &hex(property), b"\0\x01c"), WELCOME, false);
    }
    for property in
        ["11 0000000a", "21 0001", "27 00100000", "22 0000", "19 00", "17 01", "15 0001 'm'", "16 0001 'd'"]
    {
        let twice = [hex(property), hex(property)].concat();
        assert_answered(&connect_5(2, &twice, b"\0\x01c"), "20 03 00 82 00", true);
    }
    // Receive Maximum and Maximum Packet Size of zero, what is neither yes nor no, Authentication Data by itself.
    for property in ["21 0000", "27 00000000", "19 02", "17 02", "16 0001 'd'"] {
        assert_answered(&connect_5(2, &hex(property), b"\0\x01c"), "20 03 00 82 00", true);
    }
    for property in
        ["11 0000", "21 00", "26 0001 'k'", "01 00", "23 0001", "0b 01", "18 00000001", "24 01", "7f 00"]
    {
        assert_answered(&connect_5(2, &hex(property), b"\0\x01c"), "20 03 00 81 00", true);
    }
    // Those of a Will stand in its own block.
    for (property, answer, closed) in [
        (
            "18 00000001 02 00000001 01 01 03 0001 'c' 08 0001 'r' 09 0001 'd' 26 0001 'k' 0001 'v'",
            WELCOME,
            false,
        ),
        ("18 00000001 18 00000001", "20 03 00 82 00", true),
        ("01 02", "20 03 00 82 00", true),
        ("08 0001 '#'", "20 03 00 82 00", true),
        ("11 00000001", "20 03 00 81 00", true),
    ] {
        let property = hex(property);
        let payload = [&b"\0\x01c"[..], &[property.len() as u8], &property, b"\0\x01t\0\x01m"].concat();
        assert_answered(&connect_5(6, b"", &payload), answer, closed);
    }
}

#[test]
fn nothing_behind_a_connect_that_is_refused_is_taken() {
    // [MQTT-3.1.4-6], [MQTT-4.13.2-1]; of 3.1.1 [MQTT-3.1.4-5], [MQTT-3.2.2-5]
    let mut world = World::new();
    let watcher = world.subscriber(passing("w"), &["#"]);
    let mut bytes = connect_4(0, b"\0\0");
    bytes.extend_from_slice(&hex("30 03 0001 'a' c0 00"));
    assert_eq!(world.begin(&bytes), (hex("20 02 00 02"), true));
    let mut bytes = connect_5(2, b"\x15\0\x01m", b"\0\x01c");
    bytes.extend_from_slice(&hex("30 04 0001 'a' 00 c0 00"));
    assert_eq!(world.begin(&bytes), (hex("20 03 00 8c 00"), true));
    assert_eq!(world.got(watcher), []);
}

#[test]
fn client_identifiers_of_1_to_23_characters_are_taken_and_so_are_longer_ones() {
    // [MQTT-3.1.3-5]; of 3.1.1 [MQTT-3.1.3-5]
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let names = [&all[..1], &all[..23], &all[20..43], &all[39..], all, "a b/c+#$ü"];
    for name in names {
        let mut world = World::new();
        for version in [V31, V311, V5] {
            let client = world.join(Connect::new(version, name));
            assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)], "{version:?} {name}");
        }
    }
}

#[test]
fn an_assigned_client_identifier_is_told_and_is_nobody_elses() {
    // [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]; of 3.1.1 [MQTT-3.1.3-6], [MQTT-3.1.3-7]
    let mut world = World::new();
    let mut names = Vec::new();
    for clean_start in [2, 0] {
        let client = world.accept(V5);
        world.bytes(client);
        world.send_bytes(client, &connect_5(clean_start, b"\x11\0\0\0\x0a", b"\0\0"));
        world.settle();
        let (bytes, closed) = world.bytes(client);
        assert!(!closed);
        let Cut::Whole { first, body, .. } = cut(&bytes, WireLimits::NONE).unwrap() else { panic!() };
        let Packet::Connack(connack) = decode_from(Sender::Server, V5, first, body).unwrap() else {
            panic!()
        };
        assert!(!connack.session_present);
        names.push(connack.properties.assigned_client_identifier.expect("it has none of its own").to_owned());
        world.cut_and_settle(client);
    }
    // 128 bits of chance: it tells nothing of what keys our tables, and one tells nothing of the next.
    let drawn = |name: &String| u128::from_str_radix(name.strip_prefix("convoy-").unwrap(), 16);
    let [Ok(first), Ok(second)] = [&names[0], &names[1]].map(drawn) else { panic!("{names:?}") };
    assert!(names.iter().all(|name| name.len() == 39), "{names:?}");
    assert!((32..=96).contains(&(first ^ second).count_ones()), "{names:?}");
    // It is the Client's from now on.
    let client = world.join(Connect { client_id: &names[1], ..lasting("") });
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, true)]);
    // 3.1.1 cannot be told, and needs Clean Session.
    assert_eq!(world.begin(&connect_4(2, b"\0\0")), (hex("20 02 00 00"), false));
}

#[test]
fn an_empty_client_identifier_without_clean_session_is_refused_by_return_code_2() {
    // Of 3.1.1 [MQTT-3.1.3-8], [MQTT-3.1.3-9], [MQTT-3.2.2-4], [MQTT-3.2.2-5]
    assert_answered(&connect_4(0, b"\0\0"), "20 02 00 02", true);
    assert_answered(&hex("10 0e 0006 'MQIsdp' 03 02 000a 0000"), "20 02 00 02", true);
}

#[test]
fn a_client_that_does_not_take_our_connack_is_closed_without_one() {
    // [MQTT-3.1.2-24]
    for (size, answer, closed) in [(2, "", true), (15, "", true), (16, WELCOME, false)] {
        let property = [&[0x27, 0, 0, 0][..], &[size]].concat();
        assert_answered(&connect_5(2, &property, b"\0\x01c"), answer, closed);
    }
}

#[test]
fn no_answer_is_larger_than_the_client_takes() {
    // [MQTT-3.1.2-24], [MQTT-3.9.2-1], [MQTT-3.9.2-2], [MQTT-3.11.2-1], [MQTT-3.11.2-2]
    let properties = ConnectProperties {
        maximum_packet_size: std::num::NonZeroU32::new(20),
        ..ConnectProperties::default()
    };
    for (first, option) in [(0x82, &b"\0"[..]), (0xa2, b"")] {
        let filters =
            |count: usize| [&b"\0\x01\0"[..], &[b"\0\x01a", option].concat().repeat(count)].concat();
        let connect = Connect { properties, ..passing("c") };
        let mut world = World::new();
        let (bytes, closed) = world.exchange(connect, &packet(first, &filters(15)));
        assert_eq!((bytes.len(), closed), (20, false));
        let (bytes, closed) = world.exchange(connect, &packet(first, &filters(16)));
        assert_eq!((bytes, closed), (hex("e0 01 95"), true));
    }
}

#[test]
fn a_server_keep_alive_is_told_and_kept_to() {
    // [MQTT-3.1.2-21], [MQTT-3.2.2-21], [MQTT-3.2.2-22]: Keep Alive is 10 in these CONNECTs.
    let limits = Limits { keep_alive_maximum: 5, ..Limits::default() };
    let mut world = World::with(limits);
    let client = world.accept(V5);
    world.bytes(client);
    world.send_bytes(client, &connect_5(2, b"", b"\0\x01c"));
    world.settle();
    assert_eq!(world.bytes(client), (hex("20 11 00 00 0e 21 0400 27 00100000 22 0010 13 0005"), false));
    world.pass(7_500);
    assert_eq!(world.bytes(client), (vec![], false));
    world.pass(1);
    assert_eq!(world.bytes(client), (hex("e0 01 8d"), true));
}

#[test]
fn a_shorter_session_expiry_is_told() {
    // MQTT 5.0, 3.2.2.3.2
    let limits = Limits { session_expiry_maximum: 60, ..Limits::default() };
    let mut world = World::with(limits);
    let (bytes, closed) = world.begin(&connect_5(2, b"\x11\0\0\x0e\x10", b"\0\x01c"));
    assert_eq!((bytes, closed), (hex("20 13 00 00 10 11 0000003c 21 0400 27 00100000 22 0010"), false));
}

#[test]
fn session_present_is_one_bit_of_the_flags() {
    // [MQTT-3.2.2-1], [MQTT-3.2.2-3]; of 3.1.1 [MQTT-3.2.2-2], [MQTT-3.2.2-3]
    let mut world = World::new();
    let first = world.begin(&connect_4(0, b"\0\x01c"));
    assert_eq!(first, (hex("20 02 00 00"), false));
    assert_eq!(world.begin(&connect_4(0, b"\0\x01c")), (hex("20 02 01 00"), false));
    // Clean Session.
    assert_eq!(world.begin(&connect_4(2, b"\0\x01c")), (hex("20 02 00 00"), false));
    // 3.1 has no such flag.
    let of_3_1 = hex("10 0f 0006 'MQIsdp' 03 00 000a 0001 'd'");
    for _ in 0..2 {
        assert_eq!(world.begin(&of_3_1), (hex("20 02 00 00"), false));
    }
}

#[test]
fn every_reason_for_which_a_connect_is_refused_is_one_of_connack() {
    // [MQTT-3.2.2-8]
    for (reason, said) in [
        (ReasonCode::ServerShuttingDown, ReasonCode::ServerUnavailable),
        (ReasonCode::SessionTakenOver, ReasonCode::ClientIdentifierNotValid),
        (ReasonCode::ServerBusy, ReasonCode::ServerBusy),
    ] {
        let mut world = World::new();
        let client = world.accept(V5);
        let (shard, key) = (world.lines[client.0].shard, world.lines[client.0].key.unwrap());
        let connection = &mut world.shards[shard].outlet.edge.connections[key as usize];
        connection.version = V5;
        connection.stage = Stage::Connecting;
        connection.close(reason);
        assert_eq!(connection.output.tail()[..], [0x20, 3, 0, said.as_u8(), 0]);
    }
}

#[test]
fn a_connection_that_said_nothing_hears_nothing_when_the_server_goes() {
    // [MQTT-3.14.0-1]
    let mut world = World::new();
    let silent = world.accept(V5);
    world.bytes(silent);
    world.shards.iter_mut().for_each(|shard| shard.shut_down(world.now));
    world.settle();
    assert_eq!(world.bytes(silent), (vec![], true));
}
