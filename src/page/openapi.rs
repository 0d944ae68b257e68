//! The OpenAPI document of the JSON API, made from the very types that are served.

use axum::Json;
use utoipa::OpenApi;

use super::api;

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

pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
