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
