//! Packets of every kind, generated. Texts and lists are leaked: a packet borrows, and a test run is short.

use std::num::{NonZeroU16, NonZeroU32};

use convoy_wire::ReasonCode::*;
use convoy_wire::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Packets that `version` can say in full.
pub fn packet(version: ProtocolVersion) -> BoxedStrategy<Packet<'static>> {
    rich_packet(version).prop_map(move |packet| reduced(version, packet)).boxed()
}

/// Packets with fields that only 5.0 can say, whatever the version.
pub fn rich_packet(version: ProtocolVersion) -> BoxedStrategy<Packet<'static>> {
    let common = prop_oneof![
        4 => publish().prop_map(Packet::Publish),
        1 => (connect(version)).prop_map(Packet::Connect),
        1 => connack().prop_map(Packet::Connack),
        1 => acks(),
        1 => subscribe(),
        1 => suback(),
        1 => unsubscribe(),
        1 => unsuback(),
        1 => select(vec![Packet::Pingreq, Packet::Pingresp]),
        1 => disconnect(),
    ];
    match version {
        ProtocolVersion::V5 => prop_oneof![12 => common, 1 => auth()].boxed(),
        ProtocolVersion::V31 | ProtocolVersion::V311 => common.boxed(),
    }
}

/// The packet without what `version` has no words for.
pub fn reduced(version: ProtocolVersion, packet: Packet<'static>) -> Packet<'static> {
    if version == ProtocolVersion::V5 {
        return packet;
    }
    match packet {
        Packet::Connect(packet) => Packet::Connect(Connect {
            properties: Default::default(),
            will: packet.will.map(|will| Will { properties: Default::default(), ..will }),
            ..packet
        }),
        Packet::Connack(packet) => Packet::Connack(Connack {
            session_present: packet.session_present && version != ProtocolVersion::V31,
            reason: packet
                .reason
                .connect_return_code()
                .and_then(ReasonCode::from_connect_return_code)
                .expect("only codes that 3.x has are generated"),
            properties: Default::default(),
        }),
        Packet::Publish(packet) => Packet::Publish(Publish { properties: Default::default(), ..packet }),
        Packet::Puback(packet) => Packet::Puback(Puback::new(packet.packet_id, Success)),
        Packet::Pubrec(packet) => Packet::Pubrec(Pubrec::new(packet.packet_id, Success)),
        Packet::Pubrel(packet) => Packet::Pubrel(Pubrel::new(packet.packet_id, Success)),
        Packet::Pubcomp(packet) => Packet::Pubcomp(Pubcomp::new(packet.packet_id, Success)),
        Packet::Subscribe(packet) => {
            let subscriptions = packet.subscriptions.iter().map(|subscription| Subscription {
                options: SubscriptionOptions::new(subscription.options.qos),
                ..subscription
            });
            let subscriptions = leaked(subscriptions.collect());
            Packet::Subscribe(Subscribe { properties: Default::default(), subscriptions, ..packet })
        }
        Packet::Suback(packet) => {
            let reasons = packet.reasons.iter().map(|reason| {
                ReasonCode::from_u8(reason.subscribe_return_code()).expect("it is a Reason Code as well")
            });
            let reasons = leaked(reasons.collect());
            Packet::Suback(Suback { properties: Default::default(), reasons, ..packet })
        }
        Packet::Unsubscribe(packet) => {
            Packet::Unsubscribe(Unsubscribe { properties: Default::default(), ..packet })
        }
        Packet::Unsuback(packet) => {
            Packet::Unsuback(Unsuback { properties: Default::default(), reasons: List::EMPTY, ..packet })
        }
        Packet::Disconnect(_) => Packet::Disconnect(Disconnect::new(Success)),
        Packet::Pingreq | Packet::Pingresp | Packet::Auth(_) => packet,
    }
}

/// A packet's bytes, in which a few were changed, added or taken away, with its Remaining Length set right.
pub fn mutated(version: ProtocolVersion) -> impl Strategy<Value = (u8, Vec<u8>)> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..5_u8);
    (rich_packet(version), vec(change, 0..4), 0..16_u8).prop_map(move |(packet, changes, flags)| {
        let (mut first, mut body) = encoded_body(version, &packet);
        if let Packet::Publish(_) = packet {
            first = first & 0xf0 | flags;
        }
        for (at, byte, kind) in changes {
            if body.is_empty() {
                body.push(byte);
                continue;
            }
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body[at] ^= 1 << (byte & 7),
                2 => body.insert(at, byte),
                3 => body[at.saturating_sub(1)..=at].fill(0),
                _ => drop(body.remove(at)),
            }
        }
        (first, body)
    })
}

pub fn encoded(version: ProtocolVersion, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out).expect("generated packets fit");
    out
}

pub fn encoded_body(version: ProtocolVersion, packet: &Packet<'_>) -> (u8, Vec<u8>) {
    match cut(&encoded(version, packet), Limits::NONE) {
        Ok(Cut::Whole { first, body, .. }) => (first, body.to_vec()),
        other => panic!("an encoded packet is whole, not {other:?}"),
    }
}

fn leaked<'a, T>(values: Vec<T>) -> List<'a, T> {
    List::new(Vec::leak(values))
}

fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => "[a-z0-9-]{0,12}", 1 => "[^\u{0}]{0,8}", 1 => "x{120,140}"]
        .prop_map(|text: String| &*text.leak())
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..24).prop_map(|bytes| &*bytes.leak())
}

/// Of a Client or a user.
fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => "[a-z0-9-]{0,12}", 1 => "[ -~\u{a0}-\u{d7ff}]{0,8}", 1 => "x{120,140}"]
        .prop_map(|text: String| &*text.leak())
}

fn topic_text() -> impl Strategy<Value = &'static str> {
    prop_oneof!["[a-c$]{1,3}(/[a-c]{0,3}){0,4}", "[ -\"$-*,-~\u{a0}-\u{d7ff}]{1,8}"]
        .prop_map(|text: String| &*text.leak())
}

fn topic_name() -> impl Strategy<Value = TopicName<'static>> {
    topic_text().prop_map(|text| TopicName::new(text).expect("no wildcards are generated"))
}

fn topic_filter() -> impl Strategy<Value = TopicFilter<'static>> {
    let filter = prop_oneof!["([a-c]{1,3}|\\+)(/([a-c]{0,3}|\\+)){0,4}(/#)?", Just("#".to_owned())];
    (filter, option::weighted(0.2, "[a-c]{1,3}")).prop_map(|(filter, share_name)| {
        let filter = match share_name {
            Some(share_name) => format!("$share/{share_name}/{filter}"),
            None => filter,
        };
        TopicFilter::new(filter.leak()).expect("only valid filters are generated")
    })
}

fn user_properties() -> impl Strategy<Value = UserProperties<'static>> {
    vec((text(), text()), 0..4).prop_map(leaked)
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<NonZeroU16>().prop_map(PacketId::from)
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn payload_format() -> impl Strategy<Value = PayloadFormat> {
    select(vec![PayloadFormat::Unspecified, PayloadFormat::Utf8])
}

fn subscription_id() -> impl Strategy<Value = SubscriptionId> {
    prop_oneof![1..300_u32, 1..=268_435_455_u32]
        .prop_map(|id| SubscriptionId::new(id).expect("it is in range"))
}

fn publish_properties() -> impl Strategy<Value = PublishProperties<'static>> {
    (
        option::of(any::<u32>()),
        option::of(payload_format()),
        option::of(text()),
        option::of(topic_name()),
        option::of(binary()),
        option::of((1..=u16::MAX).prop_map(|alias| TopicAlias::new(alias).expect("it is not zero"))),
        user_properties(),
        vec(subscription_id(), 0..3).prop_map(leaked),
    )
        .prop_map(
            |(
                message_expiry_interval,
                payload_format,
                content_type,
                response_topic,
                correlation_data,
                topic_alias,
                user_properties,
                subscription_ids,
            )| PublishProperties {
                message_expiry_interval,
                payload_format,
                content_type,
                response_topic,
                correlation_data,
                topic_alias,
                user_properties,
                subscription_ids,
            },
        )
}

pub fn publish() -> impl Strategy<Value = Publish<'static>> {
    (any::<bool>(), qos(), any::<bool>(), topic_text(), packet_id(), publish_properties(), binary()).prop_map(
        |(dup, qos, retain, topic, packet_id, properties, payload)| Publish {
            dup: dup && qos > QoS::AtMostOnce,
            qos,
            retain,
            topic,
            packet_id: (qos > QoS::AtMostOnce).then_some(packet_id),
            properties,
            payload,
        },
    )
}

fn will() -> impl Strategy<Value = Will<'static>> {
    (topic_name(), binary(), qos(), any::<bool>(), option::of(any::<u32>()), publish_properties()).prop_map(
        |(topic, payload, qos, retain, will_delay_interval, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            properties: WillProperties {
                will_delay_interval,
                message_expiry_interval: properties.message_expiry_interval,
                payload_format: properties.payload_format,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                correlation_data: properties.correlation_data,
                user_properties: properties.user_properties,
            },
        },
    )
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties<'static>> {
    (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(any::<NonZeroU32>()),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of((text(), option::of(binary()))),
        user_properties(),
    )
        .prop_map(
            |(
                session_expiry_interval,
                receive_maximum,
                maximum_packet_size,
                topic_alias_maximum,
                request_response_information,
                request_problem_information,
                authentication,
                user_properties,
            )| ConnectProperties {
                session_expiry_interval,
                receive_maximum,
                maximum_packet_size,
                topic_alias_maximum,
                request_response_information,
                request_problem_information,
                authentication_method: authentication.map(|(method, _)| method),
                authentication_data: authentication.and_then(|(_, data)| data),
                user_properties,
            },
        )
}

fn connect(version: ProtocolVersion) -> impl Strategy<Value = Connect<'static>> {
    (
        any::<bool>(),
        any::<u16>(),
        name(),
        option::of(name()),
        option::of(binary()),
        option::of(will()),
        connect_properties(),
    )
        .prop_map(move |(clean_start, keep_alive, client_id, username, password, will, properties)| {
            let before_v5 = version < ProtocolVersion::V5;
            Connect {
                version,
                clean_start,
                keep_alive,
                client_id: if client_id.is_empty() && before_v5 { "named" } else { client_id },
                username,
                password: password.filter(|_| username.is_some() || !before_v5),
                will,
                properties,
            }
        })
}

fn connack() -> impl Strategy<Value = Connack<'static>> {
    let limits = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(select(vec![MaximumQoS::AtMostOnce, MaximumQoS::AtLeastOnce])),
        option::of(any::<NonZeroU32>()),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let features = (
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
    );
    let texts = (
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of((text(), option::of(binary()))),
    );
    let reason =
        select(vec![Success, Success, Success, NotAuthorized, ServerBusy, UnsupportedProtocolVersion]);
    (any::<bool>(), reason, limits, features, texts, user_properties()).prop_map(
        |(session_present, reason, limits, features, texts, user_properties)| Connack {
            session_present: session_present && reason == Success,
            reason,
            properties: ConnackProperties {
                session_expiry_interval: limits.0,
                receive_maximum: limits.1,
                maximum_qos: limits.2,
                maximum_packet_size: limits.3,
                topic_alias_maximum: limits.4,
                server_keep_alive: limits.5,
                retain_available: features.0,
                wildcard_subscription_available: features.1,
                subscription_identifiers_available: features.2,
                shared_subscription_available: features.3,
                assigned_client_identifier: texts.0,
                reason_string: texts.1,
                response_information: texts.2,
                server_reference: texts.3,
                authentication_method: texts.4.map(|(method, _)| method),
                authentication_data: texts.4.and_then(|(_, data)| data),
                user_properties,
            },
        },
    )
}

fn ack_properties() -> impl Strategy<Value = AckProperties<'static>> {
    let properties = (option::of(text()), user_properties())
        .prop_map(|(reason_string, user_properties)| AckProperties { reason_string, user_properties });
    prop_oneof![Just(AckProperties::default()), properties]
}

fn acks() -> impl Strategy<Value = Packet<'static>> {
    let received = select(vec![Success, NoMatchingSubscribers, NotAuthorized, QuotaExceeded]);
    let released = select(vec![Success, PacketIdentifierNotFound]);
    (0..4, packet_id(), received, released, ack_properties()).prop_map(
        |(kind, packet_id, received, released, properties)| match kind {
            0 => Packet::Puback(Puback { packet_id, reason: received, properties }),
            1 => Packet::Pubrec(Pubrec { packet_id, reason: received, properties }),
            2 => Packet::Pubrel(Pubrel { packet_id, reason: released, properties }),
            _ => Packet::Pubcomp(Pubcomp { packet_id, reason: released, properties }),
        },
    )
}

fn subscribe() -> impl Strategy<Value = Packet<'static>> {
    let handling =
        select(vec![RetainHandling::OnSubscribe, RetainHandling::OnNewSubscription, RetainHandling::Never]);
    let subscription = (topic_filter(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        |(filter, qos, no_local, retain_as_published, retain_handling)| Subscription {
            filter,
            options: SubscriptionOptions {
                qos,
                no_local: no_local && !filter.is_shared(),
                retain_as_published,
                retain_handling,
            },
        },
    );
    (packet_id(), option::of(subscription_id()), user_properties(), vec(subscription, 1..5)).prop_map(
        |(packet_id, subscription_id, user_properties, subscriptions)| {
            let properties = SubscribeProperties { subscription_id, user_properties };
            Packet::Subscribe(Subscribe { packet_id, properties, subscriptions: leaked(subscriptions) })
        },
    )
}

fn suback() -> impl Strategy<Value = Packet<'static>> {
    let reason = select(vec![Success, GrantedQoS1, GrantedQoS2, UnspecifiedError, NotAuthorized]);
    (packet_id(), ack_properties(), vec(reason, 1..5)).prop_map(|(packet_id, properties, reasons)| {
        Packet::Suback(Suback { packet_id, properties, reasons: leaked(reasons) })
    })
}

fn unsubscribe() -> impl Strategy<Value = Packet<'static>> {
    (packet_id(), user_properties(), vec(topic_filter(), 1..5)).prop_map(
        |(packet_id, user_properties, filters)| {
            let properties = UnsubscribeProperties { user_properties };
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: leaked(filters) })
        },
    )
}

fn unsuback() -> impl Strategy<Value = Packet<'static>> {
    let reason = select(vec![Success, NoSubscriptionExisted, NotAuthorized]);
    (packet_id(), ack_properties(), vec(reason, 1..5)).prop_map(|(packet_id, properties, reasons)| {
        Packet::Unsuback(Unsuback { packet_id, properties, reasons: leaked(reasons) })
    })
}

fn disconnect() -> impl Strategy<Value = Packet<'static>> {
    let reason =
        select(vec![Success, DisconnectWithWill, ServerShuttingDown, SessionTakenOver, ProtocolError]);
    let texts = (option::of(text()), option::of(text()));
    (reason, option::of(any::<u32>()), texts, user_properties()).prop_map(
        |(reason, session_expiry_interval, (reason_string, server_reference), user_properties)| {
            Packet::Disconnect(Disconnect {
                reason,
                properties: DisconnectProperties {
                    session_expiry_interval,
                    reason_string,
                    server_reference,
                    user_properties,
                },
            })
        },
    )
}

fn auth() -> impl Strategy<Value = Packet<'static>> {
    let reason = select(vec![Success, ContinueAuthentication, ReAuthenticate]);
    (reason, text(), option::of(binary()), option::of(text()), user_properties()).prop_map(
        |(reason, method, authentication_data, reason_string, user_properties)| {
            Packet::Auth(Auth {
                reason,
                properties: AuthProperties {
                    authentication_method: Some(method),
                    authentication_data,
                    reason_string,
                    user_properties,
                },
            })
        },
    )
}
