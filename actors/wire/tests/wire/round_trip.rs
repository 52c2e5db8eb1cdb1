//! What is written is read back, in every version.

use convoy_wire::*;
use proptest::prelude::*;

use crate::packets::{encoded, packet, publish, reduced, rich_packet};

fn version_and_packet() -> impl Strategy<Value = (ProtocolVersion, Packet<'static>)> {
    version().prop_flat_map(|version| (Just(version), packet(version)))
}

fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop::sample::select(&ProtocolVersion::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_packet_is_read_back_as_it_was_written((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        let Cut::Whole { first, body, length } = cut(&bytes, Limits::NONE).unwrap() else {
            panic!("an encoded packet is whole");
        };
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(decode(version, first, body), Ok(packet));
        prop_assert_eq!(PacketType::of(first), Ok(packet.packet_type()));
    }

    #[test]
    fn one_side_at_least_may_send_a_packet((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        let Cut::Whole { first, body, .. } = cut(&bytes, Limits::NONE).unwrap() else {
            panic!("an encoded packet is whole");
        };
        let both = [Sender::Client, Sender::Server].map(|sender| decode_from(sender, version, first, body));
        let contradicts_itself = match packet {
            Packet::Disconnect(disconnect) => {
                disconnect.properties.session_expiry_interval.is_some() && both[0].is_err()
            }
            _ => false,
        };
        prop_assert!(contradicts_itself || both.contains(&Ok(packet)), "{:?}", both);
    }

    #[test]
    fn what_3_x_has_no_words_for_is_left_away(
        (version, packet) in version().prop_flat_map(|version| (Just(version), rich_packet(version)))
    ) {
        prop_assert_eq!(encoded(version, &packet), encoded(version, &reduced(version, packet)));
    }

    #[test]
    fn a_truncated_packet_is_partial_and_asks_for_no_more_than_there_is(
        (version, packet) in version_and_packet()
    ) {
        let bytes = encoded(version, &packet);
        for length in 0..bytes.len() {
            match cut(&bytes[..length], Limits::NONE) {
                Ok(Cut::Partial { needed }) => prop_assert!(length < needed && needed <= bytes.len()),
                other => prop_assert!(false, "{} of {} bytes: {:?}", length, bytes.len(), other),
            }
        }
    }

    #[test]
    fn a_delivery_is_the_publish_with_what_travels_with_it(
        version in version(),
        publish in publish(),
        left in any::<u32>(),
        delivered_id in any::<std::num::NonZeroU16>().prop_map(PacketId::from),
    ) {
        let mut forwardable = Vec::new();
        publish.properties.put_forwardable(&mut forwardable).unwrap();
        let forwardable = Forwardable::parse(&forwardable).unwrap();
        let alias = TopicAlias::new(7);
        let ids = vec![SubscriptionId::new(1).unwrap(), SubscriptionId::new(70_000).unwrap()].leak();

        let mut out = vec![0xee; 3];
        let placed = Delivery {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            packet_id: None,
            properties: forwardable,
            message_expiry_left: Some(left),
            topic_alias: alias,
            subscription_ids: ids,
            payload: publish.payload,
        }
        .append(version, &mut out)
        .unwrap();
        placed.set_packet_id(&mut out, delivered_id);
        prop_assert_eq!(&out[..3], [0xee; 3]);

        let Cut::Whole { first, body, .. } = cut(&out[placed.start..], Limits::NONE).unwrap() else {
            panic!("an appended packet is whole");
        };
        let expected = Publish {
            packet_id: publish.packet_id.map(|_| delivered_id),
            properties: PublishProperties {
                message_expiry_interval: publish.properties.message_expiry_interval.map(|_| left),
                topic_alias: alias,
                subscription_ids: List::new(ids),
                ..publish.properties
            },
            ..publish
        };
        let expected = reduced(version, Packet::Publish(expected));
        prop_assert_eq!(decode(version, first, body), Ok(expected));
    }
}
