//! Why a request was not carried out, as RFC 9457 has it: one form for every error of the API, in words that say what to
//! do about it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use convoy_actors::query;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The body of every answer that is an error, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The words of the status.
    pub title: String,
    pub status: u16,
    /// What was wrong with this request.
    pub detail: String,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { title, status: status.as_u16(), detail: detail.into() }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// A shard that does not answer is busy or gone: what was asked for may still happen.
    pub fn no_answer() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the shard has not answered in time; an order may yet be carried out",
        )
    }

    /// A shard has answered what was not asked.
    pub fn out_of_place() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer does not fit the question")
    }

    /// What a shard says about `subject`.
    pub fn of(problem: query::Problem, subject: &str) -> Self {
        match problem {
            query::Problem::NotFound => Self::not_found(format!("there is no {subject}")),
            query::Problem::NotConnected => Self::new(
                StatusCode::CONFLICT,
                format!(
                    "{subject} is not connected; session=true (convoy ctl kick --session) ends its Session"
                ),
            ),
            query::Problem::NotLed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the slot of {subject} is not led yet; /readyz says when all are"),
            ),
            query::Problem::Storage(reason) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason),
            query::Problem::Refused(reason) => Self::new(
                match reason {
                    convoy_wire::ReasonCode::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                },
                format!("refused: {reason}; nothing was changed"),
            ),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let body = serde_json::to_string(self).expect("texts and a number can be written");
        HttpResponse::build(self.status_code()).content_type("application/problem+json").body(body)
    }
}
