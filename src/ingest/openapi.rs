//! The part of the OpenAPI document that is about events, made from the very types that are served.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::{answer, cdevents, events, junit, problem, read};

#[derive(OpenApi)]
#[openapi(
    paths(events::post, cdevents::post, junit::post, read::events, read::runs),
    components(schemas(answer::Taken, problem::Document, problem::Refused)),
    modifiers(&Bearer)
)]
struct Document;

/// A token of the tokens file; none is needed where the daemon listens on loopback without one.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// To be merged into the document that is served.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
