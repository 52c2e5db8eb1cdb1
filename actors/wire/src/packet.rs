//! Control Packets [3]: one file each. Here is what they share: finding the right one, and the frame around it.

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
