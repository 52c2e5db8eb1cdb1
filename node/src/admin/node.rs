//! `/listeners`, `/slots`, `/config`: of what the node is made.

use actix_web::web;
use convoy_actors::query::{Answer, Query, SlotEntry};
use convoy_ids::SlotId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ListenerState, Problem, Shared};

/// Where the node is reached
#[utoipa::path(
    get, path = "/api/v1/listeners", tag = "node", responses((status = 200, body = Vec<ListenerState>))
)]
pub(super) async fn listeners(shared: web::Data<Shared>) -> web::Json<Vec<ListenerState>> {
    web::Json(shared.state.source.state().listeners)
}

/// A share of the key space, and the replica of it that is here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Slot {
    /// Its number, or `meta`.
    pub slot: String,
    pub node: String,
    pub shard: u16,
    /// It is led here and serves.
    pub leading: bool,
    /// Replicas that vote, this one among them.
    #[serde(default)]
    pub voters: u64,
    /// Those of them that have all of its log: known to the leader alone.
    #[serde(default)]
    pub current: u64,
    pub term: u64,
    /// Last entry of its log.
    pub last: u64,
    /// Last entry whose changes are in its state.
    pub applied: u64,
    /// Entries kept in the log.
    pub log_entries: u64,
    /// Sessions in memory.
    pub sessions_active: u64,
    /// Topic partitions with subscribers.
    pub partitions: u64,
    pub retained_messages: u64,
    pub retained_bytes: u64,
    /// Why it has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The slots of this node
#[utoipa::path(
    get, path = "/api/v1/slots", tag = "node",
    responses((status = 200, body = Vec<Slot>), (status = 504, body = Problem))
)]
pub(super) async fn slots(shared: web::Data<Shared>) -> Result<web::Json<Vec<Slot>>, Problem> {
    let shards = &shared.state.shards;
    let mut entries: Vec<SlotEntry> = Vec::new();
    for shard in 0..shards.layout.shards {
        let answer = shards.ask(Query::Slots { shard }, &format!("shard {shard}")).await?;
        let Answer::Slots(found) = answer else { return Err(Problem::out_of_place()) };
        entries.extend(found);
    }
    entries.sort_by_key(|entry| entry.slot);
    let node = shared.state.source.state().node;
    let slot = |entry: SlotEntry| Slot {
        slot: if entry.slot == SlotId::META { "meta".to_owned() } else { entry.slot.0.to_string() },
        node: node.clone(),
        shard: entry.shard,
        leading: entry.leading && entry.failure.is_none(),
        voters: entry.voters,
        current: entry.current,
        term: entry.term,
        last: entry.last,
        applied: entry.applied,
        log_entries: entry.log_entries,
        sessions_active: entry.sessions_active,
        partitions: entry.partitions,
        retained_messages: entry.retained_messages,
        retained_bytes: entry.retained_bytes,
        failure: entry.failure,
    };
    Ok(web::Json(entries.into_iter().map(slot).collect()))
}

/// A key of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    pub section: String,
    pub key: String,
    /// As TOML writes it; three asterisks for a secret.
    pub value: String,
    /// Where it was said.
    pub origin: String,
}

/// The configuration that the node was started with, without secrets
#[utoipa::path(
    get, path = "/api/v1/config", tag = "node", responses((status = 200, body = Vec<Setting>))
)]
pub(super) async fn config(shared: web::Data<Shared>) -> web::Json<Vec<Setting>> {
    web::Json(shared.state.settings.to_vec())
}
