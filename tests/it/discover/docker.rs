//! Docker, by a server that answers as an engine does (`tests/data/docker-containers.json` is what
//! one said), on a Unix socket and, as a proxy before it, on TCP. `make docker-test` asks a real one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use cachetscope::model::Flavour;
use cachetscope::store::Store;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::fleet_rig::{hurried, living, notice, row, start};
use crate::rig::{Collector, Home, Member, V2, V3, until};

/// Cheap to clone.
#[derive(Clone)]
struct Engine {
    state: Arc<Mutex<Running>>,
    events: broadcast::Sender<()>,
}

#[derive(Default)]
struct Running {
    /// By name.
    containers: BTreeMap<String, Value>,
    /// The name of the image that a container was made from, by its id.
    images: BTreeMap<String, String>,
    asked: Vec<String>,
    /// Whether it tells events; some proxies do not.
    silent: bool,
    broken: bool,
}

impl Engine {
    fn new() -> Self {
        Engine { state: Arc::default(), events: broadcast::Sender::new(16) }
    }

    fn state(&self) -> MutexGuard<'_, Running> {
        self.state.lock().unwrap()
    }

    fn router(&self) -> axum::Router {
        axum::Router::new().fallback(answer).with_state(self.clone())
    }

    /// On a socket in this home.
    fn on_socket(&self, home: &Home) {
        let listener = tokio::net::UnixListener::bind(home.path("docker.sock")).unwrap();
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    async fn on_tcp(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// A container that publishes where a member answers.
    fn runs(&self, name: &str, image: &str, member: &Member, labels: &[(&str, &str)]) {
        let public = member.stand_in.url().port().unwrap();
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let container = json!({
            "Id": format!("id-of-{name}"), "Names": [format!("/{name}")], "Image": image,
            "ImageID": format!("sha256:{}", image_id(image)), "Labels": labels, "State": "running",
            "Ports": [{"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": public, "Type": "tcp"}],
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}}
        });
        self.state().containers.insert(name.to_owned(), container);
        let _ = self.events.send(());
    }

    fn stops(&self, name: &str) {
        self.state().containers.remove(name);
        let _ = self.events.send(());
    }
}

/// 64 digits that differ for different names.
fn image_id(image: &str) -> String {
    let sum: u64 = image.bytes().map(u64::from).sum();
    format!("{sum:064x}")
}

async fn answer(State(engine): State<Engine>, method: Method, uri: Uri) -> Response {
    let events = engine.events.subscribe();
    let mut state = engine.state();
    state.asked.push(format!("{method} {}", uri.path()));
    if state.broken {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match uri.path() {
        "/containers/json" => {
            axum::Json(state.containers.values().cloned().collect::<Value>()).into_response()
        }
        "/events" if state.silent => StatusCode::FORBIDDEN.into_response(),
        "/events" => {
            assert!(uri.query().unwrap().contains("%22start%22"), "{uri}");
            let lines = stream::unfold(events, async |mut events| {
                events.recv().await.ok()?;
                let line = Bytes::from_static(b"{\"Type\":\"container\",\"Action\":\"start\"}\n");
                Some((Ok::<_, Infallible>(line), events))
            });
            Body::from_stream(lines).into_response()
        }
        path => {
            let id = path.strip_prefix("/containers/").and_then(|path| path.strip_suffix("/json"));
            match id.and_then(|id| state.images.get(id)) {
                Some(image) => axum::Json(json!({"Config": {"Image": image}})).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
    }
}

async fn is_probed(store: &Store, name: &str) {
    let build = until(&format!("{name} lives"), async || {
        row(store, |row| row.name == name && row.retired.is_none()).await
    })
    .await;
    until(&format!("{name} is probed"), async || store.runs(build.key, 1).await.unwrap().pop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_join_when_they_start_and_a_new_image_is_a_new_build() {
    let two = Member::start("2", V2, Flavour::Mysql).await;
    let three = Member::start("3", V3, Flavour::Sqlite).await;
    let engine = Engine::new();
    engine.runs("cachet-two", "shop/cachet:2.4.1", &two, &[("cachetscope.db", "mysql")]);
    engine.runs("proxy", "traefik:3", &two, &[("traefik.enable", "true")]);
    // Only events can bring what comes later: the next refresh is in an hour.
    let home = hurried("discover: { docker: { socket: ../docker.sock, refresh: 1h } }\n");
    engine.on_socket(&home);
    let collector = Collector::start().await;
    let daemon = start(&home, &collector).await;
    let store = daemon.store().clone();
    is_probed(&store, "cachet-two").await;
    let first = row(&store, |row| row.retired.is_none()).await.unwrap();
    assert_eq!(
        (first.version.as_str(), first.db),
        ("2.4.1", Flavour::Mysql),
        "from the image's tag and the label"
    );
    assert_eq!(first.digest, format!("sha256:{}", image_id("shop/cachet:2.4.1")));
    assert_eq!(first.url, two.url());

    engine.runs(
        "cachet-three",
        "shop/cachet:3",
        &three,
        &[("cachetscope.db", "sqlite"), ("cachetscope.version", V3), ("cachetscope.environment", "staging")],
    );
    is_probed(&store, "cachet-three").await;
    assert_eq!(row(&store, |row| row.name == "cachet-three").await.unwrap().environment, "staging");

    // A label that is wrong is named with its container, and nothing is taken of it.
    engine.runs(
        "wrong",
        "shop/cachet:latest",
        &three,
        &[("cachetscope.db", "mysql"), ("cachetscope.envronment", "x")],
    );
    let address = daemon.address().to_string();
    let note =
        notice(&address, "container `wrong` is not probed: unknown label `cachetscope.envronment`").await;
    assert!(
        note.contains("did you mean `cachetscope.environment`?") && note.contains("docker.sock: "),
        "{note}"
    );
    notice(
        &address,
        "label `cachetscope.version` is missing, and the image's tag `latest` is no full version",
    )
    .await;
    living(&store, &["cachet-three", "cachet-two"]).await;

    // Once its tag is another image's, a container tells only an id; the same version deployed again
    // is another build.
    {
        let mut state = engine.state();
        let id = format!("sha256:{}", image_id("shop/cachet:2.4.1"));
        state.containers.get_mut("cachet-two").unwrap()["Image"] = id.into();
        state.images.insert("id-of-cachet-two".to_owned(), "shop/cachet:2.4.1".to_owned());
    }
    engine.stops("wrong");
    until("it was asked what its image is called", async || {
        engine
            .state()
            .asked
            .iter()
            .any(|asked| asked == "GET /containers/id-of-cachet-two/json")
            .then_some(())
    })
    .await;
    living(&store, &["cachet-three", "cachet-two"]).await;
    engine.runs("cachet-two", "shop/cachet-again:2.4.1", &two, &[("cachetscope.db", "mysql")]);
    let again = until("the new build lives", async || {
        row(&store, |row| row.name == "cachet-two" && row.retired.is_none() && row.digest != first.digest)
            .await
    })
    .await;
    assert_eq!(again.version.as_str(), "2.4.1");
    assert!(row(&store, |row| row.key == first.key).await.unwrap().retired.is_some());

    daemon.shut_down().await;
    let asked = engine.state().asked.clone();
    assert!(asked.iter().all(|asked| asked.starts_with("GET ")), "it only reads: {asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_proxy_without_events_a_restart_is_no_departure_and_a_failure_takes_nothing() {
    let member = Member::start("2", V2, Flavour::Mysql).await;
    let engine = Engine::new();
    let labels = [("our.db", "mysql"), ("our.host_group", "rack-1"), ("cachetscope.db", "ignored")];
    engine.runs("cachet", "cachet:2.4.1", &member, &labels);
    engine.state().silent = true;
    let url = engine.on_tcp().await;
    let home =
        hurried(&format!("discover: {{ docker: {{ url: '{url}', label_prefix: our., refresh: 1s }} }}\n"));
    let collector = Collector::start().await;
    let daemon = start(&home, &collector).await;
    let store = daemon.store().clone();
    is_probed(&store, "cachet").await;

    let lists = || engine.state().asked.iter().filter(|asked| *asked == "GET /containers/json").count();
    let looks = async |n: usize| {
        let before = lists();
        until("it is asked again", async || (lists() >= before + n).then_some(())).await;
    };
    engine.stops("cachet");
    looks(2).await;
    engine.runs("cachet", "cachet:2.4.1", &member, &labels);
    looks(2).await;
    let build = row(&store, |_| true).await.unwrap();
    assert!(build.retired.is_none(), "it was away for a moment only");

    engine.state().broken = true;
    let address = daemon.address().to_string();
    let note = notice(&address, "answered 500; expected 200").await;
    assert!(note.contains("stays in force (1 target)"), "{note}");
    engine.stops("cachet");
    looks(4).await;
    living(&store, &["cachet"]).await;
    engine.state().broken = false;
    living(&store, &[]).await;
    daemon.shut_down().await;
}
