//! PUBACK, PUBREC, PUBREL and PUBCOMP have one layout [3.4.2]: Packet Identifier, Reason Code, properties, of which
//! 5.0 leaves away from the end what says nothing, and 3.x has the first alone.

use alloc::vec::Vec;

use super::put_frame;
use crate::reader::Reader;
use crate::{AckProperties, EncodeError, Error, PacketId, PacketType, ProtocolVersion, ReasonCode};

pub(super) type Fields<'a> = (PacketId, ReasonCode, AckProperties<'a>);

/// Reads an acknowledgement that says no more than its Packet Identifier, as nearly all do: [`decode`](crate::decode)
/// tells what anything else is.
#[inline]
pub fn sole_ack(first: u8, body: &[u8]) -> Option<(PacketType, PacketId)> {
    const KINDS: [PacketType; 4] =
        [PacketType::Puback, PacketType::Pubrec, PacketType::Pubrel, PacketType::Pubcomp];
    let kind = KINDS.into_iter().find(|kind| kind.first_byte() == first)?;
    let id = body.try_into().ok().map(u16::from_be_bytes)?;
    Some((kind, PacketId::new(id)?))
}

/// Reads what is longer than a Packet Identifier, or wrong.
pub(super) fn decode<'a>(
    version: ProtocolVersion,
    mut reader: Reader<'a>,
    allows: fn(ReasonCode) -> bool,
) -> Result<Fields<'a>, Error> {
    let packet_id = reader.packet_id()?;
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
            #[inline]
            pub fn new(packet_id: $crate::PacketId, reason: $crate::ReasonCode) -> Self {
                Self { packet_id, reason, properties: $crate::AckProperties::default() }
            }

            /// Whether this packet of 5.0 may have this Reason Code.
            pub const fn may_say($reason: $crate::ReasonCode) -> bool {
                $allows
            }

            #[inline]
            pub(super) fn decode(
                version: $crate::ProtocolVersion,
                reader: $crate::reader::Reader<'a>,
            ) -> Result<Self, $crate::Error> {
                // Nearly all of them. Built in place they cost half of what passing the fields through does.
                if let Some(packet_id) = reader.sole_packet_id() {
                    return Ok(Self::new(packet_id, $crate::ReasonCode::Success));
                }
                let (packet_id, reason, properties) = super::ack::decode(version, reader, Self::may_say)?;
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

#[cfg(test)]
mod tests {
    use super::sole_ack;
    use crate::ProtocolVersion::{V5, V311};
    use crate::packet::testing::{accepted, assert_refused, id};
    use crate::{Packet, Puback, Pubrel, ReasonCode, decode};

    const PUBACK: u8 = 0x40;

    #[test]
    fn what_says_nothing_is_left_away() {
        // 3.4.2.1: no Reason Code is Success, no Property Length is zero.
        let success = Packet::Puback(Puback::new(id(7), ReasonCode::Success));
        assert_eq!(accepted(V5, PUBACK, &[0, 7]), success);
        assert_eq!(accepted(V5, PUBACK, &[0, 7, 0]), success);
        assert_eq!(accepted(V5, PUBACK, &[0, 7, 0, 0]), success);
        let mut out = alloc::vec::Vec::new();
        success.encode(V5, &mut out).unwrap();
        assert_eq!(out, [PUBACK, 2, 0, 7]);
    }

    #[test]
    fn what_is_an_identifier_alone_is_read_as_by_everybody() {
        for first in 0..=u8::MAX {
            for body in [&[0, 7][..], &[1, 0], &[0, 0], &[7], &[0, 7, 0], &[]] {
                for version in [V311, V5] {
                    let sole = sole_ack(first, body).map(|(kind, id)| (kind, Some(id)));
                    let Ok(packet) = decode(version, first, body) else {
                        assert_eq!(sole, None);
                        continue;
                    };
                    let id = match packet {
                        Packet::Puback(ack) => Some(ack.packet_id),
                        Packet::Pubrec(ack) => Some(ack.packet_id),
                        Packet::Pubrel(ack) => Some(ack.packet_id),
                        Packet::Pubcomp(ack) => Some(ack.packet_id),
                        _ => None,
                    };
                    let expected = id.filter(|_| body.len() == 2).map(|id| (packet.packet_type(), Some(id)));
                    assert_eq!(sole, expected, "{first:#x} {body:?}");
                }
            }
        }
    }

    #[test]
    fn an_acknowledgement_of_3_x_is_a_packet_identifier() {
        assert_refused(V311, PUBACK, &[0, 7, 0], ReasonCode::MalformedPacket, "bytes follow");
        let mut out = alloc::vec::Vec::new();
        Puback::new(id(7), ReasonCode::QuotaExceeded).encode(V311, &mut out).unwrap();
        assert_eq!(out, [PUBACK, 2, 0, 7]);
    }

    #[test]
    fn packet_identifier_zero_is_refused() {
        for first in [0x40, 0x50, 0x62, 0x70] {
            assert_refused(V5, first, &[0, 0], ReasonCode::ProtocolError, "[MQTT-2.2.1-3]");
        }
    }

    #[test]
    fn reason_codes_are_known_and_the_packets_own() {
        assert_refused(V5, PUBACK, &[0, 7, 0x7f], ReasonCode::MalformedPacket, "[2.4]");
        // Packet Identifier not found belongs to PUBREL and PUBCOMP.
        assert_refused(V5, PUBACK, &[0, 7, 0x92], ReasonCode::ProtocolError, "[MQTT-3.4.2-1]");
        let not_found = Pubrel::new(id(7), ReasonCode::PacketIdentifierNotFound);
        assert_eq!(accepted(V5, 0x62, &[0, 7, 0x92]), Packet::Pubrel(not_found));
    }

    #[test]
    fn nothing_follows_the_properties() {
        assert_refused(V5, PUBACK, &[0, 7, 0, 0, 0], ReasonCode::MalformedPacket, "bytes follow");
        assert_refused(V5, PUBACK, &[0, 7, 0, 5], ReasonCode::MalformedPacket, "ends after");
        assert_refused(V5, PUBACK, &[0], ReasonCode::MalformedPacket, "ends after");
    }
}
