//! What was told, read again: for a look, and for holding it against a CI server's own list.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::problem::{Document, Problem};
use crate::clock::Timestamp;
use crate::model::{Event, EventKind, EventRow};

const EVENTS_DEFAULT: u32 = 50;
const EVENTS_MAX: u32 = 500;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// `pipeline`, `step`, `tests`, `deploy` or `load`; all kinds unless given.
    #[param(value_type = Option<EventKind>)]
    kind: Option<String>,
    /// At most this many, 1 to 500; 50 unless given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// An event as it is kept. Its test cases are not listed, only counted.
#[derive(Serialize, ToSchema)]
pub(super) struct Told {
    pub kind: EventKind,
    /// When it began; where nobody told, when it ended.
    #[schema(format = DateTime)]
    pub began: String,
    #[schema(format = DateTime)]
    pub received: String,
    pub event: Event,
}

impl From<EventRow> for Told {
    fn from(row: EventRow) -> Self {
        Told {
            kind: row.event.kind(),
            began: row.started.to_string(),
            received: row.received.to_string(),
            event: row.event,
        }
    }
}

/// The last events, newest first.
#[utoipa::path(get, path = "/api/v1/events", params(EventsQuery), responses(
    (status = 200, body = Vec<Told>),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Vec<Told>>, Problem> {
    let Query(query) = query.map_err(|error| Problem::BadRequest(error.body_text()))?;
    let limit = query.limit.unwrap_or(EVENTS_DEFAULT);
    if !(1..=EVENTS_MAX).contains(&limit) {
        return Err(Problem::BadRequest(format!("limit is {limit}; expected 1 to {EVENTS_MAX}")));
    }
    let kinds = match query.kind {
        Some(text) => vec![EventKind::from_text(&text).ok_or_else(|| {
            let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
            Problem::BadRequest(format!("kind is unknown; expected one of {}", known.join(", ")))
        })?],
        None => EventKind::ALL.to_vec(),
    };
    let mut rows = Vec::new();
    for kind in kinds {
        rows.extend(app.store.events(kind, Timestamp(0), limit).await?);
    }
    rows.sort_by_key(|row| Reverse(row.started));
    rows.truncate(limit as usize);
    Ok(Json(rows.into_iter().map(Told::from).collect()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    /// Who told of them.
    source: String,
    pipeline: String,
}

/// A run that is known as a whole, with its end.
#[derive(Serialize, ToSchema)]
pub(super) struct KnownRun {
    pub run: String,
    pub attempt: u32,
}

/// The runs of a pipeline that are known, oldest first; without the steps that were told alone.
#[utoipa::path(get, path = "/api/v1/events/runs", params(RunsQuery), responses(
    (status = 200, body = Vec<KnownRun>),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub(super) async fn runs(
    State(app): State<Arc<App>>,
    query: Result<Query<RunsQuery>, QueryRejection>,
) -> Result<Json<Vec<KnownRun>>, Problem> {
    let Query(query) = query.map_err(|error| Problem::BadRequest(error.body_text()))?;
    let runs = app.store.known_runs(&query.source, &query.pipeline).await?;
    Ok(Json(runs.into_iter().map(|(run, attempt)| KnownRun { run, attempt }).collect()))
}
