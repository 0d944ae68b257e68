//! What is answered when something cannot be: `application/problem+json` (RFC 9457).
//!
//! The text outside is fixed where the cause is inside: a database error goes to the log.

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

#[derive(Debug)]
pub enum Problem {
    BadRequest(String),
    Forbidden(String),
    NotFound(String),
    MethodNotAllowed,
    TooLarge,
    NotJson,
    Store(StoreError),
}

/// The body, as RFC 9457 has it; its type is `about:blank`, which means that the status says it all.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    pub r#type: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// What was found, what is expected, what to do.
    pub detail: String,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Problem::Store(error)
    }
}

impl Problem {
    pub fn status(&self) -> StatusCode {
        match self {
            Problem::BadRequest(_) => StatusCode::BAD_REQUEST,
            Problem::Forbidden(_) => StatusCode::FORBIDDEN,
            Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Problem::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub fn document(self) -> Document {
        let status = self.status();
        let detail = match self {
            Problem::BadRequest(detail) | Problem::Forbidden(detail) | Problem::NotFound(detail) => detail,
            Problem::MethodNotAllowed => {
                "this method does not apply here; /api/v1/openapi.json says which do".into()
            }
            Problem::TooLarge => format!("the body is larger than {} bytes", super::BODY_MAX),
            Problem::NotJson => "expected content-type: application/json".into(),
            Problem::Store(error) => {
                tracing::error!(%error, "the store did not answer a page");
                "the store cannot be used at the moment; the daemon's log says why".into()
            }
        };
        let title = status.canonical_reason().unwrap_or("Error");
        Document { r#type: "about:blank", title, status: status.as_u16(), detail }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.document())).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
