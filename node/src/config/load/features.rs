//! `[features]`: what of MQTT 5.0 this node offers. Clients of 5.0 are told in CONNACK what is off.

use convoy_actors::Features;
use convoy_wire::{QoS, TopicName};

use super::{Expected, Reader, quote, text};
use crate::config::sources::Value;

/// Which QoS a Client may publish with.
const QUALITIES: [(&str, QoS); 3] =
    [("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)];

impl Reader {
    pub(super) fn features(&mut self) -> Features {
        let mut options = Features::default();
        let mut section = self.section("features");
        section.read("maximum_qos", &mut options.maximum_qos, quality, |qos| qos.as_u8().to_string());
        section.boolean("retain_available", &mut options.retain_available);
        section.boolean("wildcard_subscription_available", &mut options.wildcard_subscription_available);
        section
            .boolean("subscription_identifiers_available", &mut options.subscription_identifiers_available);
        section.boolean("shared_subscription_available", &mut options.shared_subscription_available);
        section.boolean("check_payload_format", &mut options.check_payload_format);
        section
            .read("response_information", &mut options.response_information, beginning, |text| quote(text));
        section.end();
        options
    }
}

fn quality(value: &Value) -> Result<QoS, Expected> {
    let number = match value {
        Value::Integer(number) => number.to_string(),
        Value::Bare(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    let named = QUALITIES.iter().find(|(name, _)| *name == number);
    named.map(|(_, qos)| *qos).ok_or_else(|| "0, 1 or 2".to_owned())
}

/// The beginning of a Topic Name, to which a Client Identifier is added.
fn beginning(value: &Value) -> Result<Box<str>, Expected> {
    match text(value) {
        Some(text) if text.is_empty() || TopicName::new(text).is_ok() => Ok(text.into()),
        _ => Err("the beginning of a Topic Name, such as \"answers/\", or nothing".to_owned()),
    }
}
