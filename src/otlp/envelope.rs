//! The shape that the requests of all three signals share, with everything inside kept as bytes.
//!
//! `Export{Trace,Metrics,Logs}ServiceRequest` nest in the same way under the same field numbers:
//! resources hold scopes hold items. A field of bytes and a field of a message look the same on the
//! wire, so one set of messages reads and writes all of them, encodes the constant resource once,
//! and takes a request apart without looking into its items. Since all of it is `repeated` at the
//! top, two encoded requests of one signal, concatenated, are one request
//! (protobuf encoding, 'Last One Wins').

use std::sync::LazyLock;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use prost::Message;

use super::names;
use super::resource::Resource;

/// A whole request of any signal.
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    #[prost(message, repeated, tag = "1")]
    pub resources: Vec<ResourceGroup>,
}

/// `ResourceSpans`, `ResourceMetrics` or `ResourceLogs`.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceGroup {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub resource: Option<Bytes>,
    #[prost(message, repeated, tag = "2")]
    pub scopes: Vec<ScopeGroup>,
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// `ScopeSpans`, `ScopeMetrics` or `ScopeLogs`; an item is a `Span`, `Metric` or `LogRecord`.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeGroup {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub scope: Option<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub items: Vec<Bytes>,
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// `Metric` with its points as bytes. One of the five kinds is there.
#[derive(Clone, PartialEq, Message)]
pub struct MetricGroup {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(string, tag = "3")]
    pub unit: String,
    #[prost(message, optional, tag = "5")]
    pub gauge: Option<Points>,
    #[prost(message, optional, tag = "7")]
    pub sum: Option<Points>,
    #[prost(message, optional, tag = "9")]
    pub histogram: Option<Points>,
    #[prost(message, optional, tag = "10")]
    pub exponential_histogram: Option<Points>,
    #[prost(message, optional, tag = "11")]
    pub summary: Option<Points>,
    #[prost(bytes = "bytes", repeated, tag = "12")]
    pub metadata: Vec<Bytes>,
}

impl MetricGroup {
    /// The points of whichever kind it is.
    pub fn points(&self) -> Option<&Points> {
        let kinds = [&self.gauge, &self.sum, &self.histogram, &self.exponential_histogram, &self.summary];
        kinds.into_iter().find_map(Option::as_ref)
    }

    pub fn points_mut(&mut self) -> Option<&mut Points> {
        let kinds = [
            &mut self.gauge,
            &mut self.sum,
            &mut self.histogram,
            &mut self.exponential_histogram,
            &mut self.summary,
        ];
        kinds.into_iter().find_map(Option::as_mut)
    }
}

/// `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`: a field that a kind lacks is
/// its default, which is not sent.
#[derive(Clone, PartialEq, Message)]
pub struct Points {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub points: Vec<Bytes>,
    #[prost(int32, tag = "2")]
    pub temporality: i32,
    #[prost(bool, tag = "3")]
    pub monotonic: bool,
}

static SCOPE: LazyLock<Bytes> = LazyLock::new(|| {
    let scope = InstrumentationScope {
        name: names::SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    scope.encode_to_vec().into()
});

/// A request with these encoded items under one resource and our scope.
pub(super) fn wrap(resource: &Resource, items: Vec<Bytes>) -> Vec<u8> {
    let scope = ScopeGroup { scope: Some(SCOPE.clone()), items, schema_url: names::SCHEMA_URL.to_owned() };
    let group =
        ResourceGroup { resource: Some(resource.encoded()), scopes: vec![scope], schema_url: String::new() };
    Envelope { resources: vec![group] }.encode_to_vec()
}

/// Bytes of a request around its items, at most.
pub(super) fn overhead_bytes(resource: &Resource) -> usize {
    const TAGS_AND_LENGTHS: usize = 40;
    resource.encoded().len() + SCOPE.len() + names::SCHEMA_URL.len() + TAGS_AND_LENGTHS
}
