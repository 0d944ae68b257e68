//! The `report` command: against a page with a past, without a daemon, and on the store itself.

use cachetscope::clock::Clock;
use cachetscope::model::{CiResult, Counts, Event, Tests};
use serde_json::Value;

use crate::page_fleet::Fleet;
use crate::page_judged;
use crate::page_past;
use crate::page_verdicts;
use crate::rig::Home;

/// A page with a past, and its address.
async fn served() -> (Fleet, String) {
    let fleet = Fleet::filled().await;
    page_past::told(&fleet).await;
    let address = serve(&fleet).await;
    (fleet, address)
}

async fn serve(fleet: &Fleet) -> String {
    let (router, _notices) = fleet.router("staging");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings
}

#[tokio::test]
async fn the_five_questions_read_well() {
    let (_fleet, daemon) = served().await;
    let home = Home::new();
    let text = home.run(["report", "--daemon", &daemon]).await.expect(0).stdout;
    let markdown = home.run(["report", "--daemon", &daemon, "--output", "markdown"]).await.expect(0).stdout;
    let json = home.run(["report", "--daemon", &daemon, "--output", "json"]).await.expect(0).stdout;
    let mut json: Value = serde_json::from_str(&json).unwrap();
    for suite in json["tests"]["suites"].as_array_mut().unwrap() {
        suite["runs"].as_array_mut().unwrap().truncate(1);
        suite["slowest"].as_array_mut().unwrap().truncate(1);
    }
    json["deploys"]["deployments"].as_array_mut().unwrap().truncate(1);
    json["loads"]["plans"].as_array_mut().unwrap().truncate(1);
    snapshots().bind(|| {
        insta::assert_snapshot!("report_text", text);
        insta::assert_snapshot!("report_markdown", markdown);
        insta::assert_snapshot!("report_json", crate::page::pretty(&json));
    });
    assert!(!text.contains('\u{1b}'), "no colours where nobody looks");
    let colored = home.run(["report", "--daemon", &daemon, "--color", "always"]).await.expect(0).stdout;
    let plain = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap().replace_all(&colored, "").into_owned();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(colored.contains("\x1b[31m✕\x1b[0m \x1b[1m2 of 971 fail on 3.x\x1b[0m"), "{colored}");
    assert_eq!(words(&plain), words(&text), "colour is added to words, and never instead of them");
}

#[tokio::test]
async fn one_question_is_answered_by_itself() {
    let (_fleet, daemon) = served().await;
    let home = Home::new();
    let ask = ["report", "--daemon", &daemon, "--question", "deploys", "--output"];
    let text = home.run(ask.iter().chain(&["text"])).await.expect(0).stdout;
    assert!(text.contains("2  Deploying the latest") && !text.contains("Tests"), "{text}");
    let json = home.run(ask.iter().chain(&["json"])).await.expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["at", "title", "questions", "deploys"]);
    assert_eq!(json["questions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn versions_and_databases_are_told_with_their_certainty() {
    let (fleet, daemon) = served().await;
    page_judged::judged(&fleet).await;
    page_verdicts::own(&fleet, 12, 0).await;
    let home = Home::new();
    let ask =
        ["report", "--daemon", &daemon, "--question", "databases", "--question", "versions", "--output"];
    let text = home.run(ask.iter().chain(&["text"])).await.expect(0).stdout;
    let markdown = home.run(ask.iter().chain(&["markdown"])).await.expect(0).stdout;
    let explain = ["report", "--daemon", &daemon, "--explain", "components", "mariadb", "--output"];
    let why = home.run(explain.iter().chain(&["text"])).await.expect(0).stdout;
    let why_markdown = home.run(explain.iter().chain(&["markdown"])).await.expect(0).stdout;
    snapshots().bind(|| {
        insta::assert_snapshot!("report_verdicts_text", text);
        insta::assert_snapshot!("report_verdicts_markdown", markdown);
        insta::assert_snapshot!("report_explain_text", why);
        insta::assert_snapshot!("report_explain_markdown", why_markdown);
    });
    let json = home.run(explain.iter().chain(&["json"])).await.expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json.as_array().unwrap().iter().all(|standing| standing["request"] == "components"));
    assert!(json[0]["latency"]["assessment"]["p"].is_number());

    let unknown =
        home.run(["report", "--daemon", &daemon, "--explain", "componets", "mariadb"]).await.expect(2);
    assert!(unknown.stderr.contains("no verdict is known on `componets` on `mariadb`"), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("components, groups, incidents"), "{}", unknown.stderr);
}

#[tokio::test]
async fn two_versions_or_a_window_can_be_chosen() {
    let (fleet, daemon) = served().await;
    let home = Home::new();
    let latest = "3.0.0-dev.202608221030";
    let ask = ["report", "--daemon", &daemon, "--between", "2.4.1", latest];
    let text = home.run(ask).await.expect(0).stdout;
    let unbroken = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unbroken.contains("components is 16 % slower on mariadb"), "{text}");
    assert!(!text.contains("Tests") && text.contains("67 pairs"), "{text}");
    // The other way around it is faster.
    let back = home.run(["report", "--daemon", &daemon, "--between", latest, "2.4.1"]).await.expect(0).stdout;
    assert!(back.contains("▼ improved") && !back.contains("▲"), "{back}");
    let window = home.run(["report", "--daemon", &daemon, "--window", "15m", "--question", "versions"]).await;
    let window = window.expect(0).stdout;
    assert!(window.contains("no regression confirmed") && !window.contains("67 pairs"), "{window}");
    let none = home.run(["report", "--daemon", &daemon, "--between", "1.0.0", latest]).await.expect(2).stderr;
    assert!(none.contains("error: no deployment ever had version 1.0.0; known are 3.0.0-dev."), "{none}");

    let file = fleet.store.location().to_string();
    fleet.store.close().await;
    let ask = ["report", "--offline", "--database", &file, "--between", "2.4.1", latest];
    let offline = home.run(ask).await.expect(0).stdout;
    assert!(offline.contains("No stored round visited both."), "those of months ago say nothing: {offline}");
}

#[tokio::test]
async fn an_empty_store_says_what_would_fill_it() {
    let fleet = Fleet::empty().await;
    let daemon = serve(&fleet).await;
    let text = Home::new().run(["report", "--daemon", &daemon]).await.expect(0).stdout;
    snapshots().bind(|| insta::assert_snapshot!("report_empty", text));
}

#[tokio::test]
async fn without_a_daemon_it_says_what_starts_one() {
    let home = Home::new();
    // Port 1 is reserved, and nothing listens there.
    let ran = home.run(["report", "--daemon", "http://127.0.0.1:1"]).await.expect(3);
    assert_eq!(ran.stdout, "");
    for words in
        ["http://127.0.0.1:1/api/v1/overview?fresh=true did not answer", "`cachetscope serve`", "--offline"]
    {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn a_closed_store_is_told_as_the_daemon_tells_it() {
    let (fleet, daemon) = served().await;
    fleet.store.close().await;
    let ran = Home::new().run(["report", "--daemon", &daemon]).await.expect(1);
    assert!(ran.stderr.contains("answered 503"), "{}", ran.stderr);
}

/// Names come from anyone who may tell of an event.
#[tokio::test]
async fn hostile_names_obey_no_terminal_and_are_no_markup() {
    let fleet = Fleet::empty().await;
    page_past::hostile(&fleet, "\x1b]0;x\x07<img src=x>|a`b\n# c", "https://ci.example/").await;
    let daemon = serve(&fleet).await;
    let home = Home::new();
    let text = home.run(["report", "--daemon", &daemon]).await.expect(0).stdout;
    assert!(text.contains("<img src=x>|a`b"), "{text}");
    assert!(!text.contains(['\x1b', '\x07']), "{text}");
    let markdown = home.run(["report", "--daemon", &daemon, "--output", "markdown"]).await.expect(0).stdout;
    // A backslash before it takes a character's meaning; a code span cannot hold this one's backtick.
    let taken = markdown.replace(r"\<img", "");
    assert!(!taken.contains("<img") && !taken.contains("a`b") && !taken.contains("\n# c"), "{markdown}");
}

#[tokio::test]
async fn offline_it_reads_the_store_unless_a_daemon_holds_it() {
    let home = Home::new();
    let ran = home.run(["report", "--offline"]).await.expect(2);
    assert!(ran.stderr.contains("there is no store at"), "{}", ran.stderr);

    let fleet = Fleet::empty().await;
    let now = Clock::system().now();
    let mut event = Event::new("jenkins", "cachet", "7");
    (event.step, event.branch) = (Some("phpunit".into()), Some("3.x".into()));
    (event.started, event.finished, event.result) = (Some(now), Some(now), Some(CiResult::Success));
    let counts = Some(Counts { pass: 3, ..Counts::default() });
    event.tests = Some(Tests { suite: "phpunit".into(), counts, ..Tests::default() });
    page_past::record(&fleet, vec![event]).await;
    let file = fleet.store.location().to_string();
    let ask = ["report", "--offline", "--database", &file];
    let held = home.run(ask).await.expect(2);
    assert!(held.stderr.contains("a running daemon holds its store"), "{}", held.stderr);
    fleet.store.close().await;
    let text = home.run(ask).await.expect(0).stdout;
    assert!(text.contains("all 3 pass on 3.x"), "{text}");
}
