//! Control Packets (chapter 3 of the specification): one file each. Here is what they share: finding the right one, and
//! the frame around it.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod ping;
mod puback;
mod pubcomp;
mod publish;
mod pubrec;
mod pubrel;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;

use alloc::vec::Vec;

pub use ack::sole_ack;
pub use auth::Auth;
pub use connack::Connack;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub use puback::Puback;
pub use pubcomp::Pubcomp;
pub use publish::{Delivery, Placed, Publish};
pub use pubrec::Pubrec;
pub use pubrel::Pubrel;
pub use suback::Suback;
pub use subscribe::{RetainHandling, Subscribe, Subscription, SubscriptionOptions};
pub use unsuback::Unsuback;
pub use unsubscribe::Unsubscribe;

use crate::reader::Reader;
use crate::{EncodeError, Error, PacketType, ProtocolVersion, Sender, varint};

/// A Control Packet of any kind. It borrows from the buffer that it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a box would allocate for every CONNECT of a stranger")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Puback<'a>),
    Pubrec(Pubrec<'a>),
    Pubrel(Pubrel<'a>),
    Pubcomp(Pubcomp<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Reads the packet whose first byte and body [`cut`](crate::cut) gave, whoever sent it.
///
/// A CONNECT carries its own version; `version` is not looked at for it.
#[inline]
pub fn decode(version: ProtocolVersion, first: u8, body: &[u8]) -> Result<Packet<'_>, Error> {
    let packet_type = PacketType::of(first)?;
    packet_type.check_flags(first, version)?;
    let reader = Reader::new(body);
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(Connect::decode(first, body)?),
        PacketType::Connack => Packet::Connack(Connack::decode(version, reader)?),
        PacketType::Publish => Packet::Publish(Publish::decode(version, first, body)?),
        PacketType::Puback => Packet::Puback(Puback::decode(version, reader)?),
        PacketType::Pubrec => Packet::Pubrec(Pubrec::decode(version, reader)?),
        PacketType::Pubrel => Packet::Pubrel(Pubrel::decode(version, reader)?),
        PacketType::Pubcomp => Packet::Pubcomp(Pubcomp::decode(version, reader)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(version, reader)?),
        PacketType::Suback => Packet::Suback(Suback::decode(version, reader)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(version, reader)?),
        PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(version, reader)?),
        PacketType::Pingreq => ping::decode(reader).map(|()| Packet::Pingreq)?,
        PacketType::Pingresp => ping::decode(reader).map(|()| Packet::Pingresp)?,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(version, reader)?),
        PacketType::Auth => Packet::Auth(Auth::decode(version, reader)?),
    })
}

/// As [`decode`], and refuses what `sender` must not send: a Server reads with [`Sender::Client`], a Client with
/// [`Sender::Server`].
#[inline]
pub fn decode_from(
    sender: Sender,
    version: ProtocolVersion,
    first: u8,
    body: &[u8],
) -> Result<Packet<'_>, Error> {
    if !PacketType::of(first)?.is_sent_by(sender, version) {
        return Err(Error::protocol(
            "[2.1.2] a packet type is sent in its direction and in its versions only",
        ));
    }
    let packet = decode(version, first, body)?;
    match &packet {
        Packet::Publish(publish) => publish.check_sender(sender)?,
        Packet::Disconnect(disconnect) => disconnect.check_sender(sender)?,
        Packet::Auth(auth) => auth.check_sender(sender)?,
        _ => {}
    }
    Ok(packet)
}

impl Packet<'_> {
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet. What `version` has no words for (properties and Reason Codes in 3.x) is left away. A
    /// CONNECT is written in its own version. An error leaves `out` as it was.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::Connack(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::Puback(packet) => packet.encode(version, out),
            Self::Pubrec(packet) => packet.encode(version, out),
            Self::Pubrel(packet) => packet.encode(version, out),
            Self::Pubcomp(packet) => packet.encode(version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::Suback(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::Unsuback(packet) => packet.encode(version, out),
            Self::Pingreq => ping::encode(PacketType::Pingreq, out),
            Self::Pingresp => ping::encode(PacketType::Pingresp, out),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }
}

/// Appends a Fixed Header and the body that `put` appends. The length is filled in afterwards; the rare body that
/// needs more than one byte for it is moved. An error leaves `out` as it was.
fn put_frame(
    first: u8,
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[first, 0]);
    let body = out.len();
    let result = put(out).and_then(|()| varint::bytes(out.len() - body));
    match result {
        Ok((length, size)) => {
            out[body - 1] = length[0];
            if size > 1 {
                out.splice(body..body, length[1..size].iter().copied());
            }
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// What the tests of the packets share.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::{PacketId, ReasonCode};

    #[track_caller]
    pub(super) fn assert_refused(
        version: ProtocolVersion,
        first: u8,
        body: &[u8],
        reason: ReasonCode,
        rule: &str,
    ) {
        match decode(version, first, body) {
            Ok(packet) => panic!("{packet:?} should break {rule}"),
            Err(error) => {
                assert!(error.rule.contains(rule), "{rule} expected, not {error}");
                assert_eq!(error.reason, reason, "{error}");
            }
        }
    }

    #[track_caller]
    pub(super) fn accepted(version: ProtocolVersion, first: u8, body: &[u8]) -> Packet<'_> {
        decode(version, first, body).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn id(value: u16) -> PacketId {
        PacketId::new(value).expect("it is not zero")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{accepted, assert_refused};
    use super::*;
    use crate::ProtocolVersion::{V5, V31, V311};
    use crate::ReasonCode;

    #[test]
    fn reserved_flags_have_their_one_value() {
        for packet_type in PacketType::ALL {
            if packet_type == PacketType::Publish || packet_type == PacketType::Connect {
                continue;
            }
            for flags in (0..16).filter(|flags| *flags != packet_type.first_byte() & 0x0f) {
                let first = packet_type.first_byte() & 0xf0 | flags;
                for version in [V311, V5] {
                    assert_refused(version, first, &[0, 1], ReasonCode::MalformedPacket, "[MQTT-2.1.3-1]");
                }
            }
        }
    }

    #[test]
    fn a_packet_of_3_1_may_be_marked_as_sent_again() {
        accepted(V31, 0x6a, &[0, 1]);
        accepted(V31, 0x8a, b"\0\x01\0\x01a\0");
    }

    #[test]
    fn packet_type_zero_is_reserved_and_fifteen_too_before_5_0() {
        assert_refused(V5, 0x00, &[], ReasonCode::MalformedPacket, "[2.1.2]");
        assert_refused(V311, 0xf0, &[], ReasonCode::MalformedPacket, "2.2.1");
    }

    #[test]
    fn pings_are_empty() {
        assert_eq!(accepted(V5, 0xc0, &[]), Packet::Pingreq);
        assert_eq!(accepted(V311, 0xd0, &[]), Packet::Pingresp);
        assert_refused(V5, 0xc0, &[0], ReasonCode::MalformedPacket, "bytes follow");
    }

    #[test]
    fn a_side_does_not_hear_its_own_packets() {
        let error = decode_from(Sender::Client, V5, 0xd0, &[]).unwrap_err();
        assert_eq!(error.reason, ReasonCode::ProtocolError);
        assert_eq!(decode_from(Sender::Server, V5, 0xd0, &[]), Ok(Packet::Pingresp));
        assert!(decode_from(Sender::Server, V311, 0xe0, &[]).is_err());
        assert!(decode_from(Sender::Server, V5, 0xe0, &[]).is_ok());
    }

    #[test]
    fn a_frame_that_fails_leaves_the_buffer_as_it_was() {
        let mut out = alloc::vec![1, 2];
        let result = put_frame(0x10, &mut out, |out| {
            out.push(9);
            Err(EncodeError::TooLong)
        });
        assert_eq!((result, &out[..]), (Err(EncodeError::TooLong), &[1, 2][..]));
    }
}
