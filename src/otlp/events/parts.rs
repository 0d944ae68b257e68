//! What an event consists of: test cases, steps of a deployment, figures.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, SpanKind};

use super::FLAGS;
use crate::clock::Timestamp;
use crate::model::{Case, CiResult, Deploy, Event, Load, SpanId, Tests};
use crate::otlp::attributes::pair;
use crate::otlp::names;
use crate::otlp::spans::{error_status, truncated};

/// Bytes of a message in a span's status; the exception event has all of it.
const STATUS_MESSAGE_MAX: usize = 512;

/// The spans below an event's own, in order.
pub(super) fn spans(event: &Event, started: Timestamp, finished: Timestamp) -> Vec<Span> {
    match (&event.tests, &event.deploy) {
        (Some(tests), _) => cases(event, tests, started, finished),
        (None, Some(deploy)) => steps(event, deploy, started, finished),
        (None, None) => Vec::new(),
    }
}

fn below(event: &Event, id: SpanId, name: String, from: Timestamp, to: Timestamp) -> Span {
    Span {
        trace_id: event.trace().0.to_vec(),
        span_id: id.0.to_vec(),
        parent_span_id: event.span().0.to_vec(),
        flags: FLAGS,
        name,
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: from.unix_nanos(),
        end_time_unix_nano: to.unix_nanos(),
        ..Span::default()
    }
}

/// Saturates: nothing here takes longer than a year.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Reports tell how long a case took, not when it began. Cases are laid one after the other where
/// they fit into the run; where they do not (they ran side by side), each begins with it.
fn cases(event: &Event, tests: &Tests, started: Timestamp, finished: Timestamp) -> Vec<Span> {
    let total: f64 = tests.cases.iter().filter_map(|case| case.seconds).sum();
    let in_turn = seconds(total) <= finished.since(started);
    let mut at = started;
    let mut seen: HashMap<(&str, &str), u32> = HashMap::new();
    tests
        .cases
        .iter()
        .map(|case| {
            // One name may occur twice in a run.
            let place = seen.entry((&case.class, &case.name)).or_default();
            let title = case.title();
            let id = event.span().part(&title, *place);
            *place += 1;
            let from = if in_turn { at } else { started };
            let to = from.plus(seconds(case.seconds.unwrap_or(0.0)));
            at = to;
            span_of_case(event, tests, case, below(event, id, title, from, to), to)
        })
        .collect()
}

fn span_of_case(event: &Event, tests: &Tests, case: &Case, mut span: Span, ended: Timestamp) -> Span {
    span.attributes = vec![
        pair(names::TEST_SUITE, tests.suite.clone()),
        pair(names::TEST_CASE, span.name.clone()),
        pair(names::TEST_STATUS, case.status.as_str()),
    ];
    // A search for failed cases shows no attribute of their parents, and on which branch a test
    // fails is half of the answer.
    span.attributes.extend(event.branch.clone().map(|branch| pair(names::BRANCH, branch)));
    span.attributes.extend(case.mark.map(|mark| pair(names::TEST_MARK, mark.as_str())));
    let message = case.message.as_deref().unwrap_or("");
    if case.status.is_bad() {
        span.attributes.push(pair(names::ERROR_TYPE, case.status.as_str()));
        span.status = Some(error_status(truncated(message, STATUS_MESSAGE_MAX)));
        span.events = vec![SpanEvent {
            time_unix_nano: ended.unix_nanos(),
            name: names::EXCEPTION_EVENT.to_owned(),
            attributes: vec![
                pair(names::EXCEPTION_TYPE, case.status.as_str()),
                pair(names::EXCEPTION_MESSAGE, message.to_owned()),
            ],
            ..SpanEvent::default()
        }];
    }
    span
}

fn steps(event: &Event, deploy: &Deploy, started: Timestamp, finished: Timestamp) -> Vec<Span> {
    let mut after = started;
    deploy
        .steps
        .iter()
        .zip(0_u32..)
        .map(|(step, place)| {
            let from =
                step.offset_seconds.map_or(after, |offset| started.plus(seconds(offset))).min(finished);
            let to = from.plus(seconds(step.seconds));
            after = to;
            let mut span = below(event, event.span().part(&step.name, place), step.name.clone(), from, to);
            span.attributes = vec![pair(names::STEP, step.name.clone())];
            if let Some(result) = step.result {
                span.attributes.push(pair(names::TASK_RESULT, result.as_str()));
                span.status = result.is_bad().then(|| error_status(result.as_str()));
            }
            span
        })
        .collect()
}

/// The figures of an event that its own span carries.
pub(super) fn figures(event: &Event, result: CiResult) -> Vec<KeyValue> {
    let mut figures = Vec::new();
    if let Some(tests) = &event.tests {
        let counts = tests.counts();
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        figures.push(pair(names::TEST_SUITE, tests.suite.clone()));
        figures.push(pair(names::TEST_SUITE_STATUS, suite_status(tests, result)));
        figures.push(pair(names::TESTS_PASSED, number(counts.pass)));
        figures.push(pair(names::TESTS_FAILED, number(counts.fail)));
        figures.push(pair(names::TESTS_ERRORS, number(counts.error)));
        figures.push(pair(names::TESTS_SKIPPED, number(counts.skip)));
    }
    if event.deploy.is_some() {
        let status = if result.is_bad() { "failed" } else { "succeeded" };
        figures.push(pair(names::DEPLOYMENT_STATUS, status));
    }
    if let Some(load) = &event.load {
        figures.extend(figures_of_load(load));
    }
    if let Some(usage) = &event.usage {
        figures.extend(usage.exit_code.map(|code| pair(names::EXIT_CODE, i64::from(code))));
        figures.extend(usage.cpu_seconds.map(|cpu| pair(names::CPU_SECONDS, cpu)));
        let bytes = usage.memory_peak_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        figures.extend(bytes.map(|bytes| pair(names::MEMORY_PEAK, bytes)));
    }
    figures
}

/// `test.suite.run.status` of the conventions.
fn suite_status(tests: &Tests, result: CiResult) -> &'static str {
    match result {
        CiResult::Timeout => "timed_out",
        _ if tests.aborted => "aborted",
        CiResult::Cancellation => "aborted",
        CiResult::Skip => "skipped",
        CiResult::Success => "success",
        CiResult::Failure | CiResult::Error => "failure",
    }
}

fn figures_of_load(load: &Load) -> Vec<KeyValue> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut figures = vec![
        pair(names::LOAD, load.plan.clone()),
        pair(names::LOAD_TOOL, load.tool.clone()),
        pair(names::LOAD_REQUESTS, number(load.requests)),
        pair(names::LOAD_ERRORS, number(load.errors)),
        pair(names::LOAD_RATE, load.throughput),
    ];
    if load.rate_limited() > 0 {
        figures.push(pair(names::LOAD_RATE_LIMITED, number(load.rate_limited())));
    }
    figures
}
