//! A verdict that changed: a span without duration below the span of the deployment that put the build
//! there, so that one trace leads from the commit to the verdict, and a log record.

use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};

use super::attributes::{any, pairs};
use super::encode::request;
use super::resource::Resource;
use super::spans::error_status;
use super::{Attributes, Signals, names};
use crate::clock::Timestamp;
use crate::model::{SpanId, TraceId, TraceParent};

/// Sampled, and the parent is known to be of this process.
const FLAGS: u32 = 1 | SpanFlags::ContextHasIsRemoteMask as u32;

/// What is told of a verdict.
#[derive(Clone, Debug)]
pub struct VerdictTold<'a> {
    /// [`crate::model::Deployment::key`] of the build that it is on.
    pub build: &'a str,
    pub suite: &'a str,
    pub request: &'a str,
    pub at: Timestamp,
    pub verdict: &'a str,
    /// In a sentence.
    pub words: String,
    /// Someone should look at it.
    pub is_bad: bool,
    /// The span of the event that told of the build.
    pub origin: Option<TraceParent>,
    pub attributes: Attributes,
}

/// Never fails, and gives the same bytes for the same verdict.
pub fn encode_verdict(told: &VerdictTold<'_>, resource: &Resource) -> Signals {
    let VerdictTold { build, suite, request: name, at, .. } = told;
    let trace = told.origin.map_or_else(|| TraceId::of_verdict(build, suite, name, *at), |o| o.trace);
    let id = SpanId::of_verdict(build, suite, name, *at);
    let attributes = pairs(told.attributes.clone());
    let span = Span {
        trace_id: trace.0.to_vec(),
        span_id: id.0.to_vec(),
        parent_span_id: told.origin.map(|origin| origin.span.0.to_vec()).unwrap_or_default(),
        flags: FLAGS,
        name: names::verdict_span(told.request, told.verdict),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: told.at.unix_nanos(),
        end_time_unix_nano: told.at.unix_nanos(),
        attributes: attributes.clone(),
        status: told.is_bad.then(|| error_status(&told.words)),
        ..Span::default()
    };
    let (severity, text) =
        if told.is_bad { (SeverityNumber::Error, "ERROR") } else { (SeverityNumber::Info, "INFO") };
    let record = LogRecord {
        time_unix_nano: told.at.unix_nanos(),
        observed_time_unix_nano: told.at.unix_nanos(),
        severity_number: severity as i32,
        severity_text: text.to_owned(),
        body: Some(any(told.words.clone().into())),
        attributes,
        flags: 1, // sampled, as the span is
        trace_id: trace.0.to_vec(),
        span_id: id.0.to_vec(),
        event_name: names::VERDICT_EVENT.to_owned(),
        ..LogRecord::default()
    };
    Signals { traces: request(resource, &[span]), logs: Some(request(resource, &[record])) }
}
