//! The taking in of what CI tells, over HTTP.
//!
//! Accepted means committed: 200 and 202 are answered after the transaction, and whatever else is
//! answered, sending the same again is safe, since an event is known by its identity. A request is
//! judged event by event: the valid ones are kept, and each refused one is named with its fields.
//!
//! Everything has a limit: bodies one by one and all together (`body`), events of a request
//! (`parse`), the writer's queue, and the undelivered telemetry that events leave behind (`room`);
//! beyond the last three the answer is 503 with `Retry-After`, never a silent loss.
//!
//! Deliberately absent: multipart uploads (send a report as the body itself), and any memory of
//! requests: what is not in the store was not accepted.

mod answer;
mod auth;
mod body;
mod cdevents;
mod cloudevents;
mod events;
mod identity;
mod junit;
mod openapi;
mod parse;
mod problem;
mod read;
mod room;
mod take;

use std::sync::Arc;

use axum::Router;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use tower_http::set_header::SetResponseHeaderLayer;

pub use auth::Access;
pub use openapi::openapi;

use crate::clock::Clock;
use crate::otlp::Resource;
use crate::publisher::Intake;
use crate::store::Store;
use answer::Taken;
use auth::Bearer;
use body::Budget;
use problem::Problem;
use room::Room;

/// What the API is made from.
pub struct State {
    pub store: Store,
    pub clock: Clock,
    /// Who speaks in the telemetry of events: carries the store's UUID.
    pub resource: Resource,
    /// Counts what is not taken.
    pub intake: Arc<Intake>,
    pub access: watch::Receiver<Access>,
    /// Bytes of undelivered telemetry of events beyond which nothing is taken.
    pub outbox_bytes_max: u64,
}

/// What every handler sees.
struct App {
    store: Store,
    clock: Clock,
    resource: Resource,
    intake: Arc<Intake>,
    access: watch::Receiver<Access>,
    outbox_bytes_max: u64,
    budget: Budget,
    room: Room,
}

impl App {
    /// Who asks, if anything can be taken from them now.
    async fn admit(&self, headers: &HeaderMap) -> Result<Bearer, Problem> {
        let access = self.access.borrow().clone();
        let bearer = access.admit(headers)?;
        self.room.check(&self.store, self.outbox_bytes_max).await?;
        Ok(bearer)
    }

    /// Counts the requests that are turned away; those with refused events are counted by event.
    fn answer(&self, taken: Result<Taken, Problem>) -> Response {
        if let Err(problem) = &taken {
            let status = problem.status().as_u16();
            // Not why: that quotes what was sent.
            tracing::debug!(status, "a request was turned away");
            self.intake.reject(status);
        }
        taken.into_response()
    }
}

/// The routes under `/api/v1/events`.
pub fn router(state: State) -> Router {
    let State { store, clock, resource, intake, access, outbox_bytes_max } = state;
    let (budget, room) = (Budget::new(), Room::default());
    let app = App { store, clock, resource, intake, access, outbox_bytes_max, budget, room };
    Router::new()
        .route("/api/v1/events", get(read::events).post(events::post))
        .route("/api/v1/events/runs", get(read::runs))
        .route("/api/v1/events/cdevents", post(cdevents::post))
        .route("/api/v1/events/junit", post(junit::post))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .with_state(Arc::new(app))
}
