//! SUBSCRIBE [3.8]: Topic Filters, each with how its messages are wanted.

use alloc::vec::Vec;

use super::put_frame;
use crate::list::{Element, List};
use crate::reader::Reader;
use crate::{
    EncodeError, Error, PacketId, PacketType, ProtocolVersion, QoS, SubscribeProperties, TopicFilter, text,
};

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub packet_id: PacketId,
    pub properties: SubscribeProperties<'a>,
    /// At least one.
    pub subscriptions: List<'a, Subscription<'a>>,
}

/// One Topic Filter of a SUBSCRIBE and its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    pub filter: TopicFilter<'a>,
    pub options: SubscriptionOptions,
}

/// The Subscription Options [3.8.3.1]. 3.x has the QoS alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest that messages are delivered with.
    pub qos: QoS,
    /// Whether a Client's own messages stay away from it.
    pub no_local: bool,
    /// Whether RETAIN is forwarded as it was published.
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// When Retained Messages are sent for a Subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    OnSubscribe = 0,
    OnNewSubscription = 1,
    Never = 2,
}

impl<'a> Subscribe<'a> {
    pub(super) fn decode(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        let packet_id = reader.packet_id()?;
        let properties = match version.has_properties() {
            true => SubscribeProperties::decode(reader.block()?)?,
            false => SubscribeProperties::default(),
        };
        let bytes = reader.rest();
        let mut len = 0;
        while !reader.is_empty() {
            let filter = TopicFilter::new(reader.text()?)?;
            let options = SubscriptionOptions::decode(version, reader.u8()?)?;
            if options.no_local && filter.is_shared() {
                return Err(Error::protocol("[MQTT-3.8.3-4] a Shared Subscription has no No Local"));
            }
            len += 1;
        }
        if len == 0 {
            return Err(Error::protocol("[MQTT-3.8.3-2] a SUBSCRIBE has at least one Topic Filter"));
        }
        Ok(Self { packet_id, properties, subscriptions: List::wire(bytes, len) })
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(PacketType::Subscribe.first_byte(), out, |out| {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
            if version.has_properties() {
                self.properties.put(out)?;
            }
            for subscription in self.subscriptions {
                text::put(subscription.filter.as_str(), out)?;
                out.push(match version.has_properties() {
                    true => subscription.options.as_u8(),
                    false => subscription.options.qos.as_u8(),
                });
            }
            Ok(())
        })
    }
}

impl SubscriptionOptions {
    /// With `qos`, and everything else as 3.x has it.
    pub const fn new(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::OnSubscribe,
        }
    }

    /// The byte that 5.0 has for them.
    pub const fn as_u8(self) -> u8 {
        let mut byte = self.qos.as_u8() | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT;
        if self.no_local {
            byte |= NO_LOCAL;
        }
        if self.retain_as_published {
            byte |= RETAIN_AS_PUBLISHED;
        }
        byte
    }

    /// `None` if reserved bits or values are set.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        let retain_handling = match byte >> RETAIN_HANDLING_SHIFT {
            0 => RetainHandling::OnSubscribe,
            1 => RetainHandling::OnNewSubscription,
            2 => RetainHandling::Never,
            _ => return None,
        };
        let Some(qos) = QoS::from_u8(byte & 0b11) else {
            return None;
        };
        Some(Self {
            qos,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    fn decode(version: ProtocolVersion, byte: u8) -> Result<Self, Error> {
        if !version.has_properties() {
            return QoS::from_u8(byte).map(Self::new).ok_or(Error::malformed(
                "[3.1.1: MQTT-3-8.3-4] a requested QoS is 0, 1 or 2 and its reserved bits are 0",
            ));
        }
        Self::from_u8(byte).ok_or_else(|| {
            if byte & 0b1100_0000 != 0 {
                Error::malformed("[MQTT-3.8.3-5] the reserved bits of Subscription Options are 0")
            } else if byte & 0b11 == 0b11 {
                Error::protocol("[3.8.3.1] Maximum QoS is not 3")
            } else {
                Error::protocol("[3.8.3.1] Retain Handling is not 3")
            }
        })
    }
}

impl<'a> Element<'a> for Subscription<'a> {
    type Of<'b> = Subscription<'b>;

    fn next(reader: &mut Reader<'a>) -> Option<Self> {
        let filter = TopicFilter::checked(reader.text().ok()?);
        let options = SubscriptionOptions::from_u8(reader.u8().ok()?)?;
        Some(Self { filter, options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProtocolVersion::{V5, V311};
    use crate::packet::testing::{accepted, assert_refused};
    use crate::{Packet, ReasonCode, SubscriptionId};

    const SUBSCRIBE: u8 = 0x82;

    #[track_caller]
    fn assert_option_refused(options: u8, reason: ReasonCode, rule: &str) {
        assert_refused(V5, SUBSCRIBE, &[0, 1, 0, 0, 1, b'a', options], reason, rule);
    }

    #[test]
    fn subscriptions_are_read_in_order() {
        let body = b"\0\x01\x02\x0b\x07\0\x01a\x2d\0\x01#\x00";
        let Packet::Subscribe(subscribe) = accepted(V5, SUBSCRIBE, body) else {
            panic!("it is a SUBSCRIBE");
        };
        assert_eq!(subscribe.properties.subscription_id, SubscriptionId::new(7));
        let first = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::Never,
        };
        let read = subscribe.subscriptions.iter().map(|it| (it.filter.as_str(), it.options));
        assert!(read.eq([("a", first), ("#", SubscriptionOptions::default())]));
    }

    #[test]
    fn reserved_bits_are_malformed_and_reserved_values_protocol_errors() {
        assert_option_refused(0x40, ReasonCode::MalformedPacket, "[MQTT-3.8.3-5]");
        assert_option_refused(0x80, ReasonCode::MalformedPacket, "[MQTT-3.8.3-5]");
        assert_option_refused(0x03, ReasonCode::ProtocolError, "Maximum QoS");
        assert_option_refused(0x30, ReasonCode::ProtocolError, "Retain Handling");
        for options in [3, 4, 0x80] {
            let body = [0, 1, 0, 1, b'a', options];
            assert_refused(V311, SUBSCRIBE, &body, ReasonCode::MalformedPacket, "MQTT-3-8.3-4");
        }
    }

    #[test]
    fn a_shared_subscription_has_no_no_local() {
        let body = b"\0\x01\0\0\x0a$share/c/a\x04";
        assert_refused(V5, SUBSCRIBE, body, ReasonCode::ProtocolError, "[MQTT-3.8.3-4]");
    }

    #[test]
    fn there_is_a_topic_filter_and_each_has_its_options() {
        assert_refused(V5, SUBSCRIBE, &[0, 1, 0], ReasonCode::ProtocolError, "[MQTT-3.8.3-2]");
        assert_refused(V311, SUBSCRIBE, &[0, 1], ReasonCode::ProtocolError, "[MQTT-3.8.3-2]");
        assert_refused(V5, SUBSCRIBE, b"\0\x01\0\0\x01a", ReasonCode::MalformedPacket, "ends after");
        assert_refused(V5, SUBSCRIBE, b"\0\0\0\0\x01a\0", ReasonCode::ProtocolError, "[MQTT-2.2.1-3]");
        let bad_filter = b"\0\x01\0\0\x02a#\0";
        assert_refused(V5, SUBSCRIBE, bad_filter, ReasonCode::MalformedPacket, "[MQTT-4.7.1-1]");
    }

    #[test]
    fn every_good_option_byte_is_read_back() {
        for byte in 0..=u8::MAX {
            if let Some(options) = SubscriptionOptions::from_u8(byte) {
                assert_eq!(options.as_u8(), byte);
            }
        }
    }
}
