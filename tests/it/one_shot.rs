//! `probe --once` in bad weather: targets that come up late, refuse, hang or limit; writes that are
//! cleaned up; secrets that appear nowhere.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cachetscope::demo::{Fault, Kind};
use cachetscope::model::{Flavour, Version};
use serde_json::Value;

use crate::rig::{Collector, Home, Member, V2, V3, finish, plain_http, shipped, until};

fn fleet_of(member: &Member) -> Home {
    let home = Home::new();
    home.fleet([member]);
    home
}

async fn json(home: &Home, arguments: &[&str], code: i32) -> Value {
    let once = ["probe", "--once", "--output", "json"];
    home.run(once.iter().chain(arguments)).await.expect(code).json()
}

/// The samples of the only run.
fn samples(document: &Value) -> &Vec<Value> {
    let runs = document["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    runs[0]["requests"].as_array().unwrap()
}

/// `name outcome` of each sample of the only run.
fn outcomes(document: &Value) -> Vec<String> {
    let text = |sample: &Value, key: &str| sample[key].as_str().unwrap().to_owned();
    samples(document).iter().map(|s| format!("{} {}", text(s, "name"), text(s, "outcome"))).collect()
}

#[tokio::test]
async fn wait_is_over_when_an_ad_hoc_deployment_comes_up() {
    let mut member = Member::start("late", V3, Flavour::Postgresql).await;
    member.stand_in.refuse().await;
    let home = Home::new();
    let url = member.url();
    let ad_hoc = ["probe", "--once", "--wait", "50s", "--url", &url, "--version", V3, "--db", "pgsql"];
    let running = home.run(ad_hoc);
    let comes_up = async {
        // At first something else is there, which hangs up on whoever comes.
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        drop(listener);
        member.stand_in.set_fault("/", Fault::Status(503));
        member.stand_in.accept().await.unwrap();
        until("it is asked while it says 503", async || (member.asked().len() > 2).then_some(())).await;
        member.stand_in.clear();
    };
    let (ran, ()) = tokio::join!(running, comes_up);
    let ran = ran.expect(0);
    assert!(ran.stdout.contains("12/12"), "{}", ran.stdout);
    assert!(ran.stderr.contains("waiting at most 50s until all answer"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_wait_in_vain_costs_its_time_and_says_who_was_silent() {
    let mut member = Member::start("never", V3, Flavour::Sqlite).await;
    member.stand_in.refuse().await;
    let home = fleet_of(&member);
    let ran = home.run(["probe", "--once", "--wait", "400ms"]).await.expect(3);
    assert!(ran.stderr.contains("not ready after 400ms: never"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_deployment_without_any_content_is_well() {
    let member = Member::start("empty", V3, Flavour::Sqlite).await;
    let empty = r#"{"data":[],"links":{},"meta":{"current_page":1}}"#;
    let changes =
        [("headers: &api { Content-Type: { contains: application/vnd.api+json } }", "headers: &api {}")];
    let home = fleet_of(&member);
    home.write("probes/cachet-v3.yaml", &shipped("cachet-v3.yaml", &changes));
    for list in ["components", "component-groups", "incidents", "metrics", "schedules"] {
        member.stand_in.set_fault(&format!("/api/{list}"), Fault::Body(empty.into()));
    }
    let ran = home.run(["probe", "--once"]).await.expect(0);
    assert!(ran.stdout.contains("● pass"), "{}", ran.stdout);
    assert!(ran.stdout.contains("    5 requests skipped: nothing there to read"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_write_cycle_runs_where_it_is_allowed_and_leaves_nothing_behind() {
    for (version, root) in [(V2, "/api/v1"), (V3, "/api")] {
        let member = Member::start("writable", version, Flavour::Mariadb).await;
        let member = member.with("token: { env: CACHET_TOKEN }").with("writes: allowed");
        let other = Member::start("untouched", version, Flavour::Mariadb).await;
        let home = Home::new();
        home.fleet([&other, &member]);
        let mut command = home.command(["probe", "--once", "--suite", "cachet-writes", "--output", "json"]);
        command.env("CACHET_TOKEN", member.stand_in.token().reveal());
        let ran = finish(&mut command).await.expect(0);
        assert!(ran.stderr.contains("not probed: suite cachet-writes changes what it asks, and untouched"));
        assert!(outcomes(&ran.json()).iter().all(|o| o.ends_with(" pass")), "{}", ran.stdout);
        assert_eq!(other.asked(), [""; 0]);
        assert_eq!(counted(&member, "POST"), 3);
        assert_eq!(left_behind(&member, root).await, BTreeSet::new());
    }
}

#[tokio::test]
async fn a_write_cycle_that_fails_in_the_middle_is_not_retried_and_still_cleans_up() {
    let member = Member::start("writable", V3, Flavour::Sqlite).await;
    let member = member.with("token: { env: CACHET_TOKEN }").with("writes: allowed");
    let home = fleet_of(&member);
    // The created incident is not as expected, but it is there all the same.
    let check = ("\"$.data.attributes.visible\": 0 }", "\"$.data.attributes.visible\": 7 }");
    home.write("probes/cachet-v3-writes.yaml", &shipped("cachet-v3-writes.yaml", &[check]));
    // And no metric gets a point.
    let url = format!("{}api/metrics?per_page=100", member.url());
    let text = plain_http().get(url).send().await.unwrap().text().await.unwrap();
    let next = serde_json::from_str::<Value>(&text).unwrap()["data"].as_array().unwrap().len() + 1;
    member.stand_in.set_fault(&format!("/api/metrics/{next}/points"), Fault::Status(500));

    let mut command = home.command(["probe", "--once", "--suite", "cachet-writes", "--output", "json"]);
    command.env("CACHET_TOKEN", member.stand_in.token().reveal());
    let document = finish(&mut command).await.expect(1).json();
    assert_eq!(
        outcomes(&document),
        [
            "create-incident fail",
            "read-incident pass",
            "update-incident pass",
            "delete-incident pass",
            "create-metric pass",
            "create-point fail",
            "delete-point skipped",
            "delete-metric pass"
        ]
    );
    assert!(samples(&document).iter().all(|s| s["attempts"].as_array().unwrap().len() <= 1));
    assert_eq!(counted(&member, "POST"), 3);
    assert_eq!(left_behind(&member, "/api").await, BTreeSet::new());
}

#[tokio::test]
async fn a_write_cycle_over_its_budget_still_cleans_up() {
    let member = Member::start("writable", V3, Flavour::Sqlite).await;
    let member = member.with("token: { env: CACHET_TOKEN }").with("writes: allowed");
    let home = fleet_of(&member);
    // The wake-up and the creation use it up.
    let tight = shipped("cachet-v3-writes.yaml", &[("budget: 300/min", "budget: 2/h")]);
    home.write("probes/cachet-v3-writes.yaml", &tight);
    let mut command = home.command(["probe", "--once", "--suite", "cachet-writes", "--output", "json"]);
    command.env("CACHET_TOKEN", member.stand_in.token().reveal());
    let document = finish(&mut command).await.expect(1).json();
    assert_eq!(
        outcomes(&document)[..5],
        [
            "create-incident pass",
            "read-incident skipped",
            "update-incident skipped",
            "delete-incident pass",
            "create-metric skipped"
        ]
    );
    assert!(
        samples(&document)[1]["detail"]
            .as_str()
            .unwrap()
            .contains("the budget of 2 requests in 3600s is used up")
    );
    assert_eq!(counted(&member, "DELETE"), 1);
    assert_eq!(left_behind(&member, "/api").await, BTreeSet::new());
}

fn counted(member: &Member, method: &str) -> usize {
    member.asked().iter().filter(|asked| asked.starts_with(method)).count()
}

/// Names of what the prober made and what is still there.
async fn left_behind(member: &Member, root: &str) -> BTreeSet<String> {
    let client = plain_http();
    let mut names = BTreeSet::new();
    for list in ["incidents", "metrics"] {
        let url = format!("{}{root}/{list}?per_page=100", member.url().trim_end_matches('/'));
        // As the one who may see what is hidden.
        let token = member.stand_in.token();
        let request = client.get(url).header("x-cachet-token", token.reveal()).bearer_auth(token.reveal());
        let text = request.send().await.unwrap().text().await.unwrap();
        let found: Value = serde_json::from_str(&text).unwrap();
        let text = found["data"].to_string();
        names.extend(text.split('"').filter(|part| part.starts_with("cachetscope ")).map(str::to_owned));
    }
    names
}

#[tokio::test]
async fn what_fails_once_and_then_holds_passed_on_retry() {
    let member = Member::start("shaky", V2, Flavour::Mysql).await;
    let home = fleet_of(&member);
    member.stand_in.set_fault("/api/v1/status", Fault::Status(502));
    let mut command = home.command(["probe", "--once", "--output", "json"]);
    let recovers = async {
        let status = || member.asked().iter().any(|asked| asked.contains("/status"));
        until("`status` is asked", async || status().then_some(())).await;
        member.stand_in.clear();
    };
    let (ran, ()) = tokio::join!(finish(&mut command), recovers);
    let document = ran.expect(0).json();
    let status = &samples(&document)[1];
    assert_eq!((&status["outcome"], &status["passed_on_retry"]), (&"pass".into(), &true.into()));
    let statuses: Vec<&Value> = status["attempts"].as_array().unwrap().iter().map(|a| &a["status"]).collect();
    assert_eq!(statuses, [&Value::from(502), &200.into()]);
    assert_ne!(status["attempts"][0]["span_id"], status["attempts"][1]["span_id"]);
}

#[tokio::test]
async fn a_target_that_limits_is_left_alone_and_is_no_outage() {
    let member = Member::start("limited", V3, Flavour::Sqlite).await;
    let home = fleet_of(&member);
    member.stand_in.set_fault("/api/incidents", Fault::RateLimited(30));
    let document = json(&home, &[], 1).await;
    assert_eq!(document["outcome"], "skipped");
    let details: Vec<&str> =
        samples(&document)[6..].iter().map(|sample| sample["detail"].as_str().unwrap()).collect();
    assert_eq!(details[0], "rate_limited: the target answered 429, to be asked again in 30 s");
    assert!(
        details[1..].iter().all(|d| *d == "rate_limited: after `incidents` was answered 429"),
        "{details:?}"
    );
    let asked = member.asked();
    assert_eq!(asked.len(), 8, "a wake-up, six that pass, and the one that is limited once: {asked:?}");
    assert_eq!(samples(&document)[6]["attempts"][0]["error"], "rate_limited");
}

#[tokio::test]
async fn a_budget_is_kept_before_the_target_has_to_say_so() {
    let member = Member::start("small", V3, Flavour::Sqlite).await;
    let home = fleet_of(&member);
    home.write(
        "probes/cachet-v3.yaml",
        &shipped("cachet-v3.yaml", &[("budget: 300/min ", "budget: 5/min ")]),
    );
    let document = json(&home, &[], 1).await;
    let counts = |outcome: &str| outcomes(&document).iter().filter(|o| o.ends_with(outcome)).count();
    // The wake-up is a request too.
    assert_eq!((counts(" pass"), counts(" skipped")), (4, 8));
    assert_eq!(member.asked().len(), 5);
}

#[tokio::test]
async fn what_the_target_says_is_left_is_heeded_too() {
    let kind = Kind {
        requests_per_minute_max: Some(6),
        seen_max: 100,
        ..Kind::new(Version::parse(V3).unwrap(), Flavour::Sqlite)
    };
    let member = Member::of("counting", kind).await;
    let home = fleet_of(&member);
    let document = json(&home, &[], 1).await;
    assert_eq!(member.asked().len(), 6, "it would have answered the seventh with 429");
    assert!(outcomes(&document)[5..].iter().all(|o| o.ends_with(" skipped")), "{document:#}");
}

#[tokio::test]
async fn one_target_that_hangs_costs_its_timeout_once_and_the_wake_up() {
    let (hanging, well) = (
        Member::start("hanging", V3, Flavour::Sqlite).await.with("host_group: a"),
        Member::start("well", V3, Flavour::Mariadb).await.with("host_group: b"),
    );
    hanging.stand_in.set_fault("/", Fault::Hang);
    let home = Home::new();
    home.fleet([&hanging, &well]);
    home.write("probes/cachet-v3.yaml", &shipped("cachet-v3.yaml", &[("timeout: 5s", "timeout: 700ms")]));
    let started = Instant::now();
    let ran = home.run(["probe", "--once"]).await.expect(3);
    let elapsed = started.elapsed();
    assert!(elapsed > Duration::from_millis(1_400), "{elapsed:?}");
    assert_eq!(hanging.asked().len(), 2, "the wake-up and the first request");
    assert!(ran.stdout.contains("    11 requests skipped: after `ping` was unreachable"), "{}", ran.stdout);
    assert!(ran.stdout.contains("12/12"), "{}", ran.stdout);
}

const SECRET: &str = "s3cr3t|t0k3n\"with/everything";

#[tokio::test]
async fn secrets_and_captured_values_appear_nowhere() {
    let member = Member::start("secretive", V3, Flavour::Sqlite).await;
    let member = member.with("token: { env: CACHET_TOKEN }");
    let home = fleet_of(&member);
    // An answer that repeats the credentials and yields a verification code, and checks that fail on
    // both: as text, inside an excerpt, and cut in two at the end of one.
    home.write(
        "probes/echo.yaml",
        r#"
suite: echo
schedule: "@hourly"
wake_up: false
env: [API_KEY]
defaults: { retries: 0 }
requests:
  - name: code
    get: /code
    capture: { code: "$.code" }
  - name: keyed
    get: "/keyed?k={{API_KEY}}&c={{code}}"
    expect: { json: { "$.text": wanted } }
  - name: plain
    get: "/plain?c={{code}}"
    expect: { json: { "$.text": wanted } }
  - name: cut
    get: /cut
    expect: { body: { contains: wanted } }
  - name: authenticated
    get: /authenticated
    headers: { Authorization: "Bearer {{token}}" }
    expect: { json: { "$.private": wanted } }
"#,
    );
    let quoted = Value::from(SECRET).to_string();
    let body = |text: String| Fault::Body(text.into());
    member.stand_in.set_fault("/code", body(r#"{"code":"verification-4711"}"#.to_owned()));
    let echo = format!(
        r#"{{"text":{},"code":"verification-4711"}}"#,
        Value::from(format!("k={SECRET} verification-4711"))
    );
    member.stand_in.set_fault("/keyed", body(echo.clone()));
    member.stand_in.set_fault("/plain", body(echo));
    member.stand_in.set_fault("/cut", body(format!("{}{}", "x".repeat(150), SECRET)));
    let private = format!(r#"{{"private":"confidential","token":{quoted}}}"#);
    member.stand_in.set_fault("/authenticated", body(private));

    let collector = Collector::start().await;
    let mut shown = String::new();
    for (format, endpoint) in
        [("table", None), ("junit", None), ("markdown", None), ("json", Some(&collector.endpoint))]
    {
        let mut command =
            home.command(["probe", "--once", "--suite", "echo", "--output", format, "--log", "trace"]);
        command.env("CACHET_TOKEN", SECRET).env("API_KEY", SECRET);
        if let Some(endpoint) = endpoint {
            // While it lies in the spool; and then it is sent.
            for part in ["", "-wal"] {
                let bytes = std::fs::read(format!("{}{part}", home.spool().display())).unwrap_or_default();
                shown.push_str(&String::from_utf8_lossy(&bytes));
            }
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        }
        let ran = finish(&mut command).await.expect(1);
        shown.push_str(&ran.stdout);
        shown.push_str(&ran.stderr);
    }
    assert!(collector.received().spans.len() >= 4 * 6);
    shown.push_str(&String::from_utf8_lossy(&collector.received().bytes));
    let parts = ["s3cr3t", "t0k3n", "verification-4711", "confidential"];
    for part in parts {
        let at = shown.find(part).map(|at| shown[..at].chars().rev().take(300).collect::<Vec<_>>());
        assert_eq!(at.map(|before| before.into_iter().rev().collect::<String>()), None, "{part} is shown");
    }
    // It was there to be found: the target was told, and the rest of the words are told.
    assert!(member.asked().iter().any(|asked| asked.contains("s3cr3t%7Ct0k3n")));
    for words in ["k=••• •••", "found another string"] {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
}

#[tokio::test]
async fn the_target_is_told_the_span_that_the_collector_gets() {
    let member = Member::start("traced", V2, Flavour::Postgresql).await;
    let home = fleet_of(&member);
    member.stand_in.set_fault("/api/v1/schedules", Fault::Status(500));
    let collector = Collector::start().await;
    let mut command = home.command(["probe", "--once"]);
    finish(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).await.expect(1);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let sent: BTreeSet<String> = collector
        .received()
        .spans
        .iter()
        .filter(|span| !span.parent_span_id.is_empty())
        .map(|span| format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)))
        .collect();
    let told: BTreeSet<String> =
        member.stand_in.requests().into_iter().filter_map(|seen| seen.traceparent).collect();
    // Twelve requests, of which the single schedule is not asked and the list twice.
    assert_eq!(sent.len(), 12);
    assert_eq!(told, sent);
    let unrecorded = member.stand_in.requests().iter().filter(|seen| seen.traceparent.is_none()).count();
    assert_eq!(unrecorded, 1, "the wake-up belongs to no trace");
}

#[tokio::test]
async fn a_probe_that_is_told_to_stop_cleans_up_and_tells_what_it_saw() {
    let member = Member::start("writable", V3, Flavour::Sqlite).await;
    let member = member.with("token: { env: CACHET_TOKEN }").with("writes: allowed");
    let home = fleet_of(&member);
    // The incident is there, and its reading takes a while.
    member.stand_in.set_fault("/api/incidents/", Fault::Delay(Duration::from_millis(600)));
    let mut command = home.command(["probe", "--once", "--suite", "cachet-writes", "--output", "json"]);
    let child = command.env("CACHET_TOKEN", member.stand_in.token().reveal()).spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    let reads = || member.asked().iter().any(|asked| asked.starts_with("GET /api/incidents/"));
    until("the incident is read", async || reads().then_some(())).await;
    assert!(std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        outcomes(&document)[..5],
        [
            "create-incident pass",
            "read-incident pass",
            "update-incident skipped",
            "delete-incident pass",
            "create-metric skipped"
        ]
    );
    assert_eq!(samples(&document)[2]["detail"], "the probe was told to stop before");
    assert_eq!(left_behind(&member, "/api").await, BTreeSet::new());
}
