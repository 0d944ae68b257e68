//! What the tests of the events API share: its router on loopback, over a real store, with the time
//! held still.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::ingest::{self, Access};
use cachetscope::model::{Scope, Token};
use cachetscope::otlp::Resource;
use cachetscope::publisher::Intake;
use cachetscope::store::{Location, Store};
use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::page::{Answer, send};

/// 2026-11-23T04:05:06Z.
pub const NOW: Timestamp = Timestamp(1_795_406_706_000_000_000);
pub const LOOPBACK: &str = "127.0.0.1:8787";

pub struct Served {
    pub store: Store,
    pub intake: Arc<Intake>,
    pub access: watch::Sender<Access>,
    pub client: reqwest::Client,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

pub fn open_to_this_machine() -> Access {
    Access::new(None, LOOPBACK.parse().unwrap())
}

/// One token for each scope, named after it.
pub fn tokens() -> Access {
    let token =
        |scope: Scope| Token::new(scope.as_str(), Token::digest_of(&secret(scope.as_str())), vec![scope]);
    Access::new(Some(Scope::ALL.map(token).to_vec()), LOOPBACK.parse().unwrap())
}

pub fn secret(scope: &str) -> String {
    format!("secret-of-the-{scope}-token")
}

impl Served {
    pub async fn start() -> Self {
        Self::with(open_to_this_machine(), 1 << 30).await
    }

    pub async fn with(access: Access, outbox_bytes_max: u64) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let store = Store::open(&Location::File(folder.path().join("store.db")), &clock).await.unwrap();
        let (access, seen) = watch::channel(access);
        let intake = Arc::new(Intake::new());
        let router = ingest::router(ingest::State {
            store: store.clone(),
            clock,
            resource: Resource::new(store.id(), None, None).unwrap(),
            intake: intake.clone(),
            access: seen,
            outbox_bytes_max,
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Served { store, intake, access, client, address, folder }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    pub fn to(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("http://{}/api/v1/{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.client.get(format!("http://{}/api/v1/{path}", self.address))).await
    }

    pub async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        send(self.to("events").header(CONTENT_TYPE, "application/json").body(body)).await
    }

    pub async fn tell(&self, event: &Value) -> Answer {
        self.post(event.to_string()).await
    }

    /// The events that are kept, newest first.
    pub async fn kept(&self) -> Vec<Value> {
        self.get("events?limit=500").await.json().as_array().unwrap().clone()
    }
}

/// A pipeline's run, with its end.
pub fn run(number: &str) -> Value {
    json!({
        "source": "jenkins", "pipeline": "cachet", "run": number, "started": "2026-11-23T04:00:00Z",
        "finished": "2026-11-23T04:05:00Z", "result": "success"
    })
}

/// The same with something changed or added.
pub fn but(mut event: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Status and body, as a person would look at them.
pub fn shown(answer: &Answer) -> String {
    let body = serde_json::to_string_pretty(&answer.json()).unwrap();
    format!("{} {}\n{body}", answer.status.as_u16(), answer.header(CONTENT_TYPE))
}

pub async fn soon<T>(what: &str, holds: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), crate::rig::until(what, holds)).await.unwrap()
}
