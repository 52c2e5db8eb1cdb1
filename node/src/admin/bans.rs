//! `/bans`: who may not connect, whatever rules say. Those of the configuration are listed, and changed there.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Problem, Shared};
use crate::auth::bans::{Entry, Error};

/// A ban that was added, or would be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    pub ban: Entry,
    /// Clients that it has disconnected, or would.
    pub disconnected: u64,
}

/// How a ban is added.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct How {
    /// Changes nothing, and says how many Clients would be disconnected.
    #[serde(default)]
    dry_run: bool,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Wrong(_) => StatusCode::BAD_REQUEST,
            Error::Full => StatusCode::CONFLICT,
            Error::Io { .. } => StatusCode::INSUFFICIENT_STORAGE,
        };
        match &error {
            Error::Io { source, .. } => Self::new(status, format!("{error}: {source}; nothing was changed")),
            _ => Self::new(status, error.to_string()),
        }
    }
}

/// All bans that hold, those of the configuration first
#[utoipa::path(get, path = "/api/v1/bans", tag = "bans", responses((status = 200, body = Vec<Entry>)))]
pub(super) async fn list(shared: web::Data<Shared>) -> web::Json<Vec<Entry>> {
    web::Json(shared.state.bans.list().await)
}

/// Bans Clients by their identifier, user or address, and disconnects those that are there with Administrative action
#[utoipa::path(
    post, path = "/api/v1/bans", tag = "bans", params(How), request_body = Entry,
    responses(
        (status = 200, body = Added, description = "What a dry run found"),
        (status = 201, body = Added, description = "It holds, also after a restart"),
        (status = 400, body = Problem), (status = 409, body = Problem), (status = 507, body = Problem)
    )
)]
pub(super) async fn add(
    shared: web::Data<Shared>,
    how: web::Query<How>,
    ban: web::Json<Entry>,
) -> Result<HttpResponse, Problem> {
    let ban = ban.into_inner();
    if ban.id.is_some() {
        return Err(Problem::bad_request("the id of a ban is given by the node"));
    }
    if how.dry_run {
        let disconnected = shared.state.bans.weigh(&ban).await?;
        return Ok(HttpResponse::Ok().json(Added { ban, disconnected }));
    }
    let (ban, disconnected) = shared.state.bans.add(ban).await?;
    Ok(HttpResponse::Created().json(Added { ban, disconnected }))
}

/// Ends a ban that was added here
#[utoipa::path(
    delete, path = "/api/v1/bans/{id}", tag = "bans", params(("id" = u64, Path)),
    responses(
        (status = 204, description = "It is gone, also after a restart"),
        (status = 404, body = Problem), (status = 507, body = Problem)
    )
)]
pub(super) async fn remove(shared: web::Data<Shared>, id: web::Path<u64>) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    match shared.state.bans.remove(id).await? {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(Problem::not_found(format!(
            "there is no ban {id}; one without a number stands in the configuration"
        ))),
    }
}
