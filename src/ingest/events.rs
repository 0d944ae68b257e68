//! `POST /api/v1/events`: events in the form of [`Event`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa::ToSchema;

use super::App;
use super::answer::{Answers, Taken};
use super::auth::Bearer;
use super::body::{Sent, media_type};
use super::parse::events;
use super::problem::Problem;
use super::take::{apart, take};
use crate::model::Event;

/// For the document only: a body is cut into items before any is read.
#[derive(serde::Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = EventBatch)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) enum Batch {
    One(Box<Event>),
    Many(Vec<Event>),
    Wrapped { events: Vec<Event> },
}

/// Takes events in: one, a list of them, or `{"events": […]}`; at most 1,000, and 32 MiB
/// decompressed. Answers when they are on the disk. Telling an event again is safe. Each event is
/// judged on its own: with 422 the valid ones are kept all the same.
#[utoipa::path(post, path = "/api/v1/events", request_body = Batch, security((), ("token" = [])), responses(Answers))]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let taken = match app.admit(&headers).await.and_then(|bearer| json(&headers).map(|()| bearer)) {
        Ok(bearer) => receive(&app, &bearer, &headers, body).await,
        Err(problem) => {
            super::body::drain(body.into_data_stream()).await;
            Err(problem)
        }
    };
    app.answer(taken)
}

fn json(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers).as_str() {
        "application/json" => Ok(()),
        found => Err(Problem::MediaType(format!(
            "the content-type is {}; expected application/json",
            if found.is_empty() { "missing" } else { found }
        ))),
    }
}

async fn receive(app: &Arc<App>, bearer: &Bearer, headers: &HeaderMap, body: Body) -> Result<Taken, Problem> {
    let sent = Sent::read(&app.budget, headers, body).await?;
    let heavy = sent.is_heavy();
    let now = app.clock.now();
    let (judged, weight) = apart(heavy, move || {
        let (text, weight) = sent.into_text()?;
        events(&text, now).map(|judged| (judged, weight))
    })
    .await??;
    take(app, judged, bearer, weight, heavy).await
}
