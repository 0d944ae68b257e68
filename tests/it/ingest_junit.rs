//! JUnit reports over HTTP: read as they come, whatever their size, and known when they come again.

use std::time::Duration;

use cachetscope::model::{CaseStatus, EventKind};
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ingest_rig::{NOW, Served, gzip, run, secret, tokens};
use crate::page::{Answer, send};

const ABOUT: &str = "source=jenkins&pipeline=cachet&run=7&branch=main&commit=abc";
const REPORT: &str = r#"<?xml version="1.0"?>
<testsuite name="unit" tests="3" time="1.5">
  <testcase classname="A" name="one" time="0.5"/>
  <testcase classname="A" name="two" time="0.75"><failure message="expected 1">found 2</failure></testcase>
  <testcase classname="A" name="three" time="0.25"><skipped/></testcase>
</testsuite>"#;

async fn upload(served: &Served, query: &str, report: impl Into<reqwest::Body>) -> Answer {
    let request = served.to(&format!("events/junit?{query}")).header(CONTENT_TYPE, "application/xml");
    send(request.body(report)).await
}

#[tokio::test]
async fn a_report_is_a_run_of_tests_and_known_when_it_comes_again() {
    let served = Served::start().await;
    let first = upload(&served, ABOUT, REPORT).await;
    assert_eq!(
        (first.status.as_u16(), first.json()),
        (202, json!({"accepted": 1, "duplicates": 0, "refused": []}))
    );
    let packed = served.to(&format!("events/junit?{ABOUT}")).header(CONTENT_ENCODING, "gzip");
    let again = [upload(&served, ABOUT, REPORT).await, send(packed.body(gzip(REPORT.as_bytes()))).await];
    for answer in again {
        let known = json!({"accepted": 0, "duplicates": 1, "refused": []});
        assert_eq!((answer.status.as_u16(), answer.json()), (200, known));
    }
    insta::assert_json_snapshot!("junit", served.kept().await);
    let rows = served.store.events(EventKind::Tests, NOW.minus(Duration::from_secs(3_600)), 9).await.unwrap();
    let results = served.store.test_results(&[rows[0].key], 9).await.unwrap();
    let told: Vec<_> = results.iter().map(|r| (r.title(), r.status, r.seconds)).collect();
    let case = |name: &str, status, seconds| (format!("A::{name}"), status, Some(seconds));
    assert_eq!(
        told,
        [
            case("one", CaseStatus::Pass, 0.5),
            case("two", CaseStatus::Fail, 0.75),
            case("three", CaseStatus::Skip, 0.25)
        ]
    );
    // Another report of the same run is another step of it; a named step is what it is called.
    assert_eq!(upload(&served, ABOUT, REPORT.replace("two", "2")).await.status.as_u16(), 202);
    let named = format!("{ABOUT}&step=unit&suite=mine&result=error&finished=2026-11-23T04:00:00Z&attempt=2");
    assert_eq!(upload(&served, &named, REPORT).await.status.as_u16(), 202);
    let kept = served.kept().await;
    let named = kept.iter().find(|told| told["event"]["step"] == "unit").unwrap();
    assert_eq!((kept.len(), &named["event"]["tests"]["suite"]), (3, &json!("mine")));
    assert_eq!((&named["event"]["result"], &named["event"]["attempt"]), (&json!("error"), &json!(2)));
}

#[tokio::test]
async fn a_report_that_is_cut_off_is_kept_with_what_it_held() {
    let served = Served::start().await;
    let cut = &REPORT[..REPORT.find("<failure").unwrap() - 70];
    assert_eq!(upload(&served, ABOUT, cut).await.status.as_u16(), 202);
    let event = served.kept().await[0]["event"].clone();
    assert_eq!((&event["result"], &event["tests"]["aborted"]), (&json!("error"), &json!(true)), "{event}");
}

#[tokio::test]
async fn what_is_no_report_is_named() {
    let served = Served::start().await;
    let multipart = served.to(&format!("events/junit?{ABOUT}"));
    let multipart = multipart.header(CONTENT_TYPE, "multipart/form-data; boundary=x").body("--x--");
    let cut_gzip = served.to(&format!("events/junit?{ABOUT}")).header(CONTENT_ENCODING, "gzip");
    let cut_gzip = cut_gzip.body(gzip(REPORT.as_bytes())[..60].to_vec());
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]><x>&b;</x>";
    let deep = format!("{}x", "<testsuite>".repeat(100_000));
    let all = [
        ("multipart", send(multipart).await),
        ("nothing said", upload(&served, "", REPORT).await),
        ("a slip", upload(&served, &format!("{ABOUT}&brnach=x"), REPORT).await),
        ("a version", upload(&served, &format!("{ABOUT}&version=latest"), REPORT).await),
        ("an attempt", upload(&served, &format!("{ABOUT}&attempt=two"), REPORT).await),
        ("a time", upload(&served, &format!("{ABOUT}&finished=now"), REPORT).await),
        ("empty", upload(&served, ABOUT, "").await),
        ("JSON", upload(&served, ABOUT, "{}").await),
        ("HTML", upload(&served, ABOUT, "<html><body/></html>").await),
        ("entities", upload(&served, ABOUT, bomb).await),
        ("deep", upload(&served, ABOUT, deep).await),
        ("cut gzip", send(cut_gzip).await),
    ];
    let text =
        all.map(|(name, answer)| format!("{name}: {} {}", answer.status.as_u16(), answer.json()["detail"]));
    insta::assert_snapshot!("junit_refused", text.join("\n"));
    let ahead = upload(&served, &format!("{ABOUT}&finished=2027-01-01T00:00:00Z"), REPORT).await;
    assert_eq!(
        (ahead.status.as_u16(), &ahead.json()["refused"][0]["problems"][0]["field"]),
        (422, &json!("started"))
    );
    assert_eq!(served.kept().await.len(), 0);

    served.access.send_replace(tokens());
    for (scope, status) in [("deploy", 403), ("tests", 202)] {
        let request = served.to(&format!("events/junit?{ABOUT}"));
        let request = request.header(AUTHORIZATION, format!("Bearer {}", secret(scope))).body(REPORT);
        assert_eq!(send(request).await.status.as_u16(), status, "{scope}");
    }
}

#[tokio::test]
async fn a_report_may_be_larger_than_what_is_held() {
    let served = Served::start().await;
    let case = format!("<testcase classname=\"C\" name=\"n\" file=\"{}\"/>", "f".repeat(200));
    let chunk = bytes::Bytes::from(case.repeat(4_000));
    let (chunks, total) = (45, chunk.len() * 45);
    assert!(total > 40 << 20, "{total}");
    let frame = |bytes: bytes::Bytes| Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes));
    let start = futures_util::stream::iter([frame("<testsuite name=\"big\">".into())]);
    let middle = futures_util::stream::repeat_with(move || frame(chunk.clone())).take(chunks);
    let end =
        futures_util::stream::iter([frame("<testcase name=\"last\"><error/></testcase></testsuite>".into())]);
    let body = http_body_util::StreamBody::new(start.chain(middle).chain(end));
    let answer = upload(&served, ABOUT, reqwest::Body::wrap(body)).await;
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.body);
    let tests = served.kept().await[0]["event"]["tests"].clone();
    assert_eq!(tests["counts"]["error"], 1);
    assert_eq!(tests.get("aborted"), None);
}

/// A sender that dies is no run that was ended: it will send the whole report.
#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_behind() {
    let served = Served::start().await;
    let half = &REPORT[..REPORT.len() / 2];
    let event = run("1").to_string();
    for (what, head, sent) in [
        (
            "a report in chunks",
            format!(
                "POST /api/v1/events/junit?{ABOUT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            format!("{:x}\r\n{half}\r\n", half.len()),
        ),
        (
            "a report of a length",
            format!(
                "POST /api/v1/events/junit?{ABOUT} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
                REPORT.len()
            ),
            half.to_owned(),
        ),
        (
            "an event",
            format!(
                "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n",
                event.len() + 9
            ),
            event.clone(),
        ),
    ] {
        let mut connection = tokio::net::TcpStream::connect(served.address).await.unwrap();
        connection.write_all(format!("{head}{sent}").as_bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
        // The server has seen the end when it closes its side, with an answer or without.
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
    }
    assert_eq!(upload(&served, ABOUT, REPORT).await.status.as_u16(), 202);
    let kept = served.kept().await;
    assert_eq!((kept.len(), kept[0]["event"]["tests"].get("aborted")), (1, None));
}
