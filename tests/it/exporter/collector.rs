//! A collector on the loopback whose answers a test chooses, and rows for it.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cachetscope::clock::Timestamp;
use cachetscope::otlp::envelope::{Envelope, ResourceGroup, ScopeGroup};
use cachetscope::store::{Entry, Lane};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, metric};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub const NOW: Timestamp = Timestamp(1_795_428_000_000_000_000);
pub const PROTOBUF: &str = "application/x-protobuf";

/// One request as the collector saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub names: Vec<String>,
    pub body: Bytes,
}

impl Seen {
    pub fn poisoned(&self) -> bool {
        self.names.iter().any(|name| name.starts_with("poison"))
    }
}

pub enum Answer {
    Accept,
    Partial(u8, &'static str),
    Status(u16, &'static str),
    RetryAfter(u16, u64),
    /// 200 with this type and body.
    Nonsense(&'static str, &'static [u8]),
    /// Taken, but never answered.
    Hang,
}

pub type Mood = Box<dyn FnMut(&Seen) -> Answer + Send>;

#[derive(Default)]
pub struct Log {
    pub seen: Vec<Seen>,
    pub accepted: Vec<Seen>,
}

#[derive(Clone)]
pub struct Collector {
    pub endpoint: String,
    pub mood: Arc<Mutex<Mood>>,
    pub log: Arc<Mutex<Log>>,
    pub hung: Arc<Notify>,
}

impl Collector {
    pub async fn start(mood: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let collector = Collector {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            mood: Arc::new(Mutex::new(Box::new(mood))),
            log: Arc::default(),
            hung: Arc::default(),
        };
        let app = Router::new().fallback(receive).with_state(collector.clone());
        let app = app.layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, app).await });
        collector
    }

    pub fn becomes(&self, mood: impl FnMut(&Seen) -> Answer + Send + 'static) {
        *self.mood.lock().unwrap() = Box::new(mood);
    }

    /// Names accepted on a path, in order of arrival.
    pub fn accepted(&self, path: &str) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.accepted.iter().filter(|seen| seen.path == path).flat_map(|seen| seen.names.clone()).collect()
    }

    pub fn requests(&self) -> usize {
        self.log.lock().unwrap().seen.len()
    }
}

pub async fn receive(State(collector): State<Collector>, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let seen = Seen { names: names(&path, &body), path, body };
    let answer = (collector.mood.lock().unwrap())(&seen);
    {
        let mut log = collector.log.lock().unwrap();
        log.seen.push(seen.clone());
        if matches!(answer, Answer::Accept | Answer::Partial(..) | Answer::Hang) {
            log.accepted.push(seen);
        }
    }
    let kind = |kind: &'static str| [("content-type", kind)];
    match answer {
        Answer::Accept => (kind(PROTOBUF), "").into_response(),
        Answer::Partial(items, words) => {
            let inner = [&[0x08, items, 0x12, words.len() as u8], words.as_bytes()].concat();
            (kind(PROTOBUF), [&[0x0a, inner.len() as u8], inner.as_slice()].concat()).into_response()
        }
        Answer::Status(code, words) => (StatusCode::from_u16(code).unwrap(), words).into_response(),
        Answer::RetryAfter(code, seconds) => {
            let headers = [("retry-after", seconds.to_string())];
            (StatusCode::from_u16(code).unwrap(), headers, "slow down").into_response()
        }
        Answer::Nonsense(of, body) => (kind(of), body).into_response(),
        Answer::Hang => {
            collector.hung.notify_one();
            std::future::pending().await
        }
    }
}

pub fn names(path: &str, body: &Bytes) -> Vec<String> {
    let Ok(envelope) = Envelope::decode(body.clone()) else { return vec!["garbage".to_owned()] };
    let items = envelope.resources.into_iter().flat_map(|r| r.scopes).flat_map(|s| s.items);
    items
        .map(|item| match path {
            "/v1/traces" => Span::decode(item).unwrap().name,
            "/v1/logs" => LogRecord::decode(item).unwrap().severity_text,
            _ => Metric::decode(item).unwrap().name,
        })
        .collect()
}

pub fn item(lane: Lane, name: &str) -> Bytes {
    let name = name.to_owned();
    match lane {
        Lane::Traces => Span { name, ..Default::default() }.encode_to_vec(),
        Lane::Logs => LogRecord { severity_text: name, ..Default::default() }.encode_to_vec(),
        Lane::Metrics | Lane::Gauges => {
            let gauge = Gauge { data_points: vec![NumberDataPoint::default()] };
            Metric { name, data: Some(metric::Data::Gauge(gauge)), ..Default::default() }.encode_to_vec()
        }
    }
    .into()
}

/// One row with these items.
pub fn row(lane: Lane, names: &[String]) -> Entry {
    let items = names.iter().map(|name| item(lane, name)).collect();
    let scope = ScopeGroup { scope: None, items, schema_url: String::new() };
    let resource = ResourceGroup { resource: None, scopes: vec![scope], schema_url: String::new() };
    let body = Envelope { resources: vec![resource] }.encode_to_vec();
    Entry { lane, created: NOW, items: names.len() as u32, body, snapshot: None, kept: false }
}
