use super::*;
use convoy_wire::{ConnackProperties, Suback, TopicAlias, decode};
use std::num::NonZeroU16;

const V5: ProtocolVersion = ProtocolVersion::V5;

fn options() -> ClientOptions {
    ClientOptions {
        version: V5,
        client_id: "tester".to_owned(),
        clean_start: true,
        keep_alive: 10,
        username: None,
        password: None,
        will: None,
        session_expiry: None,
        properties: Properties::default(),
        inflight_max: 20,
        debug: false,
    }
}

/// A client whose connection is open at `now`, with `properties` in the server's CONNACK.
fn connected(now: Instant, properties: ConnackProperties<'_>) -> Client {
    let mut client = Client::new(options());
    client.open(now).unwrap();
    client.written(client.output().len());
    let connack = Connack { session_present: false, reason: ReasonCode::Success, properties };
    feed(&mut client, &[Packet::Connack(connack)]);
    assert_eq!(client.poll(now).unwrap(), Some(Event::Connected { session_present: false }));
    client
}

fn feed(client: &mut Client, packets: &[Packet<'_>]) {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(V5, &mut bytes).unwrap();
    }
    client.feed(&bytes);
}

/// The types of the packets that wait to be sent; they are sent by this.
fn sent(client: &mut Client) -> Vec<PacketType> {
    let output = client.output().to_vec();
    let mut types = Vec::new();
    let mut rest = output.as_slice();
    while let Cut::Whole { first, body, length } = cut(rest, Limits::NONE).unwrap() {
        types.push(decode(V5, first, body).unwrap().packet_type());
        rest = &rest[length..];
    }
    client.written(output.len());
    types
}

fn message(qos: QoS) -> Message {
    Message { topic: "t".to_owned(), payload: b"p".to_vec(), qos, retain: false }
}

fn incoming(id: u16, qos: QoS) -> Packet<'static> {
    Packet::Publish(Publish {
        qos,
        topic: "t",
        packet_id: PacketId::new(id),
        payload: b"p",
        ..Publish::default()
    })
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

#[test]
fn a_qos_1_message_is_published_with_its_puback() {
    let now = Instant::now();
    let mut client = connected(now, ConnackProperties::default());
    client.publish(now, &message(QoS::AtLeastOnce)).unwrap();
    assert_eq!(sent(&mut client), [PacketType::Publish]);
    assert_eq!(client.unacknowledged(), 1);

    feed(&mut client, &[Packet::Puback(Puback::new(id(1), ReasonCode::QuotaExceeded))]);
    let refused = Event::Published { reason: ReasonCode::QuotaExceeded, text: String::new() };
    assert_eq!(client.poll(now).unwrap(), Some(refused));
    assert!(client.is_settled());
}

#[test]
fn a_qos_2_message_is_published_with_its_pubcomp() {
    let now = Instant::now();
    let mut client = connected(now, ConnackProperties::default());
    client.publish(now, &message(QoS::ExactlyOnce)).unwrap();
    // A PUBCOMP before its time ends nothing.
    feed(&mut client, &[Packet::Pubcomp(Pubcomp::new(id(1), ReasonCode::Success))]);
    assert_eq!(client.poll(now).unwrap(), None);
    feed(&mut client, &[Packet::Pubrec(Pubrec::new(id(1), ReasonCode::Success))]);
    assert_eq!(client.poll(now).unwrap(), None);
    assert_eq!(sent(&mut client), [PacketType::Publish, PacketType::Pubrel]);
    feed(&mut client, &[Packet::Pubcomp(Pubcomp::new(id(1), ReasonCode::Success))]);
    assert!(matches!(client.poll(now).unwrap(), Some(Event::Published { reason: ReasonCode::Success, .. })));
}

#[test]
fn a_qos_2_message_that_is_sent_twice_is_handed_out_once() {
    let now = Instant::now();
    let mut client = connected(now, ConnackProperties::default());
    feed(&mut client, &[incoming(5, QoS::ExactlyOnce), incoming(5, QoS::ExactlyOnce)]);
    assert!(matches!(client.poll(now).unwrap(), Some(Event::Message(_))));
    assert_eq!(client.poll(now).unwrap(), None);
    assert_eq!(sent(&mut client), [PacketType::Pubrec, PacketType::Pubrec]);

    // Released, the identifier may carry another message.
    feed(
        &mut client,
        &[Packet::Pubrel(Pubrel::new(id(5), ReasonCode::Success)), incoming(5, QoS::ExactlyOnce)],
    );
    assert!(matches!(client.poll(now).unwrap(), Some(Event::Message(_))));
    assert_eq!(sent(&mut client), [PacketType::Pubcomp, PacketType::Pubrec]);
}

#[test]
fn what_the_server_may_still_release_survives_a_reconnect_into_the_same_session() {
    let now = Instant::now();
    for (session_present, copies) in [(true, 0), (false, 1)] {
        let mut client = connected(now, ConnackProperties::default());
        feed(&mut client, &[incoming(5, QoS::ExactlyOnce)]);
        assert!(matches!(client.poll(now).unwrap(), Some(Event::Message(_))));

        client.open(now).unwrap();
        let connack = Connack {
            session_present,
            reason: ReasonCode::Success,
            properties: ConnackProperties::default(),
        };
        feed(&mut client, &[Packet::Connack(connack), incoming(5, QoS::ExactlyOnce)]);
        assert_eq!(client.poll(now).unwrap(), Some(Event::Connected { session_present }));
        assert_eq!(usize::from(client.poll(now).unwrap().is_some()), copies);
    }
}

#[test]
fn messages_are_acknowledged_one_by_one_and_not_after_the_last_one_wanted() {
    let now = Instant::now();
    let mut client = connected(now, ConnackProperties::default());
    feed(&mut client, &[incoming(1, QoS::AtLeastOnce), incoming(2, QoS::AtLeastOnce)]);
    assert!(matches!(client.poll(now).unwrap(), Some(Event::Message(_))));
    assert_eq!(sent(&mut client), [PacketType::Puback]);

    client.stop_receiving();
    assert_eq!(client.poll(now).unwrap(), None);
    assert_eq!(sent(&mut client), []);
}

#[test]
fn the_servers_receive_maximum_limits_what_is_under_way() {
    let now = Instant::now();
    let properties =
        ConnackProperties { receive_maximum: NonZeroU16::new(2), ..ConnackProperties::default() };
    let mut client = connected(now, properties);
    client.publish(now, &message(QoS::AtLeastOnce)).unwrap();
    assert!(client.can_publish());
    client.publish(now, &message(QoS::AtLeastOnce)).unwrap();
    assert!(!client.can_publish());
}

#[test]
fn a_message_larger_than_the_server_takes_is_not_sent() {
    let now = Instant::now();
    let properties = ConnackProperties {
        maximum_packet_size: std::num::NonZeroU32::new(64),
        ..ConnackProperties::default()
    };
    let mut client = connected(now, properties);
    let large = Message { payload: vec![0; 64], ..message(QoS::AtMostOnce) };
    assert!(matches!(client.publish(now, &large), Err(Error::TooLarge { limit: 64, .. })));
    assert_eq!(sent(&mut client), []);
}

#[test]
fn silence_is_broken_by_a_ping_and_an_unanswered_ping_ends_it() {
    let now = Instant::now();
    let properties = ConnackProperties { server_keep_alive: Some(4), ..ConnackProperties::default() };
    let mut client = connected(now, properties);
    let ping_at = now + Duration::from_secs(4);
    assert_eq!(client.next_deadline(), Some(ping_at));
    client.on_deadline(ping_at).unwrap();
    assert_eq!(sent(&mut client), [PacketType::Pingreq]);

    let mut answered = connected(now, properties);
    answered.on_deadline(ping_at).unwrap();
    feed(&mut answered, &[Packet::Pingresp]);
    answered.poll(ping_at).unwrap();
    answered.on_deadline(ping_at + ANSWER_TIME).unwrap();

    let error = client.on_deadline(ping_at + ANSWER_TIME).unwrap_err();
    assert!(matches!(error, Error::Silent { what: "PINGREQ" }));
}

#[test]
fn a_refused_connection_names_the_reason() {
    let now = Instant::now();
    let mut client = Client::new(options());
    client.open(now).unwrap();
    let properties = ConnackProperties { reason_string: Some("who are you"), ..ConnackProperties::default() };
    let connack = Connack { properties, ..Connack::refused(ReasonCode::NotAuthorized) };
    feed(&mut client, &[Packet::Connack(connack)]);
    let error = client.poll(now).unwrap_err().to_string();
    assert!(error.contains("who are you"), "{error}");
    assert!(error.contains(ReasonCode::NotAuthorized.name()), "{error}");
}

#[test]
fn a_topic_alias_stands_for_the_topic_it_came_with() {
    let now = Instant::now();
    let mut client = connected(now, ConnackProperties::default());
    let mut publish = Publish { topic: "long/name", payload: b"p", ..Publish::default() };
    publish.properties.topic_alias = TopicAlias::new(3);
    let alone = Publish { topic: "", ..publish };
    feed(&mut client, &[Packet::Publish(publish), Packet::Publish(alone)]);
    for _ in 0..2 {
        let Some(Event::Message(received)) = client.poll(now).unwrap() else { panic!("a message was sent") };
        assert_eq!(received.topic, "long/name");
    }
    let mut unknown = alone;
    unknown.properties.topic_alias = TopicAlias::new(4);
    feed(&mut client, &[Packet::Publish(unknown)]);
    assert!(matches!(client.poll(now), Err(Error::Unexpected(PacketType::Publish))));
}

#[test]
fn packets_may_come_in_pieces() {
    let now = Instant::now();
    let mut client = connected(now, ConnackProperties::default());
    client.subscribe(now, &["a/#".to_owned()], SubscriptionOptions::new(QoS::AtLeastOnce)).unwrap();
    let reasons = [ReasonCode::GrantedQoS1];
    let suback =
        Suback { packet_id: id(1), properties: Default::default(), reasons: reasons.as_slice().into() };
    let mut bytes = Vec::new();
    suback.encode(V5, &mut bytes).unwrap();
    let (last, most) = bytes.split_last().unwrap();
    client.feed(most);
    assert_eq!(client.poll(now).unwrap(), None);
    client.feed(&[*last]);
    assert_eq!(client.poll(now).unwrap(), Some(Event::Subscribed(reasons.to_vec())));
}
