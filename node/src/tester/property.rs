//! `-D COMMAND IDENTIFIER VALUE`: which property goes on which packet, by the names of the specification.

use convoy_wire::{
    ConnectProperties, DisconnectProperties, PayloadFormat, PublishProperties, SubscribeProperties,
    SubscriptionId, TopicAlias, TopicName, UnsubscribeProperties, UserProperties, WillProperties,
};
use std::num::{NonZeroU16, NonZeroU32};

/// The packet, or the part of one, that a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Connect,
    Will,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(u32),
    Text(String),
    Pair(String, String),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A number in this range.
    Number(u32, u32),
    Text,
    Topic,
    Pair,
}

const ANY: Kind = Kind::Number(0, u32::MAX);
const U16: Kind = Kind::Number(0, 65_535);
const POSITIVE_U16: Kind = Kind::Number(1, 65_535);
const FLAG: Kind = Kind::Number(0, 1);

/// Which properties a tester can set, by packet [2.2.2.2].
const ALLOWED: &[(On, &str, Kind)] = &[
    (On::Connect, "authentication-data", Kind::Text),
    (On::Connect, "authentication-method", Kind::Text),
    (On::Connect, "maximum-packet-size", Kind::Number(1, u32::MAX)),
    (On::Connect, "receive-maximum", POSITIVE_U16),
    (On::Connect, "request-problem-information", FLAG),
    (On::Connect, "request-response-information", FLAG),
    (On::Connect, "session-expiry-interval", ANY),
    (On::Connect, "topic-alias-maximum", U16),
    (On::Connect, "user-property", Kind::Pair),
    (On::Will, "content-type", Kind::Text),
    (On::Will, "correlation-data", Kind::Text),
    (On::Will, "message-expiry-interval", ANY),
    (On::Will, "payload-format-indicator", FLAG),
    (On::Will, "response-topic", Kind::Topic),
    (On::Will, "user-property", Kind::Pair),
    (On::Will, "will-delay-interval", ANY),
    (On::Publish, "content-type", Kind::Text),
    (On::Publish, "correlation-data", Kind::Text),
    (On::Publish, "message-expiry-interval", ANY),
    (On::Publish, "payload-format-indicator", FLAG),
    (On::Publish, "response-topic", Kind::Topic),
    (On::Publish, "topic-alias", POSITIVE_U16),
    (On::Publish, "user-property", Kind::Pair),
    (On::Subscribe, "subscription-identifier", Kind::Number(1, 268_435_455)),
    (On::Subscribe, "user-property", Kind::Pair),
    (On::Unsubscribe, "user-property", Kind::Pair),
    (On::Disconnect, "session-expiry-interval", ANY),
    (On::Disconnect, "user-property", Kind::Pair),
];

/// All properties that were asked for. None of them is repeated but User Property.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    set: Vec<(On, &'static str, Value)>,
}

impl Properties {
    /// From the words behind all `-D`: three each, four for a User Property.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut properties = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(command) = words.next() {
            let on = match command {
                "connect" => On::Connect,
                "will" => On::Will,
                "publish" => On::Publish,
                "subscribe" => On::Subscribe,
                "unsubscribe" => On::Unsubscribe,
                "disconnect" => On::Disconnect,
                _ => {
                    return Err(format!(
                        "-D {command}: expected connect, will, publish, subscribe, unsubscribe or disconnect"
                    ));
                }
            };
            let identifier = words.next().unwrap_or_default();
            let Some((_, name, kind)) = ALLOWED.iter().find(|(o, name, _)| *o == on && *name == identifier)
            else {
                let names: Vec<_> =
                    ALLOWED.iter().filter(|(o, ..)| *o == on).map(|(_, name, _)| *name).collect();
                return Err(format!("-D {command} {identifier}: expected {}", names.join(", ")));
            };
            let value = words.next().ok_or_else(|| format!("-D {command} {identifier}: what value?"))?;
            let value = match kind {
                Kind::Pair => {
                    let missing = || format!("-D {command} {identifier} {value}: a name and a value");
                    Value::Pair(value.to_owned(), words.next().ok_or_else(missing)?.to_owned())
                }
                Kind::Text => Value::Text(value.to_owned()),
                Kind::Topic => match TopicName::new(value) {
                    Ok(_) => Value::Text(value.to_owned()),
                    Err(error) => return Err(format!("-D {command} {identifier} {value}: {error}")),
                },
                Kind::Number(low, high) => match value.parse() {
                    Ok(number) if (*low..=*high).contains(&number) => Value::Number(number),
                    _ => return Err(format!("-D {command} {identifier} {value}: expected {low} to {high}")),
                },
            };
            let repeatable = matches!(kind, Kind::Pair);
            if !repeatable && properties.get(on, name).is_some() {
                return Err(format!("-D {command} {identifier}: given twice"));
            }
            properties.set.push((on, name, value));
        }
        Ok(properties)
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    pub fn has(&self, on: On) -> bool {
        self.set.iter().any(|(o, ..)| *o == on)
    }

    fn get(&self, on: On, name: &str) -> Option<&Value> {
        self.set.iter().find(|(o, n, _)| *o == on && *n == name).map(|(.., value)| value)
    }

    pub fn number(&self, on: On, name: &str) -> Option<u32> {
        match self.get(on, name)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Pair(..) => None,
        }
    }

    fn text(&self, on: On, name: &str) -> Option<&str> {
        match self.get(on, name)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Pair(..) => None,
        }
    }

    fn u16(&self, on: On, name: &str) -> Option<u16> {
        self.number(on, name).and_then(|number| u16::try_from(number).ok())
    }

    fn flag(&self, on: On, name: &str) -> Option<bool> {
        self.number(on, name).map(|number| number == 1)
    }

    fn topic(&self, on: On) -> Option<TopicName<'_>> {
        self.text(on, "response-topic").and_then(|topic| TopicName::new(topic).ok())
    }

    fn payload_format(&self, on: On) -> Option<PayloadFormat> {
        self.flag(on, "payload-format-indicator").map(|utf8| match utf8 {
            true => PayloadFormat::Utf8,
            false => PayloadFormat::Unspecified,
        })
    }

    /// User Properties as pairs: the structs below borrow a slice of them.
    pub fn pairs<'p>(&'p self, on: On) -> Vec<(&'p str, &'p str)> {
        let pair = |(o, _, value): &'p (On, &'static str, Value)| match value {
            Value::Pair(name, value) if *o == on => Some((name.as_str(), value.as_str())),
            _ => None,
        };
        self.set.iter().filter_map(pair).collect()
    }

    pub fn connect<'a>(&'a self, pairs: &'a [(&'a str, &'a str)]) -> ConnectProperties<'a> {
        let on = On::Connect;
        ConnectProperties {
            session_expiry_interval: self.number(on, "session-expiry-interval"),
            receive_maximum: self.u16(on, "receive-maximum").and_then(NonZeroU16::new),
            maximum_packet_size: self.number(on, "maximum-packet-size").and_then(NonZeroU32::new),
            topic_alias_maximum: self.u16(on, "topic-alias-maximum"),
            request_response_information: self.flag(on, "request-response-information"),
            request_problem_information: self.flag(on, "request-problem-information"),
            authentication_method: self.text(on, "authentication-method"),
            authentication_data: self.text(on, "authentication-data").map(str::as_bytes),
            user_properties: UserProperties::new(pairs),
        }
    }

    pub fn will<'a>(&'a self, pairs: &'a [(&'a str, &'a str)]) -> WillProperties<'a> {
        let on = On::Will;
        WillProperties {
            will_delay_interval: self.number(on, "will-delay-interval"),
            message_expiry_interval: self.number(on, "message-expiry-interval"),
            payload_format: self.payload_format(on),
            content_type: self.text(on, "content-type"),
            response_topic: self.topic(on),
            correlation_data: self.text(on, "correlation-data").map(str::as_bytes),
            user_properties: UserProperties::new(pairs),
        }
    }

    pub fn publish<'a>(&'a self, pairs: &'a [(&'a str, &'a str)]) -> PublishProperties<'a> {
        let on = On::Publish;
        PublishProperties {
            message_expiry_interval: self.number(on, "message-expiry-interval"),
            payload_format: self.payload_format(on),
            content_type: self.text(on, "content-type"),
            response_topic: self.topic(on),
            correlation_data: self.text(on, "correlation-data").map(str::as_bytes),
            topic_alias: self.u16(on, "topic-alias").and_then(TopicAlias::new),
            user_properties: UserProperties::new(pairs),
            ..PublishProperties::default()
        }
    }

    pub fn subscribe<'a>(&'a self, pairs: &'a [(&'a str, &'a str)]) -> SubscribeProperties<'a> {
        SubscribeProperties {
            subscription_id: self
                .number(On::Subscribe, "subscription-identifier")
                .and_then(SubscriptionId::new),
            user_properties: UserProperties::new(pairs),
        }
    }

    pub fn unsubscribe<'a>(&self, pairs: &'a [(&'a str, &'a str)]) -> UnsubscribeProperties<'a> {
        UnsubscribeProperties { user_properties: UserProperties::new(pairs) }
    }

    pub fn disconnect<'a>(&'a self, pairs: &'a [(&'a str, &'a str)]) -> DisconnectProperties<'a> {
        DisconnectProperties {
            session_expiry_interval: self.number(On::Disconnect, "session-expiry-interval"),
            user_properties: UserProperties::new(pairs),
            ..DisconnectProperties::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Properties, String> {
        Properties::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn properties_go_on_the_packet_they_were_named_for() {
        let properties = parse(
            "publish content-type text/plain publish user-property a 1 publish user-property b 2 \
             connect receive-maximum 7 will will-delay-interval 5",
        )
        .unwrap();
        let pairs = properties.pairs(On::Publish);
        let publish = properties.publish(&pairs);
        assert_eq!(publish.content_type, Some("text/plain"));
        assert!(publish.user_properties.iter().eq([("a", "1"), ("b", "2")]));
        assert_eq!(properties.connect(&[]).receive_maximum, NonZeroU16::new(7));
        assert_eq!(properties.will(&[]).will_delay_interval, Some(5));
        assert!(properties.pairs(On::Connect).is_empty());
    }

    #[test]
    fn what_a_packet_cannot_have_is_refused_by_name() {
        for (text, part) in [
            ("puback user-property a b", "expected connect"),
            ("subscribe content-type x", "expected subscription-identifier, user-property"),
            ("connect receive-maximum 0", "expected 1 to 65535"),
            ("connect receive-maximum many", "expected 1 to 65535"),
            ("publish topic-alias 1 publish topic-alias 2", "given twice"),
            ("publish response-topic a/#", "response-topic a/#"),
            ("publish user-property a", "a name and a value"),
            ("publish content-type", "what value?"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
