//! CONNECT, takeover, Keep Alive, and what ends a connection.

use super::*;

#[test]
fn a_new_client_has_no_session_and_one_that_comes_back_has() {
    // [MQTT-3.2.2-2], [MQTT-3.2.2-3]
    let mut world = World::new();
    let first = world.join(lasting("a"));
    assert_eq!(world.got(first), [Got::Connack(ReasonCode::Success, false)]);
    world.cut_and_settle(first);
    let second = world.join(lasting("a"));
    assert_eq!(world.got(second), [Got::Connack(ReasonCode::Success, true)]);
    world.send_and_settle(second, goodbye());
    let third = world.join(Connect { clean_start: true, ..lasting("a") });
    assert_eq!(world.got(third), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn connack_leaves_only_when_the_session_is_on_record() {
    let mut world = World::new();
    let client = world.ask(lasting("a"));
    assert_eq!(world.got(client), []);
    world.settle();
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    let mut world = World::new();
    let client = world.subscriber(passing("a"), &["x/y"]);
    world.cut_and_settle(client);
    let client = world.join(Connect { clean_start: false, ..passing("a") });
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 0));
    assert_eq!(world.got(client), []);
}

#[test]
fn packets_before_connack_are_kept_until_the_session_is_granted() {
    let mut world = World::new();
    let client = world.ask(passing("a"));
    assert!(!world.is_reading(client));
    world.send(client, Packet::Pingreq);
    world.send(client, Packet::Publish(publish("x/y", "1", 5)));
    assert_eq!(world.got(client), []);
    world.settle();
    let expected =
        [Got::Connack(ReasonCode::Success, false), Got::Pingresp, Got::Puback(5, ReasonCode::Success)];
    assert_eq!(world.got(client), expected);
}

#[test]
fn packets_may_come_byte_by_byte() {
    let mut world = World::new();
    let client = world.accept(V5);
    let mut bytes = Vec::new();
    Packet::Connect(passing("a")).encode(V5, &mut bytes).unwrap();
    Packet::Publish(publish("x/y", "1", 5)).encode(V5, &mut bytes).unwrap();
    Packet::Pingreq.encode(V5, &mut bytes).unwrap();
    for byte in bytes {
        world.send_bytes(client, &[byte]);
        world.settle();
    }
    let expected =
        [Got::Connack(ReasonCode::Success, false), Got::Puback(5, ReasonCode::Success), Got::Pingresp];
    assert_eq!(world.got(client), expected);
}

#[test]
fn the_old_connection_is_closed_before_the_new_one_is_granted_the_session() {
    // [MQTT-3.1.4-3]
    let mut world = World::new();
    let old = world.connect(lasting("a"));
    let new = world.ask(lasting("a"));
    assert_eq!((world.got(old), world.got(new)), (vec![], vec![]));
    world.settle();
    assert_eq!(world.got(old), [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed]);
    assert_eq!(world.got(new), [Got::Connack(ReasonCode::Success, true)]);
    // The farewell of the old connection changes nothing.
    world.publish(new, publish("x/y", "1", 1));
    assert_eq!(world.got(new), [Got::Puback(1, ReasonCode::Success)]);
}

#[test]
fn a_client_of_3_x_is_taken_over_without_a_word() {
    let mut world = World::new();
    let old = world.connect(Connect { clean_start: false, ..Connect::new(V311, "a") });
    let new = world.join(Connect { clean_start: false, ..Connect::new(V311, "a") });
    assert_eq!(world.got(old), [Got::Closed]);
    assert_eq!(world.got(new), [Got::Connack(ReasonCode::Success, true)]);
}

#[test]
fn of_two_that_connect_at_once_the_later_one_stays() {
    let mut world = World::new();
    let first = world.ask(lasting("a"));
    let second = world.ask(lasting("a"));
    world.settle();
    assert_eq!(world.got(second), [Got::Connack(ReasonCode::Success, true)]);
    assert_eq!(world.got(first).last(), Some(&Got::Closed));
    world.send_and_settle(second, Packet::Pingreq);
    assert_eq!(world.got(second), [Got::Pingresp]);
}

#[test]
fn a_client_that_is_gone_before_its_connack_gives_the_session_back() {
    let mut world = World::new();
    let client = world.ask(lasting("a"));
    world.cut_and_settle(client);
    world.pass(HOUR + 1000);
    let client = world.join(lasting("a"));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn session_present_is_unknown_to_3_1() {
    let mut world = World::new();
    let connect = Connect { clean_start: false, ..Connect::new(V31, "a") };
    let client = world.connect(connect);
    world.cut_and_settle(client);
    let client = world.join(connect);
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn an_empty_client_identifier_is_assigned_or_refused() {
    let mut world = World::new();
    let client = world.join(Connect::new(V5, ""));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
    let client = world.join(Connect::new(V311, ""));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
    // [MQTT-3.1.3-8] of 3.1.1: return code 2.
    let client = world.join(Connect { clean_start: false, ..Connect::new(V311, "") });
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::ClientIdentifierNotValid, false), Got::Closed]);
    let client = world.join(Connect::new(V31, ""));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::ClientIdentifierNotValid, false), Got::Closed]);
}

#[test]
fn an_unknown_version_is_refused_by_return_code_1() {
    // [MQTT-3.1.2-2] of 3.1.1.
    let mut world = World::new();
    let client = world.accept(V311);
    world.send_bytes(client, b"\x10\x0d\x00\x04MQTT\x09\x02\x00\x00\x00\x01a");
    let expected = [Got::Connack(ReasonCode::UnsupportedProtocolVersion, false), Got::Closed];
    assert_eq!(world.got(client), expected);
}

#[test]
fn extended_authentication_is_refused_by_its_reason_code() {
    let mut world = World::new();
    let properties = ConnectProperties { authentication_method: Some("K"), ..Default::default() };
    let client = world.join(Connect { properties, ..passing("a") });
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::BadAuthenticationMethod, false), Got::Closed]);
}

#[test]
fn whoever_begins_with_another_packet_is_closed_without_a_word() {
    // [MQTT-3.1.0-1]
    let mut world = World::new();
    let client = world.accept(V5);
    world.send(client, Packet::Pingreq);
    assert_eq!(world.got(client), [Got::Closed]);
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    // [MQTT-3.1.0-2]
    let mut world = World::new();
    let client = world.connect(passing("a"));
    world.send(client, Packet::Connect(passing("a")));
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed]);
}

#[test]
fn malformed_packets_are_answered_by_their_reason_code() {
    // [MQTT-4.13.1-1]: QoS 3, then a Packet Identifier of zero, then a Server's packet.
    for (bytes, reason) in [
        (&b"\x36\x07\x00\x01a\x00\x01\x00x"[..], ReasonCode::MalformedPacket),
        (b"\x32\x06\x00\x01a\x00\x00\x00", ReasonCode::ProtocolError),
        (b"\xd0\x00", ReasonCode::ProtocolError),
        (b"\x30\x05\x00\x02a#\x00", ReasonCode::MalformedPacket),
    ] {
        let mut world = World::new();
        let client = world.connect(passing("a"));
        world.send_bytes(client, bytes);
        assert_eq!(world.got(client), [Got::Disconnect(reason), Got::Closed], "{bytes:?}");
        let client = world.connect(Connect::new(V311, "b"));
        world.send_bytes(client, bytes);
        assert_eq!(world.got(client), [Got::Closed], "{bytes:?}");
    }
}

#[test]
fn a_packet_that_is_too_large_is_refused_by_its_length_alone() {
    let mut world = World::with(Limits { packet_bytes: 1000, ..Limits::default() });
    let client = world.connect(passing("a"));
    world.send_bytes(client, b"\x30\xe9\x07");
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::PacketTooLarge), Got::Closed]);
}

#[test]
fn a_connect_that_is_too_large_is_refused_by_its_length_alone() {
    let mut world = World::with(Limits { connect_packet_bytes: 1000, ..Limits::default() });
    let client = world.accept(V5);
    world.send_bytes(client, b"\x10\xe9\x07");
    assert_eq!(world.got(client).last(), Some(&Got::Closed));
}

#[test]
fn a_silent_client_is_closed_after_one_and_a_half_times_its_keep_alive() {
    // [MQTT-3.1.2-22]
    let mut world = World::new();
    let client = world.connect(Connect { keep_alive: 10, ..passing("a") });
    world.pass(14_000);
    world.send(client, Packet::Pingreq);
    assert_eq!(world.got(client), [Got::Pingresp]);
    world.pass(15_000);
    assert_eq!(world.got(client), []);
    world.pass(1);
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::KeepAliveTimeout), Got::Closed]);
}

#[test]
fn a_client_without_keep_alive_may_be_silent() {
    let mut world = World::new();
    let client = world.connect(passing("a"));
    world.pass(24 * HOUR);
    assert_eq!(world.got(client), []);
}

#[test]
fn connect_has_to_come_in_time() {
    let mut world = World::with(Limits { connect_timeout: 10_000, ..Limits::default() });
    let client = world.accept(V5);
    world.pass(10_000);
    assert_eq!(world.got(client), []);
    world.pass(1);
    assert_eq!(world.got(client), [Got::Closed]);
}

#[test]
fn bytes_of_a_connect_that_drip_in_do_not_buy_time() {
    let mut world = World::with(Limits { connect_timeout: 10_000, ..Limits::default() });
    let client = world.accept(V5);
    for byte in [0x10, 0x0d] {
        world.pass(5_000);
        world.send_bytes(client, &[byte]);
    }
    assert_eq!(world.got(client), []);
    world.pass(1);
    assert_eq!(world.got(client), [Got::Closed]);
}

#[test]
fn an_expiry_of_zero_in_disconnect_ends_the_session() {
    // MQTT 5.0, 3.14.2.2.2
    let mut world = World::new();
    let client = world.subscriber(lasting("a"), &["x/y"]);
    let properties =
        convoy_wire::DisconnectProperties { session_expiry_interval: Some(0), ..Default::default() };
    let disconnect = Disconnect { properties, ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) };
    world.send_and_settle(client, Packet::Disconnect(disconnect));
    let client = world.join(lasting("a"));
    assert_eq!(world.got(client), [Got::Closed, Got::Connack(ReasonCode::Success, false)][1..]);
}

#[test]
fn a_session_that_was_to_end_cannot_be_made_to_last_by_disconnect() {
    // MQTT 5.0, 3.14.2.2.2
    let mut world = World::new();
    let client = world.connect(passing("a"));
    let properties =
        convoy_wire::DisconnectProperties { session_expiry_interval: Some(9), ..Default::default() };
    let disconnect = Disconnect { properties, ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) };
    world.send_and_settle(client, Packet::Disconnect(disconnect));
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed]);
}

#[test]
fn sessions_expire_with_their_subscriptions() {
    let mut world = World::new();
    let client = world.subscriber(lasting("a"), &["x/y", "x/+", "#"]);
    world.cut_and_settle(client);
    assert!(world.has_routes());
    world.pass(HOUR - 1);
    assert!(world.has_routes());
    world.pass(1);
    assert!(!world.has_routes());
    let client = world.join(lasting("a"));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn a_session_past_its_time_is_not_resumed_though_nobody_has_swept_it_yet() {
    let mut world = World::new();
    let client = world.connect(lasting("a"));
    world.cut_and_settle(client);
    world.now.wall += HOUR;
    let client = world.join(lasting("a"));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn every_client_hears_that_the_server_goes() {
    let mut world = World::new();
    let (new, old) = (world.connect(passing("a")), world.connect(Connect::new(V311, "b")));
    world.shards.iter_mut().for_each(|shard| shard.shut_down(world.now));
    world.settle();
    assert_eq!(world.got(new), [Got::Disconnect(ReasonCode::ServerShuttingDown), Got::Closed]);
    assert_eq!(world.got(old), [Got::Closed]);
}

#[test]
fn a_second_connection_may_be_made_to_yield() {
    let second_connection = crate::SecondConnection::IsRefused;
    for connect in [passing("a"), lasting("a"), Connect::new(V311, "a")] {
        let mut world = World::with(Limits { second_connection, ..Limits::default() });
        let first = world.connect(connect);
        let refused = Got::Connack(ReasonCode::ClientIdentifierNotValid, false);
        for clean_start in [true, false] {
            let second = world.join(Connect { clean_start, ..connect });
            assert_eq!(world.got(second), [refused.clone(), Got::Closed]);
        }
        world.send_and_settle(first, Packet::Pingreq);
        assert_eq!(world.got(first), [Got::Pingresp]);
        world.cut_and_settle(first);
        world.connect(connect);
    }
}

#[test]
fn clients_are_told_where_to_go_when_the_node_shuts_down() {
    // MQTT 5.0, 4.11; [MQTT-3.14.2-1]
    let mut world = World::new();
    world.options.server_reference = Some("elsewhere:1883".into());
    world.restart();
    let able = world.connect(passing("a"));
    let mut narrow = passing("b");
    narrow.properties.maximum_packet_size = std::num::NonZeroU32::new(20);
    let narrow = world.connect(narrow);
    let old = world.connect(Connect::new(V311, "c"));
    for shard in &mut world.shards {
        shard.shut_down(world.now);
    }
    world.settle();
    assert_eq!(world.got(able), [Got::Disconnect(ReasonCode::UseAnotherServer), Got::Closed]);
    assert_eq!(world.got(narrow), [Got::Disconnect(ReasonCode::ServerShuttingDown), Got::Closed]);
    assert_eq!(world.got(old), [Got::Closed]);
}

#[test]
fn a_client_identifier_longer_than_is_allowed_is_refused() {
    // [MQTT-3.1.3-8]
    let mut world = World::with(Limits { client_id_bytes: 4, ..Limits::default() });
    world.connect(passing("four"));
    let refused = world.join(passing("fives"));
    assert_eq!(world.got(refused), [Got::Connack(ReasonCode::ClientIdentifierNotValid, false), Got::Closed]);
    // One that the Server makes up may be longer.
    world.connect(passing(""));
}

#[test]
fn keep_alive_counts_whole_packets() {
    // [MQTT-3.1.2-22]
    let mut world = World::new();
    let client = world.connect(Connect { keep_alive: 10, ..passing("a") });
    world.pass(10_000);
    world.send_bytes(client, &[0xc0]);
    world.pass(5_000);
    assert_eq!(world.got(client), []);
    world.pass(1);
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::KeepAliveTimeout), Got::Closed]);
}

#[test]
fn a_large_packet_on_its_way_is_no_silence() {
    let mut world = World::new();
    let client = world.connect(Connect { keep_alive: 10, ..passing("a") });
    let mut bytes = Vec::new();
    Packet::Publish(publish("x/y", &"-".repeat(5_000), 1)).encode(V5, &mut bytes).unwrap();
    for part in bytes.chunks(1_700) {
        world.pass(14_000);
        world.send_bytes(client, part);
    }
    assert_eq!(world.got(client), [Got::Puback(1, ReasonCode::Success)]);
}

#[test]
fn keep_alive_begins_with_the_connect() {
    let mut world = World::with(Limits { connect_timeout: 10_000, ..Limits::default() });
    let client = world.accept(V5);
    world.pass(9_000);
    world.send(client, Packet::Connect(Connect { keep_alive: 2, ..passing("a") }));
    world.settle();
    world.pass(3_000);
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
    world.pass(1);
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::KeepAliveTimeout), Got::Closed]);
}

#[test]
fn who_is_overtaken_before_it_is_answered_hears_that_it_is_not_connected() {
    // MQTT 5.0, 4.13.2; [MQTT-3.14.0-1]: no DISCONNECT without a CONNACK that accepts. 0x8E is no Reason Code of CONNACK.
    for name in ["a", "b", "c", "d", "e", "f"] {
        for connect in
            [lasting(name), passing(name), Connect { clean_start: false, ..Connect::new(V311, name) }]
        {
            let mut world = World::new();
            let first = world.connect(lasting(name));
            // A record of its slot is under way: both of the others are in the next one.
            world.send(first, Packet::Publish(Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 1) }));
            let (second, third) = (world.ask(connect), world.ask(connect));
            // What it says before it hears anything is not carried out.
            world.send(second, Packet::Pingreq);
            world.settle();
            let taken_over = [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed];
            assert!(world.got(first).ends_with(&taken_over), "{name}");
            let refused = Got::Connack(ReasonCode::ClientIdentifierNotValid, false);
            assert_eq!(world.got(second), [refused, Got::Closed], "{name}");
            let is_present = !connect.clean_start;
            assert_eq!(world.got(third), [Got::Connack(ReasonCode::Success, is_present)], "{name}");
            // It has the Session still, whatever the one before it gives back.
            world.send_and_settle(third, Packet::Pingreq);
            assert_eq!(world.got(third), [Got::Pingresp], "{name}");
        }
    }
}
