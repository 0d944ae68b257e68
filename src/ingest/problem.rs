//! What is answered when something cannot be taken: `application/problem+json` (RFC 9457).
//!
//! Words of the store stay inside, in the log: they may name files and servers.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Named, RefusedEvent, Taken};
use crate::store::StoreError;

#[derive(Debug)]
pub(super) enum Problem {
    BadRequest(String),
    /// No token, or one that nobody gave out.
    Unauthorized(&'static str),
    Forbidden(String),
    MethodNotAllowed,
    /// The body came too slowly.
    Slow,
    TooLarge(String),
    MediaType(String),
    /// Something in it cannot be kept; the rest is.
    Refused(Taken),
    /// Later, as it is: after so many seconds.
    Busy(String, u32),
    /// A fault of ours, which is in the log: nobody's event is to be thrown away for it.
    Internal,
}

/// The body, as RFC 9457 has it; its type is `about:blank`, which means that the status says it all.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IngestProblem)]
pub(super) struct Document {
    pub r#type: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// What was found, what is expected, what to do.
    pub detail: String,
}

/// The same where only some events cannot be kept, with what became of each.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventsRefused)]
pub(super) struct Refused {
    pub r#type: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// How many were refused, and what to do.
    pub detail: String,
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

impl Problem {
    pub fn status(&self) -> StatusCode {
        match self {
            Problem::BadRequest(_) => StatusCode::BAD_REQUEST,
            Problem::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Problem::Forbidden(_) => StatusCode::FORBIDDEN,
            Problem::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Problem::Slow => StatusCode::REQUEST_TIMEOUT,
            Problem::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Problem::Busy(..) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> String {
        match self {
            Problem::BadRequest(words)
            | Problem::Forbidden(words)
            | Problem::TooLarge(words)
            | Problem::MediaType(words)
            | Problem::Busy(words, _) => words.clone(),
            Problem::Unauthorized(words) => (*words).to_owned(),
            Problem::MethodNotAllowed => {
                "this method does not apply here; /api/v1/openapi.json says which do".into()
            }
            Problem::Slow => "the body did not arrive in time; send it again".into(),
            Problem::Refused(taken) => taken.detail(),
            Problem::Internal => {
                "the daemon failed on this request, and its log says why; keep it, and send it again to a \
                 daemon that is mended"
                    .into()
            }
        }
    }
}

/// For reads and writes alike: sending again later is safe.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::QueueFull => {
                Problem::Busy("more waits to be written than the queue holds; send it again".into(), 1)
            }
            error => {
                tracing::error!(%error, "the store did not take events in");
                let words = "the store cannot be used at the moment; the daemon's log says why";
                Problem::Busy(words.into(), 10)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, detail) = (self.status(), self.detail());
        let title = status.canonical_reason().unwrap_or("Error");
        let (r#type, code) = ("about:blank", status.as_u16());
        let extra = match &self {
            Problem::Busy(_, seconds) => Some((RETRY_AFTER, HeaderValue::from(*seconds))),
            Problem::Unauthorized(_) => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cachetscope\"")))
            }
            _ => None,
        };
        let mut response = match self {
            Problem::Refused(Taken { accepted, duplicates, differing, refused }) => {
                let document =
                    Refused { r#type, title, status: code, detail, accepted, duplicates, differing, refused };
                (status, Json(document)).into_response()
            }
            _ => (status, Json(Document { r#type, title, status: code, detail })).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(extra);
        response
    }
}
