//! The page and the API as a browser and a program see them: served on loopback from a real store.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cachetscope::model::{Deployment, ErrorType, Flavour, Outcome};
use cachetscope::store::Lane;
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::page_fleet::{Fleet, Told, deployment, usual};
use crate::page_judged;
use crate::page_past;
use crate::rig::Home;

pub struct Served {
    pub fleet: Fleet,
    notices: tokio::sync::watch::Sender<Vec<String>>,
    client: Client,
    address: SocketAddr,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.body))
    }
}

pub async fn serve(fleet: Fleet) -> Served {
    serve_as("staging", fleet).await
}

async fn serve_as(title: &str, fleet: Fleet) -> Served {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (router, notices) = fleet.router(title);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Served { fleet, notices, client: Client::builder().no_proxy().build().unwrap(), address }
}

impl Served {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.client.get(self.url(path))).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        send(self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json").body(body.to_owned()))
            .await
    }

    /// Past the time that a reading is shared.
    pub fn wait(&self) {
        self.fleet.clock.advance(Duration::from_secs(60));
    }
}

/// As text, with numbers to nine digits: what a processor's arithmetic changes beyond is no change.
pub fn pretty(value: &Value) -> String {
    fn rounded(value: &mut Value) {
        match value {
            Value::Number(number) if number.is_f64() => {
                let text = format!("{:.8e}", number.as_f64().unwrap());
                *value = text.parse::<f64>().unwrap().into();
            }
            Value::Array(list) => list.iter_mut().for_each(rounded),
            Value::Object(map) => map.values_mut().for_each(rounded),
            _ => {}
        }
    }
    let mut value = value.clone();
    rounded(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

pub async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    Answer { status, headers, body: answer.text().await.unwrap() }
}

/// What a person reads of a page: the texts of `<main>` and the header, a line for each block.
pub fn words(html: &str) -> String {
    assert_balanced(html);
    let body = html.split_once("hidden></p>").unwrap().1;
    let blocks = regex::Regex::new(r"</(p|h1|h2|h3|li|tr|dd|div|section|caption|summary)>").unwrap();
    let cells = regex::Regex::new(r"</t[hd]>").unwrap();
    let tags = regex::Regex::new(r"<[^>]*>").unwrap();
    let spaces = regex::Regex::new(r"[ \t]+").unwrap();
    let text = body.replace('\n', " ").replace("</dt>", ": ").replace("<br>", " ").replace('\u{a0}', " ");
    let text = blocks.replace_all(&text, "\n");
    let text = cells.replace_all(&text, " | ");
    let text = tags.replace_all(&text, "").into_owned();
    let lines = text.lines().map(|line| spaces.replace_all(line.trim(), " ").into_owned());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Every element is closed where it should be: a browser would guess, and each one differently.
fn assert_balanced(html: &str) {
    let mut open = Vec::new();
    for tag in regex::Regex::new(r"<(/?)([a-z0-9]+)[^>]*?(/?)>").unwrap().captures_iter(html) {
        match (&tag[1], &tag[2], &tag[3]) {
            (_, "meta" | "link" | "br", _) | (_, _, "/") => {}
            ("", name, _) => open.push(name.to_owned()),
            (_, name, _) => {
                assert_eq!(
                    open.pop().as_deref(),
                    Some(name),
                    "before {}",
                    &html[tag.get(0).unwrap().start()..]
                )
            }
        }
    }
    assert_eq!(open, [""; 0]);
}

/// Folders differ from run to run, and so do times that were measured here.
pub fn steady() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.add_filter(r"/\S*page\.db", "[store]");
    settings.add_filter(r"[\d.]+ (B|KiB|MiB) \[store\]", "[size] [store]");
    settings.add_filter(r"[\d.,]+ ms mean of \d+", "[time] mean of [n]");
    settings.add_filter(r#""size_bytes": \d+"#, r#""size_bytes": 0"#);
    settings.add_filter(r#""commits": \d+"#, r#""commits": 0"#);
    settings.add_filter(r#""commit_mean_ns": \d+"#, r#""commit_mean_ns": 0"#);
    settings
}

/// A fleet of which CI told much, and whose versions were compared.
pub async fn with_a_past() -> Fleet {
    let fleet = Fleet::filled().await;
    page_past::told(&fleet).await;
    page_judged::judged(&fleet).await;
    fleet
}

#[tokio::test]
async fn the_overview_reads_well() {
    let served = serve(with_a_past().await).await;
    let answer = served.get("/").await;
    assert_eq!(answer.status, StatusCode::OK);
    steady().bind(|| insta::assert_snapshot!("overview", words(&answer.body)));
}

#[tokio::test]
async fn an_empty_store_says_what_would_fill_it() {
    let served = serve(Fleet::empty().await).await;
    let answer = served.get("/").await;
    steady().bind(|| insta::assert_snapshot!("empty", words(&answer.body)));
}

#[tokio::test]
async fn without_a_title_nothing_stands_in_its_place() {
    let served = serve_as("", Fleet::filled().await).await;
    let page = served.get("/").await.body;
    assert!(page.contains("cachetscope</title>"), "{page}");
    let (_, sub) = page.split_once("<p class=\"sub\">").unwrap();
    assert!(sub.starts_with(|c: char| c.is_ascii_digit()), "{sub}");
}

#[tokio::test]
async fn a_deployment_shows_its_evidence() {
    let served = serve(Fleet::filled().await).await;
    let answer = served.get("/deployments/cachet-2.4-postgresql").await;
    steady().bind(|| insta::assert_snapshot!("deployment", words(&answer.body)));
    let only = served.get("/deployments/cachet-2.4-postgresql?request=incidents").await;
    assert!(words(&only.body).contains("Last samples of incidents"));
    assert_eq!(only.body.matches("class=\"phases\"").count(), 60);
}

#[tokio::test]
async fn the_api_keeps_its_shape() {
    let served = serve(with_a_past().await).await;
    served.fleet.refuse("field `x` is unknown").await;
    let mut overview = served.get("/api/v1/overview").await.json();
    // The lines of nine deployments are the longest and the least telling part.
    for version in overview["matrix"]["versions"].as_array_mut().unwrap() {
        for cell in version["cells"].as_array_mut().unwrap() {
            let rounds = &mut cell[0]["rounds"];
            *rounds = json!(format!("{} rounds", rounds.as_array().unwrap().len()));
        }
    }
    for suite in overview["tests"]["suites"].as_array_mut().unwrap() {
        suite["runs"].as_array_mut().unwrap().truncate(1);
        suite["slowest"].as_array_mut().unwrap().truncate(1);
    }
    overview["deploys"]["deployments"].as_array_mut().unwrap().truncate(2);
    for table in overview["deltas"].as_array_mut().unwrap() {
        table["rows"].as_array_mut().unwrap().truncate(1);
    }
    let outbox = served.get("/api/v1/outbox").await.json();
    let mut requests = served.get("/api/v1/deployments/cachet-3.x-sqlite/requests").await.json();
    requests["deployment"]["rounds"] = Value::Null;
    requests["requests"].as_array_mut().unwrap().truncate(1);
    let failures = served.get("/api/v1/failures?limit=2").await.json();
    steady().bind(|| {
        insta::assert_snapshot!("api_overview", pretty(&overview));
        insta::assert_snapshot!("api_outbox", pretty(&outbox));
        insta::assert_snapshot!("api_requests", pretty(&requests));
        insta::assert_snapshot!("api_failures", pretty(&failures));
    });
}

/// Every answer of every documented route holds against its schema, which says all there is.
#[tokio::test]
async fn the_openapi_document_matches_what_is_served() {
    let served = serve(with_a_past().await).await;
    served.fleet.refuse("no").await;
    let document = served.get("/api/v1/openapi.json").await.json();
    let mut schemas = document["components"].clone();
    forbid_unknown(&mut schemas);

    // What is about events is held against its own server (`ingest`).
    let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let paths: BTreeSet<&str> =
        paths.into_iter().filter(|path| !path.starts_with("/api/v1/events")).collect();
    let expected = [
        "/api/v1/deployments",
        "/api/v1/deployments/{name}/compare/{request}",
        "/api/v1/deployments/{name}/requests",
        "/api/v1/failures",
        "/api/v1/outbox",
        "/api/v1/outbox/drop",
        "/api/v1/outbox/retry",
        "/api/v1/overview",
        "/api/v1/verdicts",
        "/healthz",
        "/readyz",
    ];
    assert_eq!(paths, BTreeSet::from(expected));

    for (path, methods) in document["paths"].as_object().unwrap() {
        if !paths.contains(path.as_str()) {
            continue;
        }
        for (method, operation) in methods.as_object().unwrap() {
            let filled = |name: &str| path.replace("{name}", name).replace("{request}", "components");
            let good = filled("cachet-3.x-mariadb");
            let mut answers = match method.as_str() {
                "get" => vec![served.get(&good).await],
                _ => vec![served.post(&good, r#"{"all": true}"#).await, served.post(&good, "[]").await],
            };
            if good != *path {
                answers.push(served.get(&filled("cachet-2.3-mariadb")).await);
                answers.push(served.get(&filled("nobody")).await);
            }
            assert_eq!(answers[0].status, StatusCode::OK, "{path}");
            for answer in answers {
                assert_documented(path, operation, &schemas, &answer);
            }
        }
    }
}

/// Status, media type and body of an answer are as the document says, and nothing more.
pub fn assert_documented(path: &str, operation: &Value, schemas: &Value, answer: &Answer) {
    let content = &operation["responses"][answer.status.as_str()]["content"];
    let media = answer.header(CONTENT_TYPE).split(';').next().unwrap();
    let schema = &content[media]["schema"];
    assert!(schema.is_object(), "{path}: {} {media} is not documented", answer.status);
    if media.ends_with("json") {
        let mut schema = schema.clone();
        schema["components"] = schemas.clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let value = answer.json();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(errors, [""; 0], "{path} {}", answer.status);
    }
}

pub fn forbid_unknown(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(forbid_unknown);
            if object.contains_key("properties") {
                object.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_unknown),
        _ => {}
    }
}

#[tokio::test]
async fn every_answer_carries_the_policy() {
    let served = serve(Fleet::filled().await).await;
    for path in
        ["/", "/deployments/cachet-2.4-sqlite", "/assets/page.js", "/api/v1/overview", "/nowhere", "/healthz"]
    {
        let answer = served.get(path).await;
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(!answer.body.contains("style=") && !answer.body.contains("<style"), "{path}");
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_their_hash_only() {
    let served = serve(Fleet::empty().await).await;
    let page = served.get("/").await.body;
    let href = page.split("href=\"").find(|part| part.starts_with("/assets/page.css?v=")).unwrap();
    let asset = served.get(href.split('"').next().unwrap()).await;
    assert_eq!(asset.header(CONTENT_TYPE), "text/css; charset=utf-8");
    assert_eq!(asset.header(CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert_eq!(served.get("/assets/page.css?v=0").await.header(CACHE_CONTROL), "no-cache");
    assert_eq!(served.get("/assets/page.css").await.header(CACHE_CONTROL), "no-cache");
    assert_eq!(served.get("/").await.header(CACHE_CONTROL), "no-store");
    assert_eq!(served.get("/assets/secret").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn hostile_texts_are_shown_and_not_obeyed() {
    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>{{7*7}}";
    let mut fleet = Fleet::empty().await;
    fleet.deployments.push(deployment("<b>&\"'/x", "2.4.1", Flavour::Sqlite).into());
    fleet.live().await;
    let told = |_: &_, _: &str, _, ms| Told {
        ms,
        outcome: Outcome::Fail,
        error: Some(ErrorType::Check),
        detail: HOSTILE,
    };
    fleet.rounds(3, told).await;
    let now = fleet.clock.now();
    fleet.store.note_trouble(Lane::Logs, now, HOSTILE);
    page_past::hostile(&fleet, HOSTILE, "javascript:alert(3)").await;
    let served = serve(fleet).await;
    served.notices.send(vec![HOSTILE.to_owned()]).unwrap();
    for path in ["/", "/deployments/%3Cb%3E%26%22%27%2Fx", "/deployments/%3Cscript%3E"] {
        let answer = send(served.client.get(served.url(path)).header(ACCEPT, "text/html")).await;
        assert!(answer.header(CONTENT_TYPE).starts_with("text/html"), "{path}");
        for tag in ["<script>", "<img", "<b>&", "onerror='"] {
            assert!(!answer.body.contains(tag), "{tag} in {path}");
        }
    }
    let page = served.get("/").await.body;
    assert!(page.contains("&#60;script&#62;alert(1)"), "the text itself is shown");
    assert!(page.contains("9.9.9") && page.contains("id=\"throughput\""), "events are shown");
    assert!(!page.contains("javascript:"), "only web pages are linked to");
    assert!(!served.get("/api/v1/overview").await.body.contains("javascript:"));
    assert!(page.contains("href=\"/deployments/%3Cb%3E%26%22%27%2Fx\""), "a name cannot leave its link");
    assert_eq!(served.get("/deployments/%3Cb%3E%26%22%27%2Fx").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let served = serve(Fleet::empty().await).await;
    for path in ["/nowhere", "/deployments/nobody", "/api/v1/deployments/nobody/requests", "/assets/x"] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.header(CONTENT_TYPE), "application/problem+json", "{path}");
        let problem = answer.json();
        assert_eq!((&problem["status"], &problem["title"]), (&json!(404), &json!("Not Found")));
        assert_eq!(problem["type"], "about:blank");
    }
    let answer = send(served.client.post(served.url("/"))).await;
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::METHOD_NOT_ALLOWED, &json!(405)));
    for query in ["limit=0", "limit=1001", "limit=x", "days=3"] {
        let answer = served.get(&format!("/api/v1/failures?{query}")).await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (StatusCode::BAD_REQUEST, &json!(400)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn refused_telemetry_is_retried_or_dropped_on_demand() {
    let served = serve(Fleet::filled().await).await;
    served.fleet.refuse("first").await;
    served.fleet.refuse("second").await;
    let refused = served.get("/api/v1/outbox").await.json()["refused"].clone();
    assert_eq!(refused.as_array().unwrap().len(), 2);
    assert_eq!(
        refused[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["id", "lane", "created", "items", "bytes", "reason"]
    );
    let ids = json!({ "ids": [refused[0]["id"], 999_999] }).to_string();
    assert_eq!(served.post("/api/v1/outbox/retry", &ids).await.json(), json!({ "touched": 1 }));
    assert_eq!(served.post("/api/v1/outbox/drop", r#"{"all":true}"#).await.json(), json!({ "touched": 1 }));
    assert_eq!(served.get("/api/v1/outbox").await.json()["refused"], json!([]));
    for body in
        ["", "{}", r#"{"all":false}"#, r#"{"all":true,"ids":[1]}"#, r#"{"ids":"1"}"#, r#"{"al":true}"#]
    {
        let answer = served.post("/api/v1/outbox/drop", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(r#"expected {"ids": [1, 2]} or {"all": true}"#), "{detail}");
    }
}

#[tokio::test]
async fn the_command_line_shows_what_the_daemon_knows_and_says_which_ids_it_does_not() {
    let served = serve(Fleet::filled().await).await;
    served.fleet.refuse("too large").await;
    let (home, daemon) = (Home::new(), served.url("/"));
    let outbox = |words: &[&str]| {
        let arguments: Vec<String> =
            ["outbox", "--daemon", &daemon].iter().chain(words).map(ToString::to_string).collect();
        let home = &home;
        async move { home.run(arguments).await }
    };
    let listed = outbox(&["list"]).await.expect(0).stdout;
    assert!(listed.starts_with("lane "), "{listed}");
    let row = listed.lines().find(|line| line.ends_with("too large")).unwrap();
    let id = row.split_whitespace().next().unwrap();
    let retried = outbox(&["retry", id, "999999", id]).await.expect(1);
    assert_eq!(retried.stdout, "1 will be sent again\n");
    assert!(
        retried.stderr.starts_with("of the 2 ids, 1 are not among what was refused"),
        "{}",
        retried.stderr
    );
    assert_eq!(outbox(&["drop", "--all"]).await.expect(0).stdout, "0 deleted\n");
}

#[tokio::test]
async fn a_name_that_was_pointed_here_cannot_touch_the_outbox() {
    let served = serve(Fleet::filled().await).await;
    served.fleet.refuse("kept").await;
    let ask = |host: String| {
        let request = served.client.post(served.url("/api/v1/outbox/drop")).body(r#"{"all":true}"#);
        let request = request.header(CONTENT_TYPE, "application/json").header(HOST, &host);
        send(request.header(ORIGIN, format!("http://{host}")))
    };
    let port = served.address.port();
    assert_eq!(ask(format!("evil.example:{port}")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask(format!("localhost:{port}")).await.json(), json!({ "touched": 1 }));
}

#[tokio::test]
async fn another_site_cannot_touch_the_outbox() {
    let served = serve(Fleet::filled().await).await;
    served.fleet.refuse("kept").await;
    let ask = |origin: Option<String>, content_type: &str| {
        let request =
            served.client.post(served.url("/api/v1/outbox/drop")).header(CONTENT_TYPE, content_type);
        let request = request.body(r#"{"all":true}"#);
        send(match origin {
            Some(origin) => request.header(ORIGIN, origin),
            None => request,
        })
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1", ""] {
        let answer = ask(Some(origin.into()), "application/json").await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (StatusCode::FORBIDDEN, &json!(403)),
            "{origin}"
        );
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = ask(None, content_type).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    assert_eq!(served.get("/api/v1/outbox").await.json()["refused"].as_array().unwrap().len(), 1);
    let own = ask(Some(format!("http://{}", served.address)), "application/json; charset=utf-8").await;
    assert_eq!(own.json(), json!({ "touched": 1 }));
    let large = format!(r#"{{"ids":[{}0]}}"#, "1,".repeat(40_000));
    assert_eq!(served.post("/api/v1/outbox/drop", &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_dead_collector_is_said_and_does_not_make_it_unready() {
    let served = serve(Fleet::filled().await).await;
    let ready = served.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.json()),
        (StatusCode::OK, json!({ "ready": true, "reasons": [], "notes": [] }))
    );
    assert_eq!(served.get("/healthz").await.body, "ok\n");

    let now = served.fleet.clock.now();
    for lane in [Lane::Traces, Lane::Logs, Lane::Metrics] {
        served.fleet.store.note_trouble(lane, now, "connection refused");
    }
    served.wait();
    let ready = served.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(
        ready.json()["notes"][0],
        "the collector takes no traces since 2026-08-23T14:06:18.000Z: connection refused"
    );
    let page = words(&served.get("/").await.body);
    assert!(page.contains("· not delivered for 60 s"), "{page}");
    assert!(
        page.contains("The collector has taken no traces, logs or metrics for 60 s: connection refused."),
        "{page}"
    );
}

#[tokio::test]
async fn a_closed_store_is_unready_and_the_page_says_so() {
    let served = serve(Fleet::filled().await).await;
    served.fleet.store.clone().close().await;
    let ready = served.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["ready"], false);
    assert_eq!(served.get("/healthz").await.status, StatusCode::OK);
    let api = served.get("/api/v1/overview").await;
    assert_eq!((api.status, &api.json()["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(503)));
    let page = send(served.client.get(served.url("/")).header(ACCEPT, "text/html,*/*")).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(words(&page.body).contains("the store cannot be used at the moment"), "{}", page.body);
}

#[tokio::test]
async fn a_reading_is_shared_for_two_seconds_and_then_renewed() {
    let mut fleet = Fleet::empty().await;
    fleet.deployments.push(deployment("only", "2.4.1", Flavour::Mysql).into());
    let served = serve(fleet).await;
    let count = async || served.get("/api/v1/overview").await.json()["status"]["deployments"].clone();
    assert_eq!(count().await, 0);
    served.fleet.live().await;
    assert_eq!(count().await, 0, "within two seconds nothing is read again");
    served.wait();
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn what_ci_tells_shows_with_the_next_reading_and_hides_no_more_than_it_must() {
    let served = serve(Fleet::empty().await).await;
    let tests = async || served.get("/api/v1/overview").await.json()["tests"]["suites_known"].clone();
    assert_eq!(tests().await, 0);
    page_past::told(&served.fleet).await;
    served.wait();
    assert_eq!(tests().await, 3);
    let page = served.get("/").await.body;
    assert!(page.contains("<li class=\"late\">"), "what takes too long is set apart");
    assert!(page.contains("<a href=\"https://ci.example/job/cachet/512/\" rel=\"noopener noreferrer\">"));
}

/// Years of CI with all limits reached: the page stays small enough to be read.
#[tokio::test]
async fn a_long_past_is_cut() {
    let fleet = Fleet::empty().await;
    page_past::long(&fleet).await;
    let served = serve(fleet).await;
    let overview = served.get("/api/v1/overview").await.json();
    assert_eq!(
        (&overview["tests"]["suites_known"], &overview["deploys"]["known"]),
        (&json!(40), &json!(300))
    );
    let sizes =
        [&overview["tests"]["suites"], &overview["deploys"]["deployments"], &overview["loads"]["plans"]];
    assert_eq!(sizes.map(|list| list.as_array().unwrap().len()), [12, 40, 12]);
    let page = served.get("/").await.body;
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert!(words(&page).contains("28 more suites and branches"), "{}", words(&page));
}

#[tokio::test]
async fn when_rounds_stop_the_page_says_since_when() {
    let served = serve(Fleet::filled().await).await;
    assert_eq!(served.get("/api/v1/overview").await.json()["status"]["state"], "live");
    served.fleet.clock.advance(Duration::from_secs(600));
    assert_eq!(served.get("/api/v1/overview").await.json()["status"]["state"], "stalled");
    let page = words(&served.get("/").await.body);
    assert!(page.contains("no rounds · last round 10 min ago"), "{page}");
    assert!(page.contains("old: last round 10 min ago"), "{page}");
}

#[tokio::test]
async fn each_environment_has_its_own_latest_version() {
    let mut fleet = Fleet::empty().await;
    for (name, version, environment) in [
        ("s3", "3.0.0", "staging"),
        ("s2", "2.4.1", "staging"),
        ("p2", "2.4.1", "production"),
        ("p1", "2.3.18", "production"),
    ] {
        let deployment =
            Deployment { environment: environment.into(), ..deployment(name, version, Flavour::Mysql) };
        fleet.deployments.push(deployment.into());
    }
    fleet.live().await;
    fleet.rounds(12, |d, _, _, ms| Told::pass(if d.name == "p2" { ms * 3.0 } else { ms })).await;
    let served = serve(fleet).await;
    let page = words(&served.get("/").await.body);
    assert!(page.contains("3.0.0 latest in staging |"), "{page}");
    assert!(page.contains("2.4.1 latest in production previous in staging |"), "{page}");
    assert!(page.contains("Requests of the latest version of each environment"), "{page}");
    assert!(page.contains("request | mysql production 2.4.1 | mysql staging 3.0.0 |"), "{page}");
    let overview = served.get("/api/v1/overview").await.json();
    assert_eq!(overview["slow_database"], Value::Null, "environments are not compared with each other");
    assert_eq!(overview["unpaired_rise"]["environment"], "production");
    assert_eq!(overview["unpaired_rise"]["previous_version"], "2.3.18");
}

/// A thousand deployments: cells are summed up, and the page stays small enough to be read.
#[tokio::test]
async fn a_large_fleet_is_summed_up() {
    let mut fleet = Fleet::empty().await;
    for i in 0..1_000 {
        let version = ["2.3.18", "2.4.1"][i % 2];
        let db = [Flavour::Sqlite, Flavour::Mysql][i / 2 % 2];
        fleet.deployments.push(deployment(&format!("cachet-{i:04}"), version, db).into());
    }
    fleet.live().await;
    let broken = |d: &Deployment, request: &str, back, ms| match d.name.as_str() {
        "cachet-0002" => Told {
            ms,
            outcome: Outcome::Fail,
            error: Some(ErrorType::Check),
            detail: "status: expected 200, found 500",
        },
        _ => usual(d, request, back, ms),
    };
    fleet.rounds(2, broken).await;
    let served = serve(fleet).await;
    let page = served.get("/").await.body;
    let text = words(&page);
    assert!(text.contains("1 fail 249 pass"), "{text}");
    assert!(text.contains("component: status: expected 200, found 500"), "{text}");
    assert!(text.contains("all 250 deployments"), "{text}");
    assert!(page.len() < 600_000, "{} bytes", page.len());
}
