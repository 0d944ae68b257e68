//! A server that answers like a Cachet deployment, and says in every answer that it is none.
//!
//! Loopback only, on a port the system chooses. Every answer carries `Server: cachetscope-stand-in`.
//! Faults are switched on by whoever holds the [`StandIn`]; weather ([`super::weather`]) comes by
//! itself. Dropping a stand-in stops it: open connections end, waiting answers are given up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_TYPE, SERVER};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::api::{Answer, Api, JSON, Question, Route};
use super::data::Resource;
use super::weather::{Trouble, Weather};
use crate::clock::{Clock, Timestamp};
use crate::model::{Flavour, Secret, Version};

const NAME: HeaderValue = HeaderValue::from_static("cachetscope-stand-in");
const BODY_BYTES_MAX: usize = 64 * 1_024;
/// How long connections get to end before they are cut.
const GRACE: Duration = Duration::from_secs(2);

/// A generation of Cachet's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// 2.x: `/api/v1`.
    V2,
    /// 3.x: `/api`.
    V3,
}

impl Generation {
    pub fn of(version: &Version) -> Self {
        match Version::parse("3.0.0-0") {
            Some(three) if *version >= three => Generation::V3,
            _ => Generation::V2,
        }
    }

    /// What a writer must send; known to everyone, since there is nothing to protect.
    pub(super) fn token(self) -> &'static str {
        match self {
            Generation::V2 => "stand-in-api-key-001",
            Generation::V3 => "1|stand-in-token",
        }
    }
}

/// Which Cachet to stand in for, and how.
#[derive(Clone, Debug)]
pub struct Kind {
    pub version: Version,
    pub flavour: Flavour,
    pub weather: Weather,
    /// Requests a minute before 3.x answers 429; 2.x has no limit.
    pub requests_per_minute_max: Option<u32>,
    /// How many requests are remembered for [`StandIn::requests`], the latest ones.
    pub seen_max: usize,
    pub clock: Clock,
}

impl Kind {
    /// Calm weather, Cachet's own rate limit, and no memory of requests.
    pub fn new(version: Version, flavour: Flavour) -> Self {
        let limit = (Generation::of(&version) == Generation::V3).then_some(300);
        Kind {
            version,
            flavour,
            weather: Weather::calm(),
            requests_per_minute_max: limit,
            seen_max: 0,
            clock: Clock::system(),
        }
    }
}

/// Something wrong with the answers below a path. Several may hold at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, with the generation's error body from 400 on. What is no status is 500.
    Status(u16),
    /// So much later than the weather has it.
    Delay(Duration),
    /// This body with status 200, as JSON.
    Body(Bytes),
    /// 429 with `Retry-After`, in seconds.
    RateLimited(u64),
    /// No answer at all, while the connection stays open.
    Hang,
}

/// One request that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub path: String,
    pub traceparent: Option<String>,
    /// When its head and body had been read.
    pub at: std::time::Instant,
}

/// A running stand-in.
#[derive(Debug)]
pub struct StandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Shared {
    kind: Kind,
    generation: Generation,
    started: Timestamp,
    state: Mutex<Inner>,
}

struct Inner {
    api: Api,
    faults: Vec<(String, Fault)>,
    seen: VecDeque<Seen>,
    counts: HashMap<(Resource, bool), u64>,
}

impl StandIn {
    pub async fn start(kind: Kind) -> io::Result<StandIn> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let generation = Generation::of(&kind.version);
        let limit = kind.requests_per_minute_max.filter(|_| generation == Generation::V3);
        let base = format!("http://{address}");
        let api = Api::new(generation, kind.flavour, base, limit, kind.clock.clone());
        let inner = Inner { api, faults: Vec::new(), seen: VecDeque::new(), counts: HashMap::new() };
        let started = kind.clock.now();
        let shared = Arc::new(Shared { kind, generation, started, state: Mutex::new(inner) });
        let listening = Some(serve(listener, Arc::clone(&shared)));
        Ok(StandIn { shared, address, listening })
    }

    /// Where it answers, below which `/api` lies.
    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).expect("a socket address is a host and a port")
    }

    /// What writes must carry: `X-Cachet-Token` in 2.x, `Authorization: Bearer` in 3.x.
    pub fn token(&self) -> Secret {
        Secret::new(self.shared.generation.token())
    }

    /// Adds a fault to every path that begins with `prefix` (without the query; `/` is all).
    pub fn set_fault(&self, prefix: &str, fault: Fault) {
        self.shared.lock().faults.push((prefix.to_owned(), fault));
    }

    /// Ends all faults; what hangs already goes on hanging.
    pub fn clear(&self) {
        self.shared.lock().faults.clear();
    }

    /// The latest requests, oldest first; empty unless [`Kind::seen_max`] says to remember some.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.lock().seen.iter().cloned().collect()
    }

    /// Stops listening and ends every connection: from now on connections are refused.
    pub async fn refuse(&mut self) {
        if let Some(mut listening) = self.listening.take() {
            listening.stop.cancel();
            if tokio::time::timeout(GRACE, &mut listening.task).await.is_err() {
                listening.task.abort();
            }
        }
    }

    /// Listens again, on the same port and with the same rows, after [`StandIn::refuse`]. Fails when
    /// someone else has taken the port meanwhile.
    pub async fn accept(&mut self) -> io::Result<()> {
        if self.listening.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            self.listening = Some(serve(listener, Arc::clone(&self.shared)));
        }
        Ok(())
    }

    /// Like a drop, but waits until the last connection has ended.
    pub async fn shutdown(mut self) {
        self.refuse().await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.stop.cancel();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Rows stay usable whatever panicked beside them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>) -> Listening {
    let stop = CancellationToken::new();
    let router = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state((shared, stop.clone()));
    // Without it the kernel may hold small answers back, which would be weather of its own. A
    // connection that refuses the option works all the same.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let task = tokio::spawn(async move { drop(serving.await) });
    Listening { stop, task }
}

/// What to do about one request.
enum Plan {
    Answer(Answer, Duration),
    Hang,
}

async fn answer(
    State((shared, stop)): State<(Arc<Shared>, CancellationToken)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response<Body> {
    let arrived = Instant::now();
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return respond(shared.lock().api.error(rejection.status().as_u16(), None)),
    };
    let stopped = async {
        stop.cancelled().await;
        shared.lock().api.error(503, None)
    };
    let answer = match plan(&shared, &method, &uri, &headers, &body) {
        Plan::Hang => stopped.await,
        Plan::Answer(answer, Duration::ZERO) => answer,
        Plan::Answer(answer, latency) => tokio::select! {
            () = tokio::time::sleep_until(arrived + latency) => answer,
            answer = stopped => answer,
        },
    };
    respond(answer)
}

fn plan(shared: &Shared, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Plan {
    let header = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let token = match shared.generation {
        Generation::V2 => header("x-cachet-token"),
        Generation::V3 => header("authorization").and_then(|v| v.strip_prefix("Bearer ")),
    };
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let mut inner = shared.lock();
    let inner = &mut *inner;
    if shared.kind.seen_max > 0 {
        if inner.seen.len() >= shared.kind.seen_max {
            inner.seen.pop_front();
        }
        inner.seen.push_back(Seen {
            method: method.to_string(),
            path: uri.to_string(),
            traceparent: header("traceparent").map(str::to_owned),
            at: std::time::Instant::now(),
        });
    }
    let (mut latency, trouble) = match inner.api.route(path) {
        Some(route) => weather(shared, &route, &mut inner.counts),
        None => (Duration::ZERO, None),
    };
    let mut answer = inner.api.answer(&Question { method, path, query, token, body });
    match trouble {
        Some(Trouble::ServerError) => answer = inner.api.error(500, None),
        Some(Trouble::Slow(extra)) => latency += extra,
        None => {}
    }
    for (_, fault) in inner.faults.iter().filter(|(prefix, _)| path.starts_with(prefix)) {
        match fault {
            Fault::Status(status @ ..400) => answer.status = *status,
            Fault::Status(status) => answer = inner.api.error(*status, None),
            Fault::Delay(extra) => latency += *extra,
            Fault::Body(body) => {
                answer =
                    Answer { status: 200, content_type: Some(JSON), body: body.clone(), headers: Vec::new() };
            }
            Fault::RateLimited(retry_after_s) => answer = inner.api.rate_limited(*retry_after_s),
            Fault::Hang => return Plan::Hang,
        }
    }
    Plan::Answer(answer, latency)
}

/// The latency of the next such request, and what is wrong with it right now.
fn weather(
    shared: &Shared,
    route: &Route,
    counts: &mut HashMap<(Resource, bool), u64>,
) -> (Duration, Option<Trouble>) {
    let kind = &shared.kind;
    let request = (route.resource, route.id.is_some());
    let n = counts.entry(request).or_default();
    *n += 1;
    let latency = kind.weather.latency(shared.generation, kind.flavour, kind.version.as_str(), request, *n);
    (latency, kind.weather.trouble(route.resource, kind.clock.now().since(shared.started)))
}

fn respond(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(SERVER, NAME);
    if let Some(content_type) = answer.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in answer.headers {
        headers.insert(name, HeaderValue::from(value));
    }
    response
}
