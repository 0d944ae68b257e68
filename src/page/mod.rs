//! The built-in page and the read-only JSON API.
//!
//! It reads the store and nothing else: what is shown was committed. Whatever a page costs is
//! bounded: one reading of the store serves everyone for some seconds (`board`), and every query
//! has a window and a limit. The two POST routes look after refused telemetry; they answer only
//! who is not another web site's page (`api`). There is no authentication: listen on loopback, or
//! behind a proxy that has one.

mod answers;
mod api;
mod assets;
mod board;
pub mod ci;
mod comparison;
pub mod deltas;
mod evidence;
pub mod format;
mod health;
mod html;
mod judged;
mod matrix;
mod openapi;
mod past;
mod problem;
mod requests;
mod sparkline;
mod standing;
mod verdicts;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::clock::Clock;
use crate::store::{Store, StoreError};
pub use answers::{Change, Factor, Medians, Question};
use board::Board;
pub use judged::own_words;
use problem::Problem;
pub use verdicts::{OwnComparisons, Verdicts};
pub use view::Overview;

/// Nothing but this server's own style, script and images; nobody may frame it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
/// Bytes of a request body; the largest one sensible is a list of ids.
const BODY_MAX: usize = 64 * 1024;

/// What the page is made from.
pub struct State {
    pub store: Store,
    pub clock: Clock,
    /// What a person should know, shown on top: a reload that was refused, for example.
    pub notices: watch::Receiver<Vec<String>>,
    /// Which fleet this is: its environment, or that it is a demonstration.
    pub title: String,
    /// What else is served beside the page, for the document of the API.
    pub document: utoipa::openapi::OpenApi,
}

/// What every handler sees.
struct App {
    board: Board,
    store: Store,
    clock: Clock,
    notices: watch::Receiver<Vec<String>>,
    document: utoipa::openapi::OpenApi,
}

/// Everything that is served to people and programs, with its headers.
pub fn router(state: State) -> Router {
    let State { store, clock, notices, title, document } = state;
    let board = Board::new(store.clone(), clock.clone(), title);
    let document = openapi::document(document);
    let app = Arc::new(App { board, store, clock, notices, document });
    let always = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/", get(html::overview))
        .route("/deployments/{name}", get(html::deployment))
        .route("/deployments/{name}/compare/{request}", get(html::comparison))
        .route("/assets/{name}", get(assets::asset))
        .route("/api/v1/overview", get(api::overview))
        .route("/api/v1/deployments", get(api::deployments))
        .route("/api/v1/deployments/{name}/requests", get(api::requests))
        .route("/api/v1/deployments/{name}/compare/{request}", get(comparison::serve))
        .route("/api/v1/verdicts", get(verdicts::verdicts))
        .route("/api/v1/failures", get(api::failures))
        .route("/api/v1/outbox", get(api::outbox))
        .route("/api/v1/outbox/retry", post(api::retry))
        .route("/api/v1/outbox/drop", post(api::drop_refused))
        .route("/api/v1/openapi.json", get(openapi::serve))
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(CompressionLayer::new())
        .layer(always(CONTENT_SECURITY_POLICY, POLICY))
        .layer(always(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(REFERRER_POLICY, "no-referrer"))
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .with_state(app)
}

/// What `/api/v1/overview` answers, for who holds the store itself.
pub async fn overview(store: Store, clock: Clock, title: String) -> Result<Arc<Overview>, StoreError> {
    Board::new(store, clock, title).overview().await
}

async fn not_found(uri: Uri, headers: HeaderMap) -> Response {
    html::problem(Problem::NotFound(format!("there is nothing at {}", uri.path())), &headers)
}
