//! The events API as far as a client sees it, on the loopback device: it keeps what it acknowledged, by
//! identity, and has every bad habit that a test wants.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What one request meets.
#[derive(Clone, Debug)]
pub enum Habit {
    /// A status, its headers, and a body; nothing is kept.
    Say(u16, Vec<(&'static str, String)>, String),
    /// None: all is well.
    Fine,
    /// It commits, and breaks off while it answers.
    Die,
    /// It answers once it is allowed to; see [`EventsApi::gate`].
    Wait,
}

pub struct EventsApi {
    pub url: String,
    /// Requests that wait go on when permits are added.
    pub gate: Arc<Semaphore>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub struct Seen {
    /// Every event that arrived in a request that was taken, in the order of arrival.
    pub events: Vec<Value>,
    /// How many events each request held, also of those that were turned away.
    pub requests: Vec<usize>,
    /// What was acknowledged or would have been, each once.
    pub identities: BTreeSet<String>,
    pub tokens: Vec<Option<String>>,
    /// What the next requests meet, one each; then all is well.
    pub habits: VecDeque<Habit>,
    /// Events of this branch are refused for good.
    pub refused_branch: Option<String>,
    /// More events in a request are too large.
    pub events_max: Option<usize>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Seen>>, Arc<Semaphore>);

impl EventsApi {
    pub async fn start() -> Self {
        Self::on("127.0.0.1:0").await
    }

    pub async fn on(address: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, gate) = (Arc::<Mutex<Seen>>::default(), Arc::new(Semaphore::new(0)));
        let shared = Shared(seen.clone(), gate.clone());
        let router = Router::new().route("/api/v1/events", axum::routing::post(take)).with_state(shared);
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        EventsApi { url, gate, seen }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub fn meets(&self, habit: Habit) {
        self.seen().habits.push_back(habit);
    }

    /// What the step of each event is called, in the order of arrival.
    pub fn steps(&self) -> Vec<String> {
        let step = |event: &Value| event["step"].as_str().unwrap_or_default().to_owned();
        self.seen().events.iter().map(step).collect()
    }

    /// The one event that has ended.
    pub fn ended(&self) -> Value {
        let seen = self.seen();
        let ended: Vec<&Value> = seen.events.iter().filter(|event| event["finished"].is_string()).collect();
        assert_eq!(ended.len(), 1, "{:#?}", seen.events);
        ended[0].clone()
    }
}

fn identity(event: &Value) -> String {
    let part = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    [part("source"), part("pipeline"), part("run"), event["attempt"].to_string(), part("step")].join("|")
}

async fn take(State(Shared(seen, gate)): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut plain = Vec::new();
    match headers.get("content-encoding").map(|v| v.as_bytes()) {
        Some(b"gzip") => drop(flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap()),
        _ => plain.extend_from_slice(&body),
    }
    let document: Value = serde_json::from_slice(&plain).unwrap();
    let events = document["events"].as_array().unwrap().clone();
    let habit = {
        let mut seen = seen.lock().unwrap();
        seen.requests.push(events.len());
        let token = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
        seen.tokens.push(token);
        if seen.events_max.is_some_and(|max| events.len() > max) {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        seen.habits.pop_front()
    };
    match &habit {
        Some(Habit::Say(status, headers, body)) => {
            let mut response = (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            return response;
        }
        Some(Habit::Wait) => gate.acquire().await.unwrap().forget(),
        Some(Habit::Die | Habit::Fine) | None => {}
    }
    let mut seen = seen.lock().unwrap();
    let (mut accepted, mut duplicates, mut refused) = (0, 0, Vec::new());
    for (index, event) in events.into_iter().enumerate() {
        let branch = event["branch"].as_str();
        if branch.is_some() && branch == seen.refused_branch.as_deref() {
            let problems = json!([{ "field": "branch", "message": "is none of ours" }]);
            refused.push(json!({ "index": index, "identity": identity(&event), "problems": problems }));
            continue;
        }
        match seen.identities.insert(identity(&event)) {
            true => accepted += 1,
            false => duplicates += 1,
        }
        seen.events.push(event);
    }
    if matches!(habit, Some(Habit::Die)) {
        let parts = [Ok("{\"accep"), Err(std::io::Error::other("gone"))];
        return Response::new(Body::from_stream(futures_util::stream::iter(parts)));
    }
    let status = match (refused.is_empty(), accepted + duplicates) {
        (true, _) if accepted > 0 => StatusCode::ACCEPTED,
        (true, _) => StatusCode::OK,
        (false, 0) => StatusCode::UNPROCESSABLE_ENTITY,
        (false, _) => StatusCode::MULTI_STATUS,
    };
    let answer = json!({ "accepted": accepted, "duplicates": duplicates, "refused": refused });
    (status, answer.to_string()).into_response()
}
