//! SUBACK [3.9]: a Reason Code for each Topic Filter, in their order.

use alloc::vec::Vec;

use super::put_frame;
use crate::ReasonCode::*;
use crate::list::List;
use crate::reader::Reader;
use crate::{AckProperties, EncodeError, Error, PacketId, PacketType, ProtocolVersion, ReasonCode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    pub packet_id: PacketId,
    pub properties: AckProperties<'a>,
    /// At least one. In 3.x every failure is [`ReasonCode::UnspecifiedError`].
    pub reasons: List<'a, ReasonCode>,
}

impl<'a> Suback<'a> {
    /// Whether this packet of 5.0 may have this Reason Code.
    pub fn may_say(reason: ReasonCode) -> bool {
        allows(ProtocolVersion::V5, reason)
    }

    pub(super) fn decode(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        let packet_id = reader.packet_id()?;
        let properties = match version.has_properties() {
            true => AckProperties::decode(reader.block()?)?,
            false => AckProperties::default(),
        };
        let reasons = read_reasons(reader, |reason| allows(version, reason))?;
        Ok(Self { packet_id, properties, reasons })
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(PacketType::Suback.first_byte(), out, |out| {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
            if version.has_properties() {
                self.properties.put(out)?;
            }
            out.extend(self.reasons.iter().map(|reason| reason.in_suback(version)));
            Ok(())
        })
    }
}

/// The rest of a packet as Reason Codes, of which there is at least one.
pub(super) fn read_reasons<'a>(
    mut reader: Reader<'a>,
    allows: impl Fn(ReasonCode) -> bool,
) -> Result<List<'a, ReasonCode>, Error> {
    let bytes = reader.rest();
    let mut len = 0;
    while !reader.is_empty() {
        if !allows(ReasonCode::read(&mut reader)?) {
            return Err(Error::protocol(
                "[MQTT-3.9.3-2, MQTT-3.11.3-2] a Reason Code is one of those that its packet may have",
            ));
        }
        len += 1;
    }
    if len == 0 {
        return Err(Error::protocol(
            "[MQTT-3.9.3-1, MQTT-3.11.3-1] there is a Reason Code for each Topic Filter",
        ));
    }
    Ok(List::wire(bytes, len))
}

fn allows(version: ProtocolVersion, reason: ReasonCode) -> bool {
    match reason {
        Success | GrantedQoS1 | GrantedQoS2 | UnspecifiedError => true,
        ImplementationSpecificError
        | NotAuthorized
        | TopicFilterInvalid
        | PacketIdentifierInUse
        | QuotaExceeded
        | SharedSubscriptionsNotSupported
        | SubscriptionIdentifiersNotSupported
        | WildcardSubscriptionsNotSupported => version.has_properties(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::ProtocolVersion::{V5, V311};
    use crate::packet::testing::{accepted, assert_refused, id};

    #[test]
    fn before_5_0_every_failure_is_0x80() {
        let reasons = [GrantedQoS1, QuotaExceeded, Success];
        let suback = Suback {
            packet_id: id(7),
            properties: AckProperties::default(),
            reasons: reasons.as_slice().into(),
        };
        let mut out = Vec::new();
        suback.encode(V311, &mut out).unwrap();
        assert_eq!(out, [0x90, 5, 0, 7, 1, 0x80, 0]);
        let Packet::Suback(read) = accepted(V311, 0x90, &out[2..]) else { panic!("it is a SUBACK") };
        assert!(read.reasons.iter().eq([GrantedQoS1, UnspecifiedError, Success]));
        assert_refused(V311, 0x90, &[0, 7, 0x87], ReasonCode::ProtocolError, "[MQTT-3.9.3-2");
    }

    #[test]
    fn there_is_a_reason_code_and_it_is_one_of_suback() {
        assert_refused(V5, 0x90, &[0, 7, 0], ReasonCode::ProtocolError, "MQTT-3.9.3-1");
        assert_refused(V5, 0x90, &[0, 7, 0, 0x03], ReasonCode::MalformedPacket, "[2.4]");
        assert_refused(V5, 0x90, &[0, 7, 0, 0x11], ReasonCode::ProtocolError, "[MQTT-3.9.3-2");
        accepted(V5, 0x90, &[0, 7, 0, 0x9e]);
    }
}
