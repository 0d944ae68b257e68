//! The events API: what is taken, what is refused and how, and that nothing is lost in between.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cachetscope::ingest::Access;
use cachetscope::model::{EventKind, TraceParent};
use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, RETRY_AFTER};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};

use crate::ingest_rig::{
    LOOPBACK, NOW, Served, but, gzip, open_to_this_machine, run, secret, shown, soon, tokens,
};
use crate::page::{Answer, assert_documented, forbid_unknown, send};

fn counts(answer: &Answer) -> (u16, u64, u64, usize) {
    let body = answer.json();
    let number = |key: &str| body[key].as_u64().unwrap();
    (
        answer.status.as_u16(),
        number("accepted"),
        number("duplicates"),
        body["refused"].as_array().unwrap().len(),
    )
}

#[tokio::test]
async fn an_event_is_accepted_once_and_known_from_then_on() {
    let served = Served::start().await;
    let first = served.tell(&run("1")).await;
    assert_eq!(counts(&first), (202, 1, 0, 0));
    assert_eq!(first.header(CACHE_CONTROL), "no-store");
    assert_eq!(first.json(), json!({"accepted": 1, "duplicates": 0, "refused": []}));
    assert_eq!(counts(&served.tell(&run("1")).await), (200, 0, 1, 0));
    let differs = served.tell(&but(run("1"), json!({"result": "failure"}))).await;
    insta::assert_snapshot!("differing", shown(&differs));
    assert_eq!(served.kept().await.len(), 1);
    assert_eq!(served.kept().await[0]["event"]["result"], "success", "what was there stays");
    assert_eq!(served.intake.duplicates.load(Ordering::Relaxed), 2);
    // Another attempt is another event.
    let again = served.tell(&but(run("1"), json!({"attempt": 2, "result": "failure"}))).await;
    assert_eq!(counts(&again), (202, 1, 0, 0));
    let runs = served.get("events/runs?source=jenkins&pipeline=cachet").await.json();
    assert_eq!(runs, json!([{"run": "1", "attempt": 1}, {"run": "1", "attempt": 2}]));
}

#[tokio::test]
async fn a_beginning_and_an_end_are_one_event_in_either_order() {
    let start =
        |n: &str| json!({"source": "ci", "pipeline": "p", "run": n, "started": "2026-11-23T04:00:00Z"});
    let end = |n: &str| json!({"source": "ci", "pipeline": "p", "run": n, "finished": "2026-11-23T04:01:30Z", "result": "success"});
    let served = Served::start().await;
    for (first, second) in [(start("1"), end("1")), (end("2"), start("2"))] {
        assert_eq!(counts(&served.tell(&first).await), (202, 1, 0, 0));
        assert_eq!(counts(&served.tell(&second).await), (202, 1, 0, 0));
        assert_eq!(counts(&served.tell(&second).await), (200, 0, 1, 0));
    }
    let both = json!([start("3"), end("3")]);
    assert_eq!(counts(&served.tell(&both).await), (202, 2, 0, 0));
    let kept = served.kept().await;
    assert_eq!(kept.len(), 3);
    for event in kept {
        assert_eq!(event["began"], "2026-11-23T04:00:00.000Z", "{event}");
        assert_eq!(event["event"]["finished"], "2026-11-23T04:01:30Z", "{event}");
    }
    // A span tells of the whole time as soon as that is known: the second one is told again.
    let spans = spans(&served).await;
    let seconds: Vec<u64> =
        spans.iter().map(|s| (s.end_time_unix_nano - s.start_time_unix_nano) / 1_000_000_000).collect();
    assert_eq!(seconds, [90, 0, 90, 90]);
    assert_eq!(spans[1].span_id, spans[2].span_id);
}

#[tokio::test]
async fn an_end_before_its_beginning_is_refused_with_both_times() {
    let served = Served::start().await;
    let start = json!({"source": "ci", "pipeline": "p", "run": "1", "started": "2026-11-23T04:00:00Z"});
    let end = json!({"source": "ci", "pipeline": "p", "run": "1", "finished": "2026-11-23T03:59:59Z", "result": "success"});
    assert_eq!(counts(&served.tell(&start).await), (202, 1, 0, 0));
    let answer = served.tell(&json!([run("2"), end])).await;
    insta::assert_snapshot!("contradicting", shown(&answer));
    assert_eq!(served.intake.refused.load(Ordering::Relaxed), 1);
}

async fn spans(served: &Served) -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    let waiting = served.store.outbox_next(cachetscope::store::Lane::Traces, 1 << 30).await.unwrap();
    let requests = waiting.iter().map(|row| ExportTraceServiceRequest::decode(&*row.body).unwrap());
    let scopes =
        requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_tells_the_same_at_once_each_event_is_accepted_exactly_once() {
    const CLIENTS: u64 = 32;
    const EVENTS: u64 = 20;
    let served = Served::start().await;
    let batch = serde_json::Value::Array((0..EVENTS).map(|n| run(&n.to_string())).collect());
    let answers = futures_util::future::join_all((0..CLIENTS).map(|_| served.tell(&batch))).await;
    let sum = |of: fn((u16, u64, u64, usize)) -> u64| answers.iter().map(counts).map(of).sum::<u64>();
    assert_eq!((sum(|c| c.1), sum(|c| c.2)), (EVENTS, (CLIENTS - 1) * EVENTS));
    assert!(answers.iter().all(|answer| answer.json().get("differing").is_none()));
    let spans: std::collections::BTreeSet<_> = spans(&served).await.into_iter().map(|s| s.span_id).collect();
    assert_eq!((served.kept().await.len() as u64, spans.len() as u64), (EVENTS, EVENTS));
}

#[tokio::test]
async fn a_deployment_is_linked_to_what_made_its_image() {
    let served = Served::start().await;
    let build = but(run("7"), json!({"step": "build", "task": "build", "digest": "sha256:abc"}));
    served.tell(&build).await;
    let deploy = json!({
        "source": "jenkins", "pipeline": "deploy", "run": "3", "step": "deploy", "digest": "sha256:abc",
        "finished": "2026-11-23T04:05:00Z", "result": "success", "version": "2.4.1", "db": "mysql", "deploy": {}
    });
    assert_eq!(counts(&served.tell(&deploy).await), (202, 1, 0, 0));
    let event = served.store.events(EventKind::Step, NOW.minus(Duration::from_secs(3_600)), 9).await.unwrap();
    let TraceParent { trace, span } = event[0].event.as_parent();
    let links: Vec<_> = spans(&served).await.into_iter().flat_map(|span| span.links).collect();
    assert_eq!(links.len(), 1);
    assert_eq!((&links[0].trace_id[..], &links[0].span_id[..]), (&trace.0[..], &span.0[..]));
}

#[tokio::test]
async fn what_is_valid_in_a_batch_is_kept_and_the_rest_named() {
    let served = Served::start().await;
    served.tell(&run("2")).await;
    let batch = json!({"events": [
        run("1"), but(run("x"), json!({"result": "green", "attempt": 3})), run("2"),
        but(run("y"), json!({"finished": "2026-11-23T03:00:00Z", "step": "unit", "tests": {"suite": ""}})), 5
    ]});
    let answer = served.tell(&batch).await;
    insta::assert_snapshot!("partial", shown(&answer));
    assert_eq!(served.kept().await.len(), 2);
    assert_eq!(served.intake.refused.load(Ordering::Relaxed), 3);
    let rejected: u64 = served.intake.rejected.iter().map(|(_, n)| n.load(Ordering::Relaxed)).sum();
    assert_eq!(rejected, 0, "the request as a whole was heard");
}

#[tokio::test]
async fn each_refusal_says_what_was_found_and_what_is_expected() {
    let served = Served::start().await;
    let json_type = "application/json";
    let send_as = async |content_type: &str, encoding: &str, body: Vec<u8>| {
        let request = served.to("events").header(CONTENT_TYPE, content_type);
        let request = if encoding.is_empty() { request } else { request.header(CONTENT_ENCODING, encoding) };
        send(request.body(body)).await
    };
    let one = run("1").to_string().into_bytes();
    let many = serde_json::to_vec(&vec![run("1"); 1_001]).unwrap();
    let mut latin = one.clone();
    latin[12] = 0xe9;
    let utf_16: Vec<u8> =
        String::from_utf8(one.clone()).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cut = gzip(&one)[..40].to_vec();
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 400_000);
    let mut answers = vec![
        ("empty", send_as(json_type, "", vec![]).await),
        ("no JSON", send_as(json_type, "", b"<event/>".to_vec()).await),
        ("cut", send_as(json_type, "", one[..40].to_vec()).await),
        ("NaN", send_as(json_type, "", br#"{"attempt": NaN}"#.to_vec()).await),
        ("empty list", send_as(json_type, "", b"[]".to_vec()).await),
        ("UTF-16", send_as(json_type, "", utf_16).await),
        ("Latin-1", send_as(json_type, "", latin).await),
        ("a form", send_as("application/x-www-form-urlencoded", "", one.clone()).await),
        ("no type", send(served.to("events").body(one.clone())).await),
        ("brotli", send_as(json_type, "br", one.clone()).await),
        ("not gzip", send_as(json_type, "gzip", one.clone()).await),
        ("cut gzip", send_as(json_type, "gzip", cut).await),
        ("bomb", send_as(json_type, "gzip", bomb).await),
        ("too long", send_as(json_type, "", vec![b' '; (32 << 20) + 1]).await),
        ("too many", send_as(json_type, "", many).await),
        ("PUT", send(served.client.put(format!("http://{}/api/v1/events", served.address))).await),
        ("limit", served.get("events?limit=0").await),
        ("kind", served.get("events?kind=party").await),
        ("runs", served.get("events/runs?source=x").await),
    ];
    // Without a length.
    let chunk = || Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::from(vec![b' '; 1 << 20])));
    let chunks = futures_util::stream::repeat_with(chunk).take(40);
    let endless = reqwest::Body::wrap(http_body_util::StreamBody::new(chunks));
    answers.push(("too long, by chunks", served.post(endless).await));
    let text: Vec<String> = answers
        .iter()
        .map(|(name, answer)| format!("{name}: {} {}", answer.status.as_u16(), answer.json()["detail"]))
        .collect();
    insta::assert_snapshot!("refusals", text.join("\n"));
    for (name, answer) in &answers {
        assert_eq!(answer.header(CONTENT_TYPE), "application/problem+json", "{name}");
        assert_eq!(answer.json()["status"], answer.status.as_u16(), "{name}");
    }
    assert_eq!(served.kept().await.len(), 0);
    // It is as well as before.
    assert_eq!(counts(&send_as(json_type, "gzip", gzip(&one)).await), (202, 1, 0, 0));
}

#[tokio::test]
async fn a_million_cases_are_counted_and_the_failures_listed() {
    let served = Served::start().await;
    let mut cases = r#"{"name":"a","status":"pass"},"#.repeat(999_999);
    cases.push_str(r#"{"name":"b","status":"fail"}"#);
    let event = but(run("1"), json!({"step": "unit", "tests": {"suite": "s", "cases": "CASES"}})).to_string();
    let body = event.replace("\"CASES\"", &format!("[{cases}]"));
    let answer = send(
        served
            .to("events")
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "gzip")
            .body(gzip(body.as_bytes())),
    )
    .await;
    assert_eq!(counts(&answer), (202, 1, 0, 0));
    let kept = served.kept().await;
    assert_eq!(
        kept[0]["event"]["tests"]["counts"],
        json!({"pass": 999_999, "fail": 1, "error": 0, "skip": 0})
    );
    let rows = served.store.events(EventKind::Tests, NOW.minus(Duration::from_secs(3_600)), 1).await.unwrap();
    let results = served.store.test_results(&[rows[0].key], 100_000).await.unwrap();
    assert_eq!(results.len(), 50_000);
    assert_eq!(results.iter().filter(|result| result.name == "b").count(), 1);
}

#[tokio::test]
async fn however_long_its_texts_an_event_sends_a_bounded_amount() {
    let served = Served::start().await;
    let long = "x".repeat(20 << 20);
    let evidence = json!({"reason": "silent for 5 s", "last_test": long, "last_output": ["the end"]});
    let event = but(run("1"), json!({"step": "unit", "result": "timeout", "evidence": evidence}));
    assert_eq!(counts(&served.tell(&event).await), (202, 1, 0, 0));
    let message = "y".repeat(8_000);
    let cases: Vec<Value> = (0..1_000)
        .map(|n| json!({"name": format!("case {n}"), "status": "fail", "message": message}))
        .collect();
    let tests = json!({"suite": "s", "cases": cases});
    let event = but(run("2"), json!({"step": "unit", "result": "failure", "tests": tests}));
    assert_eq!(counts(&served.tell(&event).await), (202, 1, 0, 0));
    for lane in [cachetscope::store::Lane::Traces, cachetscope::store::Lane::Logs] {
        for row in served.store.outbox_next(lane, 1 << 30).await.unwrap() {
            assert!(row.body.len() < 1 << 20, "{lane:?}: {} items of {} bytes", row.items, row.body.len());
        }
    }
    let kept = served.kept().await;
    assert!(kept.iter().all(|event| event.to_string().len() < 10_000));
}

#[tokio::test]
async fn with_tokens_each_request_needs_one_of_the_right_scope() {
    let served = Served::with(tokens(), 1 << 30).await;
    let as_bearer = async |header: &str, body: &Value| {
        let request = served.to("events").header(CONTENT_TYPE, "application/json");
        let request = if header.is_empty() { request } else { request.header(AUTHORIZATION, header) };
        send(request.body(body.to_string())).await
    };
    let with = async |scope: &str, body: &Value| as_bearer(&format!("Bearer {}", secret(scope)), body).await;
    let step = but(run("1"), json!({"step": "build"}));
    let tests = but(run("1"), json!({"step": "unit", "tests": {"suite": "s"}}));
    let deploy = but(run("1"), json!({"step": "deploy", "version": "2.4.1", "db": "mysql", "deploy": {}}));
    let load = but(
        run("1"),
        json!({"step": "load", "version": "2.4.1", "db": "mysql",
            "load": {"plan": "p", "tool": "oha", "seconds": 1.0, "requests": 1, "errors": 0, "throughput": 1.0}}),
    );
    let missing = as_bearer("", &step).await;
    assert_eq!(missing.header("www-authenticate"), "Bearer realm=\"cachetscope\"");
    let wrong = [
        ("none", missing),
        ("basic", as_bearer("Basic c2VjcmV0OnNlY3JldA==", &step).await),
        ("empty", as_bearer("Bearer ", &step).await),
        ("unknown", as_bearer("Bearer secret-of-the-nobody-token", &step).await),
        ("cut", as_bearer(&format!("Bearer {}", &secret("steps")[..20]), &step).await),
        ("a deployment with the token for tests", with("tests", &deploy).await),
        ("a run with the token for deployments", with("deploy", &run("1")).await),
        ("tests with the token for steps", with("steps", &tests).await),
    ];
    let text = wrong.map(|(name, a)| format!("{name}: {} {}", a.status.as_u16(), a.json()["detail"]));
    insta::assert_snapshot!("unauthorized", text.join("\n"));
    assert_eq!(served.kept().await.len(), 0, "reading needs no token");

    let mixed = with("tests", &json!([tests, deploy])).await;
    assert_eq!(counts(&mixed), (422, 1, 0, 1), "{}", mixed.body);
    for (scope, body) in [("steps", &step), ("steps", &run("1")), ("deploy", &deploy), ("load", &load)] {
        assert_eq!(counts(&with(scope, body).await), (202, 1, 0, 0), "{scope}");
    }
    let all = with("events", &json!([step, run("1"), tests, deploy, load])).await;
    assert_eq!(counts(&all), (200, 0, 5, 0));
    let other_case = as_bearer(&format!("bearer  {}", secret("events")), &run("9")).await;
    assert_eq!(counts(&other_case), (202, 1, 0, 0));
}

#[tokio::test]
async fn without_tokens_only_loopback_is_open_and_only_to_programs() {
    let served = Served::start().await;
    let from = async |origin: &str| {
        let request = served.to("events").header(CONTENT_TYPE, "application/json").header(ORIGIN, origin);
        send(request.body(run("1").to_string())).await
    };
    for origin in ["https://evil.example", "null", "http://localhost:1"] {
        let answer = from(origin).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
    }
    assert_eq!(counts(&from(&format!("http://{}", served.address)).await), (202, 1, 0, 0));
    // A name that was pointed at this machine names itself as Host and Origin.
    let rebound = served.to("events").header("host", "evil.example").header(ORIGIN, "http://evil.example");
    let rebound = rebound.header(CONTENT_TYPE, "application/json").body(run("2").to_string());
    assert_eq!(send(rebound).await.status, StatusCode::FORBIDDEN);

    for (listen, open) in [
        (LOOPBACK, true),
        ("[::1]:8787", true),
        ("[::ffff:127.0.0.1]:8787", true),
        ("0.0.0.0:8787", false),
        ("[::]:8787", false),
        ("10.1.2.3:8787", false),
    ] {
        served.access.send_replace(Access::new(None, listen.parse().unwrap()));
        let answer = served.tell(&run("3")).await;
        assert_eq!(answer.status.is_success(), open, "{listen}: {}", answer.body);
        if listen == "0.0.0.0:8787" {
            insta::assert_snapshot!("closed", shown(&answer));
        }
    }
    assert_eq!(served.get("events").await.status, StatusCode::OK, "reading goes on");
    let of_403 = served.intake.rejected.iter().find(|(status, _)| *status == 403).unwrap();
    assert_eq!(of_403.1.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_said_and_what_waited_is_kept() {
    let served = Served::start().await;
    let mut other =
        sqlx::sqlite::SqliteConnectOptions::new().filename(served.file()).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (request, body) =
        (served.to("events").header(CONTENT_TYPE, "application/json"), run("1").to_string());
    let waiting = tokio::spawn(send(request.body(body)));
    soon("the store is in trouble", async || served.store.health().trouble()).await;

    let refused = served.tell(&run("2")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header(RETRY_AFTER), "5");
    let said = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(said.starts_with("the store cannot be written since 2026-11-23T04:05:06.000Z"), "{said}");
    // The one before gives up after ten seconds; that it may be kept all the same is said.
    let late = waiting.await.unwrap();
    assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(late.header(RETRY_AFTER), "10");
    assert!(late.body.contains("sending them again is safe"), "{}", late.body);

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    soon("the store is well", async || served.store.health().trouble().is_none().then_some(())).await;
    assert_eq!(counts(&served.tell(&run("1")).await), (200, 0, 1, 0), "it was kept");
    assert_eq!(counts(&served.tell(&run("2")).await), (202, 1, 0, 0));
}

#[tokio::test]
async fn when_undelivered_telemetry_fills_the_outbox_nothing_more_is_taken() {
    let served = Served::with(open_to_this_machine(), 1).await;
    assert_eq!(counts(&served.tell(&run("1")).await), (202, 1, 0, 0));
    let mut number = 1;
    let full = soon("the outbox is seen to be full", async || {
        number += 1;
        let answer = served.tell(&run(&number.to_string())).await;
        (answer.status != StatusCode::ACCEPTED).then_some(answer)
    })
    .await;
    assert_eq!((full.status, full.header(RETRY_AFTER)), (StatusCode::SERVICE_UNAVAILABLE, "30"));
    let said = full.json()["detail"].as_str().unwrap().to_owned();
    assert!(said.contains("wait for the collector, and the limit is 1 (--outbox-max)"), "{said}");
    assert_eq!(served.kept().await.len(), number - 1, "what was accepted is kept, and nothing else");
}

#[tokio::test]
async fn a_closed_store_takes_nothing() {
    let served = Served::start().await;
    served.store.clone().close().await;
    let answer = served.tell(&run("1")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("the daemon's log says why"), "{}", answer.body);
}

#[tokio::test]
async fn many_large_bodies_at_once_take_turns() {
    let served = Served::start().await;
    // Each pays for 24 of the 64 MiB before it is read.
    let body = |n: usize| format!("{}{}", run(&n.to_string()), " ".repeat(24 << 20));
    let all = (0..8).map(|n| served.post(body(n)));
    let answers = futures_util::future::join_all(all).await;
    let accepted = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    let busy = answers.iter().filter(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE).count();
    assert_eq!(accepted + busy, 8);
    assert!(accepted >= 2, "{accepted}");
    assert_eq!(served.kept().await.len(), accepted);
    assert_eq!(counts(&served.post(body(9)).await), (202, 1, 0, 0), "the budget is whole again");
}

/// Every answer is as the OpenAPI document says, which says all there is.
#[tokio::test]
async fn the_openapi_document_matches_what_is_served() {
    let document = serde_json::to_value(cachetscope::ingest::openapi()).unwrap();
    let mut schemas = document["components"].clone();
    forbid_unknown(&mut schemas);
    let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        ["/api/v1/events", "/api/v1/events/cdevents", "/api/v1/events/junit", "/api/v1/events/runs"]
    );
    assert_eq!(
        document["components"]["securitySchemes"]["token"],
        json!({"type": "http", "scheme": "bearer"})
    );

    let served = Served::start().await;
    let of = |path: &str, method: &str| document["paths"][path][method].clone();
    let events = of("/api/v1/events", "post");
    let tests = json!({"suite": "s", "cases": [{"name": "a", "status": "pass"}]});
    let with_all = but(run("1"), json!({"step": "unit", "branch": "main", "tests": tests}));
    for (expected, body) in [
        (202, with_all.to_string()),
        (200, but(with_all.clone(), json!({"branch": "dev"})).to_string()),
        (422, json!([run("1"), {"run": 1}]).to_string()),
        (400, "[".to_owned()),
    ] {
        let answer = served.post(body).await;
        assert_eq!(answer.status.as_u16(), expected, "{}", answer.body);
        assert_documented("events", &events, &schemas, &answer);
    }
    assert_documented("events", &events, &schemas, &send(served.to("events").body("x")).await);
    let cdevents = of("/api/v1/events/cdevents", "post");
    assert_documented("cdevents", &cdevents, &schemas, &send(served.to("events/cdevents").body("x")).await);
    let junit = of("/api/v1/events/junit", "post");
    for (about, report) in [("", ""), ("?source=s&pipeline=p&run=1", "<testsuite/>")] {
        let request = served.to(&format!("events/junit{about}")).header(CONTENT_TYPE, "application/xml");
        assert_documented("junit", &junit, &schemas, &send(request.body(report)).await);
    }
    for (path, good, bad) in [
        ("/api/v1/events", "events", "events?limit=-1"),
        ("/api/v1/events/runs", "events/runs?source=jenkins&pipeline=cachet", "events/runs"),
    ] {
        let answer = served.get(good).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_ne!(answer.json(), json!([]));
        assert_documented(path, &of(path, "get"), &schemas, &answer);
        let answer = served.get(bad).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_documented(path, &of(path, "get"), &schemas, &answer);
    }
    served.access.send_replace(tokens());
    assert_documented("events", &events, &schemas, &served.tell(&run("5")).await);
    served.access.send_replace(Access::new(None, "0.0.0.0:1".parse().unwrap()));
    assert_documented("events", &events, &schemas, &served.tell(&run("5")).await);
}
