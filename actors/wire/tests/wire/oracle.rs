//! Another implementation reads the same bytes: `mqtt-protocol-core`, for 3.1.1 and 5.0.
//!
//! What we accept, it accepts. Where it accepts what we refuse, the rule is one of those below, which it leaves to
//! its callers or to the layer that remembers earlier packets. A difference that is not listed is a mistake of one of
//! the two, and fails.

use std::sync::Arc;

use convoy_wire::PacketType::{Auth, Connack, Connect, Publish, Subscribe};
use convoy_wire::{Packet, PacketType, ProtocolVersion, ReasonCode, decode};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};

/// The beginning of each rule that the oracle does not check while it parses, in one packet type or in all, and why.
const UNCHECKED_BY_ORACLE: &[(&str, Option<PacketType>, &str)] = &[
    ("[1.5.4]", None, "control characters in names pass"),
    ("[2.2.2.2] only", Some(Subscribe), "a second Subscription Identifier in a SUBSCRIBE passes"),
    ("[3.1.1: MQTT-3-8.3-4]", Some(Subscribe), "it reads the Subscription Options of 5.0 in 3.1.1 as well"),
    ("[3.1.1: MQTT-3.1.3-8]", Some(Connect), "an empty Client Identifier is its caller's affair"),
    ("[3.3.2.1]", Some(Publish), "an empty Topic Name without an alias is found when the alias is looked up"),
    ("[4.13.1] a field ends", Some(Publish), "it takes a missing Property Length for zero"),
    ("[3.15.2.2.2]", Some(Auth), "Success without an Authentication Method passes"),
    ("[4.13.1] a field ends", Some(Auth), "it takes a missing Property Length for zero"),
    ("[4.13.1] bytes follow", None, "acknowledgements of 3.1.1 may have a Reason Code, as in 5.0"),
    ("[MQTT-1.5.4-2]", None, "U+0000 in a text passes"),
    ("[MQTT-1.5.5-1]", None, "integers with more bytes than they need pass"),
    ("[MQTT-2.1.3-1]", None, "its parsers are not shown the flags, but for those of a PUBLISH"),
    ("[MQTT-2.2.1-3]", None, "a Packet Identifier of zero is refused in some packets only"),
    ("[MQTT-3.1.2-", Some(Connect), "Connect Flags are not compared with each other"),
    ("[MQTT-3.2.2-", Some(Connack), "Session Present in a refusal and reserved bits pass"),
    ("[MQTT-3.3.1-2]", Some(Publish), "DUP at QoS 0 passes"),
    ("[MQTT-3.3.2-2]", None, "wildcards in a Topic Name pass"),
    ("[MQTT-3.3.2-14]", None, "a Response Topic is any text"),
    ("[MQTT-3.8.3-4]", Some(Subscribe), "No Local on a Shared Subscription passes"),
    ("[MQTT-4.7.1-", None, "wildcards in the midst of a level pass"),
    ("[MQTT-4.7.3-1]", None, "empty topics pass"),
    ("[MQTT-4.8.2-", None, "Share Names are checked in part, and not in 3.1.1"),
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

/// Panics where the two differ and no reason is known.
pub fn compare(version: ProtocolVersion, first: u8, body: &[u8]) {
    match decode(version, first, body) {
        Ok(packet) => {
            let known = match packet {
                // Its parser of a CONNECT knows one version. 5.0 allows a password alone [3.1.2.9], and the oracle
                // keeps the rule of 3.1.1.
                Packet::Connect(connect) => {
                    connect.version != version || (connect.username.is_none() && connect.password.is_some())
                }
                // Listed for DISCONNECT in 2.4 and not in 3.14.2.1; we take what either lists.
                Packet::Disconnect(disconnect) => disconnect.reason == ReasonCode::BadAuthenticationMethod,
                _ => false,
            };
            assert!(known || oracle_accepts(version, first, body), "the oracle refuses {packet:?}");
        }
        Err(error) => {
            let known = UNCHECKED_BY_ORACLE.iter().any(|(rule, packet_type, _)| {
                error.rule.starts_with(rule) && packet_type.is_none_or(|it| it as u8 == first >> 4)
            });
            assert!(known || !oracle_accepts(version, first, body), "the oracle accepts: {error}");
        }
    }
}
