//! HTTP SD, against servers on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use cachetscope::clock::{Clock, Timestamp};
use cachetscope::config::{self, Env, Source};
use cachetscope::discover::Discover;
use cachetscope::http::Client;
use cachetscope::model::Flavour;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{group, name};
use crate::fleet_rig::{get, hurried, living, notice, row, start};
use crate::http::servers::{NOW_SECONDS, read_request, serve};
use crate::http::tls::Authority;
use crate::rig::{Collector, Home, Member, Served, V2, V3, until};

/// An endpoint that answers what it is told to.
struct Endpoint {
    url: String,
    state: Arc<Mutex<Answer>>,
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
    asked: Vec<HeaderMap>,
}

impl Endpoint {
    async fn start(groups: &serde_json::Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/targets?key=hunter2", listener.local_addr().unwrap());
        let kind = "application/json; charset=utf-8";
        let answer = Answer { status: 200, kind, body: groups.to_string(), asked: Vec::new() };
        let state = Arc::new(Mutex::new(answer));
        let router = axum::Router::new().fallback(answer_it).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Endpoint { url, state }
    }

    fn tells(&self, groups: &serde_json::Value) {
        let mut answer = self.state.lock().unwrap();
        (answer.status, answer.kind, answer.body) = (200, "application/json", groups.to_string());
    }

    fn answers(&self, status: u16, kind: &'static str, body: String) {
        let mut answer = self.state.lock().unwrap();
        (answer.status, answer.kind, answer.body) = (status, kind, body);
    }

    fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// Waits until it was asked twice more: what it was told before is known now.
    async fn is_asked(&self) {
        let before = self.asked();
        until("the endpoint is asked", async || (self.asked() >= before + 2).then_some(())).await;
    }
}

async fn answer_it(
    State(state): State<Arc<Mutex<Answer>>>,
    headers: HeaderMap,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let mut answer = state.lock().unwrap();
    answer.asked.push(headers);
    (StatusCode::from_u16(answer.status).unwrap(), [("content-type", answer.kind)], answer.body.clone())
}

fn source(endpoint: &Endpoint) -> String {
    format!("discover: {{ http_sd: {{ url: '{}', refresh: 1s }} }}\n", endpoint.url)
}

/// The last value of a metric about HTTP SD.
fn last(collector: &Collector, metric: &str) -> Option<i64> {
    use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
    let received = collector.received();
    let of = received.metrics.iter().rev().find(|m| m.name == metric)?;
    let points = match of.data.as_ref()? {
        Data::Gauge(gauge) => &gauge.data_points,
        Data::Sum(sum) => &sum.data_points,
        _ => return None,
    };
    match points.first()?.value? {
        Value::AsInt(value) => Some(value),
        Value::AsDouble(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_are_probed_from_the_first_answer_and_kept_while_the_endpoint_fails() {
    let (two, three) =
        (Member::start("2", V2, Flavour::Mysql).await, Member::start("3", V3, Flavour::Sqlite).await);
    let others = json!({"targets": ["127.0.0.1:1"], "labels": {"job": "node"}});
    let endpoint = Endpoint::start(&json!([group(&[&two], &[]), others])).await;
    let home = hurried(&source(&endpoint));
    let collector = Collector::start().await;
    let daemon = start(&home, &collector).await;
    let store = daemon.store().clone();

    let known = store.deployments().await.unwrap();
    assert_eq!(
        known.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(),
        [name(&two)],
        "before the first round"
    );
    let build = row(&store, |row| row.retired.is_none()).await.unwrap();
    until("it is probed", async || store.runs(build.key, 1).await.unwrap().pop()).await;
    {
        let state = endpoint.state.lock().unwrap();
        let header = |name: &str| state.asked[0].get(name).unwrap().to_str().unwrap();
        assert_eq!(header("x-prometheus-refresh-interval-seconds"), "1");
        assert_eq!(header("accept"), "application/json");
        assert!(header("user-agent").starts_with("cachetscope/"));
    }

    // Another joins; one whose labels are wrong does not, and says so.
    let wrong = group(&[&three], &[("cachetscope_name", "wrong"), ("cachetscope_db", "oracle")]);
    let named = group(&[&three], &[("cachetscope_name", "three"), ("cachetscope_environment", "staging")]);
    endpoint.tells(&json!([group(&[&two], &[]), named, wrong]));
    living(&store, &[&name(&two), "three"]).await;
    assert_eq!(row(&store, |row| row.name == "three").await.unwrap().environment, "staging");
    let address = daemon.address().to_string();
    let note = notice(&address, "is not probed: label `cachetscope_db`: unknown database `oracle`").await;
    assert!(
        note.starts_with("http_sd http://127.0.0.1:") && note.contains("/targets?…: target `127.0.0.1:"),
        "{note}"
    );

    // Whatever it answers now, nothing is taken away.
    for (status, kind, body, words) in [
        (503, "application/json", "[]".to_owned(), "answered 503; expected 200"),
        (
            200,
            "text/html",
            "[]".to_owned(),
            "answered with the content type \"text/html\"; expected application/json",
        ),
        (200, "application/json", "{}".to_owned(), "is no list of target groups"),
        (200, "application/json", format!("[{}]", " ".repeat(1 << 20)), "the answer is larger than 1 MiB"),
        (302, "application/json", "[]".to_owned(), "answered 302"),
    ] {
        endpoint.answers(status, kind, body);
        let note = notice(&address, words).await;
        assert!(note.contains("stays in force (2 targets)") && !note.contains("hunter2"), "{note}");
    }
    living(&store, &[&name(&two), "three"]).await;
    until("failures are counted", async || {
        last(&collector, "cachetscope.discover.failures").filter(|failures| *failures >= 5)
    })
    .await;
    assert_eq!(last(&collector, "cachetscope.discover.targets"), Some(2));

    // It recovers, without one of them: that one stays for a moment, then it is retired.
    endpoint.tells(&json!([group(&[&two], &[])]));
    endpoint.is_asked().await;
    assert!(row(&store, |row| row.name == "three").await.unwrap().retired.is_none(), "it may be restarting");
    living(&store, &[&name(&two)]).await;
    until("the notices are gone", async || {
        get(&address, "/readyz").await["notes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|note| !note.as_str().unwrap().starts_with("http_sd"))
            .then_some(())
    })
    .await;
    daemon.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_without_the_source_nothing_is_known_and_that_is_said() {
    let member = Member::start("2", V2, Flavour::Mysql).await;
    let endpoint = Endpoint::start(&json!([group(&[&member], &[("cachetscope_name", "two")])])).await;
    let home = hurried(&source(&endpoint));
    home.write("token", "sesame-open");
    let with_token = source(&endpoint).replace("refresh: 1s", "refresh: 1s, token: { file: ../token }");
    home.write("probes/fleet.yaml", &with_token);
    let served = Served::start(&home, &[]).await;
    until("it is probed", async || (!member.asked().is_empty()).then_some(())).await;
    let sent = endpoint.state.lock().unwrap().asked[0].get("authorization").unwrap().clone();
    assert_eq!(sent, "Bearer sesame-open");
    let (ran, _) = served.stop().await;
    assert!(!ran.stderr.contains("sesame") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    ran.expect(0);

    endpoint.answers(500, "application/json", String::new());
    let asked = member.asked().len();
    let mut served = Served::start(&home, &[]).await;
    let note = notice(&served.address, "nothing is known of its targets yet").await;
    assert!(note.contains("answered 500"), "{note}");
    assert_eq!(member.asked().len(), asked, "nobody told of it");

    endpoint.tells(&json!([group(&[&member], &[("cachetscope_name", "two")])]));
    served.hears("discovery works again").await;
    until("it is probed again", async || (member.asked().len() > asked + 2).then_some(())).await;
    served.stop().await.0.expect(0);
}

/// Answers each connection's one request over TLS with these groups.
async fn over_tls(config: rustls::ServerConfig, groups: String) -> std::net::SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream, _| {
        let (acceptor, groups) = (acceptor.clone(), groups.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let request = read_request(&mut stream).await;
            assert!(request.contains("authorization: Bearer Sesame"), "{request}");
            let length = groups.len();
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
            stream.write_all(format!("{head}: {length}\r\n\r\n{groups}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_judged_by_the_authority_that_the_source_names() {
    let authority = Authority::new();
    let member = Member::start("2", V2, Flavour::Mysql).await;
    let groups = json!([group(&[&member], &[])]).to_string();
    let address = over_tls(authority.server(&["localhost"]), groups).await;
    let home = Home::new();
    let url = format!("https://localhost:{}/", address.port());
    let (token, ca) = ("token: { env: SD_TOKEN }", authority.pem().display());
    let clock = Clock::manual(Timestamp(NOW_SECONDS * 1_000_000_000));
    let mut answers = Vec::new();
    for tls in [format!("tls: {{ ca: {ca} }}"), "tls: {}".to_owned()] {
        home.write(
            "probes/fleet.yaml",
            &format!("discover: {{ http_sd: {{ url: '{url}', {token}, {tls} }} }}\n"),
        );
        let env = Env::from_iter([("SD_TOKEN", "Sesame")]);
        let config = config::load(Source::Required(&home.path("probes")), &env).unwrap();
        let stop = CancellationToken::new();
        let discover =
            Discover::new(Client::new(clock.clone()), clock.clone(), TaskTracker::new(), stop.clone());
        discover.set(&config.sources);
        discover.asked_once(Duration::from_secs(60)).await;
        answers.push(discover.found().borrow().clone());
        stop.cancel();
    }
    assert_eq!(answers[0].targets.len(), 1, "{:?}", answers[0].notices);
    assert_eq!((answers[1].targets.len(), answers[1].notices.len()), (0, 1));
    assert!(answers[1].notices[0].contains("UnknownIssuer"), "{:?}", answers[1].notices);
}
