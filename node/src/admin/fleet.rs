//! `/cluster` and `/tokens`: who is of the fleet, and who may join it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use convoy_actors::meta;
use convoy_membership::swim::Seen;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

use super::time::rfc3339;
use super::{Problem, Shared};
use crate::drive::wall;
use crate::peer::{OrderError, Peers};

/// Seconds for which a token is valid at most: a week.
const LONGEST: u64 = 7 * 24 * 3600;

/// A node of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    pub name: String,
    pub zone: String,
    /// Where the others reach it.
    pub address: String,
    /// `active`; `draining`, it is to keep nothing any more; `replaced`, it was away for so long that others take its place.
    pub state: String,
    /// As the node that answers sees it: `itself`, `alive`, `suspect` or `away`.
    pub seen: String,
    pub id: String,
}

/// For how long a token is to be valid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Seconds, at most a week. By default an hour.
    #[serde(default = "an_hour")]
    valid_for_seconds: u64,
}

fn an_hour() -> u64 {
    3600
}

/// Lets nodes join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Secret: whoever has it can become a member.
    pub token: String,
    pub valid_until: String,
}

fn peers(shared: &Shared) -> Result<&Peers, Problem> {
    let alone = "this node is of no fleet; start it with peer.addr (--peer) to found one";
    shared.state.peers.as_ref().ok_or_else(|| Problem::new(StatusCode::CONFLICT, alone.to_owned()))
}

/// The nodes of the fleet, in the order of their names
#[utoipa::path(
    get, path = "/api/v1/cluster", tag = "fleet",
    responses((status = 200, body = Vec<Member>), (status = 409, body = Problem))
)]
pub(super) async fn members(shared: web::Data<Shared>) -> Result<web::Json<Vec<Member>>, Problem> {
    let peers = peers(&shared)?;
    let fleet = peers.fleet();
    let shown = fleet.members().map(|(node, member)| {
        let state = match member.state {
            meta::State::Active => "active",
            meta::State::Draining => "draining",
            meta::State::Down => "replaced",
        };
        let seen = match peers.seen(node) {
            _ if node == peers.node() => "itself",
            Some(Seen::Alive) => "alive",
            Some(Seen::Suspect) => "suspect",
            Some(Seen::Away(_)) | None => "away",
        };
        Member {
            name: member.name.clone(),
            zone: member.zone.to_string(),
            address: member.address.clone(),
            state: state.to_owned(),
            seen: seen.to_owned(),
            id: node.to_string(),
        }
    });
    let mut shown: Vec<_> = shown.collect();
    shown.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(web::Json(shown))
}

/// Makes a token by which nodes join the fleet, until its time is over
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "fleet", request_body = Wish,
    responses(
        (status = 201, body = Token), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 504, body = Problem, description = "The fleet did not decide; there may be such a token, and nobody knows it")
    )
)]
pub(super) async fn token(shared: web::Data<Shared>, wish: web::Json<Wish>) -> Result<HttpResponse, Problem> {
    let seconds = wish.valid_for_seconds;
    if !(1..=LONGEST).contains(&seconds) {
        return Err(Problem::bad_request(format!("valid_for_seconds is {seconds}: use 1 to {LONGEST}")));
    }
    let valid_until = rfc3339(wall().saturating_add(seconds * 1_000));
    let token = peers(&shared)?.token(Duration::from_secs(seconds)).await.map_err(|error| match error {
        OrderError::Refused(reason) => Problem::new(StatusCode::CONFLICT, reason),
        OrderError::Late(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
    })?;
    Ok(HttpResponse::Created().json(Token { token: token.to_string(), valid_until }))
}
