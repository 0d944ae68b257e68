//! `run`: the command comes first, and what is told about it.

use std::time::Duration;

use cachetscope::model::{Event, TraceParent};
use serde_json::json;

use super::{NOBODY, in_jenkins, jenkins, report, settled};
use crate::events_api::EventsApi;
use crate::rig::{Home, finish, until};

/// `run --step STEP FLAGS -- sh -c SCRIPT`
fn wrapped<'a>(step: &'a str, flags: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "--step", step][..], flags, &["--", "sh", "-c", script]].concat()
}

#[tokio::test]
async fn a_command_is_reported_at_its_beginning_and_at_its_end_as_one_step_of_its_run() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let script = "echo out; echo err >&2; env | grep -E '^(TRACEPARENT|CACHETSCOPE_)' | sort > env; \
                  mkfifo go; read x < go";
    let arguments = wrapped("build", &["--name", "image"], script);
    let mut command = in_jenkins(&home, &api.url, &arguments);
    let allowed = async {
        until("the beginning is told", async || (api.seen().events.len() == 1).then_some(())).await;
        until("the command waits", async || home.path("go").exists().then_some(())).await;
        let go = home.path("go");
        // It blocks until the command reads.
        tokio::task::spawn_blocking(move || std::fs::write(go, "x\n").unwrap()).await.unwrap();
    };
    let (ran, ()) = tokio::join!(finish(&mut command), allowed);
    let ran = ran.expect(0);
    assert_eq!(ran.stdout, "out\n");
    insta::assert_snapshot!(settled(&home, &ran.stderr), @r"
    err
    cachetscope: build image: success in N s → delivered (http://127.0.0.1:PORT)
    ");
    let events = api.seen().events.clone();
    let [begun, ended] =
        [&events[0], &events[1]].map(|e| serde_json::from_value::<Event>(e.clone()).unwrap());
    assert_eq!((begun.identity(), begun.started), (ended.identity(), ended.started));
    assert_eq!((begun.finished, begun.result, api.seen().identities.len()), (None, None, 1));
    assert_eq!(ended.usage.as_ref().unwrap().exit_code, Some(0));
    assert_eq!((ended.name.as_deref(), ended.worker.as_deref()), (Some("image"), Some("linux-2")));

    let variables = std::fs::read_to_string(home.path("env")).unwrap();
    let parent = variables.lines().find_map(|line| line.strip_prefix("TRACEPARENT=")).unwrap();
    assert_eq!(parent.parse::<TraceParent>().unwrap(), ended.as_parent());
    for line in ["SOURCE=jenkins", "PIPELINE=cachet/core/main", "RUN_ID=41", "ATTEMPT=1", "BRANCH=main"] {
        assert!(variables.contains(&format!("CACHETSCOPE_{line}\n")), "{line} in {variables}");
    }
    assert!(!variables.contains("s3cr3t"), "{variables}");
}

#[tokio::test]
async fn what_is_called_within_a_wrapped_command_is_part_of_its_trace() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let script = format!("{} record pipeline --result success", env!("CARGO_BIN_EXE_cachetscope"));
    // Outside of any CI the name of the run is handed on too.
    let arguments =
        wrapped("deploy", &["--version", "2.4.1", "--db", "sqlite", "--daemon", &api.url], &script);
    let ran = finish(home.command(arguments).env("PATH", "/usr/bin:/bin")).await.expect(0);
    assert_eq!(ran.stderr.matches("this is no CI that is known").count(), 1, "{}", ran.stderr);
    let events: Vec<Event> =
        api.seen().events.iter().map(|e| serde_json::from_value(e.clone()).unwrap()).collect();
    let inner = events.iter().find(|event| event.step.is_none()).unwrap();
    let outer = events.iter().find(|event| event.deploy.is_some()).unwrap();
    assert_eq!((&inner.run, inner.source.as_str()), (&outer.run, "local"));
    assert_eq!((inner.trace(), inner.parent()), (outer.trace(), Some(outer.span())));
}

#[tokio::test]
async fn the_exit_code_is_the_commands_own_whatever_becomes_of_the_event() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    jenkins(&home, NOBODY, &wrapped("build", &[], "exit 0")).await.expect(0);
    jenkins(&home, NOBODY, &wrapped("build", &[], "exit 3")).await.expect(3);
    jenkins(&home, NOBODY, &wrapped("build", &["--require-delivery"], "exit 3")).await.expect(3);
    jenkins(&home, NOBODY, &wrapped("build", &["--require-delivery"], "exit 0")).await.expect(6);
    jenkins(&home, &api.url, &["run", "--step", "build", "--", "no-such-command"]).await.expect(127);
    assert_eq!(api.seen().events.last().unwrap()["result"], "error");
    home.write("file", "in the place of a folder");
    let lost = wrapped("build", &["--state-dir", "file/state"], "exit 0");
    let lost = jenkins(&home, NOBODY, &lost).await.expect(0);
    assert!(lost.stderr.contains("LOST"), "{}", lost.stderr);
    // Nobody knows which run this is, and the command runs all the same.
    let nobody = ["run", "--step", "build", "--source", "teamcity", "--", "sh", "-c", "echo ran; exit 4"];
    let ran = finish(home.command(nobody).env("PATH", "/usr/bin:/bin")).await.expect(4);
    assert_eq!(ran.stdout, "ran\n");
    assert!(
        ran.stderr.contains("warning: this is not recorded: the pipeline is not known"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn reports_that_the_command_wrote_are_read_and_older_ones_are_left_out() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    std::fs::create_dir(home.path("junit")).unwrap();
    home.write("junit/old.xml", &report(&[("stale", false)]));
    home.write("new", &report(&[("one", true), ("two", false)]));
    let flags = ["--junit", "junit/*.xml", "--suite", "unit", "--version", "v2.4.1"];
    let ran =
        jenkins(&home, &api.url, &wrapped("test", &flags, "cp new junit/new.xml; exit 1")).await.expect(1);
    insta::assert_snapshot!(settled(&home, &ran.stderr), @r"
    cachetscope: warning: 1 of the reports did not change while the command ran and are left out: junit/old.xml
    cachetscope: tests unit 2.4.1: 1 passed, 1 failed → delivered (http://127.0.0.1:PORT)
    ");
    let event = api.ended();
    assert_eq!((&event["result"], &event["tests"]["suite"]), (&json!("failure"), &json!("unit")));
    assert_eq!(event["tests"]["cases"].as_array().unwrap().len(), 2);
    assert_eq!(event["evidence"], json!(null), "failed tests speak for themselves");
    assert!(event["step"].as_str().unwrap().starts_with("test/unit 2.4.1@"), "{event}");
}

#[tokio::test]
async fn a_test_command_without_a_whole_report_has_not_passed() {
    let home = Home::new();
    home.write("whole", &report(&[("one", true)]));
    let flags = ["--junit", "r.xml"];
    let half = "head -c 150 whole > r.xml; exit 2";
    for (script, code, result, aborted) in [
        ("echo fine", 0, "error", Some(true)),
        ("echo PHP Fatal error; exit 255", 255, "error", Some(true)),
        (half, 2, "error", Some(true)),
        ("cp whole r.xml; exit 2", 2, "error", None),
        ("echo nonsense > r.xml", 0, "error", Some(true)),
    ] {
        let api = EventsApi::start().await;
        let _ = std::fs::remove_file(home.path("r.xml"));
        jenkins(&home, &api.url, &wrapped("test", &flags, script)).await.expect(code);
        let event = api.ended();
        let found = (event["result"].as_str().unwrap(), event["tests"]["aborted"].as_bool());
        assert_eq!(found, (result, aborted), "{script}: {event}");
        if !script.contains("whole") {
            assert_eq!(event["tests"]["suite"], "sh", "{script}");
            assert_eq!(event["tests"]["remarks"].as_array().unwrap().len(), 1, "{script}: {event}");
        }
        if code != 0 {
            assert_eq!(event["evidence"]["reason"], format!("it ended with {code}"));
            assert_eq!(event["usage"]["exit_code"], code);
        }
    }
}

#[tokio::test]
async fn a_deployment_tells_its_steps_and_its_image() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let flags = [
        &["--version", "2.4.1", "--db", "pgsql", "--environment", "staging"][..],
        &["--deploy-url", "http://127.0.0.1:8101", "--digest", "@iid", "--deployment", "blue"],
    ]
    .concat();
    let script = "echo sha256:abc > iid; echo pull 12s >> $CACHETSCOPE_STEPS; \
                  echo '{\"name\":\"migrate\",\"seconds\":40}' >> $CACHETSCOPE_STEPS; echo what >> $CACHETSCOPE_STEPS";
    std::fs::create_dir(home.path("tmp")).unwrap();
    let mut command = in_jenkins(&home, &api.url, &wrapped("deploy", &flags, script));
    let ran = finish(command.env("TMPDIR", home.path("tmp"))).await.expect(0);
    assert!(ran.stderr.contains("found `what`: there is no time in it"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cachetscope: deployment sh 2.4.1 postgresql: success in "),
        "{}",
        ran.stderr
    );
    let event = api.ended();
    assert_eq!((&event["version"], &event["db"]), (&json!("2.4.1"), &json!("postgresql")));
    assert_eq!((&event["environment"], &event["digest"]), (&json!("staging"), &json!("sha256:abc")));
    let steps = json!([{ "name": "pull", "seconds": 12.0 }, { "name": "migrate", "seconds": 40.0 }]);
    let deploy = json!({ "url": "http://127.0.0.1:8101/", "steps": steps });
    assert_eq!((&event["deploy"], &event["deployment"]), (&deploy, &json!("blue")));
    assert_eq!(
        std::fs::read_dir(home.path("tmp")).unwrap().count(),
        0,
        "the file of the steps is left behind"
    );
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_a_time_out_with_evidence() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let flags = ["--junit", "r.xml", "--timeout", "200ms", "--grace", "100ms"];
    let arguments = [&["run", "--step", "test"][..], &flags, &["--", "sleep", "1000"]].concat();
    jenkins(&home, &api.url, &arguments).await.expect(124);
    let event = api.ended();
    assert_eq!((&event["result"], &event["tests"]["aborted"]), (&json!("timeout"), &json!(true)));
    assert_ne!(event["evidence"]["reason"], json!(null));
}

#[tokio::test]
async fn a_job_that_is_stopped_from_outside_is_a_cancellation() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let arguments = ["run", "--step", "build", "--name", "image", "--", "sleep", "1000"];
    let child = in_jenkins(&home, &api.url, &arguments).spawn().unwrap();
    until("the beginning is told", async || (api.seen().events.len() == 1).then_some(())).await;
    let pid = child.id().unwrap().to_string();
    // Its child may not be there yet, and still it is ended.
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    let output =
        tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    let event = api.ended();
    assert_eq!((&event["result"], &event["usage"]["signal"]), (&json!("cancellation"), &json!(15)));
}

#[tokio::test]
async fn a_command_that_goes_silent_is_ended_and_the_event_shows_what_it_was_doing() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let flags = ["--stall-timeout", "1s", "--grace", "100ms", "--tail", "1"];
    let script = "echo one; echo two; sleep 1000";
    jenkins(&home, &api.url, &wrapped("test", &flags, script)).await.expect(124);
    let event = api.ended();
    assert_eq!((&event["result"], &event["evidence"]["last_output"]), (&json!("timeout"), &json!(["two"])));
    let processes = event["evidence"]["processes"].as_array().unwrap();
    assert!(processes.iter().any(|process| process["command"] == "sleep 1000"), "{event}");
}

#[tokio::test]
async fn a_daemon_that_hangs_holds_up_neither_the_command_nor_its_end_for_long() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    api.meets(crate::events_api::Habit::Wait);
    api.meets(crate::events_api::Habit::Wait);
    let flags = ["--delivery-timeout", "300ms"];
    let started = std::time::Instant::now();
    let ran = jenkins(&home, &api.url, &wrapped("build", &flags, "exit 0")).await.expect(0);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(ran.stderr.contains("for the next call: it did not finish in time"), "{}", ran.stderr);
    // The word of the beginning may never have been sent, and then its hang is still to come.
    api.seen().habits.clear();
    jenkins(&home, &api.url, &["flush"]).await.expect(0);
    assert_eq!(api.ended()["result"], "success");
}

#[tokio::test]
async fn a_wrong_command_line_exits_125_and_runs_nothing() {
    let home = Home::new();
    let touch = ["--", "touch", "ran"];
    let mut said = String::new();
    for flags in [
        &["run", "--step", "deploy", "--version", "2.4.1"][..],
        &["run", "--step", "deploy", "--version", "3.x", "--db", "mysql"],
        &["run", "--step", "build", "--junit", "*.xml"],
        &["run", "--step", "test", "--junit", "a***b"],
        &["run", "--step", "lint"],
        &["run", "--step", "build", "--timeout", "soon"],
        &["run", "--step", "build", "--log", "x=y=z"],
        &["--color", "never", "run"],
    ] {
        let arguments = [flags, &touch].concat();
        let ran = jenkins(&home, NOBODY, &arguments).await.expect(125);
        said.push_str(&format!("$ cachetscope {}\n{}\n", arguments.join(" "), ran.stderr));
    }
    let ran = jenkins(&home, NOBODY, &["run", "--step", "build", "touch", "ran"]).await.expect(125);
    said.push_str(&ran.stderr);
    insta::assert_snapshot!(settled(&home, &said));
    assert!(!home.path("ran").exists());
}
