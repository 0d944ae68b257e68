//! `POST /api/v1/events/junit`: a report as the body, everything else as query parameters.
//!
//! The report is read as it comes, so its size costs no memory; it counts against the budget of all
//! bodies with what its tests may come to. What JUnit XML cannot say is a parameter, or:
//!
//! - `finished` is now, and `started` as long before as the report says the tests took: most runners
//!   write times without a zone, so a report's own time may be hours off;
//! - `result` is `failure` where a test failed, `error` where the report is cut off, else `success`;
//! - `step` is `test/SUITE#HASH` with a hash of the report, so sending a report again is safe.
//!
//! Deliberately absent: multipart uploads, and several reports in one request.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use flate2::read::MultiGzDecoder;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::answer::{Answers, Taken};
use super::auth::Bearer;
use super::body::{drain, is_gzip, media_type};
use super::parse::{judge, read};
use super::problem::Problem;
use super::take::{broke_off, take};
use crate::clock::Timestamp;
use crate::junit::{JunitError, gather};
use crate::model::{CiResult, Event, Scope, Tests};

/// Bytes of a report, decompressed.
const REPORT_MAX: u64 = 1 << 30;
/// What one report may come to in memory, and the least it is counted as.
const WEIGHT_MAX: usize = 24 << 20;
const WEIGHT_MIN: usize = 1 << 20;
/// How long nothing may come, and how long a report may take in all.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);
const REPORT_WITHIN: Duration = Duration::from_secs(600);

/// The fields of an event, as text.
#[derive(Clone, Debug, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    source: String,
    pipeline: String,
    run: String,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// `test/SUITE#HASH` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What the suite is called from run to run; what the report calls it unless given.
    #[serde(skip_serializing)]
    suite: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    /// Now unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<String>,
    /// From the counts unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<CiResult>)]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    db: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
}

/// For the document only.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) struct Report(Vec<u8>);

/// Takes a JUnit XML report in as a run of tests: the report is the body (gzip allowed, 1 GiB at most
/// decompressed; no multipart). One that is cut off is kept with what it held, marked `aborted`.
#[utoipa::path(post, path = "/api/v1/events/junit", params(Parameters), security((), ("token" = [])),
    request_body(content((Report = "application/xml"), (Report = "text/xml"))), responses(Answers))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    query: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let admitted = match app.admit(&headers).await {
        Ok(bearer) => judge_request(&bearer, query, &headers).map(|asked| (bearer, asked)),
        Err(problem) => Err(problem),
    };
    let taken = match admitted {
        Ok((bearer, (event, parameters))) => receive(&app, &bearer, event, parameters, &headers, body).await,
        Err(problem) => {
            drain(body.into_data_stream()).await;
            Err(problem)
        }
    };
    app.answer(taken)
}

/// What can be judged before the report is read.
fn judge_request(
    bearer: &Bearer,
    query: Result<Query<Parameters>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<(Event, Parameters), Problem> {
    bearer.need(Scope::Tests)?;
    is_gzip(headers)?;
    let found = media_type(headers);
    match found.as_str() {
        "" | "application/xml" | "text/xml" | "application/octet-stream" => {}
        other if other.ends_with("+xml") => {}
        other => {
            return Err(Problem::MediaType(format!(
                "the content-type is {other}; expected application/xml, with the report itself as the body \
                 (curl: --data-binary @report.xml)"
            )));
        }
    }
    let Query(parameters) = query.map_err(|error| Problem::BadRequest(error.body_text()))?;
    let text = serde_json::to_string(&parameters).map_err(|error| Problem::BadRequest(error.to_string()))?;
    let event = read::<Event>(&text)
        .map_err(|refusal| Problem::BadRequest(format!("{}: {}", refusal.field, refusal.message)))?;
    Ok((event, parameters))
}

async fn receive(
    app: &Arc<App>,
    bearer: &Bearer,
    event: Event,
    parameters: Parameters,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, Problem> {
    let gzip = is_gzip(headers)?;
    let length: Option<usize> =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).filter(|_| !gzip);
    let mut weight = app.budget.weigh();
    weight.cover(length.unwrap_or(WEIGHT_MAX).saturating_mul(2).clamp(WEIGHT_MIN, WEIGHT_MAX)).await?;
    let suite = parameters.suite.clone();
    let bridge = SyncIoBridge::new(StreamReader::new(in_time(body.into_data_stream())));
    let reading = tokio::task::spawn_blocking(move || {
        if gzip { Report::read(MultiGzDecoder::new(bridge), suite) } else { Report::read(bridge, suite) }
    });
    let (tests, seconds, hash) = reading.await.map_err(broke_off)??;
    let now = app.clock.now();
    let by_default = event.finished.is_none();
    let judged = judge(complete(event, tests, seconds, &hash, now), 0, now);
    let mut taken = take(app, vec![(0, judged)], bearer, weight, true).await?;
    if by_default {
        // Another time of arrival is no other report.
        taken.differing.clear();
    }
    Ok(taken)
}

/// The body, which ends in an error when it comes too slowly.
fn in_time(body: BodyDataStream) -> impl futures_util::Stream<Item = io::Result<bytes::Bytes>> + Unpin {
    let deadline = tokio::time::Instant::now() + REPORT_WITHIN;
    let next = move |mut body: BodyDataStream| async move {
        let within = deadline.min(tokio::time::Instant::now() + CHUNK_WITHIN);
        match tokio::time::timeout_at(within, body.next()).await {
            Ok(Some(chunk)) => Some((chunk.map_err(io::Error::other), body)),
            Ok(None) => None,
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), body)),
        }
    };
    Box::pin(stream::unfold(body, next))
}

fn complete(mut event: Event, tests: Tests, seconds: Option<f64>, hash: &str, now: Timestamp) -> Event {
    let finished = *event.finished.get_or_insert(now);
    if event.started.is_none() {
        let took = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        event.started = took.map(|took| finished.minus(took));
    }
    event.result.get_or_insert(match tests.counts() {
        counts if counts.bad() > 0 => CiResult::Failure,
        _ if tests.aborted => CiResult::Error,
        _ => CiResult::Success,
    });
    event.step.get_or_insert_with(|| format!("test/{}#{hash}", tests.suite));
    event.name.get_or_insert_with(|| tests.suite.clone());
    event.tests = Some(tests);
    event
}

/// Counts and hashes what is read, and remembers why it stopped.
struct Measured<R> {
    report: R,
    left: u64,
    hash: Sha256,
    fault: Arc<Mutex<Option<Problem>>>,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.report.read(buffer).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::TimedOut => Problem::Slow,
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    Problem::BadRequest(format!("the body is no whole gzip stream: {error}"))
                }
                _ => Problem::BadRequest("the body broke off".into()),
            };
            self.stop(problem)
        })?;
        self.left = match self.left.checked_sub(n as u64) {
            Some(left) => left,
            None => {
                let words =
                    format!("the report is larger than {REPORT_MAX} bytes, decompressed; send its suites");
                return Err(self.stop(Problem::TooLarge(format!("{words} one by one"))));
            }
        };
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

impl<R> Measured<R> {
    fn stop(&self, problem: Problem) -> io::Error {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
        io::Error::other("stopped")
    }
}

impl Report {
    /// Tests, how long they took, and a hash of all of it.
    fn read(report: impl Read, suite: Option<String>) -> Result<(Tests, Option<f64>, String), Problem> {
        let fault = Arc::default();
        let mut report =
            Measured { report, left: REPORT_MAX, hash: Sha256::new(), fault: Arc::clone(&fault) };
        let gathered = gather(suite.as_deref(), [("the report".to_owned(), &mut report)]);
        // What follows the report is part of its hash; and the sender reads no answer before it is done.
        let rest = io::copy(&mut report, &mut io::sink());
        if let Some(problem) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(problem);
        }
        rest.map_err(|error| Problem::BadRequest(error.to_string()))?;
        let (tests, gathered) = gathered.map_err(|error| match error {
            JunitError::File { error, .. } => Problem::BadRequest(error.to_string()),
            error => Problem::BadRequest(error.to_string()),
        })?;
        let hash = report.hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((tests, gathered.seconds, hash))
    }
}
