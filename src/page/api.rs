//! The JSON API. Everything is read-only but the two routes that look after refused telemetry.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::board::FAILURES_WINDOW;
use super::evidence::Requests;
use super::format::{Bytes as Size, Count, Time};
use super::health::{LaneHealth, Trouble};
use super::matrix::{Deployment, OutcomeName, detail};
use super::problem::{Document, Problem};
use super::view::Overview;
use crate::model::{ErrorType, Flavour, Outcome, TraceId, is_own_origin};
use crate::store::Change;

const FAILURES_DEFAULT: u32 = 100;
const FAILURES_MAX: u32 = 1_000;
/// Refused parts that are listed.
const REFUSED_MAX: u32 = 200;
/// How long a store may take to answer before it counts as not ready.
const READY_WITHIN: Duration = Duration::from_secs(3);

#[derive(Deserialize, IntoParams)]
pub struct OverviewQuery {
    /// With everything that was told before this request. Otherwise it may be some seconds old.
    #[serde(default)]
    fresh: bool,
}

/// Everything the page shows.
#[utoipa::path(get, path = "/api/v1/overview", params(OverviewQuery), responses(
    (status = 200, body = Overview),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn overview(
    State(app): State<Arc<App>>,
    query: Result<Query<OverviewQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(OverviewQuery { fresh }) = query.map_err(|e| Problem::BadRequest(e.body_text()))?;
    let board = &app.board;
    let overview = if fresh { board.fresh().await? } else { board.overview().await? };
    Ok(Json::<&Overview>(&*overview).into_response())
}

/// Every deployment as it stands, latest version first.
#[utoipa::path(get, path = "/api/v1/deployments", responses(
    (status = 200, body = Vec<Deployment>), (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn deployments(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let overview = app.board.overview().await?;
    Ok(Json(overview.matrix.deployments().collect::<Vec<&Deployment>>()).into_response())
}

/// How the requests of one deployment fared within the last hour.
#[utoipa::path(get, path = "/api/v1/deployments/{name}/requests", params(("name" = String, Path)), responses(
    (status = 200, body = Requests),
    (status = 404, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn requests(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Requests>, Problem> {
    let found = Requests::read(&app.store, &name, app.clock.now()).await?;
    found.map(Json).ok_or_else(|| unknown(&name))
}

pub fn unknown(name: &str) -> Problem {
    Problem::NotFound(format!(
        "no deployment is named `{name}`; /api/v1/deployments lists those that are known"
    ))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct FailuresQuery {
    /// At most this many, 1 to 1000; 100 unless told.
    limit: Option<u32>,
}

/// A sample that did not pass: degraded, failed or unreachable.
#[derive(Debug, Serialize, ToSchema)]
pub struct Failure {
    pub at: Time,
    /// Null when its deployment is no longer known.
    pub deployment: Option<String>,
    pub version: Option<String>,
    #[schema(value_type = Option<String>)]
    pub db: Option<Flavour>,
    pub environment: Option<String>,
    pub request: String,
    #[schema(value_type = OutcomeName)]
    pub outcome: Outcome,
    /// `error.type`; null for degraded.
    #[schema(value_type = Option<String>)]
    pub error: Option<ErrorType>,
    /// HTTP status of the first attempt; null when none came.
    pub status: Option<u16>,
    pub attempts: u32,
    /// Expected and found.
    pub detail: String,
    #[schema(value_type = Option<String>)]
    pub trace: Option<TraceId>,
}

/// The last samples that did not pass, newest first, of the last 24 hours.
#[utoipa::path(get, path = "/api/v1/failures", params(FailuresQuery), responses(
    (status = 200, body = Vec<Failure>),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn failures(
    State(app): State<Arc<App>>,
    query: Result<Query<FailuresQuery>, QueryRejection>,
) -> Result<Json<Vec<Failure>>, Problem> {
    let Query(query) = query.map_err(|e| Problem::BadRequest(e.body_text()))?;
    let limit = query.limit.unwrap_or(FAILURES_DEFAULT);
    if !(1..=FAILURES_MAX).contains(&limit) {
        return Err(Problem::BadRequest(format!("limit is {limit}; expected 1 to {FAILURES_MAX}")));
    }
    let known = app.store.deployments().await?;
    let rows = app.store.failures(app.clock.now().minus(FAILURES_WINDOW), limit).await?;
    let failures = rows.into_iter().map(|row| {
        let deployment = known.iter().find(|d| d.key == row.sample.deployment);
        Failure {
            at: Time(row.sample.started),
            deployment: deployment.map(|d| d.name.clone()),
            version: deployment.map(|d| d.version.to_string()),
            db: deployment.map(|d| d.db),
            environment: deployment.map(|d| d.environment.clone()),
            outcome: row.sample.outcome,
            error: row.sample.error,
            status: row.sample.status,
            attempts: row.sample.attempts,
            detail: detail(&row.sample),
            trace: row.trace,
            request: row.sample.request,
        }
    });
    Ok(Json(failures.collect()))
}

/// What has not been delivered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Outbox {
    pub lanes: Vec<LaneHealth>,
    /// What the collector refused for good, oldest first, at most 200.
    pub refused: Vec<RefusedPart>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedPart {
    pub id: i64,
    pub lane: &'static str,
    pub created: Time,
    pub items: Count,
    pub bytes: Size,
    /// The collector's words.
    pub reason: String,
}

/// What waits for the collector, and what it refused for good.
#[utoipa::path(get, path = "/api/v1/outbox", responses(
    (status = 200, body = Outbox), (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn outbox(State(app): State<Arc<App>>) -> Result<Json<Outbox>, Problem> {
    let refused = app.store.outbox_refused(REFUSED_MAX).await?.into_iter().map(|part| RefusedPart {
        id: part.id,
        lane: part.entry.lane.as_str(),
        created: Time(part.entry.created),
        items: Count(part.entry.items.into()),
        bytes: Size(part.entry.body.len() as u64),
        reason: part.reason,
    });
    let refused = refused.collect();
    let lanes = app.store.outbox_status().await?.into_iter().map(LaneHealth::from).collect();
    Ok(Json(Outbox { lanes, refused }))
}

/// Which refused parts are meant: these ids, or all. Exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    ids: Option<Vec<i64>>,
    /// Only `true` means something.
    all: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Touched {
    /// Rows of the outbox that were there and refused.
    pub touched: u64,
}

/// Refused parts wait again.
#[utoipa::path(post, path = "/api/v1/outbox/retry", request_body = Which, responses(
    (status = 200, body = Touched),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 403, body = Document, content_type = "application/problem+json"),
    (status = 413, body = Document, content_type = "application/problem+json"),
    (status = 415, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn retry(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Touched>, Problem> {
    change(&app, Change::Retry(which(&headers, body)?)).await
}

/// Refused parts are deleted.
#[utoipa::path(post, path = "/api/v1/outbox/drop", request_body = Which, responses(
    (status = 200, body = Touched),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 403, body = Document, content_type = "application/problem+json"),
    (status = 413, body = Document, content_type = "application/problem+json"),
    (status = 415, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn drop_refused(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Touched>, Problem> {
    change(&app, Change::Drop(which(&headers, body)?)).await
}

async fn change(app: &App, change: Change) -> Result<Json<Touched>, Problem> {
    let touched = app.store.change(change).await?;
    app.board.forget().await;
    Ok(Json(Touched { touched }))
}

/// Whether a page of this daemon asks. Behind a proxy with a name, use the command line.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin.to_str().is_ok_and(|origin| is_own_origin(origin, host))
}

/// Refuses what a page of another web site could send: a browser adds its Origin to every POST, and
/// asks before it sends this content type elsewhere.
fn which(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Option<Vec<i64>>, Problem> {
    if headers.get(ORIGIN).is_some_and(|origin| !is_own(origin, headers)) {
        return Err(Problem::Forbidden(
            "this may be asked by a page of the same origin only, at an IP address or localhost".into(),
        ));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|t| t.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::NotJson);
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge,
        _ => Problem::BadRequest(rejection.body_text()),
    })?;
    let expected = r#"expected {"ids": [1, 2]} or {"all": true}"#;
    let which: Which =
        serde_json::from_slice(&body).map_err(|e| Problem::BadRequest(format!("{e}; {expected}")))?;
    match which {
        Which { ids: Some(ids), all: None } => Ok(Some(ids)),
        Which { ids: None, all: Some(true) } => Ok(None),
        _ => Err(Problem::BadRequest(expected.into())),
    }
}

/// Answers as long as the process does.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the store can be read and written.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    /// Why it is not.
    pub reasons: Vec<String>,
    /// What does not make it unready but is worth knowing: a collector that takes nothing, a reload
    /// that was refused.
    pub notes: Vec<String>,
}

/// 200 when it can do its work, 503 with the reasons when it cannot. A collector that is away is no
/// reason: what it misses waits in the outbox.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let mut reasons = Vec::new();
    let mut notes = app.notices.borrow().clone();
    if let Some((since, words)) = app.store.health().trouble() {
        reasons.push(format!("the store cannot be written since {since}: {words}"));
    }
    match tokio::time::timeout(READY_WITHIN, app.store.outbox_status()).await {
        Ok(Ok(lanes)) => notes.extend(lanes.into_iter().filter_map(|status| {
            let Trouble { since, words } = Trouble::new(status.trouble)?;
            Some(format!("the collector takes no {} since {}: {words}", status.lane.as_str(), since.0))
        })),
        Ok(Err(error)) => {
            tracing::error!(%error, "the store cannot be read");
            reasons.push("the store cannot be read; the daemon's log says why".into());
        }
        Err(_) => reasons.push(format!("the store did not answer within {} s", READY_WITHIN.as_secs())),
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons, notes })).into_response()
}
