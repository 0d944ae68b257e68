//! Stand-ins against what real Cachet deployments answered (`tests/data/cachet-shapes.json`), over
//! real HTTP; and the faults that other tests rely on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::demo::{Fault, Generation, Kind, StandIn, start_fleet};
use cachetscope::model::{Flavour, Version};
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

const V2: &str = "2.4.1";
const V3: &str = "3.0.0-dev.202608221030";
const STAND_IN: HeaderValue = HeaderValue::from_static("cachetscope-stand-in");
const FLAVOURS: [Flavour; 3] = [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql];

fn client() -> Client {
    // reqwest wants a TLS provider even for plain HTTP; another test may have installed it.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

fn kind(version: &str, flavour: Flavour) -> Kind {
    Kind::new(Version::parse(version).unwrap(), flavour)
}

fn at(stand_in: &StandIn, path: &str) -> String {
    format!("{}{path}", stand_in.url().as_str().trim_end_matches('/'))
}

async fn get(client: &Client, stand_in: &StandIn, path: &str) -> Response {
    client.get(at(stand_in, path)).send().await.unwrap()
}

#[derive(Clone, Copy)]
enum Token {
    None,
    Wrong,
    Right,
}

/// A recorded case, or a recorded list around the data of another case.
enum Like {
    Case(&'static str),
    ListOf { envelope: &'static str, item: &'static str },
}

struct Ask {
    like: Like,
    method: Method,
    path: String,
    token: Token,
    body: Option<Value>,
}

fn ask(case: &'static str, method: Method, path: &str, token: Token, body: Option<Value>) -> Ask {
    Ask { like: Like::Case(case), method, path: path.to_owned(), token, body }
}

fn read(case: &'static str, path: &str) -> Ask {
    ask(case, Method::GET, path, Token::None, None)
}

fn write(case: &'static str, method: Method, path: &str, body: Value) -> Ask {
    ask(case, method, path, Token::Right, Some(body))
}

/// Misses and nonsense ids, the same in both generations.
fn refused_reads(root: &str, groups: &str) -> Vec<Ask> {
    let paths = [
        ("show_components_missing", "show_components_notint", "components"),
        ("show_components-groups_missing", "show_components-groups_notint", groups),
        ("show_incidents_missing", "show_incidents_notint", "incidents"),
        ("show_metrics_missing", "show_metrics_notint", "metrics"),
        ("show_schedules_missing", "show_schedules_notint", "schedules"),
    ];
    let named = |case| match (case, groups) {
        ("show_components-groups_missing", "component-groups") => "show_component-groups_missing",
        ("show_components-groups_notint", "component-groups") => "show_component-groups_notint",
        (case, _) => case,
    };
    let both = paths.into_iter().flat_map(|(missing, notint, path)| {
        [(named(missing), format!("{root}/{path}/99999999")), (named(notint), format!("{root}/{path}/abc"))]
    });
    both.map(|(case, path)| read(case, &path)).collect()
}

fn asks_of_v2() -> Vec<Ask> {
    let incident = json!({"name": "x", "status": 1, "message": "m", "visible": 0, "notify": false});
    let metric = json!({"name": "x", "suffix": "ms", "default_value": 0, "description": "d", "visible": 1});
    let mut asks = vec![
        read("get_ping", "/api/v1/ping"),
        read("get_status", "/api/v1/status"),
        read("get_version", "/api/v1/version"),
        read("list_components_filled", "/api/v1/components?sort=id&per_page=20"),
        ask("list_components_filled", Method::GET, "/api/v1/components", Token::Wrong, None),
        read("list_components_q_sort_bogus", "/api/v1/components?sort=bogus"),
        read("show_components", "/api/v1/components/2"),
        read("list_components-groups_filled", "/api/v1/components/groups"),
        read("show_groups", "/api/v1/components/groups/2"),
        read("list_incidents_filled", "/api/v1/incidents"),
        read("show_incidents", "/api/v1/incidents/1"),
        read("list_metrics_filled", "/api/v1/metrics"),
        read("show_metrics", "/api/v1/metrics/1"),
        read("list_metric_points", "/api/v1/metrics/1/points"),
        read("list_schedules_filled", "/api/v1/schedules"),
        read("show_schedules", "/api/v1/schedules/1"),
        write("post_incidents", Method::POST, "/api/v1/incidents", incident),
        ask("show_incidents", Method::GET, "/api/v1/incidents/3", Token::Right, None),
        write("put_incidents", Method::PUT, "/api/v1/incidents/2", json!({"status": 4})),
        write("delete_incidents", Method::DELETE, "/api/v1/incidents/3", json!({})),
        write("show_incidents_missing", Method::DELETE, "/api/v1/incidents/3", json!({})),
        write("post_metrics", Method::POST, "/api/v1/metrics", metric),
        read("show_metrics", "/api/v1/metrics/2"),
        read("list_components_auth", "/api/v1/metrics/2/points"),
        write("post_metric_points", Method::POST, "/api/v1/metrics/2/points", json!({"value": 1.5})),
        write("delete_metric_points", Method::DELETE, "/api/v1/metrics/2/points/3", json!({})),
        write("delete_metrics", Method::DELETE, "/api/v1/metrics/2", json!({})),
        write("post_incidents_empty", Method::POST, "/api/v1/incidents", json!({})),
        write("post_metrics_empty", Method::POST, "/api/v1/metrics", json!({})),
        write("post_metric_points_empty", Method::POST, "/api/v1/metrics/1/points", json!({})),
        write("post_metric_points_bad", Method::POST, "/api/v1/metrics/1/points", json!({"value": "x"})),
        ask("post_components_anon", Method::POST, "/api/v1/components", Token::None, None),
        ask("post_components_badtoken", Method::POST, "/api/v1/components", Token::Wrong, None),
        ask("patch_collection_405", Method::PATCH, "/api/v1/components", Token::Right, None),
        read("unknown_route", "/api/v1/nope"),
    ];
    asks.extend(refused_reads("/api/v1", "components/groups"));
    asks
}

fn asks_of_v3() -> Vec<Ask> {
    let incident = json!({"name": "x", "status": 1, "message": "m", "visible": 0, "notifications": false});
    let metric = json!({"name": "x", "suffix": "ms", "default_value": 1.5, "description": "d"});
    let groups = Ask {
        like: Like::ListOf { envelope: "list_components_filled", item: "put_component-groups" },
        ..read("", "/api/component-groups?sort=id")
    };
    let mut asks = vec![
        read("get_ping", "/api/ping"),
        read("get_status", "/api/status"),
        read("get_version", "/api/version"),
        read("list_components_filled", "/api/components?sort=id&per_page=20"),
        ask("list_components_filled", Method::GET, "/api/components", Token::Wrong, None),
        read("list_components_q_sort_bogus", "/api/components?sort=bogus"),
        read("put_components", "/api/components/2"),
        groups,
        read("put_component-groups", "/api/component-groups/1"),
        read("list_incidents_filled", "/api/incidents"),
        read("show_incidents", "/api/incidents/1"),
        read("list_metrics_filled", "/api/metrics"),
        read("show_metrics", "/api/metrics/1"),
        read("list_metric_points", "/api/metrics/1/points"),
        read("show_metric_points", "/api/metrics/1/points/1"),
        read("list_schedules_filled", "/api/schedules"),
        read("put_schedules", "/api/schedules/1"),
        write("post_incidents", Method::POST, "/api/incidents", incident),
        ask("show_incidents", Method::GET, "/api/incidents/3", Token::Right, None),
        write("put_incidents", Method::PUT, "/api/incidents/3", json!({"status": 4})),
        write("put_incidents", Method::PATCH, "/api/incidents/3", json!({"name": "y"})),
        write("delete_incidents", Method::DELETE, "/api/incidents/3", json!({})),
        write("show_incidents_missing", Method::DELETE, "/api/incidents/3", json!({})),
        write("post_metrics", Method::POST, "/api/metrics", metric),
        ask("show_metrics", Method::GET, "/api/metrics/2", Token::Right, None),
        ask("list_components_auth", Method::GET, "/api/metrics/2/points", Token::Right, None),
        write("post_metric_points", Method::POST, "/api/metrics/2/points", json!({"value": 1.5})),
        write("delete_metric_points", Method::DELETE, "/api/metrics/2/points/3", json!({})),
        write("delete_metrics", Method::DELETE, "/api/metrics/2", json!({})),
        write("post_incidents_empty", Method::POST, "/api/incidents", json!({})),
        write("post_metric_points_empty", Method::POST, "/api/metrics/1/points", json!({})),
        write("post_metric_points_bad", Method::POST, "/api/metrics/1/points", json!({"value": "x"})),
        ask("post_components_anon", Method::POST, "/api/components", Token::None, None),
        ask("post_components_badtoken", Method::POST, "/api/components", Token::Wrong, None),
        ask("patch_collection_405", Method::PATCH, "/api/components", Token::Right, None),
        read("unknown_route", "/api/nope"),
    ];
    asks.extend(refused_reads("/api", "component-groups"));
    asks
}

async fn send(client: &Client, stand_in: &StandIn, generation: Generation, ask: &Ask) -> Response {
    let mut request = client.request(ask.method.clone(), at(stand_in, &ask.path));
    let token = match ask.token {
        Token::None => None,
        Token::Wrong => Some("wrong".to_owned()),
        Token::Right => Some(stand_in.token().reveal().to_owned()),
    };
    if let Some(token) = token {
        request = match generation {
            Generation::V2 => request.header("X-Cachet-Token", token),
            Generation::V3 => request.bearer_auth(token),
        };
    }
    if let Some(body) = &ask.body {
        request = request.header("Content-Type", "application/json").body(body.to_string());
    }
    request.send().await.unwrap()
}

fn recorded(generation: Generation) -> Value {
    let all: Value = serde_json::from_str(include_str!("../data/cachet-shapes.json")).unwrap();
    all["generations"][match generation {
        Generation::V2 => "2.4.1",
        Generation::V3 => "3.x (core 2026-08)",
    }]
    .clone()
}

fn recorded_case(shapes: &Value, case: &str, flavour: Flavour) -> Value {
    let by_flavour = shapes.get(case).unwrap_or_else(|| panic!("nothing is recorded as `{case}`"));
    by_flavour.get("all").or(by_flavour.get(flavour.as_str())).unwrap().clone()
}

/// Where a value is not of the recorded type, each with its path.
fn differences(path: &str, shape: &Value, found: &Value, out: &mut Vec<String>) {
    let mut differ =
        |expected: &dyn std::fmt::Display| out.push(format!("{path}: {found} is not {expected}"));
    match (shape, found) {
        (Value::Object(shape), Value::Object(found)) => {
            for name in shape.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
                let path = format!("{path}.{name}");
                match (shape.get(name), found.get(name)) {
                    (Some(shape), Some(found)) => differences(&path, shape, found, out),
                    (None, _) => out.push(format!("{path}: was not recorded")),
                    (_, None) => out.push(format!("{path}: is missing")),
                }
            }
        }
        (Value::Array(shapes), Value::Array(elements)) => match (shapes.first(), elements.first()) {
            (Some(shape), Some(element)) => differences(&format!("{path}[0]"), shape, element, out),
            (None, None) => {}
            _ => differ(shape),
        },
        (Value::String(name), found) => {
            if !is_of(name, found) {
                differ(name);
            }
        }
        _ => differ(shape),
    }
}

fn is_of(name: &str, found: &Value) -> bool {
    let text = found.as_str();
    match name {
        "null" => found.is_null(),
        "bool" => found.is_boolean(),
        "int" => found.is_i64() || found.is_u64(),
        "float" => found.is_f64(),
        "string" => found.is_string(),
        "string:number" => text.is_some_and(|t| t.parse::<f64>().is_ok()),
        "string:url" => text.is_some_and(|t| t.starts_with("http://") || t.starts_with("https://")),
        "string:datetime" => {
            text.is_some_and(|t| chrono::NaiveDateTime::parse_from_str(t, "%Y-%m-%d %H:%M:%S").is_ok())
        }
        _ => panic!("the record names an unknown type `{name}`"),
    }
}

async fn compare(shape: &Value, answer: Response) -> Vec<String> {
    let mut out = Vec::new();
    let status = answer.status().as_u16();
    if shape["status"] != status {
        out.push(format!("status {status} is not {}", shape["status"]));
    }
    let headers = answer.headers().clone();
    let content_type = headers.get("content-type").map(|v| v.to_str().unwrap());
    if shape["content_type"].as_str() != content_type {
        out.push(format!("content type {content_type:?} is not {}", shape["content_type"]));
    }
    if headers.get("server").is_none_or(|s| s != STAND_IN) {
        out.push("does not say that it is a stand-in".to_owned());
    }
    let rate: BTreeSet<_> = headers.keys().map(|n| n.as_str()).filter(|n| is_rate_header(n)).collect();
    let expected: BTreeSet<_> =
        shape["rate_headers"].as_array().into_iter().flatten().map(|n| n.as_str().unwrap()).collect();
    if rate != expected {
        out.push(format!("rate headers {rate:?} are not {expected:?}"));
    }
    let body = answer.bytes().await.unwrap();
    if shape["body"] == "empty" {
        if !body.is_empty() {
            out.push(format!("{} bytes where none are expected", body.len()));
        }
    } else {
        match serde_json::from_slice(&body) {
            Ok(body) => differences("$", &shape["body"], &body, &mut out),
            Err(error) => out.push(format!("the body is no JSON: {error}")),
        }
    }
    out
}

fn is_rate_header(name: &str) -> bool {
    name == "retry-after" || name.starts_with("x-ratelimit-")
}

#[tokio::test]
async fn stand_ins_answer_as_real_deployments_did() {
    let client = client();
    let mut wrong = Vec::new();
    for version in [V2, V3] {
        let generation = Generation::of(&Version::parse(version).unwrap());
        let shapes = recorded(generation);
        let asks = if generation == Generation::V2 { asks_of_v2() } else { asks_of_v3() };
        let mut compared = BTreeSet::from(["ratelimited_ping"]);
        for flavour in FLAVOURS {
            let stand_in = StandIn::start(kind(version, flavour)).await.unwrap();
            for ask in &asks {
                let shape = match ask.like {
                    Like::Case(case) => {
                        compared.insert(case);
                        recorded_case(&shapes, case, flavour)
                    }
                    Like::ListOf { envelope, item } => {
                        let mut list = recorded_case(&shapes, envelope, flavour);
                        list["body"]["data"][0] =
                            recorded_case(&shapes, item, flavour)["body"]["data"].clone();
                        list
                    }
                };
                let answer = send(&client, &stand_in, generation, ask).await;
                let found = compare(&shape, answer).await;
                let what = format!("{version} {flavour} {} {}", ask.method, ask.path);
                wrong.extend(found.into_iter().map(|difference| format!("{what}: {difference}")));
            }
        }
        for case in shapes.as_object().unwrap().keys().filter(|c| !compared.contains(c.as_str())) {
            if !(generation == Generation::V2 && case == "ratelimited_ping") {
                wrong.push(format!("{version}: nothing was compared with the recorded `{case}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_difference_is_named_with_its_path() {
    let shape = json!({"data": [{"id": "int", "value": "float", "tags": []}]});
    let found = json!({"data": [{"id": "1", "value": 2, "tags": [3], "more": null}]});
    let mut out = Vec::new();
    differences("$", &shape, &found, &mut out);
    let paths: Vec<_> = out.iter().map(|d| d.split_once(':').unwrap().0).collect();
    assert_eq!(paths, ["$.data[0].id", "$.data[0].more", "$.data[0].tags", "$.data[0].value"]);
}

#[tokio::test]
async fn hidden_objects_are_seen_by_writers_alone() {
    let client = client();
    let stand_in = StandIn::start(kind(V3, Flavour::Mariadb)).await.unwrap();
    let body = json!({"name": "x", "status": 1, "message": "m", "visible": 0});
    let create = write("post_incidents", Method::POST, "/api/incidents", body);
    assert_eq!(send(&client, &stand_in, Generation::V3, &create).await.status(), 201);
    assert_eq!(get(&client, &stand_in, "/api/incidents/3").await.status(), 404);
    let count = |token| {
        let (client, stand_in) = (&client, &stand_in);
        async move {
            let list = ask("", Method::GET, "/api/incidents", token, None);
            let body = send(client, stand_in, Generation::V3, &list).await.text().await.unwrap();
            serde_json::from_str::<Value>(&body).unwrap()["data"].as_array().unwrap().len()
        }
    };
    assert_eq!(count(Token::None).await, 2);
    assert_eq!(count(Token::Right).await, 3);
}

#[tokio::test]
async fn lists_are_paged_and_an_absurd_page_is_empty() {
    let client = client();
    for (version, root) in [(V2, "/api/v1"), (V3, "/api")] {
        let stand_in = StandIn::start(kind(version, Flavour::Sqlite)).await.unwrap();
        let mut sizes = Vec::new();
        for page in ["1", "2", "18446744073709551615"] {
            let path = format!("{root}/components?per_page=2&page={page}");
            let body = get(&client, &stand_in, &path).await.text().await.unwrap();
            sizes.push(serde_json::from_str::<Value>(&body).unwrap()["data"].as_array().unwrap().len());
        }
        assert_eq!(sizes, [2, 1, 0], "{version}");
    }
}

#[tokio::test]
async fn over_the_limit_is_refused_until_the_minute_is_over() {
    let client = client();
    let clock = Clock::manual(Timestamp(1_800_000_000_000_000_000));
    let stand_in = StandIn::start(Kind {
        requests_per_minute_max: Some(2),
        clock: clock.clone(),
        ..kind(V3, Flavour::Sqlite)
    })
    .await
    .unwrap();
    let mut remaining = Vec::new();
    for _ in 0..2 {
        let answer = get(&client, &stand_in, "/api/ping").await;
        assert_eq!(answer.status(), 200);
        remaining.push(answer.headers()["x-ratelimit-remaining"].to_str().unwrap().to_owned());
    }
    assert_eq!(remaining, ["1", "0"]);
    clock.advance(Duration::from_millis(20_500));
    let refused = get(&client, &stand_in, "/api/ping").await;
    assert_eq!(refused.headers()["retry-after"], "40");
    assert_eq!(refused.headers()["x-ratelimit-reset"], "1800000060");
    let shape = recorded_case(&recorded(Generation::V3), "ratelimited_ping", Flavour::Sqlite);
    assert_eq!(compare(&shape, refused).await, Vec::<String>::new());
    clock.advance(Duration::from_secs(40));
    assert_eq!(get(&client, &stand_in, "/api/ping").await.status(), 200);
}

#[tokio::test]
async fn faults_hold_below_their_path_until_they_are_cleared() {
    let client = client();
    let stand_in = StandIn::start(kind(V2, Flavour::Sqlite)).await.unwrap();
    let delay = Duration::from_millis(60);
    stand_in.set_fault("/api/v1/incidents", Fault::Status(503));
    stand_in.set_fault("/api/v1/incidents", Fault::Delay(delay));
    stand_in.set_fault("/api/v1/metrics", Fault::Body("{\"data\":{}}".into()));
    stand_in.set_fault("/api/v1/schedules", Fault::RateLimited(7));
    stand_in.set_fault("/api/v1/components", Fault::Status(9_999));

    let started = Instant::now();
    let failed = get(&client, &stand_in, "/api/v1/incidents/1").await;
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
    assert_eq!(failed.status(), 503);
    assert!(failed.text().await.unwrap().starts_with("{\"errors\":[{"));
    let other = get(&client, &stand_in, "/api/v1/metrics").await;
    assert_eq!((other.status().as_u16(), other.text().await.unwrap().as_str()), (200, "{\"data\":{}}"));
    let limited = get(&client, &stand_in, "/api/v1/schedules").await;
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(get(&client, &stand_in, "/api/v1/components").await.status(), 500);
    assert_eq!(get(&client, &stand_in, "/api/v1/ping").await.status(), 200);

    stand_in.clear();
    for path in ["/api/v1/incidents/1", "/api/v1/metrics", "/api/v1/schedules", "/api/v1/components"] {
        assert_eq!(get(&client, &stand_in, path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_hanging_request_ends_with_its_client_or_with_the_stand_in() {
    let client = client();
    let mut stand_in = StandIn::start(Kind { seen_max: 4, ..kind(V2, Flavour::Sqlite) }).await.unwrap();
    stand_in.set_fault("/", Fault::Hang);
    let ping = at(&stand_in, "/api/v1/ping");
    let impatient = client.get(&ping).timeout(Duration::from_millis(50)).send().await;
    assert!(impatient.unwrap_err().is_timeout());

    let patient = tokio::spawn(client.get(at(&stand_in, "/api/v1/status")).send());
    let arrived = async {
        while !stand_in.requests().iter().any(|s| s.path == "/api/v1/status") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.unwrap();
    stand_in.refuse().await;
    assert_eq!(patient.await.unwrap().unwrap().status(), 503);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let client = client();
    let stand_in = StandIn::start(kind(V3, Flavour::Sqlite)).await.unwrap();
    let body = json!({"name": "x".repeat(70_000), "status": 1, "message": "m"});
    let create = write("", Method::POST, "/api/incidents", body);
    let refused = send(&client, &stand_in, Generation::V3, &create).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["server"]), (413, &STAND_IN));
}

#[tokio::test]
async fn a_stand_in_can_refuse_connections_and_come_back() {
    let client = client();
    let mut stand_in = StandIn::start(kind(V3, Flavour::Postgresql)).await.unwrap();
    let url = stand_in.url();
    assert_eq!(get(&client, &stand_in, "/api/ping").await.status(), 200);
    stand_in.refuse().await;
    let refused = client.get(at(&stand_in, "/api/ping")).send().await;
    assert!(refused.unwrap_err().is_connect());
    stand_in.accept().await.unwrap();
    assert_eq!(stand_in.url(), url);
    assert_eq!(get(&client, &stand_in, "/api/ping").await.status(), 200);
}

#[tokio::test]
async fn a_dropped_stand_in_stops_listening() {
    let stand_in = StandIn::start(kind(V2, Flavour::Mariadb)).await.unwrap();
    let address = ("127.0.0.1", stand_in.url().port().unwrap());
    tokio::net::TcpStream::connect(address).await.unwrap();
    drop(stand_in);
    let gone = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn the_latest_requests_are_remembered_and_no_more() {
    let client = client();
    let stand_in = StandIn::start(Kind { seen_max: 2, ..kind(V2, Flavour::Sqlite) }).await.unwrap();
    get(&client, &stand_in, "/api/v1/status").await;
    get(&client, &stand_in, "/api/v1/ping").await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let ask = client.get(at(&stand_in, "/api/v1/components?sort=id")).header("traceparent", traceparent);
    ask.send().await.unwrap();
    let seen = stand_in.requests();
    let paths: Vec<_> = seen.iter().map(|s| (s.method.as_str(), s.path.as_str())).collect();
    assert_eq!(paths, [("GET", "/api/v1/ping"), ("GET", "/api/v1/components?sort=id")]);
    assert_eq!(seen[1].traceparent.as_deref(), Some(traceparent));
    assert!(seen[0].at < seen[1].at);
}

#[tokio::test]
async fn the_fleet_has_nine_deployments_of_which_one_is_in_trouble_at_first() {
    const SEED: u64 = 11;
    println!("seed {SEED}");
    let client = client();
    let clock = Clock::manual(Timestamp(1_800_000_000_000_000_000));
    let fleet = start_fleet(SEED, &clock).await.unwrap();
    let names: BTreeSet<_> = fleet.deployments().iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names.len(), 9);
    assert!(names.contains("cachet-2.4-postgresql") && names.contains("cachet-3.0-202608-mariadb"));
    assert!(fleet.deployments().iter().all(|d| d.host_group == "127.0.0.1" && d.environment == "demo"));

    let mut failing = Vec::new();
    for (deployment, stand_in) in fleet.deployments().iter().zip(fleet.stand_ins()) {
        assert_eq!(deployment.url, stand_in.url());
        let v2 = Generation::of(&deployment.version) == Generation::V2;
        let path = if v2 { "/api/v1/incidents" } else { "/api/incidents" };
        if get(&client, stand_in, path).await.status() == 500 {
            failing.push(deployment.name.as_str());
        }
    }
    assert_eq!(failing, ["cachet-2.4-postgresql"]);
    let troubled = &fleet.stand_ins()[2];
    let started = Instant::now();
    assert_eq!(get(&client, troubled, "/api/v1/metrics").await.status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());

    clock.advance(Duration::from_secs(41));
    assert_eq!(get(&client, troubled, "/api/v1/incidents").await.status(), 200);
    fleet.shutdown().await;
}
