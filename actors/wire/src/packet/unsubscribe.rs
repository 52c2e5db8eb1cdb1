//! UNSUBSCRIBE [3.10]: Topic Filters whose Subscriptions end.

use alloc::vec::Vec;

use super::put_frame;
use crate::list::List;
use crate::reader::Reader;
use crate::{
    EncodeError, Error, PacketId, PacketType, ProtocolVersion, TopicFilter, UnsubscribeProperties, text,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    pub packet_id: PacketId,
    pub properties: UnsubscribeProperties<'a>,
    /// At least one.
    pub filters: List<'a, TopicFilter<'a>>,
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        let packet_id = reader.packet_id()?;
        let properties = match version.has_properties() {
            true => UnsubscribeProperties::decode(reader.block()?)?,
            false => UnsubscribeProperties::default(),
        };
        let bytes = reader.rest();
        let mut len = 0;
        while !reader.is_empty() {
            TopicFilter::new(reader.text()?)?;
            len += 1;
        }
        if len == 0 {
            return Err(Error::protocol("[MQTT-3.10.3-2] an UNSUBSCRIBE has at least one Topic Filter"));
        }
        Ok(Self { packet_id, properties, filters: List::wire(bytes, len) })
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(PacketType::Unsubscribe.first_byte(), out, |out| {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
            if version.has_properties() {
                self.properties.put(out)?;
            }
            self.filters.iter().try_for_each(|filter| text::put(filter.as_str(), out))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::ProtocolVersion::{V5, V311};
    use crate::packet::testing::{accepted, assert_refused};
    use crate::{Packet, ReasonCode};

    #[test]
    fn there_is_a_topic_filter() {
        assert_refused(V5, 0xa2, &[0, 1, 0], ReasonCode::ProtocolError, "[MQTT-3.10.3-2]");
        assert_refused(V311, 0xa2, &[0, 1], ReasonCode::ProtocolError, "[MQTT-3.10.3-2]");
        let Packet::Unsubscribe(packet) = accepted(V311, 0xa2, b"\0\x01\0\x01a\0\x01#") else {
            panic!("it is an UNSUBSCRIBE");
        };
        assert!(packet.filters.iter().map(|filter| filter.as_str()).eq(["a", "#"]));
    }
}
