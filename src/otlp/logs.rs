//! A log record for each sample that did not pass, so that a log search finds failures by their
//! words, and leads to the trace.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::attributes::{any, pair};
use super::names;
use super::spans::truncated;
use crate::model::{Outcome, Run, Sample};

/// Bytes of a sample's detail in a record.
const DETAIL_MAX: usize = 8_192;

/// WARN for a degraded sample, ERROR for one that failed or found the deployment unreachable;
/// nothing for what passed or was skipped.
pub(super) fn records(run: &Run, labels: &[KeyValue]) -> Vec<LogRecord> {
    run.samples.iter().filter_map(|sample| record(run, labels, sample)).collect()
}

fn record(run: &Run, labels: &[KeyValue], sample: &Sample) -> Option<LogRecord> {
    let (severity, text) = match sample.outcome {
        Outcome::Pass | Outcome::Skipped => return None,
        Outcome::Degraded => (SeverityNumber::Warn, "WARN"),
        Outcome::Fail | Outcome::Unreachable => (SeverityNumber::Error, "ERROR"),
    };
    let last = sample.last();
    let ended = last.map_or(run.started, |a| a.started.plus(a.phases.total()));
    let span = last.map_or_else(|| run.trace.root_span(), |a| a.span);

    let mut attributes = Vec::with_capacity(labels.len() + 4);
    attributes.extend_from_slice(labels);
    attributes.push(pair(names::REQUEST, sample.request.name.clone()));
    attributes.push(pair(names::OUTCOME, sample.outcome.as_str()));
    if let Some(error) = last.and_then(|a| a.error) {
        attributes.push(pair(names::ERROR_TYPE, error.as_str()));
    }
    if let Some(status) = last.and_then(|a| a.status) {
        attributes.push(pair(names::STATUS, i64::from(status)));
    }
    let body = format!(
        "{} on {}: {}: {}",
        sample.request.name,
        run.deployment.name,
        sample.outcome,
        truncated(&sample.detail, DETAIL_MAX)
    );
    Some(LogRecord {
        time_unix_nano: ended.unix_nanos(),
        observed_time_unix_nano: ended.unix_nanos(),
        severity_number: severity as i32,
        severity_text: text.to_owned(),
        body: Some(any(body.into())),
        attributes,
        flags: 1, // sampled, as the span is
        trace_id: run.trace.0.to_vec(),
        span_id: span.0.to_vec(),
        event_name: names::SAMPLE_EVENT.to_owned(),
        ..LogRecord::default()
    })
}
