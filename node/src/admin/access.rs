//! `/access`: what other rules would do, before they do it.

use actix_web::web;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

use super::{Problem, Shared};
use crate::config;

/// A configuration that is not in use.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The text of a configuration file. Its sections `[auth]`, `[access]` and `[[ban]]` count.
    pub toml: String,
}

/// What would be if it were.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    pub rules: usize,
    pub bans: usize,
    /// What is right and rarely meant.
    pub warnings: Vec<String>,
    /// Clients that would be disconnected now.
    pub disconnected: u64,
}

/// Says what the rules and bans of a configuration would do, and changes nothing
#[utoipa::path(
    post, path = "/api/v1/access/preview", tag = "access", request_body = Draft,
    responses((status = 200, body = Preview), (status = 400, body = Problem))
)]
pub(super) async fn preview(
    shared: web::Data<Shared>,
    draft: web::Json<Draft>,
) -> Result<web::Json<Preview>, Problem> {
    let config = config::of_text(&draft.toml).map_err(|error| Problem::bad_request(error.to_string()))?;
    // Whether users are known decides who is let in, and not who stays.
    let access = Arc::new(config.access(true));
    let bans = Arc::new(convoy_actors::Bans::new(config.access.bans.clone()));
    let disconnected = shared.state.bans.would_cut(Some(access), &bans).await;
    Ok(web::Json(Preview {
        rules: config.access.rules.len(),
        bans: config.access.bans.len(),
        warnings: config.warnings(),
        disconnected,
    }))
}
