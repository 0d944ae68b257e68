//! `probe --once --gate` and `compare` on stand-ins: what is found, what is not, and how it exits.

use std::time::{Duration, Instant};

use cachetscope::demo::{Fault, Kind};
use cachetscope::model::{Flavour, Version};
use serde_json::Value;

use crate::rig::{Collector, Home, Member, Ran, V2, V3, finish, shipped, until};

const V3_BEFORE: &str = "3.0.0-dev.202508181200";

/// A stand-in without a limit of its own.
async fn member(name: &str, version: &str, flavour: Flavour) -> Member {
    let kind = Kind {
        seen_max: 100_000,
        requests_per_minute_max: None,
        ..Kind::new(Version::parse(version).unwrap(), flavour)
    };
    Member::of(name, kind).await
}

/// A home whose suite allows as many requests as anybody wants.
fn hurried(fleet: &[&Member]) -> Home {
    let home = Home::new();
    for (name, budget) in [("cachet-v3.yaml", "budget: 300/min "), ("cachet-v2.yaml", "schedule:")] {
        let unlimited =
            if name == "cachet-v3.yaml" { "budget: 1000000/min " } else { "budget: 1000000/min\nschedule:" };
        home.write(&format!("probes/{name}"), &shipped(name, &[(budget, unlimited)]));
    }
    home.fleet(fleet.iter().copied());
    home
}

async fn two(flavour: Flavour) -> (Home, Member, Member) {
    let (old, new) = tokio::join!(member("old", V3_BEFORE, flavour), member("new", V3, flavour));
    (hurried(&[&old, &new]), old, new)
}

async fn gate(home: &Home, arguments: &[&str]) -> Ran {
    home.run(["probe", "--once", "--gate"].iter().chain(arguments)).await
}

fn slow() -> Fault {
    Fault::Delay(Duration::from_millis(12))
}

/// The verdict of a cell of the document.
fn verdict<'a>(document: &'a Value, deployment: &str, request: &str) -> &'a str {
    let cells = document["cells"].as_array().unwrap();
    let cell = cells.iter().find(|cell| cell["deployment"] == deployment && cell["request"] == request);
    cell.unwrap_or_else(|| panic!("no {request} on {deployment} in {document:#}"))["verdict"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn what_did_not_change_passes_and_says_first_how_long_it_takes() {
    let (home, _old, _new) = two(Flavour::Sqlite).await;
    let collector = Collector::start().await;
    let mut command = home.command(["probe", "--once", "--baseline", "previous", "--gate"]);
    let ran = finish(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).await.expect(0);
    let first = ran.stderr.lines().next().unwrap();
    assert!(first.starts_with("63 rounds (the first 3 to warm up) of 13 requests at 1000000/min take about"));
    assert!(first.ends_with(", at most 15m"), "{first}");
    assert!(
        ran.stdout.contains("● no regression confirmed · 12 comparisons in 63 rounds ("),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains(&format!("new {V3} on sqlite against old {V3_BEFORE}\n")), "{}", ran.stdout);
    // Telemetry of every round: a span of each run and each request.
    assert_eq!(collector.received().spans.len(), 63 * 2 * 13);
}

#[tokio::test]
async fn a_slower_request_is_named_and_stops_the_pipeline() {
    let (home, _old, new) = two(Flavour::Mariadb).await;
    new.stand_in.set_fault("/api/incidents", slow());
    let requests = ["--gate-requests", "incident,ping"];
    let ran = gate(&home, &requests).await.expect(4);
    assert!(ran.stdout.contains("▲ incident got slower on mariadb (× "), "{}", ran.stdout);
    let row = ran.stdout.lines().find(|line| line.starts_with("incident ")).unwrap();
    assert!(row.contains("▲ regressed") && row.contains("confirmed on fresh pairs"), "{row}");
    // `incidents` is asked for the sake of `incident`, and is not judged; the rest is checked once.
    assert!(!ran.stdout.contains("incidents "), "{}", ran.stdout);
    let asked = |path: &str| new.asked().iter().filter(|asked| asked.ends_with(path)).count();
    assert_eq!((asked("/api/status"), asked("/api/incidents?sort=id&per_page=20")), (1, 63));

    // Without a gate it is told all the same.
    let told = home.run(["probe", "--once", "--baseline", V3_BEFORE, "--output", "markdown"]).await.expect(0);
    assert!(told.stdout.starts_with("### ▲ cachetscope: "), "{}", told.stdout);
    assert!(told.stdout.contains("| ▲ regressed | `incident` | mariadb | × "), "{}", told.stdout);

    let compared =
        home.run(["compare", "old", "new", "--requests", "incident", "--gate", "--output", "json"]);
    let document = compared.await.expect(4).json();
    assert_eq!((&document["verdict"], &document["ended"]), (&"regressed".into(), &"regressed".into()));
    assert_eq!(verdict(&document, "new", "incident"), "regressed");
    // The other way round it is an improvement, and none of the gate's business.
    let swapped = home.run(["compare", "new", "old", "--requests", "incident", "--gate", "--output", "json"]);
    assert_eq!(verdict(&swapped.await.expect(0).json(), "old", "incident"), "improved");
}

#[tokio::test]
async fn it_is_found_only_on_the_database_that_has_it() {
    let (mine, other) = (Flavour::Postgresql, Flavour::Sqlite);
    let (a, b, c, d) = tokio::join!(
        member("old-pg", V3_BEFORE, mine),
        member("new-pg", V3, mine),
        member("old-sqlite", V3_BEFORE, other),
        member("new-sqlite", V3, other)
    );
    let only = member("new-mysql", V3, Flavour::Mysql).await;
    let home = hurried(&[&a, &b, &c, &d, &only]);
    b.stand_in.set_fault("/api/status", slow());
    let arguments = ["--gate-requests", "status", "--gate-requests", "ping", "--output", "junit"];
    let ran = gate(&home, &arguments).await.expect(4);
    assert!(ran.stderr.starts_with("new-mysql has no baseline: there is no version below 3.0.0-dev.2026"));
    assert_eq!(ran.stdout.matches("<failure").count(), 1, "{}", ran.stdout);
    let after = ran.stdout.split("<failure").next().unwrap();
    assert!(
        after.trim_end().ends_with("classname=\"cachet.new-pg\" time=\"0.012\">")
            || after.contains("cachet.new-pg")
    );
    assert_eq!(ran.stdout.matches("message=\"nothing to compare with\"").count(), 2, "{}", ran.stdout);
    assert!(only.asked().iter().filter(|asked| asked.ends_with("/ping")).count() <= 2, "it is checked once");
}

#[tokio::test]
async fn a_strict_gate_that_cannot_tell_exits_with_5_and_a_lenient_one_warns() {
    let (home, _old, _new) = two(Flavour::Mysql).await;
    let five = ["--rounds-max", "5", "--output", "junit"];
    let strict = home.run(["probe", "--once", "--gate=strict"].iter().chain(&five)).await.expect(5);
    assert!(strict.stdout.contains("type=\"undecided\"") && strict.stdout.contains("more pairs needed"));
    assert!(strict.stderr.contains("warning: nothing was decided: no more rounds were allowed\n"));
    let lenient = gate(&home, &five).await.expect(0);
    assert!(lenient.stderr.contains("warning: nothing was decided: no more rounds were allowed\n"));
    assert!(lenient.stdout.contains("<skipped") && !lenient.stdout.contains("<error"), "{}", lenient.stdout);
    let short = gate(&home, &["--gate-timeout", "1ms", "--output", "json"]).await.expect(0);
    assert!(short.stderr.contains("that is too short for a verdict"), "{}", short.stderr);
    assert_eq!(short.json()["ended"], "time_up");
}

#[tokio::test]
async fn a_strict_gate_passes_what_is_shown_to_be_as_fast() {
    let (home, _old, _new) = two(Flavour::Mysql).await;
    let ran = home.run(["probe", "--once", "--gate=strict", "--gate-requests", "ping"]).await.expect(0);
    assert!(
        ran.stdout.contains("= nothing got slower or faster · 1 comparison in 63 rounds ("),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn a_first_version_passes_with_a_warning_and_strictly_not() {
    let home = Home::new();
    let (old, new) = tokio::join!(member("v2", V2, Flavour::Mysql), member("v3", V3, Flavour::Sqlite));
    home.fleet([&old, &new]);
    let ran = gate(&home, &[]).await.expect(0);
    assert!(ran.stderr.contains("warning: nothing was compared"), "{}", ran.stderr);
    assert!(ran.stderr.contains("there are v2 (2.4.1 on mysql, production)"), "{}", ran.stderr);
    assert!(ran.stdout.ends_with("– nothing to compare with · 1 round (1s)\n"), "{}", ran.stdout);
    home.run(["probe", "--once", "--gate=strict"]).await.expect(5);
    assert_eq!(old.asked(), [""; 0]);
}

#[tokio::test]
async fn checks_weigh_more_than_verdicts_and_those_of_the_baseline_nothing() {
    let (home, old, new) = two(Flavour::Sqlite).await;
    let few = ["--rounds-max", "4", "--output", "markdown"];
    old.stand_in.set_fault("/api/metrics", Fault::Status(500));
    let mended = gate(&home, &few).await.expect(0);
    assert!(
        mended.stdout.contains("- · metrics on **old** (the baseline) failed in 4 of 4 rounds: "),
        "{}",
        mended.stdout
    );
    new.stand_in.set_fault("/api/status", Fault::Status(500));
    let broken = gate(&home, &few).await.expect(1);
    assert!(broken.stdout.contains("- ✕ status on **new** failed in 4 of 4 rounds: "), "{}", broken.stdout);
}

#[tokio::test]
async fn who_is_unreachable_is_not_waited_for() {
    let (home, mut old, _new) = two(Flavour::Sqlite).await;
    old.stand_in.refuse().await;
    let started = Instant::now();
    let ran = gate(&home, &["--output", "json"]).await.expect(3);
    assert!(started.elapsed() < Duration::from_secs(30));
    let document = ran.json();
    assert_eq!((&document["ended"], &document["rounds"]), (&"unreachable".into(), &3.into()));
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_and_what_cannot_be_waited_for_ends_it() {
    let (home, _old, new) = two(Flavour::Sqlite).await;
    new.stand_in.set_fault("/api/incidents", Fault::RateLimited(600));
    let ran = gate(&home, &["--gate-timeout", "20s", "--output", "json"]).await.expect(1);
    let document = ran.json();
    assert_eq!((&document["ended"], &document["rounds"]), (&"rate_limited".into(), &1.into()));
}

#[tokio::test]
async fn an_address_is_judged_against_the_fleet_and_against_another_address() {
    let (home, old, new) = two(Flavour::Sqlite).await;
    home.fleet([&old]);
    let (old_url, new_url) = (old.url(), new.url());
    let ping = ["--output", "json", "--gate-requests", "ping"];
    let ad_hoc = ["--url", &new_url, "--version", V3, "--db", "sqlite", "--name", "candidate"];
    let ran = gate(&home, &[&ping[..], &ad_hoc].concat()).await.expect(0);
    assert_eq!(ran.json()["pairs"][0]["earlier"]["name"], "old");

    let compare = |arguments: &[&str]| {
        let arguments: Vec<String> =
            ["compare"].iter().chain(arguments).chain(&ping).map(|a| (*a).to_owned()).collect();
        home.run(arguments)
    };
    // Version and database are those of the other side.
    let document = compare(&["old", &new_url]).await.expect(0).json();
    assert_eq!(document["pairs"][0]["later"]["version"], V3_BEFORE);
    assert_eq!(document["verdict"], "passed");
    let both = ["--db", "sqlite", "--a-version", V3_BEFORE, "--b-version", V3];
    let document =
        compare(&[&[old_url.as_str(), new_url.as_str()][..], &both[..]].concat()).await.expect(0).json();
    assert_eq!(document["pairs"][0]["later"]["version"], V3);
    // One beside itself, and two generations.
    let document = compare(&["old", "old"]).await.expect(0).json();
    assert_eq!(document["pairs"][0]["later"]["name"], "old-again");
}

#[tokio::test]
async fn told_to_stop_it_tells_what_is_known() {
    let (home, _old, new) = two(Flavour::Sqlite).await;
    let child = home.command(["compare", "old", "new", "--output", "json"]).spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    let rounds = || new.asked().iter().filter(|asked| asked.ends_with("/status")).count();
    until("five rounds are made", async || (rounds() > 5).then_some(())).await;
    assert!(std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &document["ended"]), (Some(0), &"stopped".into()));
    assert!(document["rounds"].as_u64().unwrap() >= 5);
    let pairs = &document["cells"][0]["latency"]["assessment"]["pairs"];
    assert!(pairs.as_u64().unwrap() >= 1, "{document:#}");
}

#[tokio::test]
async fn mistakes_are_told_before_anything_is_asked() {
    let (home, old, new) = two(Flavour::Sqlite).await;
    let url = new.url();
    home.write(
        "probes/tight.yaml",
        "suite: tight\nschedule: \"@hourly\"\nbudget: 2/min\nrequests:\n- { name: one, get: /a }\n- { name: two, get: /b }\n",
    );
    let mut said = String::new();
    for arguments in [
        vec!["probe", "--once", "--gate", "--gate-requests", "component,pong"],
        vec!["probe", "--once", "--gate", "--baseline", "2.9"],
        vec!["probe", "--once", "--gate=sometimes"],
        vec!["probe", "--once", "--gate-requests", "ping"],
        vec!["probe", "--once", "--gate", "--suite", "cachet-writes", "new"],
        vec!["probe", "--once", "--gate", "--suite", "tight"],
        vec!["probe", "--once", "--gate", "--url", &url, "--version", V3, "--db", "sqlite", "--name", "old"],
        vec!["compare", "old"],
        vec!["compare", "old", "newer"],
        vec!["compare", "old", &url, "--requests", "pong"],
        vec!["compare", &url, &url],
        vec!["compare", &url, &url, "--version", V3],
        vec!["compare", "old", "new", "--version", V3],
    ] {
        let ran = home.run(&arguments).await.expect(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        said.push_str(&format!("$ cachetscope {}\n{}\n", arguments.join(" "), ran.stderr));
    }
    let bare = Home::new();
    let ad_hoc = ["probe", "--once", "--gate", "--url", &url, "--version", V3, "--db", "sqlite"];
    said.push_str(&format!("$ cachetscope (without a fleet)\n{}", bare.run(ad_hoc).await.expect(2).stderr));
    insta::with_settings!({ filters => vec![(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT")] }, {
        insta::assert_snapshot!(said);
    });
    assert_eq!((old.asked(), new.asked()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn telemetry_of_many_rounds_is_delivered_also_where_it_cannot_be_kept() {
    let (home, _old, _new) = two(Flavour::Sqlite).await;
    home.write("file", "in the place of a folder");
    let collector = Collector::start().await;
    let arguments = ["compare", "old", "new", "--requests", "ping", "--state-dir", "file/state"];
    let mut command = home.command(arguments);
    let ran = finish(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).await.expect(0);
    assert!(ran.stderr.contains("delivered past it"), "{}", ran.stderr);
    // All requests the first time, then one.
    assert_eq!(collector.received().spans.len(), 2 * 13 + 62 * 2 * 2);
}
