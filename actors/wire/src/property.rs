//! Properties [2.2.2]: one struct per packet that has them, so a property where it is not allowed does not compile.
//!
//! A received block is checked once, whole, when its packet is decoded. What may be repeated (User Properties,
//! Subscription Identifiers) stays in the block and is read from it when asked for, in order. In 3.x there is no
//! block: everything is absent.

use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use crate::list::{Element, List};
use crate::reader::Reader;
use crate::{EncodeError, Error, QoS, ReasonCode, TopicName, text, varint};

const NOT_ALLOWED: Error =
    Error::malformed("[2.2.2.2] a property is one of those that its packet type may have");
const TWICE: Error = Error::protocol("[2.2.2.2] only User Property and Subscription Identifier are repeated");
const NOT_BOOL: Error = Error::protocol("[2.2.2.2] a property that says yes or no is 1 or 0");
const ZERO: Error = Error::protocol("[3.1.2.11] Receive Maximum and Maximum Packet Size are not zero");

/// User Properties as pairs of name and value, in the order in which they were sent.
pub type UserProperties<'a> = List<'a, (&'a str, &'a str)>;

/// The Subscription Identifiers of a PUBLISH.
pub type SubscriptionIds<'a> = List<'a, SubscriptionId>;

/// A Subscription Identifier [3.8.2.1.2]: 1 to 268,435,455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) if value.get() <= varint::MAX => Some(Self(value)),
            _ => None,
        }
    }

    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// A Topic Alias [3.3.2.3.4], which is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicAlias(NonZeroU16);

impl TopicAlias {
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// What the sender says about its payload [3.3.2.3.2]. Whether UTF-8 is UTF-8 is not checked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PayloadFormat {
    Unspecified = 0,
    Utf8 = 1,
}

/// Maximum QoS [3.2.2.3.4]. A Server that grants QoS 2 sends none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MaximumQoS {
    AtMostOnce = 0,
    AtLeastOnce = 1,
}

impl From<MaximumQoS> for QoS {
    fn from(maximum: MaximumQoS) -> Self {
        match maximum {
            MaximumQoS::AtMostOnce => Self::AtMostOnce,
            MaximumQoS::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// The type of a property's value: how it is read, how long it is, how it is written.
trait Value<'a>: Copy {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error>;
    fn size(self) -> usize;
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

/// Implements [`Value`] for types that are an integer on the wire.
macro_rules! integer_value {
    ($type:ty, $reader:ident, $size:literal, |$raw:ident| $read:expr, |$value:ident| $write:expr) => {
        impl Value<'_> for $type {
            #[inline]
            fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
                let $raw = reader.$reader()?;
                $read
            }

            #[inline]
            fn size(self) -> usize {
                $size
            }

            #[inline]
            fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                let $value = self;
                out.extend_from_slice(&$write.to_be_bytes());
                Ok(())
            }
        }
    };
}

integer_value!(u16, u16, 2, |raw| Ok(raw), |value| value);
integer_value!(u32, u32, 4, |raw| Ok(raw), |value| value);
integer_value!(NonZeroU16, u16, 2, |raw| NonZeroU16::new(raw).ok_or(ZERO), |value| value.get());
integer_value!(NonZeroU32, u32, 4, |raw| NonZeroU32::new(raw).ok_or(ZERO), |value| value.get());
integer_value!(
    TopicAlias,
    u16,
    2,
    |raw| TopicAlias::new(raw)
        .ok_or(Error::new(ReasonCode::TopicAliasInvalid, "[MQTT-3.3.2-8] a Topic Alias is not zero")),
    |value| value.get()
);
integer_value!(
    bool,
    u8,
    1,
    |raw| match raw {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(NOT_BOOL),
    },
    |value| u8::from(value)
);
integer_value!(
    PayloadFormat,
    u8,
    1,
    |raw| match raw {
        0 => Ok(PayloadFormat::Unspecified),
        1 => Ok(PayloadFormat::Utf8),
        _ => Err(Error::protocol("[3.3.2.3.2] a Payload Format Indicator is 0 or 1")),
    },
    |value| (value as u8)
);
integer_value!(
    MaximumQoS,
    u8,
    1,
    |raw| match raw {
        0 => Ok(MaximumQoS::AtMostOnce),
        1 => Ok(MaximumQoS::AtLeastOnce),
        _ => Err(Error::protocol("[3.2.2.3.4] Maximum QoS is 0 or 1")),
    },
    |value| (value as u8)
);

impl Value<'_> for SubscriptionId {
    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Self::new(reader.varint()?)
            .ok_or(Error::protocol("[3.8.2.1.2] a Subscription Identifier is not zero"))
    }

    #[inline]
    fn size(self) -> usize {
        varint::size(self.get() as usize)
    }

    #[inline]
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        varint::put(self.get() as usize, out)
    }
}

impl<'a> Value<'a> for &'a str {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.text()
    }

    #[inline]
    fn size(self) -> usize {
        2 + self.len()
    }

    #[inline]
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        text::put(self, out)
    }
}

impl<'a> Value<'a> for &'a [u8] {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.binary()
    }

    #[inline]
    fn size(self) -> usize {
        2 + self.len()
    }

    #[inline]
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        text::put_binary(self, out)
    }
}

/// A Response Topic.
impl<'a> Value<'a> for TopicName<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        TopicName::new(reader.text()?).map_err(|_| {
            Error::protocol("[MQTT-3.3.2-14] a Response Topic is a Topic Name without wildcard characters")
        })
    }

    #[inline]
    fn size(self) -> usize {
        self.as_str().size()
    }

    #[inline]
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.as_str().put(out)
    }
}

/// User Property.
impl<'a> Value<'a> for (&'a str, &'a str) {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok((reader.text()?, reader.text()?))
    }

    #[inline]
    fn size(self) -> usize {
        self.0.size() + self.1.size()
    }

    #[inline]
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.put(out)?;
        self.1.put(out)
    }
}

const USER_PROPERTY: u8 = 0x26;
const SUBSCRIPTION_ID: u8 = 0x0b;

impl<'a> Element<'a> for (&'a str, &'a str) {
    type Of<'b> = (&'b str, &'b str);

    fn next(reader: &mut Reader<'a>) -> Option<Self> {
        next_of(USER_PROPERTY, reader)
    }
}

impl<'a> Element<'a> for SubscriptionId {
    type Of<'b> = Self;

    fn next(reader: &mut Reader<'a>) -> Option<Self> {
        next_of(SUBSCRIPTION_ID, reader)
    }
}

/// The next property with identifier `wanted` in a checked block.
fn next_of<'a, T: Value<'a>>(wanted: u8, reader: &mut Reader<'a>) -> Option<T> {
    loop {
        let identifier = reader.u8().ok()?;
        if identifier == wanted {
            return T::read(reader).ok();
        }
        skip(identifier, reader)?;
    }
}

/// Steps over a value by its data type [Table 2-4].
fn skip(identifier: u8, reader: &mut Reader<'_>) -> Option<()> {
    let size = match identifier {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
        0x13 | 0x21 | 0x22 | 0x23 => 2,
        0x02 | 0x11 | 0x18 | 0x27 => 4,
        0x0b => return reader.varint().ok().map(|_| ()),
        0x26 => {
            reader.binary().ok()?;
            return reader.binary().ok().map(|_| ());
        }
        _ => return reader.binary().ok().map(|_| ()),
    };
    reader.take(size).ok().map(|_| ())
}

/// The properties of one packet: those that stand once, then those that may be repeated. They are written in the
/// order in which they are listed.
macro_rules! properties {
    (
        $(#[$doc:meta])*
        $name:ident<$a:lifetime>
        once { $( $(#[$once_doc:meta])* $once_id:literal $once:ident: $once_type:ty, )* }
        repeated { $( $(#[$many_doc:meta])* $many_id:literal $many:ident: $many_type:ty, )* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<$a> {
            $( $(#[$once_doc])* pub $once: Option<$once_type>, )*
            $( $(#[$many_doc])* pub $many: List<$a, $many_type>, )*
        }

        impl<$a> $name<$a> {
            pub(crate) fn decode(block: &$a [u8]) -> Result<Self, Error> {
                let mut properties = Self::default();
                $( let mut $many = 0; )*
                let mut reader = Reader::new(block);
                while !reader.is_empty() {
                    match reader.u8()? {
                        $( $once_id => {
                            if properties.$once.is_some() {
                                return Err(TWICE);
                            }
                            properties.$once = Some(Value::read(&mut reader)?);
                        } )*
                        $( $many_id => {
                            <$many_type as Value<'_>>::read(&mut reader)?;
                            $many += 1;
                        } )*
                        _ => return Err(NOT_ALLOWED),
                    }
                }
                $( if $many > 0 { properties.$many = List::wire(block, $many); } )*
                Ok(properties)
            }

            /// The length of the block, without the field that says so.
            pub(crate) fn size(&self) -> usize {
                let mut size = 0;
                $( if let Some(value) = self.$once { size += 1 + value.size(); } )*
                $( for value in self.$many { size += 1 + value.size(); } )*
                size
            }

            /// The block, without the field that says its length.
            pub(crate) fn put_block(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                $( if let Some(value) = self.$once {
                    out.push($once_id);
                    value.put(out)?;
                } )*
                $( for value in self.$many {
                    out.push($many_id);
                    value.put(out)?;
                } )*
                Ok(())
            }

            /// The length, then the block.
            #[allow(dead_code, reason = "some packets may leave the length away")]
            pub(crate) fn put(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                varint::put(self.size(), out)?;
                self.put_block(out)
            }

            pub fn is_empty(&self) -> bool {
                $( self.$once.is_none() && )* $( self.$many.is_empty() && )* true
            }
        }
    };
}

properties! {
    /// Of a CONNECT [3.1.2.11].
    ConnectProperties<'a>
    once {
        /// In seconds; `u32::MAX` is never.
        0x11 session_expiry_interval: u32,
        0x21 receive_maximum: NonZeroU16,
        0x27 maximum_packet_size: NonZeroU32,
        0x22 topic_alias_maximum: u16,
        0x19 request_response_information: bool,
        0x17 request_problem_information: bool,
        0x15 authentication_method: &'a str,
        0x16 authentication_data: &'a [u8],
    }
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

properties! {
    /// Of a Will Message [3.1.3.2].
    WillProperties<'a>
    once {
        /// In seconds.
        0x18 will_delay_interval: u32,
        /// In seconds, from the moment the Will Message is published.
        0x02 message_expiry_interval: u32,
        0x01 payload_format: PayloadFormat,
        0x03 content_type: &'a str,
        0x08 response_topic: TopicName<'a>,
        0x09 correlation_data: &'a [u8],
    }
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

properties! {
    /// Of a CONNACK [3.2.2.3].
    ConnackProperties<'a>
    once {
        0x11 session_expiry_interval: u32,
        0x21 receive_maximum: NonZeroU16,
        0x24 maximum_qos: MaximumQoS,
        0x25 retain_available: bool,
        0x27 maximum_packet_size: NonZeroU32,
        0x12 assigned_client_identifier: &'a str,
        0x22 topic_alias_maximum: u16,
        0x1f reason_string: &'a str,
        0x28 wildcard_subscription_available: bool,
        0x29 subscription_identifiers_available: bool,
        0x2a shared_subscription_available: bool,
        /// In seconds.
        0x13 server_keep_alive: u16,
        0x1a response_information: &'a str,
        0x1c server_reference: &'a str,
        0x15 authentication_method: &'a str,
        0x16 authentication_data: &'a [u8],
    }
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

properties! {
    /// Of a PUBLISH [3.3.2.3]. What travels with the message comes first and the Message Expiry Interval before all:
    /// [`Forwardable`] counts on it.
    PublishProperties<'a>
    once {
        /// In seconds.
        0x02 message_expiry_interval: u32,
        0x01 payload_format: PayloadFormat,
        0x03 content_type: &'a str,
        0x08 response_topic: TopicName<'a>,
        0x09 correlation_data: &'a [u8],
        0x23 topic_alias: TopicAlias,
    }
    repeated {
        0x26 user_properties: (&'a str, &'a str),
        0x0b subscription_ids: SubscriptionId,
    }
}

properties! {
    /// Of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK [3.4.2.2].
    AckProperties<'a>
    once { 0x1f reason_string: &'a str, }
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

properties! {
    /// Of a SUBSCRIBE [3.8.2.1].
    SubscribeProperties<'a>
    once { 0x0b subscription_id: SubscriptionId, }
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

properties! {
    /// Of an UNSUBSCRIBE [3.10.2.1].
    UnsubscribeProperties<'a>
    once {}
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

properties! {
    /// Of a DISCONNECT [3.14.2.2].
    DisconnectProperties<'a>
    once {
        0x11 session_expiry_interval: u32,
        0x1f reason_string: &'a str,
        0x1c server_reference: &'a str,
    }
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

properties! {
    /// Of an AUTH [3.15.2.2].
    AuthProperties<'a>
    once {
        0x15 authentication_method: &'a str,
        0x16 authentication_data: &'a [u8],
        0x1f reason_string: &'a str,
    }
    repeated { 0x26 user_properties: (&'a str, &'a str), }
}

impl PublishProperties<'_> {
    /// Appends what a Server passes on with the message, to be kept and sent as [`Forwardable`]. Topic Alias and
    /// Subscription Identifiers belong to one Network Connection and stay behind.
    ///
    /// Appends nothing if there is nothing to pass on. An error leaves `out` as it was; received properties give none.
    pub fn put_forwardable(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let forwardable = PublishProperties { topic_alias: None, subscription_ids: List::EMPTY, ..*self };
        let result = forwardable.put_block(out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

impl<'a> WillProperties<'a> {
    /// The properties of the PUBLISH that the Will Message becomes.
    pub fn to_publish(self) -> PublishProperties<'a> {
        PublishProperties {
            message_expiry_interval: self.message_expiry_interval,
            payload_format: self.payload_format,
            content_type: self.content_type,
            response_topic: self.response_topic,
            correlation_data: self.correlation_data,
            user_properties: self.user_properties,
            ..PublishProperties::default()
        }
    }
}

/// The properties that travel with a message, in the bytes in which every receiver of 5.0 gets them.
///
/// They are made once, by [`PublishProperties::put_forwardable`], and copied from then on. The Message Expiry
/// Interval stands first if there is one: each delivery replaces it by what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwardable<'a>(&'a [u8]);

const MESSAGE_EXPIRY: u8 = 0x02;

impl<'a> Forwardable<'a> {
    pub const EMPTY: Self = Self(&[]);

    /// From bytes that `put_forwardable` wrote. They are not checked again: other bytes come out as they went in.
    #[inline]
    pub const fn from_put(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// From bytes of unknown origin.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let properties = PublishProperties::decode(bytes)?;
        if properties.topic_alias.is_some() || !properties.subscription_ids.is_empty() {
            return Err(NOT_ALLOWED);
        }
        let forwardable = Self(bytes);
        if properties.message_expiry_interval != forwardable.message_expiry_interval() {
            return Err(Error::malformed(
                "a Message Expiry Interval stands before all other forwardable properties",
            ));
        }
        Ok(forwardable)
    }

    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// As it was sent, in seconds.
    #[inline]
    pub fn message_expiry_interval(self) -> Option<u32> {
        match self.0 {
            [MESSAGE_EXPIRY, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
            _ => None,
        }
    }

    /// The Message Expiry Interval as it is written, and all the rest.
    #[inline]
    pub(crate) fn split_expiry(self) -> (&'a [u8], &'a [u8]) {
        self.0.split_at(if self.message_expiry_interval().is_some() { 5 } else { 0 })
    }

    /// The single properties.
    pub fn properties(self) -> Result<PublishProperties<'a>, Error> {
        PublishProperties::decode(self.0)
    }
}

/// The properties that one delivery adds to what travels with the message.
#[inline]
pub(crate) fn delivery_size(topic_alias: Option<TopicAlias>, subscription_ids: &[SubscriptionId]) -> usize {
    let alias = if topic_alias.is_some() { 3 } else { 0 };
    alias + subscription_ids.iter().map(|id| 1 + id.size()).sum::<usize>()
}

#[inline]
pub(crate) fn put_delivery(
    topic_alias: Option<TopicAlias>,
    subscription_ids: &[SubscriptionId],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if let Some(alias) = topic_alias {
        out.push(0x23);
        alias.put(out)?;
    }
    for id in subscription_ids {
        out.push(SUBSCRIPTION_ID);
        id.put(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! assert_both_ways {
        ($name:ident { $($fields:tt)* } => $block:expr) => {
            let properties = $name { $($fields)* };
            assert_eq!($name::decode(&$block[..]), Ok(properties));
            let mut block = Vec::new();
            properties.put_block(&mut block).unwrap();
            assert_eq!(block, $block);
            assert_eq!(properties.size(), block.len());
        };
    }

    #[track_caller]
    fn assert_publish_refused(block: &[u8], reason: ReasonCode, rule: &str) {
        let error = PublishProperties::decode(block).unwrap_err();
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.rule.starts_with(rule), "{error}");
    }

    #[test]
    fn a_property_stands_once_unless_it_may_be_repeated() {
        assert_publish_refused(&[0x01, 0, 0x01, 0], ReasonCode::ProtocolError, "[2.2.2.2] only");
        let properties =
            PublishProperties::decode(b"\x26\0\x01a\0\x011\x0b\x01\x26\0\x01a\0\x012\x0b\x02").unwrap();
        assert!(properties.user_properties.iter().eq([("a", "1"), ("a", "2")]));
        assert!(properties.subscription_ids.iter().map(SubscriptionId::get).eq([1, 2]));
        // Of a SUBSCRIBE it is one for all Topic Filters [3.8.2.1.2].
        let error = SubscribeProperties::decode(&[0x0b, 1, 0x0b, 2]).unwrap_err();
        assert_eq!(error.reason, ReasonCode::ProtocolError);
    }

    #[test]
    fn a_property_of_another_packet_is_malformed() {
        // Session Expiry Interval, an identifier nobody knows, and one spelled with two bytes.
        for block in [&[0x11, 0, 0, 0, 1][..], &[0x7f, 0], &[0x81, 0x00, 0]] {
            assert_publish_refused(block, ReasonCode::MalformedPacket, "[2.2.2.2] a property is");
        }
    }

    #[test]
    fn values_out_of_range_are_protocol_errors() {
        assert_publish_refused(&[0x01, 2], ReasonCode::ProtocolError, "[3.3.2.3.2]");
        assert_publish_refused(&[0x0b, 0], ReasonCode::ProtocolError, "[3.8.2.1.2]");
        assert_publish_refused(&[0x23, 0, 0], ReasonCode::TopicAliasInvalid, "[MQTT-3.3.2-8]");
        for topic in [&b"\x08\0\x01#"[..], b"\x08\0\0"] {
            assert_publish_refused(topic, ReasonCode::ProtocolError, "[MQTT-3.3.2-14]");
        }
        for block in [&[0x21, 0, 0][..], &[0x27, 0, 0, 0, 0], &[0x17, 2], &[0x19, 2]] {
            assert_eq!(ConnectProperties::decode(block).unwrap_err().reason, ReasonCode::ProtocolError);
        }
        for block in [&[0x24, 2][..], &[0x25, 2], &[0x28, 2], &[0x29, 2], &[0x2a, 2]] {
            assert_eq!(ConnackProperties::decode(block).unwrap_err().reason, ReasonCode::ProtocolError);
        }
    }

    #[test]
    fn a_value_ends_within_its_block() {
        for block in [&[0x02, 0, 0, 0][..], &[0x03, 0, 5, b'a'], &[0x26, 0, 0], &[0x0b, 0x80]] {
            assert_publish_refused(block, ReasonCode::MalformedPacket, "[4.13.1]");
        }
    }

    /// Reading and writing could share a wrong identifier; these bytes were put together by hand from Table 2-4.
    #[test]
    fn identifiers_are_those_of_the_specification() {
        let mut connect = Vec::new();
        connect.extend_from_slice(b"\x11\0\0\0\x01\x21\0\x02\x27\0\0\0\x03\x22\0\x04\x19\x01\x17\x00");
        connect.extend_from_slice(b"\x15\0\x01m\x16\0\x01d\x26\0\x01k\0\x01v");
        let pairs = [("k", "v")];
        let user_properties = List::new(&pairs);
        assert_both_ways!(ConnectProperties {
            session_expiry_interval: Some(1),
            receive_maximum: NonZeroU16::new(2),
            maximum_packet_size: NonZeroU32::new(3),
            topic_alias_maximum: Some(4),
            request_response_information: Some(true),
            request_problem_information: Some(false),
            authentication_method: Some("m"),
            authentication_data: Some(b"d"),
            user_properties,
        } => connect);

        let mut connack = Vec::new();
        connack.extend_from_slice(
            b"\x11\0\0\0\x01\x21\0\x02\x24\x01\x25\x00\x27\0\0\0\x03\x12\0\x01a\x22\0\x04",
        );
        connack.extend_from_slice(b"\x1f\0\x01r\x28\x01\x29\x00\x2a\x01\x13\0\x05\x1a\0\x01i\x1c\0\x01s");
        connack.extend_from_slice(b"\x15\0\x01m\x16\0\x01d\x26\0\x01k\0\x01v");
        assert_both_ways!(ConnackProperties {
            session_expiry_interval: Some(1),
            receive_maximum: NonZeroU16::new(2),
            maximum_qos: Some(MaximumQoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: NonZeroU32::new(3),
            assigned_client_identifier: Some("a"),
            topic_alias_maximum: Some(4),
            reason_string: Some("r"),
            wildcard_subscription_available: Some(true),
            subscription_identifiers_available: Some(false),
            shared_subscription_available: Some(true),
            server_keep_alive: Some(5),
            response_information: Some("i"),
            server_reference: Some("s"),
            authentication_method: Some("m"),
            authentication_data: Some(b"d"),
            user_properties,
        } => connack);

        let mut will = Vec::new();
        will.extend_from_slice(b"\x18\0\0\0\x01\x02\0\0\0\x02\x01\x01\x03\0\x01c\x08\0\x01r\x09\0\x01d");
        assert_both_ways!(WillProperties {
            will_delay_interval: Some(1),
            message_expiry_interval: Some(2),
            payload_format: Some(PayloadFormat::Utf8),
            content_type: Some("c"),
            response_topic: Some(TopicName::new("r").unwrap()),
            correlation_data: Some(b"d"),
            user_properties: List::EMPTY,
        } => will);

        let ids = [SubscriptionId::new(128).unwrap()];
        let mut publish = Vec::new();
        publish.extend_from_slice(
            b"\x02\0\0\0\x02\x01\x01\x03\0\x01c\x08\0\x01r\x09\0\x01d\x23\0\x07\x26\0\x01k\0\x01v",
        );
        publish.extend_from_slice(b"\x0b\x80\x01");
        assert_both_ways!(PublishProperties {
            message_expiry_interval: Some(2),
            payload_format: Some(PayloadFormat::Utf8),
            content_type: Some("c"),
            response_topic: Some(TopicName::new("r").unwrap()),
            correlation_data: Some(b"d"),
            topic_alias: TopicAlias::new(7),
            user_properties,
            subscription_ids: List::new(&ids),
        } => publish);

        assert_both_ways!(DisconnectProperties {
            session_expiry_interval: Some(1),
            reason_string: Some("r"),
            server_reference: Some("s"),
            user_properties: List::EMPTY,
        } => b"\x11\0\0\0\x01\x1f\0\x01r\x1c\0\x01s");
        assert_both_ways!(AuthProperties {
            authentication_method: Some("m"),
            authentication_data: Some(b"d"),
            reason_string: Some("r"),
            user_properties: List::EMPTY,
        } => b"\x15\0\x01m\x16\0\x01d\x1f\0\x01r");
        assert_both_ways!(SubscribeProperties {
            subscription_id: SubscriptionId::new(300),
            user_properties,
        } => b"\x0b\xac\x02\x26\0\x01k\0\x01v");
    }

    #[test]
    fn topic_alias_and_subscription_identifiers_stay_behind() {
        let pairs = [("a", "1"), ("a", "2")];
        let ids = [SubscriptionId::new(3).unwrap()];
        let properties = PublishProperties {
            message_expiry_interval: Some(60),
            content_type: Some("t"),
            topic_alias: TopicAlias::new(7),
            user_properties: pairs.as_slice().into(),
            subscription_ids: ids.as_slice().into(),
            ..PublishProperties::default()
        };
        let mut bytes = Vec::new();
        properties.put_forwardable(&mut bytes).unwrap();
        let forwardable = Forwardable::from_put(&bytes);
        assert_eq!(Forwardable::parse(&bytes), Ok(forwardable));
        assert_eq!(forwardable.message_expiry_interval(), Some(60));
        let left = PublishProperties { topic_alias: None, subscription_ids: List::EMPTY, ..properties };
        assert_eq!(forwardable.properties(), Ok(left));
    }

    #[test]
    fn foreign_bytes_do_not_pass_as_forwardable() {
        assert!(Forwardable::parse(&[0x23, 0, 1]).is_err());
        assert!(Forwardable::parse(&[0x0b, 1]).is_err());
        assert!(Forwardable::parse(&[0x01, 1, 0x02, 0, 0, 0, 1]).is_err());
        assert_eq!(Forwardable::parse(&[]), Ok(Forwardable::EMPTY));
    }

    #[test]
    fn what_cannot_be_written_leaves_no_trace() {
        let long = "a".repeat(65_536);
        let properties = PublishProperties { content_type: Some(&long), ..PublishProperties::default() };
        let mut out = alloc::vec![7];
        assert_eq!(properties.put_forwardable(&mut out), Err(EncodeError::TooLong));
        assert_eq!(out, [7]);
    }

    #[test]
    fn a_subscription_identifier_fits_a_variable_byte_integer() {
        assert_eq!(SubscriptionId::new(0), None);
        assert_eq!(SubscriptionId::new(268_435_456), None);
        assert_eq!(SubscriptionId::new(268_435_455).unwrap().get(), 268_435_455);
    }
}
