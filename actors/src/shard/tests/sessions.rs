//! Session State (MQTT 5.0, 4.1): what belongs to a Session, what does not, and when it ends.

use convoy_wire::DisconnectProperties;

use super::*;

fn disconnect(reason: ReasonCode, expiry: Option<u32>) -> Packet<'static> {
    let properties = DisconnectProperties { session_expiry_interval: expiry, ..Default::default() };
    Packet::Disconnect(Disconnect { reason, properties })
}

#[test]
fn clean_start_discards_what_the_session_had() {
    // [MQTT-3.1.2-4], [MQTT-3.1.4-4], [MQTT-3.2.2-2]; of 3.1.1 [MQTT-3.1.2-6], [MQTT-3.1.4-3], [MQTT-3.2.2-1]
    for (lasts, clean) in [
        (lasting("s"), Connect { clean_start: true, ..lasting("s") }),
        (Connect { clean_start: false, ..Connect::new(V311, "s") }, Connect::new(V311, "s")),
    ] {
        let mut world = World::new();
        let subscriber = world.subscriber(lasts, &["x/y", "#"]);
        // A QoS 2 message is between PUBREC and PUBREL, in each direction.
        let qos_2 = |packet_id| Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", packet_id) };
        world.publish(subscriber, Publish { topic: "other", ..qos_2(9) });
        world.send_and_settle(subscriber, pubrec(1));
        world.cut_and_settle(subscriber);
        let publisher = world.connect(passing("p"));
        world.publish(publisher, qos_2(1));
        let subscriber = world.join(clean);
        assert_eq!(world.got(subscriber), [Got::Connack(ReasonCode::Success, false)]);
        assert!(!world.has_routes());
        world.publish(publisher, publish("x/y", "2", 2));
        assert_eq!(world.got(subscriber), []);
        // The identifier is not known any more.
        world.send_and_settle(subscriber, pubrel(9));
        let reason = match clean.version {
            V5 => ReasonCode::PacketIdentifierNotFound,
            _ => ReasonCode::Success,
        };
        assert_eq!(world.got(subscriber), [Got::Pubcomp(9, reason)]);
    }
}

#[test]
fn a_session_is_resumed_with_all_it_had() {
    // [MQTT-3.1.2-5], [MQTT-3.1.2-23], [MQTT-4.1.0-1], [MQTT-4.5.0-1]; of 3.1.1 [MQTT-3.1.2-4], [MQTT-3.1.2-5],
    // [MQTT-4.1.0-1], [MQTT-4.1.0-2], [MQTT-4.5.0-1]
    for connect in [lasting("s"), Connect { clean_start: false, ..Connect::new(V311, "s") }] {
        let mut world = World::new();
        let subscriber = world.subscriber(connect, &["x/y"]);
        let qos_2 = |packet_id| Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", packet_id) };
        world.publish(subscriber, Publish { topic: "other", ..qos_2(9) });
        world.send_and_settle(subscriber, goodbye());
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        world.publish(publisher, qos_2(2));
        let subscriber = world.join(connect);
        let expected = [
            Got::Connack(ReasonCode::Success, true),
            received("x/y", "1").at(1, 1).got(),
            received("x/y", "1").at(2, 2).got(),
        ];
        assert_eq!(world.got(subscriber), expected);
        world.send_and_settle(subscriber, pubrel(9));
        assert_eq!(world.got(subscriber), [Got::Pubcomp(9, ReasonCode::Success)]);
        world.publish(publisher, publish("x/y", "3", 3));
        assert_eq!(world.payloads(subscriber), ["3"]);
    }
}

#[test]
fn what_is_retained_outlives_the_session_of_its_publisher() {
    // Of 3.1.1 [MQTT-3.1.2-7]
    for connect in [passing("p"), Connect::new(V311, "p")] {
        let mut world = World::new();
        let publisher = world.connect(connect);
        world.publish(publisher, Publish { retain: true, ..publish("x/y", "1", 1) });
        world.send_and_settle(publisher, goodbye());
        let subscriber = world.subscriber(passing("s"), &["x/y"]);
        assert_eq!(world.got(subscriber), [received("x/y", "1").at(1, 1).retained().got()]);
    }
}

#[test]
fn a_disconnect_may_change_when_the_session_ends() {
    // MQTT 5.0, 3.14.2.2.2
    for (interval, after, present) in
        [(Some(7200), HOUR + 1000, true), (Some(10), 11_000, false), (None, HOUR - 1000, true)]
    {
        let mut world = World::new();
        let client = world.connect(lasting("a"));
        world.send_and_settle(client, disconnect(ReasonCode::NORMAL_DISCONNECTION, interval));
        world.pass(after);
        let client = world.join(lasting("a"));
        assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, present)], "{interval:?}");
    }
}

#[test]
fn a_lasting_session_resumed_without_expiry_cannot_be_made_to_last_by_disconnect() {
    // MQTT 5.0, 3.14.2.2.2: the interval of this CONNECT counts.
    let mut world = World::new();
    let client = world.connect(lasting("a"));
    world.cut_and_settle(client);
    let client = world.connect(Connect { clean_start: false, ..passing("a") });
    world.send_and_settle(client, disconnect(ReasonCode::NORMAL_DISCONNECTION, Some(60)));
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed]);
    let client = world.join(lasting("a"));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn a_session_that_never_expires_is_there_after_years() {
    // MQTT 5.0, 3.1.2.11.2
    let properties = ConnectProperties { session_expiry_interval: Some(u32::MAX), ..Default::default() };
    let connect = Connect { clean_start: false, properties, ..passing("a") };
    let mut world = World::new();
    let client = world.connect(connect);
    world.cut_and_settle(client);
    world.pass(200 * 365 * 24 * HOUR);
    let client = world.join(connect);
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, true)]);
}

#[test]
fn a_session_without_expiry_does_not_pass_to_the_connection_that_takes_it_over() {
    // MQTT 5.0, 3.1.2.11.2: it ends when the Network Connection is closed.
    let mut world = World::new();
    let old = world.subscriber(passing("a"), &["x/y"]);
    let new = world.join(Connect { clean_start: false, ..passing("a") });
    assert_eq!(world.got(old), [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed]);
    assert_eq!(world.got(new), [Got::Connack(ReasonCode::Success, false)]);
    assert!(!world.has_routes());
}

#[test]
fn nothing_is_sent_after_a_disconnect_of_the_client() {
    // [MQTT-3.14.4-1]: what it had asked for is not answered any more.
    for version in [V5, V311] {
        let mut world = World::new();
        let mut bytes = Vec::new();
        for packet in [Packet::Publish(publish("x/y", "1", 1)), goodbye(), Packet::Pingreq] {
            packet.encode(version, &mut bytes).unwrap();
        }
        let _kept = world.subscriber(lasting("kept"), &["x/y"]);
        assert_eq!(world.exchange(Connect::new(version, "c"), &bytes), (vec![], true));
    }
}
