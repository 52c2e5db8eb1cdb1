//! PUBLISH [3.3]: the packet that everything else is there for, read and written without an allocation of its own.

use alloc::vec::Vec;

use crate::property::{delivery_size, put_delivery};
use crate::reader::Reader;
use crate::topic::name_from_bytes;
use crate::{
    EncodeError, Error, Forwardable, PacketId, PacketType, ProtocolVersion, PublishProperties, QoS, Sender,
    SubscriptionId, TopicAlias, TopicName, text, varint,
};

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// An Application Message on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before.
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Without wildcards. Empty only where a Topic Alias stands in for it; see [`Publish::topic_name`].
    pub topic: &'a str,
    /// Present above QoS 0.
    pub packet_id: Option<PacketId>,
    pub properties: PublishProperties<'a>,
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads a PUBLISH whose first byte and body [`cut`](crate::cut) gave.
    #[inline]
    pub fn decode(version: ProtocolVersion, first: u8, body: &'a [u8]) -> Result<Self, Error> {
        let qos = QoS::from_u8(first >> 1 & 0b11)
            .ok_or(Error::malformed("[MQTT-3.3.1-4] both QoS bits of a PUBLISH are not set at once"))?;
        let dup = first & DUP != 0;
        if dup && qos == QoS::AtMostOnce && version != ProtocolVersion::V31 {
            return Err(Error::malformed("[MQTT-3.3.1-2] a QoS 0 message is never sent again"));
        }
        let mut reader = Reader::new(body);
        let topic = name_from_bytes(reader.binary()?)?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
        };
        let properties = match version.has_properties() {
            true => match reader.block()? {
                [] => PublishProperties::default(),
                block => PublishProperties::decode(block)?,
            },
            false => PublishProperties::default(),
        };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(match version {
                ProtocolVersion::V5 => {
                    Error::protocol("[3.3.2.1] an empty Topic Name comes with a Topic Alias")
                }
                ProtocolVersion::V31 | ProtocolVersion::V311 => {
                    Error::malformed("[MQTT-4.7.3-1] a Topic Name has at least one character")
                }
            });
        }
        let retain = first & RETAIN != 0;
        // In 3.1 the flag may be set at QoS 0, and means nothing.
        let dup = dup && qos != QoS::AtMostOnce;
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    #[inline]
    pub(super) fn check_sender(&self, sender: Sender) -> Result<(), Error> {
        if sender == Sender::Client && !self.properties.subscription_ids.is_empty() {
            return Err(Error::protocol(
                "[MQTT-3.3.4-6] a Client sends no Subscription Identifier in a PUBLISH",
            ));
        }
        Ok(())
    }

    /// The topic of a decoded packet; `None` if a Topic Alias stands in for it.
    #[inline]
    pub fn topic_name(&self) -> Option<TopicName<'a>> {
        if self.topic.is_empty() { None } else { Some(TopicName::checked(self.topic)) }
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let packet_id = match self.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(self.packet_id.ok_or(EncodeError::NoPacketId)?),
        };
        let layout = Layout {
            first: first_byte(self.dup, self.qos, self.retain),
            topic: self.topic,
            packet_id,
            properties: self.properties.size(),
            payload: self.payload,
        };
        layout.put::<true>(version, 0, out, |out| self.properties.put_block(out)).map(|_| ())
    }
}

/// A message on its way to receivers who get it alike: it is written once, and shared. What differs between them, the
/// Packet Identifier, is patched into a copy by [`Placed`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery<'a> {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Empty only where `topic_alias` stands in for it.
    pub topic: &'a str,
    /// `None` above QoS 0 leaves zeros, to be patched.
    pub packet_id: Option<PacketId>,
    /// What travels with the message. 3.x drops it, and the two fields below.
    pub properties: Forwardable<'a>,
    /// What is left of the Message Expiry Interval, in seconds [MQTT-3.3.2-6]. `None` leaves it as it was sent; a
    /// message that never expires ignores it.
    pub message_expiry_left: Option<u32>,
    pub topic_alias: Option<TopicAlias>,
    pub subscription_ids: &'a [SubscriptionId],
    pub payload: &'a [u8],
}

/// Where the fields that are patched stand in the buffer that a [`Delivery`] was appended to. A buffer too short to
/// hold them is a mistake of the caller, and panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The first byte of the packet.
    pub start: usize,
    /// Two bytes; `None` for QoS 0.
    pub packet_id_at: Option<usize>,
    /// Four bytes; `None` if the message never expires, and in 3.x.
    pub message_expiry_at: Option<usize>,
}

impl Delivery<'_> {
    /// Appends the packet. An error leaves `out` as it was.
    #[inline(never)] // So all of it is one function, and no call within it.
    pub fn append(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<Placed, EncodeError> {
        self.put::<true>(version, out)
    }

    /// The same without the end of the packet, for whoever has that elsewhere: see [`Delivery::end_bytes`].
    #[inline(never)]
    pub fn append_head(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<Placed, EncodeError> {
        self.put::<false>(version, out)
    }

    /// Bytes at the end of the packet that are alike for all receivers of this protocol version, whatever identifiers and
    /// alias each gets: of the properties all but the Message Expiry Interval, as they are in `properties`, and the payload.
    pub fn end_bytes(&self, version: ProtocolVersion) -> usize {
        let properties = if version.has_properties() { self.properties.split_expiry().1.len() } else { 0 };
        properties + self.payload.len()
    }

    #[inline(always)] // Two callers, of which one is the hot path.
    fn put<const WHOLE: bool>(
        &self,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) -> Result<Placed, EncodeError> {
        let added = delivery_size(self.topic_alias, self.subscription_ids);
        let layout = Layout {
            first: first_byte(self.dup, self.qos, self.retain),
            topic: self.topic,
            packet_id: self.packet_id,
            properties: self.properties.as_bytes().len() + added,
            payload: self.payload,
        };
        let expires = self.properties.message_expiry_interval().is_some();
        let left_out = if WHOLE { 0 } else { self.end_bytes(version) };
        let (mut placed, properties_at) = layout.put::<WHOLE>(version, left_out, out, |out| {
            if WHOLE && added == 0 {
                out.extend_from_slice(self.properties.as_bytes());
                return Ok(());
            }
            let (expiry, rest) = self.properties.split_expiry();
            out.extend_from_slice(expiry);
            put_delivery(self.topic_alias, self.subscription_ids, out)?;
            if WHOLE {
                out.extend_from_slice(rest);
            }
            Ok(())
        })?;
        if expires && version.has_properties() {
            let at = properties_at + 1;
            placed.message_expiry_at = Some(at);
            if let Some(left) = self.message_expiry_left {
                placed.set_message_expiry(out, left);
            }
        }
        Ok(placed)
    }
}

impl Placed {
    /// Writes the Packet Identifier into the buffer, or into a copy of it. Nothing happens to a QoS 0 packet.
    #[inline]
    pub fn set_packet_id(&self, buffer: &mut [u8], packet_id: PacketId) {
        if let Some(at) = self.packet_id_at {
            buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
    }

    /// Writes what is left of the Message Expiry Interval, in seconds. Nothing happens if there is none.
    #[inline]
    pub fn set_message_expiry(&self, buffer: &mut [u8], left: u32) {
        if let Some(at) = self.message_expiry_at {
            buffer[at..at + 4].copy_from_slice(&left.to_be_bytes());
        }
    }

    /// Marks the packet as sent again [MQTT-3.3.1-1].
    #[inline]
    pub fn set_dup(&self, buffer: &mut [u8]) {
        buffer[self.start] |= DUP;
    }
}

#[inline]
const fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    let dup = if dup && !matches!(qos, QoS::AtMostOnce) { DUP } else { 0 };
    let retain = if retain { RETAIN } else { 0 };
    PacketType::Publish.first_byte() | dup | qos.as_u8() << 1 | retain
}

struct Layout<'a> {
    first: u8,
    topic: &'a str,
    packet_id: Option<PacketId>,
    /// The length of the block.
    properties: usize,
    payload: &'a [u8],
}

impl Layout<'_> {
    /// Appends the packet, and says where the fields are and where the block of properties begins. If not `WHOLE`, without
    /// the payload and what `put_properties` leaves out: so many bytes.
    #[inline]
    fn put<const WHOLE: bool>(
        &self,
        version: ProtocolVersion,
        left_out: usize,
        out: &mut Vec<u8>,
        put_properties: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(Placed, usize), EncodeError> {
        let has_id = self.first & 0b0110 != 0;
        let mut remaining = 2 + self.topic.len() + self.payload.len();
        if has_id {
            remaining += 2;
        }
        if version.has_properties() {
            remaining += varint::size(self.properties) + self.properties;
        }
        let start = out.len();
        let put = |out: &mut Vec<u8>| {
            out.reserve(5 + (remaining - left_out).min(varint::MAX as usize));
            out.push(self.first);
            varint::put(remaining, out)?;
            text::put(self.topic, out)?;
            let packet_id_at = has_id.then_some(out.len());
            if has_id {
                out.extend_from_slice(&self.packet_id.map_or([0; 2], PacketId::to_be_bytes));
            }
            if version.has_properties() {
                varint::put(self.properties, out)?;
            }
            let properties_at = out.len();
            if version.has_properties() && self.properties > 0 {
                put_properties(out)?;
            }
            if WHOLE {
                out.extend_from_slice(self.payload);
            }
            Ok((Placed { start, packet_id_at, message_expiry_at: None }, properties_at))
        };
        let result = put(out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProtocolVersion::{V5, V31, V311};
    use crate::packet::testing::{assert_refused, id};
    use crate::{Cut, Limits, ReasonCode, cut, decode_from};

    #[test]
    fn qos_3_is_malformed() {
        assert_refused(V5, 0x36, b"\0\x01a\0\x01\0", ReasonCode::MalformedPacket, "[MQTT-3.3.1-4]");
    }

    #[test]
    fn a_qos_0_message_is_never_marked_as_sent_again() {
        for version in [V311, V5] {
            assert_refused(version, 0x38, b"\0\x01a\0", ReasonCode::MalformedPacket, "[MQTT-3.3.1-2]");
        }
        assert!(!Publish::decode(V31, 0x38, b"\0\x01a").unwrap().dup);
    }

    #[test]
    fn packet_identifier_zero_is_refused() {
        assert_refused(V5, 0x32, b"\0\x01a\0\0\0", ReasonCode::ProtocolError, "[MQTT-2.2.1-3]");
    }

    #[test]
    fn a_topic_name_has_no_wildcards() {
        for body in [b"\0\x01+\0", b"\0\x01#\0"] {
            assert_refused(V5, 0x30, body, ReasonCode::MalformedPacket, "[MQTT-3.3.2-2]");
        }
        assert_refused(V5, 0x30, b"\0\x01\0\0", ReasonCode::MalformedPacket, "[MQTT-1.5.4-2]");
        assert_refused(V5, 0x30, b"\0\x01\xff\0", ReasonCode::MalformedPacket, "[MQTT-1.5.4-1]");
    }

    #[test]
    fn a_topic_alias_stands_in_for_an_empty_topic() {
        assert_refused(V5, 0x30, b"\0\0\0", ReasonCode::ProtocolError, "[3.3.2.1]");
        assert_refused(V311, 0x30, b"\0\0", ReasonCode::MalformedPacket, "[MQTT-4.7.3-1]");
        let publish = Publish::decode(V5, 0x30, b"\0\0\x03\x23\0\x09x").unwrap();
        assert_eq!(publish.properties.topic_alias, TopicAlias::new(9));
        assert_eq!((publish.topic_name(), publish.payload), (None, &b"x"[..]));
    }

    #[test]
    fn a_client_sends_no_subscription_identifier() {
        let body = b"\0\x01a\x02\x0b\x05";
        assert!(decode_from(Sender::Server, V5, 0x30, body).is_ok());
        let error = decode_from(Sender::Client, V5, 0x30, body).unwrap_err();
        assert_eq!(error.reason, ReasonCode::ProtocolError);
        assert!(error.rule.starts_with("[MQTT-3.3.4-6]"));
    }

    #[test]
    fn all_that_follows_the_header_is_payload_and_may_be_nothing() {
        assert_eq!(Publish::decode(V311, 0x30, b"\0\x01a").unwrap().payload, b"");
        assert_eq!(Publish::decode(V311, 0x32, b"\0\x01a\0\x07xyz").unwrap().payload, b"xyz");
        // In 5.0 the Property Length is not optional.
        assert_refused(V5, 0x30, b"\0\x01a", ReasonCode::MalformedPacket, "ends after");
    }

    #[test]
    fn a_publish_above_qos_0_is_not_written_without_a_packet_identifier() {
        let publish = Publish { qos: QoS::AtLeastOnce, topic: "a", ..Publish::default() };
        let mut out = Vec::new();
        assert_eq!(publish.encode(V5, &mut out), Err(EncodeError::NoPacketId));
        let long = "a".repeat(65_536);
        let publish = Publish { topic: &long, ..Publish::default() };
        assert_eq!(publish.encode(V5, &mut out), Err(EncodeError::TooLong));
        assert_eq!(out, []);
    }

    #[test]
    fn one_delivery_serves_receivers_with_packet_identifiers_of_their_own() {
        let forwardable = [0x02, 0, 0, 0, 60, 0x01, 1];
        let delivery = Delivery {
            qos: QoS::AtLeastOnce,
            topic: "lamp/on",
            properties: Forwardable::parse(&forwardable).unwrap(),
            message_expiry_left: Some(59),
            payload: b"1",
            ..Delivery::default()
        };
        let mut shared = Vec::new();
        let placed = delivery.append(V5, &mut shared).unwrap();
        for value in [1, 0x1234] {
            let mut copy = shared.clone();
            placed.set_packet_id(&mut copy, id(value));
            placed.set_dup(&mut copy);
            placed.set_message_expiry(&mut copy, 58);
            let Cut::Whole { first, body, .. } = cut(&copy, Limits::NONE).unwrap() else {
                panic!("the packet is whole");
            };
            let publish = Publish::decode(V5, first, body).unwrap();
            assert_eq!((publish.packet_id, publish.dup), (Some(id(value)), true));
            assert_eq!(publish.properties.message_expiry_interval, Some(58));
        }
        // Whatever each gets beside it, what the packet ends with is there once.
        let users = [0x02, 0, 0, 0, 60, 0x26, 0, 1, b'k', 0, 1, b'v'];
        let properties = Forwardable::parse(&users).unwrap();
        let named = [crate::SubscriptionId::new(300).unwrap()];
        for (version, subscription_ids, end) in
            [(V5, &named[..], "\x26\0\x01k\0\x01v1"), (V5, &[], "\x26\0\x01k\0\x01v1"), (V311, &named, "1")]
        {
            let packet_id = Some(id(1));
            let delivery = Delivery { packet_id, properties, subscription_ids, ..delivery };
            let (mut whole, mut head) = (Vec::new(), Vec::new());
            let placed = delivery.append(version, &mut whole).unwrap();
            assert_eq!(delivery.append_head(version, &mut head), Ok(placed));
            assert_eq!(delivery.end_bytes(version), end.len());
            assert_eq!([&head, end.as_bytes()].concat(), whole);
            let Cut::Whole { first, body, .. } = cut(&whole, Limits::NONE).unwrap() else {
                panic!("the packet is whole");
            };
            assert!(Publish::decode(version, first, body).is_ok());
        }
        let mut shared = Vec::new();
        let placed = delivery.append(V311, &mut shared).unwrap();
        assert_eq!((placed.packet_id_at, placed.message_expiry_at), (Some(11), None));
        assert_eq!(shared, b"\x32\x0c\0\x07lamp/on\0\x001");
    }
}
