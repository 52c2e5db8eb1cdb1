//! `/users`: what a user holds, against what it may. Users are those whom Clients have proven to be, whoever keeps their list;
//! what belongs to a Client without a user name belongs to nobody, who is one user.

use actix_web::web;
use convoy_actors::Usage;
use convoy_actors::query::{Answer, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Problem, Shared, Stored};

/// What is stored for one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holding {
    /// Not there for what belongs to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(flatten)]
    pub stored: Stored,
}

/// What a user holds: Sessions, what waits for them, Wills, Retained Messages; and the limits `..._per_user` that it meets
///
/// A user that holds nothing is one of whom nothing is stored, whether it is known or not.
#[utoipa::path(
    get, path = "/api/v1/users/{user}/stored", tag = "users", params(("user" = String, Path)),
    responses((status = 200, body = Holding), (status = 504, body = Problem))
)]
pub(super) async fn stored(
    shared: web::Data<Shared>,
    user: web::Path<String>,
) -> Result<web::Json<Holding>, Problem> {
    Ok(web::Json(holding(&shared, Some(user.into_inner())).await?))
}

/// What all Clients without a user name hold together
#[utoipa::path(
    get, path = "/api/v1/anonymous/stored", tag = "users",
    responses((status = 200, body = Holding), (status = 504, body = Problem))
)]
pub(super) async fn of_nobody(shared: web::Data<Shared>) -> Result<web::Json<Holding>, Problem> {
    Ok(web::Json(holding(&shared, None).await?))
}

async fn holding(shared: &Shared, user: Option<String>) -> Result<Holding, Problem> {
    let shards = &shared.state.shards;
    let mut used = Usage::default();
    for shard in 0..shards.layout.shards {
        let query = Query::Stored { shard, user: user.clone().unwrap_or_default() };
        let Answer::Stored(there) = shards.ask(query, &format!("shard {shard}")).await? else {
            return Err(Problem::out_of_place());
        };
        used = used.and(&there);
    }
    let limit = shared.state.limits.user;
    Ok(Holding { user, stored: Stored { used: used.into(), limit: limit.into() } })
}
