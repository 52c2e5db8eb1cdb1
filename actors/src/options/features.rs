//! What of MQTT 5.0 an operator has switched off, and what a Server may do without (3.2.2.3). What is off is said in
//! CONNACK, so a Client that asks for it all the same breaks a rule. 3.x cannot be told: its connection is closed, or its
//! Subscription refused.

use convoy_wire::{
    ConnackProperties, Connect, MaximumQoS, PayloadFormat, ProtocolVersion, Publish, QoS, ReasonCode,
    Subscription, Will,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Of what Clients publish; Subscriptions are granted no more. More is answered with QoS not supported (0x9B) and the end
    /// of the connection.
    pub maximum_qos: QoS,
    /// Whether messages may be retained. Else the answer is Retain not supported (0x9A) and the end of the connection.
    pub retain_available: bool,
    /// Whether Topic Filters may have `+` and `#`. Else a Client of 5.0 is disconnected with Wildcard Subscriptions not
    /// supported (0xA2), and SUBACK refuses the Topic Filter to others.
    pub wildcard_subscription_available: bool,
    /// Whether Subscriptions may have identifiers. Else the same with Subscription Identifiers not supported (0xA1).
    pub subscription_identifiers_available: bool,
    /// Whether there are Shared Subscriptions. Else the same with Shared Subscriptions not supported (0x9E).
    pub shared_subscription_available: bool,
    /// A payload that is said to be UTF-8 has to be; else it is refused with Payload format invalid (0x99).
    pub check_payload_format: bool,
    /// A Client that asks is told this and its Client Identifier as Response Information; empty for none.
    pub response_information: Box<str>,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            check_payload_format: false,
            response_information: "".into(),
        }
    }
}

impl Features {
    /// Says in CONNACK what is off; what is not said is on.
    pub fn announce(&self, properties: &mut ConnackProperties<'_>) {
        let off = |available: bool| (!available).then_some(false);
        properties.maximum_qos = match self.maximum_qos {
            QoS::AtMostOnce => Some(MaximumQoS::AtMostOnce),
            QoS::AtLeastOnce => Some(MaximumQoS::AtLeastOnce),
            QoS::ExactlyOnce => None,
        };
        properties.retain_available = off(self.retain_available);
        properties.wildcard_subscription_available = off(self.wildcard_subscription_available);
        properties.subscription_identifiers_available = off(self.subscription_identifiers_available);
        properties.shared_subscription_available = off(self.shared_subscription_available);
    }

    /// A PUBLISH that ends the connection.
    #[inline]
    pub fn check_publish(&self, qos: QoS, retain: bool) -> Result<(), ReasonCode> {
        if qos > self.maximum_qos {
            return Err(ReasonCode::QoSNotSupported);
        }
        if retain && !self.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        Ok(())
    }

    /// Whether the payload is what its Payload Format Indicator says.
    #[inline]
    pub fn accepts_payload(&self, publish: &Publish<'_>) -> bool {
        !self.check_payload_format || is_as_said(publish.properties.payload_format, publish.payload)
    }

    /// A Will Message that refuses the connection [MQTT-3.2.2-12], [MQTT-3.2.2-13].
    pub fn check_will(&self, will: &Will<'_>) -> Result<(), ReasonCode> {
        self.check_publish(will.qos, will.retain)?;
        if self.check_payload_format && !is_as_said(will.properties.payload_format, will.payload) {
            return Err(ReasonCode::PayloadFormatInvalid);
        }
        Ok(())
    }

    /// The Reason Code of one Subscription, or the one that ends the connection: a Client of 5.0 was told what is off.
    pub fn check_subscription(
        &self,
        version: ProtocolVersion,
        subscription: &Subscription<'_>,
        has_identifier: bool,
    ) -> Result<ReasonCode, ReasonCode> {
        let refusal = if has_identifier && !self.subscription_identifiers_available {
            Some(ReasonCode::SubscriptionIdentifiersNotSupported)
        } else if subscription.filter.is_shared() && !self.shared_subscription_available {
            Some(ReasonCode::SharedSubscriptionsNotSupported)
        } else if subscription.filter.has_wildcard() && !self.wildcard_subscription_available {
            Some(ReasonCode::WildcardSubscriptionsNotSupported)
        } else {
            None
        };
        match refusal {
            None => Ok(ReasonCode::granted(subscription.options.qos.min(self.maximum_qos))),
            Some(reason) if version.has_properties() => Err(reason),
            Some(reason) => Ok(reason),
        }
    }

    /// Where the answers for a Client may go, if it asks [MQTT-3.1.2-28].
    pub fn response_information(&self, connect: &Connect<'_>, client_id: &str) -> Option<String> {
        let asks = connect.properties.request_response_information == Some(true);
        // It becomes part of Topic Names.
        let is_usable = !client_id.contains(['+', '#']);
        (asks && is_usable && !self.response_information.is_empty())
            .then(|| format!("{}{client_id}", self.response_information))
    }
}

fn is_as_said(format: Option<PayloadFormat>, payload: &[u8]) -> bool {
    format != Some(PayloadFormat::Utf8) || std::str::from_utf8(payload).is_ok()
}
