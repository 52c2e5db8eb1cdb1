//! PUBACK, PUBREC, PUBREL and PUBCOMP have one layout [3.4.2]: Packet Identifier, Reason Code, properties, of which
//! 5.0 leaves away from the end what says nothing, and 3.x has the first alone.

use alloc::vec::Vec;

use super::put_frame;
use crate::reader::Reader;
use crate::{AckProperties, EncodeError, Error, PacketId, PacketType, ProtocolVersion, ReasonCode};

pub(super) type Fields<'a> = (PacketId, ReasonCode, AckProperties<'a>);

#[inline]
pub(super) fn decode<'a>(
    version: ProtocolVersion,
    mut reader: Reader<'a>,
    allows: fn(ReasonCode) -> bool,
) -> Result<Fields<'a>, Error> {
    let packet_id = reader.packet_id()?;
    if reader.is_empty() {
        return Ok((packet_id, ReasonCode::Success, AckProperties::default()));
    }
    if !version.has_properties() {
        reader.end()?;
    }
    let reason = ReasonCode::read(&mut reader)?;
    if !allows(reason) {
        return Err(Error::protocol("[MQTT-3.4.2-1] a Reason Code is one of those that its packet may have"));
    }
    if reader.is_empty() {
        return Ok((packet_id, reason, AckProperties::default()));
    }
    let properties = AckProperties::decode(reader.block()?)?;
    reader.end()?;
    Ok((packet_id, reason, properties))
}

#[inline]
pub(super) fn encode(
    packet_type: PacketType,
    version: ProtocolVersion,
    (packet_id, reason, properties): Fields<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let [high, low] = packet_id.to_be_bytes();
    if !version.has_properties() || (reason == ReasonCode::Success && properties.is_empty()) {
        out.extend_from_slice(&[packet_type.first_byte(), 2, high, low]);
        return Ok(());
    }
    if properties.is_empty() {
        out.extend_from_slice(&[packet_type.first_byte(), 3, high, low, reason.as_u8()]);
        return Ok(());
    }
    put_frame(packet_type.first_byte(), out, |out| {
        out.extend_from_slice(&[high, low, reason.as_u8()]);
        properties.put(out)
    })
}

/// The struct of one such packet.
macro_rules! ack {
    ($(#[$doc:meta])* $name:ident, allows($reason:ident) $allows:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            pub packet_id: $crate::PacketId,
            /// In 3.x always Success.
            pub reason: $crate::ReasonCode,
            pub properties: $crate::AckProperties<'a>,
        }

        impl<'a> $name<'a> {
            /// Without properties.
            pub fn new(packet_id: $crate::PacketId, reason: $crate::ReasonCode) -> Self {
                Self { packet_id, reason, properties: $crate::AckProperties::default() }
            }

            #[inline]
            pub(super) fn decode(
                version: $crate::ProtocolVersion,
                reader: $crate::reader::Reader<'a>,
            ) -> Result<Self, $crate::Error> {
                let allows = |$reason: $crate::ReasonCode| $allows;
                let (packet_id, reason, properties) = super::ack::decode(version, reader, allows)?;
                Ok(Self { packet_id, reason, properties })
            }

            /// See [`Packet::encode`](crate::Packet::encode).
            #[inline]
            pub fn encode(
                &self,
                version: $crate::ProtocolVersion,
                out: &mut alloc::vec::Vec<u8>,
            ) -> Result<(), $crate::EncodeError> {
                let fields = (self.packet_id, self.reason, self.properties);
                super::ack::encode($crate::PacketType::$name, version, fields, out)
            }
        }
    };
}

pub(super) use ack;
