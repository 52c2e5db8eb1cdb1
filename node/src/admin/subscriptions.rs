//! `/subscriptions`, and those of one Client.

use actix_web::web;
use convoy_actors::query::{Answer, Query, SubscriptionEntry, SubscriptionFilter};
use convoy_ids::SlotId;
use convoy_wire::{TopicFilter, TopicName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Gathering, Page};
use super::{Problem, Shared};

const KIND: u8 = b's';

/// A Subscription of a Client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    pub client_id: String,
    /// With Share Name, if it is shared.
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// Subscription Identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<u32>,
    /// The slots that hold its routes; the meta group has the last number there can be.
    pub slots: Vec<u16>,
}

impl From<SubscriptionEntry> for Subscription {
    fn from(entry: SubscriptionEntry) -> Self {
        let SubscriptionEntry { client_id, filter, subscription, places } = entry;
        let mut slots: Vec<u16> = places.iter().map(|place| place.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        Self {
            client_id,
            filter,
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            identifier: (subscription.identifier != 0).then_some(subscription.identifier),
            slots,
        }
    }
}

/// What `/subscriptions` lists.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Of this Client alone.
    client_id: Option<String>,
    /// To exactly this Topic Filter.
    filter: Option<String>,
    /// That match this Topic Name.
    topic: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, up to 1000.
    limit: Option<usize>,
}

/// Subscriptions in the order of their slots and Sessions
#[utoipa::path(
    get, path = "/api/v1/subscriptions", tag = "subscriptions", params(Filter),
    responses((status = 200, body = Page<Subscription>), (status = 400, body = Problem))
)]
pub(super) async fn list(
    shared: web::Data<Shared>,
    filter: web::Query<Filter>,
) -> Result<web::Json<Page<Subscription>>, Problem> {
    let shards = &shared.state.shards;
    if let Some(topic) = &filter.topic {
        check_topic(topic)?;
    }
    let fits = SubscriptionFilter { filter: filter.filter.clone(), topic: filter.topic.clone() };
    let of = filter.client_id.as_ref().map(|client_id| shards.layout.slot_of_client(client_id).0);
    let mut page = Gathering::begin(KIND, filter.cursor.as_deref(), filter.limit, shards.slots())?;
    while let Some((place, limit)) = page.ask() {
        if of.is_some_and(|of| of != place.slot) {
            page.skip();
            continue;
        }
        let client_id = filter.client_id.clone();
        let subject = client_id.as_ref().map_or("slot".to_owned(), |client_id| format!("Client {client_id}"));
        let query = Query::Subscriptions {
            slot: SlotId(place.slot),
            client_id,
            fits: fits.clone(),
            after: place.key.clone(),
            limit,
        };
        let answer = shards.ask(query, &subject).await?;
        let Answer::Subscriptions { subscriptions, next } = answer else {
            return Err(Problem::out_of_place());
        };
        page.found(subscriptions.into_iter().map(Subscription::from), next);
    }
    Ok(web::Json(page.finish()))
}

/// Subscriptions of one Client
#[utoipa::path(
    get, path = "/api/v1/clients/{client_id}/subscriptions", tag = "clients",
    params(("client_id" = String, Path), Of),
    responses((status = 200, body = Page<Subscription>), (status = 404, body = Problem))
)]
pub(super) async fn of_client(
    shared: web::Data<Shared>,
    client_id: web::Path<String>,
    of: web::Query<Of>,
) -> Result<web::Json<Page<Subscription>>, Problem> {
    let Of { cursor, limit } = of.into_inner();
    let filter = Filter { client_id: Some(client_id.into_inner()), cursor, limit, ..Filter::default() };
    list(shared, web::Query(filter)).await
}

/// A page of the Subscriptions of one Client.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Of {
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, up to 1000.
    limit: Option<usize>,
}

/// Refuses what is no Topic Name, and says why.
pub(super) fn check_topic(topic: &str) -> Result<(), Problem> {
    match TopicName::new(topic) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::bad_request(format!("{topic:?} is no Topic Name: {error}"))),
    }
}

/// Refuses what is no Topic Filter, and says why.
pub(super) fn check_filter(filter: &str) -> Result<(), Problem> {
    match TopicFilter::new(filter) {
        Ok(filter) if filter.is_shared() => {
            Err(Problem::bad_request("a Topic Filter without $share and Share Name is expected"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::bad_request(format!("{filter:?} is no Topic Filter: {error}"))),
    }
}
