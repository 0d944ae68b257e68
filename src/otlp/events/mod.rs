//! One event of CI as telemetry: a span with its parts below it, and a log record.
//!
//! The run as a whole is a SERVER span, a step of it INTERNAL (semantic conventions, CI/CD spans);
//! test cases and steps of a deployment are children of theirs. Times are those CI told, ids are
//! hashed from the event's identity. What is only under way has no telemetry yet: a span is sent
//! when it has ended.

#[cfg(test)]
pub(crate) mod fixture;
mod parts;
#[cfg(test)]
mod tests;
mod words;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use prost::Message;

use super::attributes::{Attributes, any, pair, pairs};
use super::encode::request;
use super::resource::Resource;
use super::spans::error_status;
use super::{Encoded, envelope, names};
use crate::clock::Timestamp;
use crate::model::{CiResult, Event, EventKind, TraceParent};

/// Spans of one encoded request at most, and their bytes unless one has more: an event may have 50,000
/// test cases, each with a message.
const SPANS_PER_REQUEST: usize = 500;
const REQUEST_BYTES: usize = 512 * 1024;
/// Sampled; where the parent comes from elsewhere, it is said to be remote.
const FLAGS: u32 = 1 | SpanFlags::ContextHasIsRemoteMask as u32;
const REMOTE: u32 = SpanFlags::ContextIsRemoteMask as u32;

/// What an event sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSignals {
    /// Requests of at most 500 spans or about 512 KiB each; none for what is under way.
    pub traces: Vec<Encoded>,
    pub logs: Option<Encoded>,
}

/// Never fails, and gives the same bytes for the same event. `started` is when it began, as far as
/// that is known; `links` lead to what it follows from, such as the build of the deployed image.
pub fn encode_event(
    event: &Event,
    started: Timestamp,
    links: &[TraceParent],
    resource: &Resource,
) -> EventSignals {
    let (Some(finished), Some(result)) = (event.finished, event.result) else {
        return EventSignals::default();
    };
    let started = started.min(finished);
    let labels = labels(event);
    let own = own_span(event, started, finished, result, links, &labels);
    let below = parts::spans(event, started, finished);
    let mut traces = Vec::new();
    let mut items: Vec<Bytes> = Vec::new();
    let mut bytes = 0;
    let mut flush = |items: &mut Vec<Bytes>| {
        let items = std::mem::take(items);
        traces.push(Encoded { items: items.len() as u32, body: envelope::wrap(resource, items) });
    };
    for span in std::iter::once(own).chain(below) {
        let span: Bytes = span.encode_to_vec().into();
        if items.len() == SPANS_PER_REQUEST || (!items.is_empty() && bytes + span.len() > REQUEST_BYTES) {
            flush(&mut items);
            bytes = 0;
        }
        bytes += span.len();
        items.push(span);
    }
    flush(&mut items);
    let logs = Some(request(resource, &[record(event, finished, result, labels)]));
    EventSignals { traces, logs }
}

/// What a metric point or a span about a version is labelled with, as far as the event tells. The
/// name of the deployment is that of [`Event::deployment_name`].
pub fn version_attributes(event: &Event) -> Attributes {
    let mut attributes = Attributes::new();
    if let Some(version) = &event.version {
        attributes.push((names::TARGET_VERSION.into(), version.to_string().into()));
    }
    if let Some(name) = event.deployment_name() {
        attributes.push((names::DEPLOYMENT.into(), name.into()));
    }
    if event.version.is_some() || event.db.is_some() {
        attributes.push((names::ENVIRONMENT.into(), event.environment().to_owned().into()));
    }
    if let Some(db) = event.db {
        attributes.push((names::DB.into(), db.as_str().into()));
    }
    attributes
}

/// What span and record of an event share.
fn labels(event: &Event) -> Vec<KeyValue> {
    let mut labels = pairs(version_attributes(event));
    labels.push(pair(names::EVENT_KIND, event.kind().as_str()));
    labels.push(pair(names::EVENT_SOURCE, event.source.clone()));
    labels.push(pair(names::PIPELINE, event.pipeline.clone()));
    labels.push(pair(names::PIPELINE_RUN, event.run.clone()));
    labels.push(pair(names::ATTEMPT, i64::from(event.attempt)));
    let texts = [
        (names::BRANCH, &event.branch),
        (names::COMMIT, &event.commit),
        (names::REPOSITORY, &event.repository),
        (names::WORKER, &event.worker),
        (names::IMAGE_DIGEST, &event.digest),
    ];
    labels.extend(texts.into_iter().filter_map(|(name, text)| Some(pair(name, text.clone()?))));
    labels
}

fn own_span(
    event: &Event,
    started: Timestamp,
    finished: Timestamp,
    result: CiResult,
    links: &[TraceParent],
    labels: &[KeyValue],
) -> Span {
    let mut attributes = labels.to_vec();
    let whole = event.kind() == EventKind::Pipeline;
    let url = if whole { names::PIPELINE_RUN_URL } else { names::TASK_URL };
    attributes.extend(event.url.clone().map(|text| pair(url, text)));
    if whole {
        attributes.push(pair(names::PIPELINE_ACTION, names::ACTION_RUN));
        attributes.push(pair(names::PIPELINE_RESULT, result.as_str()));
    } else {
        attributes.push(pair(names::TASK, event.title().to_owned()));
        attributes.push(pair(names::TASK_RUN, event.step.clone().unwrap_or_default()));
        attributes.push(pair(names::TASK_RESULT, result.as_str()));
        attributes.extend(event.task().map(|task| pair(names::TASK_TYPE, task.as_str())));
    }
    if result.is_bad() {
        attributes.push(pair(names::ERROR_TYPE, result.as_str()));
    }
    attributes.extend(parts::figures(event, result));
    let name =
        if whole { format!("{} {}", names::ACTION_RUN, event.pipeline) } else { words::span_name(event) };
    let remote = if event.traceparent.is_some() { REMOTE } else { 0 };
    let link = |to: &TraceParent| Link {
        trace_id: to.trace.0.to_vec(),
        span_id: to.span.0.to_vec(),
        flags: FLAGS,
        ..Link::default()
    };
    Span {
        trace_id: event.trace().0.to_vec(),
        span_id: event.span().0.to_vec(),
        parent_span_id: event.parent().map(|span| span.0.to_vec()).unwrap_or_default(),
        flags: FLAGS | remote,
        name,
        kind: if whole { SpanKind::Server } else { SpanKind::Internal } as i32,
        start_time_unix_nano: started.unix_nanos(),
        end_time_unix_nano: finished.unix_nanos(),
        attributes,
        events: evidence(event, finished).into_iter().collect(),
        links: links.iter().map(link).collect(),
        status: result.is_bad().then(|| error_status(&words::why(event, result))),
        ..Span::default()
    }
}

/// What a command was doing when it was ended.
fn evidence(event: &Event, at: Timestamp) -> Option<SpanEvent> {
    let evidence = event.evidence.as_ref()?;
    let mut attributes = vec![pair(names::EXCEPTION_MESSAGE, evidence.reason.clone())];
    attributes.extend(evidence.last_test.clone().map(|test| pair(names::LAST_TEST, test)));
    attributes.push(pair(names::EVIDENCE, words::processes(evidence)));
    Some(SpanEvent {
        time_unix_nano: at.unix_nanos(),
        name: names::EVIDENCE_EVENT.to_owned(),
        attributes,
        ..SpanEvent::default()
    })
}

fn record(event: &Event, at: Timestamp, result: CiResult, labels: Vec<KeyValue>) -> LogRecord {
    let (severity, text) = match result {
        CiResult::Success | CiResult::Skip => (SeverityNumber::Info, "INFO"),
        CiResult::Cancellation => (SeverityNumber::Warn, "WARN"),
        CiResult::Failure | CiResult::Error | CiResult::Timeout => (SeverityNumber::Error, "ERROR"),
    };
    let mut attributes = labels;
    attributes.extend(event.task().map(|task| pair(names::TASK_TYPE, task.as_str())));
    LogRecord {
        time_unix_nano: at.unix_nanos(),
        observed_time_unix_nano: at.unix_nanos(),
        severity_number: severity as i32,
        severity_text: text.to_owned(),
        body: Some(any(words::summary(event, result).into())),
        attributes,
        flags: 1, // sampled, as the span is
        trace_id: event.trace().0.to_vec(),
        span_id: event.span().0.to_vec(),
        event_name: names::CI_EVENT.to_owned(),
        ..LogRecord::default()
    }
}
