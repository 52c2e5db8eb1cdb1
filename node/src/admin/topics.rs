//! `/topics`: Topic Filters with subscribers, and who would get a message on a topic.

use actix_web::web;
use convoy_actors::SessionNumber;
use convoy_actors::query::{Answer, FilterCursor, FilterEntry, Query};
use convoy_ids::SlotId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

use super::page::{Gathering, Page};
use super::subscriptions::check_topic;
use super::{Problem, Shared};

const KIND: u8 = b't';

/// Receivers named; beyond it they are counted only.
const RECEIVERS: usize = 1000;

/// A Topic Filter that somebody has subscribed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Topic {
    pub filter: String,
    /// Sessions with a Subscription of their own.
    pub subscribers: u64,
    /// Shared Subscriptions to it.
    pub shares: Vec<Share>,
    /// The slot of its first partition.
    pub slot: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    pub name: String,
    pub members: u64,
}

impl From<FilterEntry> for Topic {
    fn from(entry: FilterEntry) -> Self {
        let FilterEntry { filter, place, subscribers, shares } = entry;
        let shares = shares.into_iter().map(|(name, members)| Share { name, members }).collect();
        Self { filter, subscribers, shares, slot: place.slot }
    }
}

/// A page of `/topics`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, up to 1000.
    limit: Option<usize>,
}

/// Topic Filters with subscribers
#[utoipa::path(
    get, path = "/api/v1/topics", tag = "topics", params(Wanted),
    responses((status = 200, body = Page<Topic>), (status = 400, body = Problem))
)]
pub(super) async fn list(
    shared: web::Data<Shared>,
    wanted: web::Query<Wanted>,
) -> Result<web::Json<Page<Topic>>, Problem> {
    let shards = &shared.state.shards;
    // Behind the slots comes the meta group, which keeps what begins with a wildcard.
    let end = shards.slots() + 1;
    let mut page = Gathering::begin(KIND, wanted.cursor.as_deref(), wanted.limit, end)?;
    while let Some((place, limit)) = page.ask() {
        let slot = if place.slot == shards.slots() { SlotId::META } else { SlotId(place.slot) };
        let query = Query::Filters { slot, from: read(place.key.as_deref())?, limit };
        let answer = shards.ask(query, &format!("slot {slot}")).await?;
        let Answer::Filters { mut filters, next } = answer else { return Err(Problem::out_of_place()) };
        // Two filters can end at one place, so one more than wanted may come: it is told of again.
        filters.truncate(limit.max(2));
        page.found(filters.into_iter().map(Topic::from), next.map(|next| write(&next)));
    }
    Ok(web::Json(page.finish()))
}

fn write(cursor: &FilterCursor) -> Vec<u8> {
    [&cursor.partition.to_be_bytes()[..], &cursor.node.to_be_bytes()].concat()
}

fn read(key: Option<&[u8]>) -> Result<FilterCursor, Problem> {
    let Some(key) = key else { return Ok(FilterCursor::default()) };
    let parts = key.split_first_chunk::<8>().and_then(|(partition, node)| {
        let node = u32::from_be_bytes(node.try_into().ok()?);
        Some(FilterCursor { partition: u64::from_be_bytes(*partition), node })
    });
    parts.ok_or_else(|| Problem::bad_request("cursor is not one that this listing gave out as next"))
}

/// Where a message on a topic goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Way {
    pub topic: String,
    /// Key of its partition, in hexadecimal digits.
    pub partition: String,
    /// The slot of the partition, which keeps its order.
    pub slot: u16,
    /// Subscriptions that match; more than are named, perhaps.
    pub matches: u64,
    pub receivers: Vec<Receiver>,
}

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Receiver {
    /// Absent for a Session that has just ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Maximum QoS of the Subscription.
    pub qos: u8,
    /// Share Name: one of the members of this group gets the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Its messages wait on disk while it is away.
    pub lasts: bool,
}

/// A Topic Name.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Of {
    topic: String,
}

/// Who would get a message on a topic
#[utoipa::path(
    get, path = "/api/v1/topics/match", tag = "topics", params(Of),
    responses((status = 200, body = Way), (status = 400, body = Problem))
)]
pub(super) async fn way(shared: web::Data<Shared>, of: web::Query<Of>) -> Result<web::Json<Way>, Problem> {
    let topic = of.into_inner().topic;
    check_topic(&topic)?;
    let shards = &shared.state.shards;
    let query = Query::Receivers { topic: topic.clone(), limit: RECEIVERS };
    let answer = shards.ask(query, &format!("topic {topic}")).await?;
    let Answer::Receivers { place, receivers, total } = answer else { return Err(Problem::out_of_place()) };

    let mut by_slot: BTreeMap<SlotId, Vec<SessionNumber>> = BTreeMap::new();
    for receiver in &receivers {
        by_slot.entry(receiver.session.slot()).or_default().push(receiver.session);
    }
    let mut names = BTreeMap::new();
    for (slot, mut sessions) in by_slot {
        sessions.sort_unstable();
        sessions.dedup();
        let query = Query::Names { slot, sessions: sessions.clone() };
        let answer = shards.ask(query, &format!("slot {slot}")).await?;
        let Answer::Names(found) = answer else { return Err(Problem::out_of_place()) };
        names.extend(sessions.into_iter().zip(found));
    }
    let receivers = receivers
        .into_iter()
        .map(|receiver| Receiver {
            client_id: names.get(&receiver.session).cloned().flatten(),
            qos: receiver.subscription.qos,
            share: receiver.share,
            lasts: !receiver.is_live_only,
        })
        .collect();
    let partition = format!("{:016x}", place.partition);
    Ok(web::Json(Way { topic, partition, slot: place.slot, matches: total, receivers }))
}
