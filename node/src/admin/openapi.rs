//! The document that describes the API, made of the handlers themselves.

use actix_web::web;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{access, bans, clients, fleet, health, node, publish, retained, subscriptions, topics, users};

/// OpenAPI 3.1 of everything that is served.
#[derive(OpenApi)]
#[openapi(
    info(title = "Convoy", description = "What an operator asks of a node, and orders", license(name = "Apache-2.0")),
    paths(
        health::livez, health::readyz, health::metrics, health::open_status, health::status, openapi,
        access::preview, clients::list, clients::one, clients::kick, bans::list, bans::add, bans::remove, subscriptions::of_client,
        subscriptions::list, topics::list, topics::way,
        users::stored, users::of_nobody, retained::list, retained::one, retained::delete,
        publish::publish, fleet::members, fleet::token, node::listeners, node::slots, node::config,
    ),
    modifiers(&Key),
    security(("key" = []))
)]
pub struct Document;

struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut key = Http::new(HttpAuthScheme::Bearer);
        key.description = Some("the key in api.key of the node's data folder".to_owned());
        document
            .components
            .get_or_insert_with(Default::default)
            .add_security_scheme("key", SecurityScheme::Http(key));
    }
}

/// This document
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "node", responses((status = 200, description = "OpenAPI 3.1"))
)]
pub(super) async fn openapi() -> web::Json<utoipa::openapi::OpenApi> {
    web::Json(Document::openapi())
}
