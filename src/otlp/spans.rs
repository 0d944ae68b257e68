//! The trace of a run: an INTERNAL root span, and a CLIENT span for each attempt of each request.
//!
//! Attempts follow 'HTTP client span' of the semantic conventions. Paths come from the suite's
//! templates, so a captured value or a secret cannot appear here.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};
use url::Url;

use super::attributes::{deployment_attributes, pair, pairs};
use super::names;
use crate::clock::Timestamp;
use crate::model::{Attempt, Outcome, Phase, Phases, Run, Sample, Template, TraceParent};

/// Bytes of a sample's detail that a span carries; the log record has more of it.
const STATUS_MESSAGE_MAX: usize = 512;

/// Sampled (W3C Trace Context), and the parent is known to be of this process.
const FLAGS: u32 = 1 | SpanFlags::ContextHasIsRemoteMask as u32;

/// The attributes that all spans and records of a run share.
pub(super) fn run_labels(run: &Run) -> Vec<KeyValue> {
    let mut labels = pairs(deployment_attributes(&run.deployment));
    labels.push(pair(names::SUITE, run.round.suite.clone()));
    labels
}

/// The root first, then the attempts in the order they were made.
pub(super) fn spans(run: &Run, labels: &[KeyValue]) -> Vec<Span> {
    let attempts: usize = run.samples.iter().map(|s| s.attempts.len()).sum();
    let mut spans = Vec::with_capacity(1 + attempts);
    spans.push(root(run, labels));
    for sample in &run.samples {
        let last = sample.attempts.len().saturating_sub(1);
        spans.extend(
            sample.attempts.iter().enumerate().map(|(n, a)| attempt(run, labels, sample, a, n, n == last)),
        );
    }
    spans
}

fn root(run: &Run, labels: &[KeyValue]) -> Span {
    let mut attributes = Vec::with_capacity(labels.len() + 3);
    attributes.extend_from_slice(labels);
    attributes.push(pair(names::ROUND, run.round.id.to_string()));
    attributes.push(pair(names::OUTCOME, run.outcome.as_str()));
    if let Some(digest) = &run.deployment.digest {
        attributes.push(pair(names::IMAGE_DIGEST, digest.clone()));
    }
    let failed = matches!(run.outcome, Outcome::Fail | Outcome::Unreachable);
    let link = |origin: TraceParent| Link {
        trace_id: origin.trace.0.to_vec(),
        span_id: origin.span.0.to_vec(),
        flags: FLAGS,
        ..Link::default()
    };
    Span {
        trace_id: run.trace.0.to_vec(),
        span_id: run.trace.root_span().0.to_vec(),
        flags: FLAGS,
        name: names::run_span(&run.round.suite),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: run.started.unix_nanos(),
        end_time_unix_nano: run.started.plus(run.duration).unix_nanos(),
        attributes,
        links: run.deployment.origin.map(link).into_iter().collect(),
        status: failed.then(|| error_status(run.outcome.as_str())),
        ..Span::default()
    }
}

fn attempt(
    run: &Run,
    labels: &[KeyValue],
    sample: &Sample,
    attempt: &Attempt,
    number: usize,
    is_last: bool,
) -> Span {
    let request = &sample.request;
    let base = &run.deployment.url;
    let template = request.path.to_string();

    let mut attributes = Vec::with_capacity(labels.len() + 20);
    attributes.extend_from_slice(labels);
    attributes.push(pair(names::REQUEST, request.name.clone()));
    attributes.push(pair(names::METHOD, request.method.as_str()));
    attributes.push(pair(names::SERVER_ADDRESS, server_address(base)));
    if let Some(port) = base.port_or_known_default() {
        attributes.push(pair(names::SERVER_PORT, i64::from(port)));
    }
    attributes.push(pair(names::URL_FULL, url_full(base, &request.path)));
    attributes.push(pair(names::SYNTHETIC_TYPE, names::SYNTHETIC_TEST));
    if let Some(status) = attempt.status {
        attributes.push(pair(names::STATUS, i64::from(status)));
        attributes.push(pair(names::BODY_SIZE, i64::try_from(attempt.body_bytes).unwrap_or(i64::MAX)));
    }
    if let Some(error) = attempt.error {
        attributes.push(pair(names::ERROR_TYPE, error.as_str()));
    }
    if number > 0 {
        attributes.push(pair(names::RESEND_COUNT, i64::try_from(number).unwrap_or(i64::MAX)));
    }
    if let Some(version) = attempt.protocol {
        attributes.push(pair(names::PROTOCOL_VERSION, version));
    }
    if let Some(peer) = attempt.peer {
        attributes.push(pair(names::PEER_ADDRESS, peer.ip().to_string()));
        attributes.push(pair(names::PEER_PORT, i64::from(peer.port())));
    }
    if attempt.redirects > 0 {
        attributes.push(pair(names::REDIRECTS, i64::from(attempt.redirects)));
    }
    if let Some(days) = attempt.tls_days_left {
        attributes.push(pair(names::TLS_DAYS_LEFT, days));
    }
    if is_last {
        attributes.push(pair(names::OUTCOME, sample.outcome.as_str()));
        if sample.passed_on_retry() {
            attributes.push(pair(names::PASSED_ON_RETRY, true));
        }
    }
    let name = format!("{} {template}", request.method.as_str());
    attributes.push(pair(names::URL_TEMPLATE, template));

    let failed = is_last && matches!(sample.outcome, Outcome::Fail | Outcome::Unreachable);
    // Only the last attempt is what the sample's detail speaks of.
    let message = if is_last { truncated(&sample.detail, STATUS_MESSAGE_MAX) } else { "" };
    Span {
        trace_id: run.trace.0.to_vec(),
        span_id: attempt.span.0.to_vec(),
        parent_span_id: run.trace.root_span().0.to_vec(),
        flags: FLAGS,
        name,
        kind: SpanKind::Client as i32,
        start_time_unix_nano: attempt.started.unix_nanos(),
        end_time_unix_nano: attempt.started.plus(attempt.phases.total()).unix_nanos(),
        attributes,
        events: phase_events(attempt.started, &attempt.phases),
        status: (failed || attempt.error.is_some()).then(|| error_status(message)),
        ..Span::default()
    }
}

/// One event for each phase that took time, at its beginning.
fn phase_events(started: Timestamp, phases: &Phases) -> Vec<Event> {
    let mut at = started;
    let mut events = Vec::with_capacity(Phase::ALL.len());
    for phase in Phase::ALL {
        let duration = phases.get(phase);
        if !duration.is_zero() {
            events.push(Event {
                time_unix_nano: at.unix_nanos(),
                name: names::phase_event(phase).to_owned(),
                attributes: vec![pair(names::EVENT_DURATION, duration.as_secs_f64())],
                ..Event::default()
            });
        }
        at = at.plus(duration);
    }
    events
}

pub(super) fn error_status(message: &str) -> Status {
    Status { message: message.to_owned(), code: StatusCode::Error as i32 }
}

/// Without the brackets of an IPv6 address, as `server.address` asks.
pub fn server_address(url: &Url) -> String {
    url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

/// The deployment's URL and the template behind it, places as `{name}`.
fn url_full(base: &Url, path: &Template) -> String {
    let path = path.to_string();
    format!("{}/{}", base.as_str().trim_end_matches('/'), path.trim_start_matches('/'))
}

/// At most so many bytes, ending between characters.
pub(super) fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
