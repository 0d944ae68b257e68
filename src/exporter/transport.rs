//! Sends one encoded request to the collector, and says what became of it.
//!
//! Nothing is kept here: what is not accepted stays in the outbox. Every answer, and the lack of
//! one, is a [`Delivery`]; this module never gives up by itself and never fails. What counts as
//! final is as small as it can be: only a collector that says in so many words that the *data* is
//! bad (400, INVALID_ARGUMENT) is believed. All else may be mended by someone, so it is retried.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::answer::retry;
use super::over_grpc::GrpcChannel;
use super::over_http;
use super::settings::{Protocol, Settings, Target};
use crate::clock::Clock;
use crate::http::roots_for;
use crate::otlp::Signal;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The collector has it.
    Accepted {
        /// What it said about a part that it dropped for good (`partial_success`).
        rejected: Option<Rejected>,
    },
    /// Keep it and come again.
    Retry {
        trouble: Trouble,
        /// A sentence for people, with the endpoint and without secrets.
        reason: String,
        /// Not before this has passed, as the collector asked; at most an hour.
        after: Option<Duration>,
    },
    /// Too large for this collector: split it.
    TooLarge { reason: String },
    /// The collector will never take it as it is.
    Refused { reason: String },
}

/// A part of an accepted request that the collector did not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// 0 means that all was kept, and the message is a warning.
    pub items: u64,
    pub message: String,
}

/// Why a delivery has to be retried: what someone could do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No connection, no answer in time, or the connection broke.
    Unreachable,
    /// The collector wants other credentials.
    Unauthorised,
    /// The collector has too much to do (429, 503, RESOURCE_EXHAUSTED, UNAVAILABLE, …).
    Overloaded,
    /// The collector answered with an error of its own (5xx, INTERNAL, UNKNOWN, …).
    Failing,
    /// Something answered that does not behave like a collector: wrong endpoint or protocol.
    NotACollector,
}

impl Trouble {
    /// A low-cardinality name for a metric attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Unreachable => "unreachable",
            Trouble::Unauthorised => "unauthorised",
            Trouble::Overloaded => "overloaded",
            Trouble::Failing => "failing",
            Trouble::NotACollector => "not_a_collector",
        }
    }
}

/// Why no transport could be made of the settings.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the certificate for {endpoint} is no PEM with at least one certificate: {problem}")]
    Certificate { endpoint: String, problem: String },
    #[error(
        "this system has no certificates to trust for {endpoint}; name one in OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoRoots { endpoint: String },
    #[error("cannot make a client for {endpoint}: {problem}")]
    Client { endpoint: String, problem: String },
}

/// A way to the collector for each signal. Signals that go to the same place share connections.
pub struct Transport {
    traces: Route,
    metrics: Route,
    logs: Route,
    clock: Clock,
}

struct Route {
    target: Target,
    place: String,
    carrier: Carrier,
}

#[derive(Clone)]
enum Carrier {
    Http(reqwest::Client),
    Grpc(Arc<GrpcChannel>),
}

impl Transport {
    /// Connects to nothing yet. Must be called within a Tokio runtime. The clock is for dates in
    /// `Retry-After`.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, TransportError> {
        let traces = Route::new(settings.traces, &[])?;
        let metrics = Route::new(settings.metrics, &[&traces])?;
        let logs = Route::new(settings.logs, &[&traces, &metrics])?;
        Ok(Transport { traces, metrics, logs, clock })
    }

    /// Where a signal goes, for people: without credentials or query.
    pub fn place(&self, signal: Signal) -> &str {
        &self.route(signal).place
    }

    /// Sends one encoded request and waits for the answer, at most for the target's timeout.
    /// Cancelling it is safe: the collector may or may not have the request then.
    pub async fn send(&self, signal: Signal, body: Bytes) -> Delivery {
        let route = self.route(signal);
        let sending = async {
            match &route.carrier {
                Carrier::Http(client) => {
                    over_http::send(client, &route.target, &route.place, &self.clock, body).await
                }
                Carrier::Grpc(channel) => channel.send(signal, &route.target, &route.place, body).await,
            }
        };
        match tokio::time::timeout(route.target.timeout, sending).await {
            Ok(delivery) => delivery,
            Err(_) => {
                if let Carrier::Grpc(channel) = &route.carrier {
                    channel.reset();
                }
                let limit = humantime::format_duration(route.target.timeout);
                retry(Trouble::Unreachable, format!("{} did not answer within {limit}", route.place), None)
            }
        }
    }

    fn route(&self, signal: Signal) -> &Route {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }
}

impl Route {
    /// Takes over the carrier of another route to the same place.
    fn new(target: Target, others: &[&Route]) -> Result<Self, TransportError> {
        let place = place(&target);
        let same = others.iter().find(|other| {
            let other = &other.target;
            other.protocol == target.protocol
                && other.certificate == target.certificate
                && other.endpoint.origin() == target.endpoint.origin()
        });
        let carrier = match (same, target.protocol) {
            (Some(other), _) => other.carrier.clone(),
            (None, Protocol::HttpProtobuf) => Carrier::Http(over_http::client(&target, &place)?),
            (None, Protocol::Grpc) => Carrier::Grpc(Arc::new(GrpcChannel::new(&target, &place)?)),
        };
        Ok(Route { target, place, carrier })
    }
}

/// `https://collector:4318/v1/traces`, or `http://collector:4317 (gRPC)`. The query is left out: it
/// may hold a key.
fn place(target: &Target) -> String {
    let mut url = target.endpoint.clone();
    url.set_query(None);
    url.set_fragment(None);
    match target.protocol {
        Protocol::HttpProtobuf => url.to_string(),
        Protocol::Grpc => format!("{} (gRPC)", url.as_str().trim_end_matches('/')),
    }
}

/// The certificates to trust: those of the settings, or else the system's. None for plain HTTP.
pub(super) fn roots(target: &Target, place: &str) -> Result<RootCertStore, TransportError> {
    let endpoint = || place.to_owned();
    let Some(pem) = target.certificate.as_ref().filter(|_| target.endpoint.scheme() == "https") else {
        let roots = roots_for(&target.endpoint);
        return if roots.is_empty() && target.endpoint.scheme() == "https" {
            Err(TransportError::NoRoots { endpoint: endpoint() })
        } else {
            Ok(roots)
        };
    };
    let mut roots = RootCertStore::empty();
    let bad = |problem: String| TransportError::Certificate { endpoint: endpoint(), problem };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("it holds none".to_owned())) } else { Ok(roots) }
}
