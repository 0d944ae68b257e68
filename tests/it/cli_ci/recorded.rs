//! `record`: what is handed in, and that calling it twice changes nothing.

use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{NOBODY, in_jenkins, jenkins, now, report, settled, time};
use crate::events_api::{EventsApi, Habit};
use crate::rig::{Home, finish};

#[tokio::test]
async fn each_kind_is_recorded_with_one_line() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    home.write("a.xml", &report(&[("one", true), ("two", false)]));
    home.write("b.xml", &report(&[("three", true)]));
    home.write("oha.json", include_str!("../load/oha.json"));
    home.write("events.json", r#"{"events":[
        {"source":"x","pipeline":"p","run":"1","step":"lint","started":"2026-08-22T10:30:00Z","finished":"2026-08-22T10:30:02Z","result":"success"},
        {"source":"x","pipeline":"p","run":"1","finished":"2026-08-22T10:31:00Z","result":"success"}]}"#);
    let subject = ["--version", "v2.4.1", "--db", "mysql"];
    let url = "http://127.0.0.1:8101/";
    let mut said = String::new();
    for arguments in [
        &["record", "tests", "a.xml", "b.xml", "--suite", "unit"][..],
        &[&["record", "tests", "*.xml", "--suite", "unit"][..], &subject].concat(),
        &[
            &["record", "deploy", "--url", url, "--seconds", "93", "--digest", "sha256:abc"][..],
            &["--step", "pull=12s", "--step", "migrate=40s"],
            &subject,
        ]
        .concat(),
        &["record", "deploy", "--remove", "--deployment", "cachet-2.4.1-mysql"],
        &[&["record", "load", "oha.json", "--tool", "oha", "--plan", "home"][..], &subject].concat(),
        &["record", "pipeline", "--result", "SUCCESS", "--started", "1787394600000", "--seconds", "93"],
        &["record", "event", "events.json"],
    ] {
        let ran = jenkins(&home, &api.url, arguments).await.expect(0);
        said.push_str(&format!("$ cachetscope {}\n{}{}\n", arguments.join(" "), ran.stderr, ran.stdout));
    }
    insta::assert_snapshot!(settled(&home, &said));

    let seen = api.seen();
    let events = &seen.events;
    let pick = |n: usize, key: &str| events[n][key].clone();
    assert_eq!(events.len(), 8);
    assert!(events.iter().take(6).all(|event| event["source"] == "jenkins" && event["run"] == "41"));
    assert!(events.iter().take(6).all(|event| event["repository"] == "https://git.example/cachet/core"));
    assert_eq!((pick(0, "result"), pick(0, "tests")["suite"].clone()), (json!("failure"), json!("unit")));
    assert_eq!(pick(0, "tests")["cases"].as_array().unwrap().len(), 3);
    assert_eq!(pick(1, "version"), "2.4.1");
    let deploy = pick(2, "deploy");
    assert_eq!((&deploy["url"], &deploy["steps"][1]["seconds"]), (&json!(url), &json!(40.0)));
    assert_eq!(pick(2, "digest"), "sha256:abc");
    let took = time(&pick(2, "finished")).since(time(&pick(2, "started")));
    assert_eq!(took.as_secs(), 93);
    assert_eq!(pick(3, "deploy")["action"], "remove");
    assert_eq!((pick(4, "load")["plan"].clone(), pick(4, "db")), (json!("home"), json!("mysql")));
    assert_eq!((pick(5, "step"), pick(5, "started")), (json!(null), json!("2026-08-22T10:30:00Z")));
}

#[tokio::test]
async fn the_same_content_is_the_same_event_however_often_it_is_recorded() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    home.write("a.xml", &report(&[("one", true)]));
    let tests = ["record", "tests", "a.xml", "--suite", "unit"];
    let deploy = ["record", "deploy", "--version", "2.4.1", "--db", "mysql", "--seconds", "9"];
    for arguments in [&tests[..], &tests, &deploy, &deploy] {
        jenkins(&home, &api.url, arguments).await.expect(0);
    }
    // From another node, and spooled first.
    finish(in_jenkins(&home, NOBODY, &tests).env("NODE_NAME", "linux-3")).await.expect(0);
    jenkins(&home, &api.url, &["flush"]).await.expect(0);
    assert_eq!(api.steps().len(), 5);
    assert_eq!(api.seen().identities.len(), 2);
    home.write("a.xml", &report(&[("one", false)]));
    jenkins(&home, &api.url, &tests).await.expect(0);
    jenkins(&home, &api.url, &[&deploy[..6], &["--seconds", "10"]].concat()).await.expect(0);
    assert_eq!(api.seen().identities.len(), 4);
    jenkins(&home, &api.url, &[&tests[..], &["--step-id", "mine"]].concat()).await.expect(0);
    assert_eq!(api.steps().last().unwrap(), "mine");
}

#[tokio::test]
async fn stdin_is_a_file_and_json_is_for_programs() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let arguments =
        ["record", "tests", "-", "--suite", "unit", "--started", "2026-08-22T10:30:00Z", "--output", "json"];
    let mut child = in_jenkins(&home, &api.url, &arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(report(&[("one", true)]).as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    insta::assert_snapshot!(settled(&home, &String::from_utf8(output.stdout).unwrap()));
    assert_eq!(api.seen().events[0]["started"], "2026-08-22T10:30:00Z");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_a_usage_error_that_says_what_to_do() {
    let home = Home::new();
    home.write("a.xml", &report(&[("one", true)]));
    home.write("bad.json", r#"[{"source":"x","pipeline":"p","run":"1","result":"great"},{"source":"x"}]"#);
    home.write("late.json", r#"{"source":"x","pipeline":"p","run":"1","finished":"2026-08-22T10:31:00Z"}"#);
    let mut said = String::new();
    for arguments in [
        &["record", "tests", "none/*.xml"][..],
        &["record", "tests", "a.xml", "--version", "latest"],
        &["record", "tests", "a.xml", "--started", "soon"],
        &["record", "tests", "a.xml", "--started", "1", "--finished", "2", "--seconds", "1"],
        &["record", "deploy", "--version", "3.x", "--db", "mysql"],
        &["record", "deploy", "--version", "2.4.1"],
        &["record", "deploy", "--version", "2.4.1", "--db", "oracle"],
        &["record", "deploy", "--step", "migrate"],
        &["record", "deploy", "--version", "2.4.1", "--db", "mysql", "--digest", "@none"],
        &["record", "pipeline", "--result", "fine"],
        &["record", "event", "bad.json"],
        &["record", "event", "late.json"],
        &["record", "event", "a.xml"],
    ] {
        let ran = jenkins(&home, NOBODY, arguments).await.expect(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        said.push_str(&format!("$ cachetscope {}\n{}\n", arguments.join(" "), ran.stderr));
    }
    let teamcity =
        home.run(["record", "pipeline", "--result", "success", "--source", "teamcity"]).await.expect(2);
    said.push_str(&teamcity.stderr);
    insta::assert_snapshot!(settled(&home, &said));
    assert!(!home.path(".local").exists(), "something was kept");
}

#[tokio::test]
async fn undelivered_is_well_unless_delivery_is_required() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let pipeline = ["record", "pipeline", "--result", "success"];
    let required = [&pipeline[..], &["--require-delivery"]].concat();
    jenkins(&home, NOBODY, &pipeline).await.expect(0);
    jenkins(&home, NOBODY, &required).await.expect(6);
    let ran = jenkins(&home, &api.url, &required).await.expect(0);
    assert_eq!(ran.stderr, "cachetscope: 2 events of earlier calls were delivered with it\n");
    home.write("file", "in the place of a folder");
    jenkins(&home, NOBODY, &[&pipeline[..], &["--state-dir", "file/state"]].concat()).await.expect(6);
    api.seen().refused_branch = Some("main".to_owned());
    jenkins(&home, &api.url, &pipeline).await.expect(0);
    jenkins(&home, &api.url, &required).await.expect(6);
}

#[tokio::test]
async fn the_token_comes_from_a_file_or_the_environment_and_is_shown_nowhere() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    home.write("token", "from-a-file\n");
    std::fs::create_dir(home.path("credentials")).unwrap();
    home.write("credentials/token", "from-a-credential");
    let pipeline = ["record", "pipeline", "--result", "success", "--log", "trace"];
    let command = || in_jenkins(&home, &api.url, &pipeline);
    let mut said = String::new();
    let none = "Unauthorized: from-a-file".to_owned();
    api.meets(Habit::Say(401, vec![], none));
    for (name, value) in [
        ("CACHETSCOPE_TOKEN_FILE", "token"),
        ("CACHETSCOPE_TOKEN", "from-a-variable"),
        ("CREDENTIALS_DIRECTORY", "credentials"),
        ("CACHETSCOPE_TOKEN_FILE", "nowhere"),
    ] {
        let ran = finish(command().env(name, value)).await.expect(0);
        said.push_str(&(ran.stdout + &ran.stderr));
    }
    let bearers =
        ["from-a-file", "from-a-variable", "from-a-credential"].map(|t| Some(format!("Bearer {t}")));
    assert_eq!(api.seen().tokens[..3], bearers);
    assert_eq!(api.seen().tokens[3..], [None]);
    assert!(!said.contains("from-a-"), "{said}");
    assert!(said.contains("the token file: failed to open nowhere"), "{said}");
    let away =
        in_jenkins(&home, "http://192.0.2.1:1", &[&pipeline[..4], &["--delivery-timeout", "10ms"]].concat())
            .env("CACHETSCOPE_TOKEN", "from-a-variable")
            .output()
            .await
            .unwrap();
    let words = String::from_utf8(away.stderr).unwrap();
    assert!(words.contains("warning: the token goes to http://192.0.2.1:1/ in the clear"), "{words}");
    // Some of the time is before any event ended.
    assert!(time(&api.seen().events[0]["finished"]) <= now());
}
