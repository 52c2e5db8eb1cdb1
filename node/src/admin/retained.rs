//! `/retained`: Retained Messages.

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use convoy_actors::query::{Answer, Query, RetainedEntry};
use convoy_ids::SlotId;
use convoy_wire::Forwardable;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Gathering, Page};
use super::publish::Properties;
use super::subscriptions::{check_filter, check_topic};
use super::time::rfc3339;
use super::{Problem, Shared};

const KIND: u8 = b'r';

/// A Retained Message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Retained {
    pub topic: String,
    pub qos: u8,
    pub payload_bytes: u64,
    pub published: String,
    /// When its Message Expiry Interval ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A Retained Message with all that is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Whole {
    #[serde(flatten)]
    pub message: Retained,
    pub payload_base64: String,
    /// The payload as text, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    pub properties: Properties,
}

impl From<&RetainedEntry> for Retained {
    fn from(entry: &RetainedEntry) -> Self {
        Self {
            topic: entry.topic.clone(),
            qos: entry.qos,
            payload_bytes: entry.payload_bytes,
            published: rfc3339(entry.published_at),
            expires: entry.expires_at.map(rfc3339),
        }
    }
}

/// What `/retained` lists.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Topic Filter that the topics match; all by default.
    filter: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, up to 1000.
    limit: Option<usize>,
}

/// Retained Messages in the order of their slots, without their payloads
#[utoipa::path(
    get, path = "/api/v1/retained", tag = "retained", params(Filter),
    responses((status = 200, body = Page<Retained>), (status = 400, body = Problem))
)]
pub(super) async fn list(
    shared: web::Data<Shared>,
    filter: web::Query<Filter>,
) -> Result<web::Json<Page<Retained>>, Problem> {
    let shards = &shared.state.shards;
    let Filter { filter, cursor, limit } = filter.into_inner();
    let filter = filter.unwrap_or_else(|| "#".to_owned());
    check_filter(&filter)?;
    let places = shards.layout.places_of_filter(&filter);
    let is_everywhere = places.iter().any(|place| SlotId(place.slot) == SlotId::META);
    let mut page = Gathering::begin(KIND, cursor.as_deref(), limit, shards.slots())?;
    while let Some((place, limit)) = page.ask() {
        if !is_everywhere && places.iter().all(|of| of.slot != place.slot) {
            page.skip();
            continue;
        }
        let slot = SlotId(place.slot);
        let query = Query::Retained { slot, filter: filter.clone(), at: place.key.clone(), limit };
        let answer = shards.ask(query, &format!("slot {slot}")).await?;
        let Answer::Retained { messages, next } = answer else { return Err(Problem::out_of_place()) };
        page.found(messages.iter().map(Retained::from), next);
    }
    Ok(web::Json(page.finish()))
}

/// One Retained Message, with payload and properties
#[utoipa::path(
    get, path = "/api/v1/retained/{topic}", tag = "retained",
    params(("topic" = String, Path, description = "Topic Name; its slashes may be encoded as %2F or not")),
    responses((status = 200, body = Whole), (status = 404, body = Problem))
)]
pub(super) async fn one(
    shared: web::Data<Shared>,
    topic: web::Path<String>,
) -> Result<web::Json<Whole>, Problem> {
    let topic = topic.into_inner();
    check_topic(&topic)?;
    let subject = format!("Retained Message of {topic}");
    let answer = shared.state.shards.ask(Query::RetainedMessage { topic }, &subject).await?;
    let Answer::Retained { messages, .. } = answer else { return Err(Problem::out_of_place()) };
    let entry = messages.first().ok_or_else(Problem::out_of_place)?;
    let properties = Forwardable::from_put(&entry.properties).properties();
    let properties = properties.map_err(|_| Problem::out_of_place())?;
    Ok(web::Json(Whole {
        message: Retained::from(entry),
        payload_base64: BASE64.encode(&entry.payload),
        payload: String::from_utf8(entry.payload.clone()).ok(),
        properties: Properties::of(&properties),
    }))
}

/// Deletes a Retained Message
#[utoipa::path(
    delete, path = "/api/v1/retained/{topic}", tag = "retained",
    params(("topic" = String, Path, description = "Topic Name; its slashes may be encoded as %2F or not")),
    responses((status = 204, description = "It is gone, also after a crash"), (status = 404, body = Problem))
)]
pub(super) async fn delete(
    shared: web::Data<Shared>,
    topic: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let topic = topic.into_inner();
    check_topic(&topic)?;
    let subject = format!("Retained Message of {topic}");
    tracing::info!(topic, "a Retained Message is deleted by an operator");
    shared.state.shards.ask(Query::DeleteRetained { topic }, &subject).await?;
    Ok(HttpResponse::NoContent().finish())
}
