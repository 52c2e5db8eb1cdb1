//! Another implementation reads the same bytes: `mqtt-protocol-core`, for 3.1.1 and 5.0.
//!
//! What we accept, it accepts. Where it accepts what we refuse, the rule is one of those below, which it leaves to
//! its callers or to the layer that remembers earlier packets. A difference that is not listed is a mistake of one of
//! the two, and fails.

use std::sync::Arc;

use convoy_wire::{Packet, PacketType, ProtocolVersion, decode};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use proptest::prelude::*;

use crate::packets::mutated;

/// The beginning of each rule that the oracle does not check while it parses, and why.
const UNCHECKED_BY_ORACLE: &[(&str, &str)] = &[
    ("[MQTT-2.2.1-3]", "a Packet Identifier of zero is looked for in acknowledgements only"),
    ("[MQTT-2.1.3-1]", "its connection checks the flags before it parses"),
    ("[MQTT-3.3.1-2]", "DUP at QoS 0 passes"),
    ("[MQTT-3.3.2-2]", "wildcards in a Topic Name pass"),
    ("[MQTT-4.7.3-1]", "empty topics pass"),
    ("[3.3.2.1]", "an empty Topic Name without a Topic Alias is found when the alias is looked up"),
    ("[MQTT-4.7.1-", "wildcards in the midst of a level pass"),
    ("[MQTT-4.8.2-", "Share Names are checked in part, and not in 3.1.1"),
    ("[MQTT-3.1.2-", "Connect Flags are not compared with each other"),
    ("[3.1.1: MQTT-3.1.3-8]", "an empty Client Identifier is its caller's affair"),
    ("[3.1.2.11.10]", "Authentication Data without a method passes"),
    ("[MQTT-3.2.2-", "Session Present in a refusal and reserved bits pass"),
    ("[4.13.1] bytes follow", "where a packet must end it ignores what follows"),
    ("[MQTT-3.8.3-4]", "No Local on a Shared Subscription passes"),
    ("[3.1.1: MQTT-3-8.3-4]", "it reads the Subscription Options of 5.0 in 3.1.1 as well"),
    ("[MQTT-1.5.4-2]", "U+0000 in a text passes"),
    ("[MQTT-1.5.5-1]", "integers with more bytes than needed pass"),
    ("[2.2.2.2]", "it does not check the properties of AUTH"),
    ("[MQTT-3.4.2-1]", "acknowledgements of 3.1.1 may have a Reason Code"),
];

fn oracle_accepts(version: ProtocolVersion, first: u8, body: &[u8]) -> bool {
    let flags = first & 0x0f;
    macro_rules! parse {
        ($module:ident) => {
            match PacketType::of(first) {
                Ok(PacketType::Connect) => ended($module::Connect::parse(body), body),
                Ok(PacketType::Connack) => ended($module::Connack::parse(body), body),
                Ok(PacketType::Publish) => $module::Publish::parse(flags, Arc::from(body)).is_ok(),
                Ok(PacketType::Puback) => ended($module::Puback::parse(body), body),
                Ok(PacketType::Pubrec) => ended($module::Pubrec::parse(body), body),
                Ok(PacketType::Pubrel) => ended($module::Pubrel::parse(body), body),
                Ok(PacketType::Pubcomp) => ended($module::Pubcomp::parse(body), body),
                Ok(PacketType::Subscribe) => ended($module::Subscribe::parse(body), body),
                Ok(PacketType::Suback) => ended($module::Suback::parse(body), body),
                Ok(PacketType::Unsubscribe) => ended($module::Unsubscribe::parse(body), body),
                Ok(PacketType::Unsuback) => ended($module::Unsuback::parse(body), body),
                Ok(PacketType::Pingreq) => ended($module::Pingreq::parse(body), body),
                Ok(PacketType::Pingresp) => ended($module::Pingresp::parse(body), body),
                Ok(PacketType::Disconnect) => ended($module::Disconnect::parse(body), body),
                Ok(PacketType::Auth) | Err(_) => false,
            }
        };
    }
    match version {
        ProtocolVersion::V5 if first >> 4 == PacketType::Auth as u8 => ended(v5_0::Auth::parse(body), body),
        ProtocolVersion::V5 => parse!(v5_0),
        ProtocolVersion::V31 | ProtocolVersion::V311 => parse!(v3_1_1),
    }
}

fn ended<T, E>(parsed: Result<(T, usize), E>, body: &[u8]) -> bool {
    matches!(parsed, Ok((_, consumed)) if consumed == body.len())
}

fn compare(version: ProtocolVersion, first: u8, body: &[u8]) -> Result<(), TestCaseError> {
    match decode(version, first, body) {
        Ok(packet) => {
            let known = match packet {
                // 5.0 allows it [3.1.2.9]; the oracle keeps the rule of 3.1.1.
                Packet::Connect(connect) => connect.username.is_none() && connect.password.is_some(),
                _ => false,
            };
            // Its parser of a CONNECT knows one version.
            let other_version = matches!(packet, Packet::Connect(connect) if connect.version != version);
            prop_assert!(
                known || other_version || oracle_accepts(version, first, body),
                "the oracle refuses {:?}",
                packet
            );
        }
        Err(error) => {
            let known = UNCHECKED_BY_ORACLE.iter().any(|(rule, _)| error.rule.starts_with(rule));
            prop_assert!(known || !oracle_accepts(version, first, body), "the oracle accepts: {}", error);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn both_read_5_0_alike((first, body) in mutated(ProtocolVersion::V5)) {
        compare(ProtocolVersion::V5, first, &body)?;
    }

    #[test]
    fn both_read_3_1_1_alike((first, body) in mutated(ProtocolVersion::V311)) {
        compare(ProtocolVersion::V311, first, &body)?;
    }
}
