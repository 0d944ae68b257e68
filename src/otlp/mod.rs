//! OTLP 1.x as bytes: what probes saw, built with `opentelemetry-proto` and ready for the outbox.
//!
//! Pure: no IO, no clock. Given the same facts it gives the same spans, ids included, so sending
//! again changes nothing (ARCHITECTURE.md, invariant 3). The SDK is not used here: it cannot carry
//! past times, chosen ids or exemplars, and keeps what it could not send in memory only.
//!
//! Two encoded requests of one signal, concatenated, are one request.

mod attributes;
mod bounds;
mod encode;
pub mod envelope;
mod events;
#[cfg(test)]
pub(crate) mod fixture;
mod logs;
mod metrics;
pub mod names;
mod resource;
mod spans;
mod verdict;

use std::fmt;

pub use attributes::{Attributes, Value, deployment_attributes};
pub use bounds::{BOUNDS_RUN_SECONDS, BOUNDS_SECONDS, BUCKETS, bucket_of};
pub use encode::{Signals, encode_run};
pub use events::{EventSignals, encode_event, version_attributes};
pub use metrics::{Exemplar, HistogramPoint, MetricBatch, Number};
pub use resource::{Resource, ResourceError};
pub use spans::server_address;
pub use verdict::{VerdictTold, encode_verdict};

/// What kind of telemetry a request holds; each kind has its own queue and endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An encoded `Export…ServiceRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Spans, data points or log records in it.
    pub items: u32,
    pub body: Vec<u8>,
}
