//! What became of the events of a request, in the words of the API.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::identity::Identity;
use super::problem::{Document, Problem, Refused};
use crate::model::Refusal;

/// What became of the events of a request; what is counted here is on the disk.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Taken {
    /// Those that were not known, or that completed what was known.
    pub accepted: u64,
    /// Those that were known already.
    pub duplicates: u64,
    /// Of the duplicates, those that say something else than what is kept, which stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub differing: Vec<Named>,
    /// Those that cannot be kept, and why.
    pub refused: Vec<RefusedEvent>,
}

/// What each way to tell events may answer, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(super) enum Answers {
    /// All were known already
    #[response(status = 200)]
    Known(Taken),
    /// Kept
    #[response(status = 202)]
    Kept(Taken),
    /// The request cannot be read
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Document),
    /// No token, or not one of the daemon's
    #[response(status = 401, content_type = "application/problem+json")]
    Unknown(Document),
    /// The token does not cover this
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Document),
    /// The body came too slowly
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(Document),
    /// The body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Document),
    /// The body is of another type or coding
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Document),
    /// Some events were refused; the others are kept
    #[response(status = 422, content_type = "application/problem+json")]
    Refused(Refused),
    /// A fault of ours: it is in the daemon's log
    #[response(status = 500, content_type = "application/problem+json")]
    Fault(Document),
    /// Not now: come again after `Retry-After`
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(Document),
}

/// An event of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Named {
    /// Its place in the request, from 0.
    pub index: usize,
    pub identity: Identity,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefusedEvent {
    /// Its place in the request, from 0.
    pub index: usize,
    pub identity: Identity,
    pub problems: Vec<Refusal>,
}

impl Taken {
    pub fn detail(&self) -> String {
        let refused = self.refused.len();
        let events = if refused == 1 { "event was" } else { "events were" };
        let rest = match self.accepted + self.duplicates {
            0 => "nothing else was in the request".to_owned(),
            1 => "the other one is kept".to_owned(),
            n => format!("the other {n} are kept"),
        };
        format!("{refused} {events} refused, {rest}; mend what `refused` names and send only that again")
    }
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        if !self.refused.is_empty() {
            Problem::Refused(self).into_response()
        } else if self.accepted > 0 {
            (StatusCode::ACCEPTED, Json(self)).into_response()
        } else {
            Json(self).into_response()
        }
    }
}
