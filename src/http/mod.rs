//! The phase-timed HTTP/1.1 client: what a request costs, and where the time goes.
//!
//! A capability: it knows deployments only by their URL's needs (TLS, resolver, keep-alive) and
//! judges nothing. Invariants: [`Session::send`] never fails, what went wrong is data; the phases
//! follow each other without a gap and sum to the elapsed time exactly; a call costs at most its
//! timeout and, in memory, its body cap twice and 128 KiB for a head; no header value, query or
//! credential ever gets into a [`Failure`].
//!
//! Deliberately absent: HTTP/2, proxies, cookies, connection pools, DNS caches. A probe is a new
//! visitor.

mod body;
mod connect;
mod dns;
mod exchange;
mod ordinary;
mod redirect;
mod session;
mod stopwatch;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::clock::Clock;
use crate::model::{Deployment, ErrorType, Method, Phases, Redirects, Tls};

pub use hyper::HeaderMap;
pub use hyper::header::{HeaderName, HeaderValue};
pub use ordinary::{causes, ordinary, ordinary_with, roots_for};
pub use session::Session;

/// What all sessions share; cheap to clone. CA files are read once in its life.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// Read when the first HTTPS target appears: they are large, and many fleets need none.
    roots: OnceLock<Arc<RootCertStore>>,
    tls: Mutex<Vec<(Tls, Arc<ClientConfig>)>>,
}

/// One request, and how far it may go. No `Debug`: headers and body may hold secrets.
#[derive(Clone)]
pub struct Call<'a> {
    pub method: Method,
    /// `http` or `https`. Credentials in it are neither sent nor shown.
    pub url: &'a Url,
    /// Sent as given. `Content-Length` and `Transfer-Encoding` are set by the body; `Host`,
    /// `User-Agent`, `Accept-Encoding` and `Connection` are added where they are missing.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For everything, from the name to the end of the last body.
    pub timeout: Duration,
    /// Bytes of the body that are read at most, before and after decompression.
    pub body_max: usize,
    pub redirects: Redirects,
}

/// What came of a call. Of a redirected one: the phases of all its requests, the rest of the last.
/// No `Debug`: what a target answers may hold secrets too.
#[derive(Clone)]
pub struct Exchange {
    pub phases: Phases,
    /// None when no answer came. There may be both a status and an error: a body cut short.
    pub status: Option<u16>,
    /// `1.0` or `1.1`, when an answer came.
    pub protocol: Option<&'static str>,
    pub headers: HeaderMap,
    /// Decompressed, up to the cap; as much as came when there is an error.
    pub body: Bytes,
    /// The body went on beyond the cap. No error by itself.
    pub truncated: bool,
    /// Body bytes as they came over the wire, until the end or the cap.
    pub body_bytes: u64,
    /// Address that was spoken to.
    pub peer: Option<SocketAddr>,
    /// How many were followed.
    pub redirects: u32,
    /// Days, rounded down, until the first certificate of the chain expires; negative when it has.
    pub tls_days_left: Option<i64>,
    pub error: Option<Failure>,
}

/// Why a call has no complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Dns, Connect, Tls, Timeout, Reset, Protocol or Redirect.
    pub kind: ErrorType,
    /// For a person: `connection refused by 127.0.0.1:18232 after 0.2 ms`.
    pub detail: String,
}

impl Failure {
    fn new(kind: ErrorType, detail: impl Into<String>) -> Self {
        Failure { kind, detail: detail.into() }
    }
}

impl Client {
    pub fn new(clock: Clock) -> Self {
        Client(Arc::new(Shared { clock, roots: OnceLock::new(), tls: Mutex::default() }))
    }

    pub fn session(&self, deployment: &Deployment) -> Session {
        Session::new(self.clone(), deployment)
    }

    /// How certificates are judged, for other clients too.
    ///
    /// # Errors
    /// When the PEM file of further authorities cannot be read.
    pub fn tls_config(&self, tls: &Tls) -> Result<Arc<ClientConfig>, Failure> {
        let mut known = self.0.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = known.iter().find(|(t, _)| t == tls) {
            return Ok(Arc::clone(config));
        }
        let roots = || Arc::clone(self.0.roots.get_or_init(|| Arc::new(tls::system_roots())));
        let config = Arc::new(tls::config(tls, roots, &self.0.clock)?);
        known.push((tls.clone(), Arc::clone(&config)));
        Ok(config)
    }
}

/// A duration for a person: `0.2 ms`, `5 s`, `3 days`.
fn in_words(d: Duration) -> String {
    let seconds = d.as_secs();
    let plural = |n: u64, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
    match seconds {
        0 => format!("{:.1} ms", d.as_secs_f64() * 1e3),
        1..120 if d.subsec_millis() < 50 => format!("{seconds} s"),
        1..120 => format!("{:.1} s", d.as_secs_f64()),
        120..7_200 => plural(seconds / 60, "minute"),
        7_200..172_800 => plural(seconds / 3_600, "hour"),
        _ => plural(seconds / 86_400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_a_fitting_unit() {
        let said = [200_000, 2_500_000, 5_000_000_000, 1_500_000_000].map(Duration::from_nanos).map(in_words);
        assert_eq!(said, ["0.2 ms", "2.5 ms", "5 s", "1.5 s"]);
        let said = [300, 10_800, 259_200].map(Duration::from_secs).map(in_words);
        assert_eq!(said, ["5 minutes", "3 hours", "3 days"]);
    }
}
