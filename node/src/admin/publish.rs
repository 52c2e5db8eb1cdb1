//! `/publish`: an operator publishes a message, and is answered when it is safe.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use convoy_actors::query::{Publication, Query};
use convoy_wire::{List, PayloadFormat, PublishProperties, TopicName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::subscriptions::check_topic;
use super::{Problem, Shared};

/// A message to be published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub topic: String,
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in base64, in place of `payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// 0, or 1 to be answered once it is safe.
    #[serde(default)]
    pub qos: u8,
    #[serde(default)]
    pub retain: bool,
    #[serde(default)]
    pub properties: Properties,
}

/// Properties of MQTT 5.0 that travel with a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Properties {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_expiry_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_data_base64: Option<String>,
    /// The payload is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_is_utf8: Option<bool>,
    /// Pairs of name and value, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_properties: Vec<(String, String)>,
}

impl Properties {
    pub(super) fn of(properties: &PublishProperties<'_>) -> Self {
        Self {
            message_expiry_interval: properties.message_expiry_interval,
            content_type: properties.content_type.map(str::to_owned),
            response_topic: properties.response_topic.map(|topic| topic.as_str().to_owned()),
            correlation_data_base64: properties.correlation_data.map(|bytes| BASE64.encode(bytes)),
            payload_is_utf8: properties.payload_format.map(|format| format == PayloadFormat::Utf8),
            user_properties: properties
                .user_properties
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// As they travel.
    fn put(&self) -> Result<Vec<u8>, Problem> {
        let correlation_data = self
            .correlation_data_base64
            .as_ref()
            .map(|text| BASE64.decode(text))
            .transpose()
            .map_err(|_| Problem::bad_request("correlation_data_base64 is no base64"))?;
        let response_topic = self.response_topic.as_deref().map(TopicName::new).transpose();
        let response_topic = response_topic
            .map_err(|error| Problem::bad_request(format!("response_topic is no Topic Name: {error}")))?;
        let pairs: Vec<(&str, &str)> =
            self.user_properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let properties = PublishProperties {
            message_expiry_interval: self.message_expiry_interval,
            content_type: self.content_type.as_deref(),
            response_topic,
            correlation_data: correlation_data.as_deref(),
            payload_format: self.payload_is_utf8.map(|is_utf8| match is_utf8 {
                true => PayloadFormat::Utf8,
                false => PayloadFormat::Unspecified,
            }),
            user_properties: List::new(&pairs),
            ..PublishProperties::default()
        };
        let mut bytes = Vec::new();
        if properties.is_empty() {
            return Ok(bytes);
        }
        let put = properties.put_forwardable(&mut bytes);
        put.map_err(|error| Problem::bad_request(format!("properties cannot be written: {error}")))?;
        Ok(bytes)
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// It is on disk for every Session that outlives its connection and was subscribed; false at QoS 0, which nobody
    /// promises anything of.
    pub acknowledged: bool,
}

/// Publishes a message, and answers when it is safe
#[utoipa::path(
    post, path = "/api/v1/publish", tag = "publish", request_body = Message,
    responses(
        (status = 200, body = Published), (status = 400, body = Problem), (status = 413, body = Problem),
        (status = 507, body = Problem, description = "There is no room on the disk")
    )
)]
pub(super) async fn publish(
    shared: web::Data<Shared>,
    message: web::Json<Message>,
) -> Result<HttpResponse, Problem> {
    let message = message.into_inner();
    let limits = &shared.state.limits;
    check_topic(&message.topic)?;
    let levels = message.topic.split('/').count();
    if message.topic.len() > usize::from(limits.topic_bytes) || levels > usize::from(limits.topic_levels) {
        return Err(Problem::bad_request("the topic exceeds limits.topic_bytes or limits.topic_levels"));
    }
    if message.topic.starts_with('$') {
        return Err(Problem::bad_request("topics that begin with $ are the node's own"));
    }
    if message.qos > 1 {
        return Err(Problem::bad_request("qos is 0 or 1"));
    }
    let payload = match (message.payload, message.payload_base64) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("payload or payload_base64, and not both"));
        }
        (text, None) => text.unwrap_or_default().into_bytes(),
        (None, Some(text)) => {
            BASE64.decode(text).map_err(|_| Problem::bad_request("payload_base64 is no base64"))?
        }
    };
    let properties = message.properties.put()?;
    if payload.len() + properties.len() + message.topic.len() > limits.packet_bytes as usize {
        let detail = format!("the message exceeds limits.packet_bytes, {}", limits.packet_bytes);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let subject = format!("topic {}", message.topic);
    let (qos, retain) = (message.qos, message.retain);
    let publication = Publication { topic: message.topic, payload, qos, retain, properties };
    shared.state.shards.ask(Query::Publish(Box::new(publication)), &subject).await?;
    Ok(HttpResponse::Ok().json(Published { acknowledged: qos > 0 }))
}
