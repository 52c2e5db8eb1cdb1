//! Reads all there is to read in a body, for tests and for the fuzzer.

use convoy_wire::*;

/// Panics if reading does, or if a packet differs from its own encoding.
pub fn exhaust(version: ProtocolVersion, first: u8, body: &[u8]) {
    for sender in [Sender::Client, Sender::Server] {
        if let Ok(packet) = decode_from(sender, version, first, body) {
            assert_eq!(decode(version, first, body), Ok(packet));
        }
    }
    let Ok(packet) = decode(version, first, body) else {
        return;
    };
    let _ = format!("{packet:?}");
    match packet {
        Packet::Subscribe(subscribe) => {
            assert_eq!(subscribe.subscriptions.iter().count(), subscribe.subscriptions.len());
            for subscription in subscribe.subscriptions {
                assert_eq!(TopicFilter::new(subscription.filter.as_str()), Ok(subscription.filter));
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert_eq!(unsubscribe.filters.iter().count(), unsubscribe.filters.len());
        }
        Packet::Suback(suback) => assert_eq!(suback.reasons.iter().count(), suback.reasons.len()),
        Packet::Publish(publish) => {
            let properties = publish.properties;
            assert_eq!(properties.user_properties.iter().count(), properties.user_properties.len());
            assert_eq!(properties.subscription_ids.iter().count(), properties.subscription_ids.len());
            match publish.topic_name() {
                Some(name) => assert_eq!(TopicName::new(publish.topic), Ok(name)),
                None => assert!(properties.topic_alias.is_some()),
            }
        }
        _ => {}
    }
    // 3.1 lets bits pass that have no meaning, and a user name that is announced and missing; what is written has
    // neither. The fields are the same.
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let mut out = Vec::new();
    packet.encode(version, &mut out).expect("what was read can be written");
    let Ok(Cut::Whole { first, body, .. }) = cut(&out, Limits::NONE) else {
        panic!("an encoded packet is whole");
    };
    assert_eq!(decode(version, first, body), Ok(packet));
}
