//! `run`, `record` and `flush` as a job of CI calls them, against a stand-in for the daemon.

mod killed;
mod recorded;
mod wrapped;

use cachetscope::clock::{Clock, Timestamp};
use serde_json::Value;
use tokio::process::Command;

use crate::events_api::EventsApi;
use crate::rig::{Home, NO_COLLECTOR, Ran, finish};

/// Nothing listens there.
const NOBODY: &str = NO_COLLECTOR;

/// A command within a build of Jenkins, with a daemon.
fn in_jenkins(home: &Home, daemon: &str, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command
        .env("CACHETSCOPE_DAEMON", daemon)
        .env("JENKINS_URL", "https://ci.example/")
        .env("JOB_NAME", "cachet/core/main")
        .env("BUILD_NUMBER", "41")
        .env("BUILD_URL", "https://ci.example/job/cachet/job/core/job/main/41/")
        .env("BRANCH_NAME", "main")
        .env("GIT_COMMIT", "9f2c6d0f5f6b4b7f8f0b9d2c1e3a4b5c6d7e8f90")
        .env("GIT_URL", "https://robot:s3cr3t@git.example/cachet/core.git")
        .env("NODE_NAME", "linux-2")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

async fn jenkins(home: &Home, daemon: &str, arguments: &[&str]) -> Ran {
    finish(&mut in_jenkins(home, daemon, arguments)).await
}

/// What a person sees, without what is another each time.
fn settled(home: &Home, text: &str) -> String {
    let place = home.path("").canonicalize().unwrap().display().to_string();
    let text = text.replace(place.trim_end_matches('/'), "HOME");
    let filters = [
        (r"127\.0\.0\.1:\d{2,}", "127.0.0.1:PORT"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"@\d{13}", "@MILLIS"),
        (r"#[0-9a-f]{12}", "#HASH"),
        (r"in \d+\.\d s", "in N s"),
        (r#""span_id": "[0-9a-f]+""#, r#""span_id": "SPAN""#),
    ];
    filters.iter().fold(text.to_owned(), |text, (from, to)| {
        regex::Regex::new(from).unwrap().replace_all(&text, *to).into_owned()
    })
}

fn time(value: &Value) -> Timestamp {
    let time = chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
    Timestamp::from_utc(time.to_utc())
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn report(cases: &[(&str, bool)]) -> String {
    let failed = cases.iter().filter(|(_, passed)| !passed).count();
    let cases: String = cases
        .iter()
        .map(|(name, passed)| match passed {
            true => format!("<testcase classname=\"T\" name=\"{name}\" time=\"0.5\"/>"),
            false => format!(
                "<testcase classname=\"T\" name=\"{name}\" time=\"0.5\"><failure message=\"no\">no</failure></testcase>"
            ),
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><testsuites><testsuite name=\"unit\" tests=\"2\" failures=\"{failed}\" time=\"1.5\">{cases}</testsuite></testsuites>"
    )
}

#[tokio::test]
async fn what_waits_is_listed_and_flushed() {
    let (home, api) = (Home::new(), EventsApi::start().await);
    let nothing = jenkins(&home, NOBODY, &["flush"]).await.expect(0);
    assert_eq!(nothing.stdout, "nothing waits\n");
    assert_eq!(jenkins(&home, NOBODY, &["flush", "--list"]).await.expect(0).stdout, "nothing waits\n");
    let pipeline = ["record", "pipeline", "--result", "UNSTABLE", "--started", "2026-08-22T10:30:00Z"];
    let kept = jenkins(&home, NOBODY, &[&pipeline[..], &["--seconds", "93"]].concat()).await.expect(0);
    let deploy = ["record", "deploy", "--version", "2.4.1", "--db", "mysql", "--branch", "strange"];
    jenkins(&home, NOBODY, &deploy).await.expect(0);
    let mut said = format!("$ record\n{}", kept.stdout);
    api.seen().refused_branch = Some("strange".to_owned());
    for (daemon, arguments, code) in [
        (NOBODY, &["flush", "--list"][..], 0),
        (NOBODY, &["flush"], 6),
        (NOBODY, &["flush", "--output", "json"], 6),
        (&api.url, &["flush"], 0),
        (&api.url, &["flush", "--list"], 0),
    ] {
        let ran = jenkins(&home, daemon, arguments).await.expect(code);
        said.push_str(&format!("$ {}\n{}{}", arguments.join(" "), ran.stdout, ran.stderr));
    }
    let bytes = regex::Regex::new(r"Z( +)\d+  ").unwrap();
    let said = bytes.replace_all(&said, "Z  BYTES  ").into_owned();
    insta::assert_snapshot!(settled(&home, &said));
    assert_eq!(api.seen().events.len(), 1);
    let listed = jenkins(&home, NOBODY, &["flush", "--list", "--output", "json"]).await.expect(0).json();
    assert_eq!(listed["waiting"], serde_json::json!([]));
    assert_eq!(listed["refused"][0]["reason"], "branch is none of ours");
    assert_eq!(listed["refused"][0]["event"]["kind"], "deploy");
}
