//! The Fixed Header [2.1], and where one Control Packet ends and the next begins.
//!
//! A length is a claim. It is compared with the limit before a single byte of the packet is waited for, so a Client
//! that announces 256 MiB is refused by its fifth byte and costs no memory (CVE-2017-7651).

use crate::{Error, ProtocolVersion, ReasonCode, varint};

const RESERVED_FLAGS: Error =
    Error::malformed("[MQTT-2.1.3-1] reserved flags of the Fixed Header have their one value");

/// The Control Packet types [2.1.2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// From the first byte of a packet.
    #[inline]
    pub fn of(first: u8) -> Result<Self, Error> {
        match (first >> 4).checked_sub(1) {
            Some(index) => Ok(Self::ALL[usize::from(index)]),
            None => Err(Error::malformed("[2.1.2] packet type 0 is reserved")),
        }
    }

    /// The first byte of a packet of this type; a PUBLISH adds its flags to it.
    #[inline]
    pub const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.reserved_flags()
    }

    /// The flags that all packets of this type have [2.1.3].
    const fn reserved_flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// Refuses flags that are reserved and not as they must be. 3.1 does not use the flags outside of PUBLISH, and
    /// allows DUP where a packet is sent again; there they are not looked at. A PUBLISH has flags of its own, and a
    /// CONNECT a version of its own: both are checked where they are read.
    #[inline]
    pub(crate) fn check_flags(self, first: u8, version: ProtocolVersion) -> Result<(), Error> {
        let expected = first & 0x0f == self.reserved_flags();
        if expected || version == ProtocolVersion::V31 || matches!(self, Self::Publish | Self::Connect) {
            Ok(())
        } else {
            Err(RESERVED_FLAGS)
        }
    }

    /// Of a CONNECT, by the version that stands in it.
    pub(crate) fn check_connect_flags(first: u8, version: ProtocolVersion) -> Result<(), Error> {
        if first & 0x0f == 0 || version == ProtocolVersion::V31 { Ok(()) } else { Err(RESERVED_FLAGS) }
    }

    /// Whether packets of this type may come from `sender` in `version` [2.1.2].
    pub const fn is_sent_by(self, sender: Sender, version: ProtocolVersion) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq => {
                matches!(sender, Sender::Client)
            }
            Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp => {
                matches!(sender, Sender::Server)
            }
            Self::Publish | Self::Puback | Self::Pubrec | Self::Pubrel | Self::Pubcomp => true,
            Self::Disconnect => matches!(sender, Sender::Client) || version.has_properties(),
            Self::Auth => version.has_properties(),
        }
    }
}

/// Who sent the bytes. Some rules bind one side alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Client,
    Server,
}

/// The largest Control Packets that are waited for, in bytes and with their Fixed Header, as Maximum Packet Size
/// counts them [3.1.2.11.4].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub packet_bytes: usize,
    /// For a CONNECT, which comes from somebody who is not yet authenticated.
    pub connect_bytes: usize,
}

impl Limits {
    /// What the length field can say.
    pub const NONE: Self = Self { packet_bytes: usize::MAX, connect_bytes: usize::MAX };

    /// One limit for all packets.
    pub const fn all(bytes: usize) -> Self {
        Self { packet_bytes: bytes, connect_bytes: bytes }
    }
}

/// What stands at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// The packet is not here yet. Nothing more can be said before the buffer holds `needed` bytes, which is the
    /// length of the packet once its Fixed Header is here.
    Partial { needed: usize },
    /// One packet: its first byte, what follows the Fixed Header, and its length with the Fixed Header.
    Whole { first: u8, body: &'a [u8], length: usize },
}

/// Cuts the first Control Packet off `buffer`.
///
/// Errors are Malformed Packet, for a packet type or a length that cannot be, and Packet Too Large.
#[inline]
pub fn cut(buffer: &[u8], limits: Limits) -> Result<Cut<'_>, Error> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(Cut::Partial { needed: 2 });
    };
    let packet_type = PacketType::of(first)?;
    let Some((remaining, size)) = varint::read(rest)? else {
        return Ok(Cut::Partial { needed: buffer.len() + 1 });
    };
    let header = 1 + size;
    let length = header + remaining as usize;
    let limit = match packet_type {
        PacketType::Connect => limits.connect_bytes.min(limits.packet_bytes),
        _ => limits.packet_bytes,
    };
    if length > limit {
        return Err(Error::new(
            ReasonCode::PacketTooLarge,
            "[MQTT-3.1.2-24, MQTT-3.2.2-15] a packet is not larger than the Maximum Packet Size",
        ));
    }
    match buffer.get(header..length) {
        Some(body) => Ok(Cut::Whole { first, body, length }),
        None => Ok(Cut::Partial { needed: length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_cut_off_what_follows_it() {
        let buffer = [0x40, 2, 0, 7, 0xc0, 0];
        assert_eq!(cut(&buffer, Limits::NONE), Ok(Cut::Whole { first: 0x40, body: &[0, 7], length: 4 }));
        assert_eq!(cut(&buffer[4..], Limits::NONE), Ok(Cut::Whole { first: 0xc0, body: &[], length: 2 }));
    }

    #[test]
    fn a_partial_packet_says_how_much_is_needed() {
        assert_eq!(cut(&[], Limits::NONE), Ok(Cut::Partial { needed: 2 }));
        assert_eq!(cut(&[0x30], Limits::NONE), Ok(Cut::Partial { needed: 2 }));
        assert_eq!(cut(&[0x30, 0x80], Limits::NONE), Ok(Cut::Partial { needed: 3 }));
        assert_eq!(cut(&[0x30, 0x80, 0x01], Limits::NONE), Ok(Cut::Partial { needed: 131 }));
    }

    #[test]
    fn a_declared_length_beyond_the_limit_is_refused_before_the_bytes_arrive() {
        let limits = Limits { packet_bytes: 1_000, connect_bytes: 100 };
        let error = cut(&[0x30, 0xff, 0xff, 0xff, 0x7f], limits).unwrap_err();
        assert_eq!(error.reason, ReasonCode::PacketTooLarge);
        // The limit counts the Fixed Header: 997 and three bytes of it are 1,000.
        assert_eq!(cut(&[0x30, 0xe5, 0x07], limits), Ok(Cut::Partial { needed: 1_000 }));
        assert_eq!(cut(&[0x30, 0xe6, 0x07], limits).unwrap_err().reason, ReasonCode::PacketTooLarge);
    }

    #[test]
    fn a_connect_has_the_smaller_of_both_limits() {
        let limits = Limits { packet_bytes: 1_000, connect_bytes: 100 };
        assert_eq!(cut(&[0x10, 98], limits), Ok(Cut::Partial { needed: 100 }));
        assert_eq!(cut(&[0x10, 99], limits).unwrap_err().reason, ReasonCode::PacketTooLarge);
        let limits = Limits { packet_bytes: 100, connect_bytes: 1_000 };
        assert_eq!(cut(&[0x10, 99], limits).unwrap_err().reason, ReasonCode::PacketTooLarge);
    }

    #[test]
    fn five_bytes_of_length_and_packet_type_zero_are_malformed() {
        let error = cut(&[0x30, 0x80, 0x80, 0x80, 0x80], Limits::NONE).unwrap_err();
        assert_eq!(error.reason, ReasonCode::MalformedPacket);
        assert_eq!(cut(&[0x00], Limits::NONE).unwrap_err().reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn each_side_sends_its_own_packets() {
        use PacketType::*;
        use ProtocolVersion::*;
        assert!(Connect.is_sent_by(Sender::Client, V5) && !Connect.is_sent_by(Sender::Server, V5));
        assert!(Suback.is_sent_by(Sender::Server, V311) && !Suback.is_sent_by(Sender::Client, V311));
        assert!(Disconnect.is_sent_by(Sender::Server, V5) && !Disconnect.is_sent_by(Sender::Server, V311));
        assert!(Auth.is_sent_by(Sender::Client, V5) && !Auth.is_sent_by(Sender::Client, V311));
    }
}
