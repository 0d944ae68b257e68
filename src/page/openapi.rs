//! The OpenAPI document of the JSON API, made from the very types that are served.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa::OpenApi;

use super::{App, api};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "cachetscope",
        description = "What the daemon knows of every deployment. Times are RFC 3339 in UTC; names that end in \
                       _ns are nanoseconds. Errors are application/problem+json (RFC 9457)."
    ),
    paths(
        api::overview,
        api::deployments,
        api::requests,
        super::comparison::serve,
        super::verdicts::verdicts,
        api::failures,
        api::outbox,
        api::retry,
        api::drop_refused,
        api::healthz,
        api::readyz
    ),
    components(schemas(super::matrix::OutcomeName))
)]
struct Document;

/// The whole document: with what others serve beside the page.
pub fn document(others: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(others);
    document
}

pub async fn serve(State(app): State<Arc<App>>) -> Json<utoipa::openapi::OpenApi> {
    Json(app.document.clone())
}
