//! UNSUBACK [3.11]: in 5.0 a Reason Code for each Topic Filter, in 3.x the Packet Identifier alone.

use alloc::vec::Vec;

use super::put_frame;
use super::suback::read_reasons;
use crate::ReasonCode::*;
use crate::list::List;
use crate::reader::Reader;
use crate::{AckProperties, EncodeError, Error, PacketId, PacketType, ProtocolVersion, ReasonCode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    pub packet_id: PacketId,
    pub properties: AckProperties<'a>,
    /// At least one in 5.0; none in 3.x.
    pub reasons: List<'a, ReasonCode>,
}

impl<'a> Unsuback<'a> {
    /// Whether this packet of 5.0 may have this Reason Code.
    pub fn may_say(reason: ReasonCode) -> bool {
        allows(reason)
    }

    pub(super) fn decode(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        let packet_id = reader.packet_id()?;
        if !version.has_properties() {
            reader.end()?;
            return Ok(Self { packet_id, properties: AckProperties::default(), reasons: List::EMPTY });
        }
        let properties = AckProperties::decode(reader.block()?)?;
        let reasons = read_reasons(reader, allows)?;
        Ok(Self { packet_id, properties, reasons })
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(PacketType::Unsuback.first_byte(), out, |out| {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
            if version.has_properties() {
                self.properties.put(out)?;
                out.extend(self.reasons.iter().map(ReasonCode::as_u8));
            }
            Ok(())
        })
    }
}

fn allows(reason: ReasonCode) -> bool {
    matches!(
        reason,
        Success
            | NoSubscriptionExisted
            | UnspecifiedError
            | ImplementationSpecificError
            | NotAuthorized
            | TopicFilterInvalid
            | PacketIdentifierInUse
    )
}

#[cfg(test)]
mod tests {
    use crate::ProtocolVersion::{V5, V311};
    use crate::ReasonCode;
    use crate::packet::testing::{accepted, assert_refused};

    #[test]
    fn reason_codes_are_there_in_5_0_only() {
        accepted(V311, 0xb0, &[0, 7]);
        accepted(V5, 0xb0, &[0, 7, 0, 0x11]);
        assert_refused(V311, 0xb0, &[0, 7, 0], ReasonCode::MalformedPacket, "bytes follow");
        assert_refused(V5, 0xb0, &[0, 7, 0], ReasonCode::ProtocolError, "MQTT-3.11.3-1");
        assert_refused(V5, 0xb0, &[0, 7, 0, 1], ReasonCode::ProtocolError, "MQTT-3.11.3-2");
    }
}
