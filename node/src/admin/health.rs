//! `/livez`, `/readyz`, `/metrics`, `/status`: what is asked most often, by machines.

use actix_web::{HttpResponse, http::header, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Reason, Shared, Status};

/// The process can go on; whether it serves is said by /readyz
#[utoipa::path(
    get, path = "/livez", tag = "health",
    responses((status = 200, description = "It can"), (status = 503, description = "Only another start helps, and why"))
)]
pub(super) async fn livez(shared: web::Data<Shared>) -> HttpResponse {
    match shared.state.liveness.reason() {
        None => HttpResponse::Ok().json(serde_json::json!({ "live": true })),
        Some(reason) => {
            HttpResponse::ServiceUnavailable().json(serde_json::json!({ "live": false, "reason": reason }))
        }
    }
}

/// Whether every Client can be served.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    ready: bool,
    reasons: Vec<Reason>,
}

/// The node serves Clients and keeps its promises
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, body = Ready), (status = 503, body = Ready, description = "It does not, and why"))
)]
pub(super) async fn readyz(shared: web::Data<Shared>) -> HttpResponse {
    let reasons = shared.state.readiness.reasons();
    let body = Ready { ready: reasons.is_empty(), reasons };
    if body.ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

/// Metrics in the text format of Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "health", responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(shared.metrics.get(|| shared.state.recorder.render() + &shared.state.source.figures()))
}

/// One page about this node
#[utoipa::path(get, path = "/api/v1/status", tag = "node", responses((status = 200, body = Status)))]
pub(super) async fn status(shared: web::Data<Shared>) -> HttpResponse {
    let reasons = shared.state.readiness.reasons();
    HttpResponse::Ok().json(Status::new(shared.state.source.state(), shared.started_at.elapsed(), reasons))
}

/// The same as /api/v1/status, without a key where the API listens on loopback
#[utoipa::path(get, path = "/status", tag = "health", responses((status = 200, body = Status)))]
pub(super) async fn open_status(shared: web::Data<Shared>) -> HttpResponse {
    status(shared).await
}
