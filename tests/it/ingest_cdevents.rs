//! CDEvents as CloudEvents in all three content modes, with contents as the public specification
//! shows them.

use cachetscope::history::History;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::ingest_rig::{NOW, Served, shown};
use crate::page::{Answer, send};

const SOURCE: &str = "/event/source/123";
const TIME: &str = "2026-11-23T04:00:05.315384Z";

/// The CDEvent itself.
fn data(r#type: &str, id: &str, content: Value) -> Value {
    json!({
        "context": {
            "version": "0.4.1", "id": "271069a8-fc18-44f1-b38f-9d70a1695819", "source": SOURCE,
            "type": format!("dev.cdevents.{}", r#type), "timestamp": TIME
        },
        "subject": {"id": id, "source": SOURCE, "type": r#type.split('.').next(), "content": content}
    })
}

fn cloud(id: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": SOURCE, "type": data["context"]["type"],
        "time": TIME, "datacontenttype": "application/json", "data": data
    })
}

async fn structured(served: &Served, event: &Value) -> Answer {
    let request =
        served.to("events/cdevents").header(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8");
    send(request.body(event.to_string())).await
}

async fn batch(served: &Served, events: &[Value]) -> Answer {
    let request = served.to("events/cdevents").header(CONTENT_TYPE, "application/cloudevents-batch+json");
    send(request.body(serde_json::to_vec(events).unwrap())).await
}

async fn binary(served: &Served, event: &Value) -> Answer {
    let mut request = served.to("events/cdevents").header(CONTENT_TYPE, "application/json");
    for name in ["specversion", "id", "source", "type", "time", "traceparent"] {
        if let Some(value) = event[name].as_str() {
            request = request.header(format!("ce-{name}"), value.replace(' ', "%20"));
        }
    }
    send(request.body(event["data"].to_string())).await
}

fn finished() -> Value {
    let content = json!({
        "pipelineName": "myPipeline", "url": "https://www.example.com/mySubject123",
        "outcome": "failure", "errors": "Something went wrong"
    });
    cloud("1", data("pipelinerun.finished.0.2.0", "mySubject123", content))
}

#[tokio::test]
async fn all_three_modes_say_the_same() {
    let served = Served::start().await;
    let first = binary(&served, &finished()).await;
    assert_eq!(first.json(), json!({"accepted": 1, "duplicates": 0, "refused": []}));
    for answer in [structured(&served, &finished()).await, batch(&served, &[finished()]).await] {
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["duplicates"]),
            (200, &json!(1)),
            "{}",
            answer.body
        );
        assert_eq!(answer.json().get("differing"), None);
    }
    insta::assert_json_snapshot!(served.kept().await);
}

#[tokio::test]
async fn each_kind_becomes_what_it_says() {
    let served = Served::start().await;
    let environment = json!({"id": "dev", "source": "testkube-dev-123"});
    let suite_run = json!({"id": "test-suite-111", "source": "testkube-dev-123"});
    let case = json!({"id": "92834723894", "version": "1.0", "name": "Login Test", "type": "integration"});
    let suite = json!({"id": "92834723894", "version": "1.0", "name": "Auth TestSuite"});
    let purl =
        "pkg:oci/myapp@sha256%3A0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427?tag=2.4.1";
    let mut deployed = data(
        "service.deployed.0.2.0",
        "cachet",
        json!({"environment": {"id": "staging"}, "artifactId": purl}),
    );
    deployed["customData"] = json!({"db": "mariadb", "url": "http://127.0.0.1:8000/", "branch": "2.4"});
    let mut removed = data("service.removed.0.2.0", "cachet", json!({"environment": {"id": "staging"}}));
    removed["customData"] = json!({"version": "2.3.0", "db": "mysql"});
    let mut traced = cloud(
        "4",
        data(
            "taskrun.started.0.2.0",
            "myTask 1",
            json!({"taskName": "myTask", "pipelineRun": {"id": "mySubject123"}}),
        ),
    );
    traced["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let events = [
        cloud(
            "3",
            data(
                "pipelinerun.started.0.2.0",
                "run5",
                json!({"pipelineName": "p", "url": "https://x.example/"}),
            ),
        ),
        traced,
        cloud(
            "5",
            data(
                "taskrun.finished.0.2.0",
                "task2",
                json!({"taskName": "myTask", "pipelineRun": {"id": "mySubject123"}, "errors": "it broke"}),
            ),
        ),
        cloud(
            "6",
            data(
                "testsuiterun.finished.0.2.0",
                "test-suite-111",
                json!({"outcome": "fail", "environment": environment, "testSuite": suite}),
            ),
        ),
        cloud(
            "7",
            data(
                "testcaserun.finished.0.2.0",
                "case1",
                json!({"outcome": "fail", "reason": "expected 200", "environment": environment,
                    "testSuiteRun": suite_run, "testCase": case}),
            ),
        ),
        cloud(
            "8",
            data(
                "testcaserun.skipped.0.1.0",
                "case2",
                json!({"reason": "Not running in this environment", "testSuiteRun": suite_run, "testCase": case}),
            ),
        ),
        cloud("9", deployed),
        cloud("10", removed),
    ];
    let answer = batch(&served, &events).await;
    assert_eq!(answer.json(), json!({"accepted": 8, "duplicates": 0, "refused": []}));
    let mut kept = served.kept().await;
    kept.sort_by_key(|told| told["event"].to_string());
    insta::assert_json_snapshot!(kept);
}

#[tokio::test]
async fn cases_of_one_suite_run_are_one_test_run_however_they_come() {
    let case = |id: &str, suite_run: &str, outcome: &str| {
        let content = json!({
            "outcome": outcome, "testSuiteRun": {"id": suite_run}, "testCase": {"id": format!("case {id}")}
        });
        let mut case = cloud(id, data("testcaserun.finished.0.2.0", &format!("{suite_run}/{id}"), content));
        case["data"]["customData"] = json!({"suite": "api", "branch": "3.x"});
        case
    };
    let mut events: Vec<Value> = ["1", "2", "3"].iter().map(|id| case(id, "first", "pass")).collect();
    for event in &mut events {
        event["time"] = "2026-11-23T03:00:05Z".into();
    }
    events.extend([case("1", "second", "pass"), case("2", "second", "fail"), case("3", "second", "pass")]);
    let mut judged = Vec::new();
    for _ in 0..3 {
        let served = Served::start().await;
        batch(&served, &events[..4]).await;
        batch(&served, &events[2..]).await;
        let history = History::read(&served.store, NOW).await.unwrap();
        judged.push(history.suites);
        events.rotate_left(2);
    }
    assert!(judged.windows(2).all(|pair| pair[0] == pair[1]), "{judged:#?}");
    let [suite] = judged[0].as_slice() else { panic!("one suite: {:#?}", judged[0]) };
    assert_eq!((suite.scope.suite.as_str(), suite.runs.len()), ("api", 2));
    assert_eq!((suite.last().counts.pass, suite.last().counts.fail), (2, 1));
    assert_eq!(suite.newly_failing.iter().map(|case| &case.title).collect::<Vec<_>>(), ["case 2"]);
}

#[tokio::test]
async fn a_start_and_its_finish_are_one_run_in_binary_mode_too() {
    let served = Served::start().await;
    let mut start = finished();
    start["type"] = "dev.cdevents.pipelinerun.started.0.2.0".into();
    start["time"] = "2026-11-23T03:00:00Z".into();
    start["id"] = "0".into();
    assert_eq!(binary(&served, &start).await.status.as_u16(), 202);
    assert_eq!(binary(&served, &finished()).await.status.as_u16(), 202);
    let kept = served.kept().await;
    assert_eq!((kept.len(), &kept[0]["began"]), (1, &json!("2026-11-23T03:00:00.000Z")));
}

#[tokio::test]
async fn what_is_no_cdevent_we_know_is_named() {
    let served = Served::start().await;
    let queued = cloud("1", data("pipelinerun.queued.0.2.0", "x", json!({})));
    let strange = cloud("2", data("incident.detected.0.2.0", "x", json!({})));
    let foreign =
        json!({"specversion": "1.0", "id": "3", "source": "s", "type": "com.example.x", "data": {}});
    let no_outcome = cloud("4", data("taskrun.finished.0.2.0", "x", json!({})));
    let bad_outcome = cloud("5", data("taskrun.finished.0.2.0", "x", json!({"outcome": "meh"})));
    let service = cloud("6", data("service.deployed.0.2.0", "x", json!({"environment": {"id": "dev"}})));
    let mut old = finished();
    old["specversion"] = "0.3".into();
    let mut late = finished();
    late["time"] = "yesterday".into();
    let mut xml = finished();
    xml["datacontenttype"] = "text/xml".into();
    let mut empty = finished();
    empty.as_object_mut().unwrap().remove("data");
    let mut no_subject = finished();
    no_subject["data"]["subject"] = json!(5);
    let mut bad_db = service.clone();
    bad_db["data"]["customData"] = json!({"version": "latest"});
    let all = [
        queued,
        strange,
        foreign,
        no_outcome,
        bad_outcome,
        service,
        old,
        late,
        xml,
        empty,
        no_subject,
        bad_db,
        json!(5),
        json!({"id": "9"}),
        finished(),
    ];
    insta::assert_snapshot!("cdevents_refused", shown(&batch(&served, &all).await));
    assert_eq!(served.kept().await.len(), 1);

    let no_type = served.to("events/cdevents").header(CONTENT_TYPE, "application/json").body("{}");
    let text = served.to("events/cdevents").header(CONTENT_TYPE, "text/plain").body("{}");
    let details = [send(no_type).await, send(text).await, batch(&served, &[]).await];
    let details = details.map(|answer| format!("{} {}", answer.status.as_u16(), answer.json()["detail"]));
    insta::assert_snapshot!("cdevents_unreadable", details.join("\n"));
}
