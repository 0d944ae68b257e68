//! `serve` as a child process: rounds on schedule, signals, reloads, and what it refuses to start on.

use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::config::{self, Env, Source};
use cachetscope::demo::Fault;
use cachetscope::http::Client;
use cachetscope::model::{Flavour, Outcome, Round, RoundId};
use cachetscope::otlp::Resource;
use cachetscope::probe::Prober;
use cachetscope::publisher::facts_of;
use cachetscope::store::{Location, RunRow, Store};

use crate::rig::{Collector, Home, Member, Served, V2, V3, finish, shipped, until};

const EVERY_SECOND: (&str, &str) = ("\"*/30 * * * * *\"", "\"@every 1s\"");

/// A home whose suite `cachet` runs each second, without limits.
fn hurried() -> Home {
    let home = Home::new();
    home.write("probes/cachet-v2.yaml", &shipped("cachet-v2.yaml", &[EVERY_SECOND]));
    let unlimited = [EVERY_SECOND, ("budget: 300/min ", "# ")];
    home.write("probes/cachet-v3.yaml", &shipped("cachet-v3.yaml", &unlimited));
    home
}

/// Waits until it was asked for so many pings more; a round asks for two, as it wakes it up.
async fn pings(member: &Member, more: usize) {
    let pings = || member.asked().iter().filter(|asked| asked.ends_with("/ping")).count();
    let before = pings();
    until("it is probed", async || (pings() >= before + more).then_some(())).await;
}

async fn open(home: &Home) -> Store {
    Store::open(&Location::File(home.store()), &Clock::system()).await.unwrap()
}

async fn runs(store: &Store, member: &Member) -> Vec<RunRow> {
    let deployments = store.deployments().await.unwrap();
    let key = deployments.iter().find(|row| row.name == member.name).unwrap().key;
    store.runs(key, 1_000).await.unwrap()
}

#[tokio::test]
async fn rounds_on_schedule_are_kept_and_delivered_before_a_stop_ends() {
    let home = hurried();
    let (old, new) =
        tokio::join!(Member::start("old", V2, Flavour::Mysql), Member::start("new", V3, Flavour::Mysql));
    home.fleet([&old, &new]);
    let collector = Collector::start().await;
    let mut command = home.command(["serve", "--listen", "127.0.0.1:0", "--color", "never"]);
    let served = Served::of(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).await;
    tokio::join!(pings(&old, 5), pings(&new, 5));
    let (ran, took) = served.stop().await;
    let ran = ran.expect(0);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(ran.stderr.contains("all telemetry is delivered"), "{}", ran.stderr);

    let store = open(&home).await;
    let (of_old, of_new) = (runs(&store, &old).await, runs(&store, &new).await);
    assert!(of_old.len() >= 2, "a wake-up and a ping a round, and there were more than four");
    let rounds = |runs: &[RunRow]| runs.iter().map(|run| run.round).collect::<Vec<_>>();
    assert_eq!(rounds(&of_old), rounds(&of_new), "both generations are in the same rounds");
    assert!(of_old.iter().chain(&of_new).all(|run| run.outcome == Outcome::Pass && run.suite == "cachet"));
    let waiting: u64 = store.outbox_status().await.unwrap().iter().map(|lane| lane.items).sum();
    assert_eq!(waiting, 0);
    let received = collector.received();
    let traces: std::collections::BTreeSet<&[u8]> =
        received.spans.iter().filter(|s| s.name.contains("cachet")).map(|s| &*s.trace_id).collect();
    for run in of_old.iter().chain(&of_new) {
        assert!(traces.contains(run.trace.unwrap().0.as_slice()), "{run:?} was not delivered");
    }
    assert!(received.metrics.iter().any(|m| m.name == "http.client.request.duration"));
}

#[tokio::test]
async fn a_stop_ends_a_long_round_early_and_keeps_what_it_saw() {
    let home = Home::new();
    let often = [("\"*/30 * * * * *\"", "\"@every 5s\"")];
    for name in ["cachet-v2.yaml", "cachet-v3.yaml"] {
        home.write(&format!("probes/{name}"), &shipped(name, &often));
    }
    let member = Member::start("slow", V3, Flavour::Mysql).await;
    // Twelve of these take seven seconds.
    member.stand_in.set_fault("/api", Fault::Delay(Duration::from_millis(600)));
    home.fleet([&member]);
    let served = Served::start(&home, &[]).await;
    pings(&member, 2).await;
    let (ran, took) = served.stop().await;
    ran.expect(0);
    assert!(took < Duration::from_secs(6), "{took:?}");
    let store = open(&home).await;
    let runs = runs(&store, &member).await;
    assert_eq!((runs.len(), runs[0].outcome), (1, Outcome::Skipped));
    let samples = store.run_samples(runs[0].deployment, runs[0].round).await.unwrap();
    let passed = samples.iter().filter(|s| s.outcome == Outcome::Pass).count();
    assert!((1..12).contains(&passed), "{passed} of {}", samples.len());
    let told = samples.iter().filter(|s| s.detail == "the probe was told to stop before").count();
    assert_eq!((samples.len(), told), (12, 12 - passed));
}

#[tokio::test]
async fn a_changed_file_and_a_signal_reload_and_a_bad_file_changes_nothing() {
    let home = hurried();
    let (one, two) =
        tokio::join!(Member::start("one", V3, Flavour::Mysql), Member::start("two", V3, Flavour::Sqlite));
    home.fleet([&one]);
    let mut served = Served::start(&home, &[]).await;
    pings(&one, 2).await;

    home.fleet([&one, &two]);
    served.hears("the configuration was reloaded").await;
    pings(&two, 2).await;

    served.signal("HUP");
    served.hears("the configuration was reloaded").await;

    // A new file that is broken: it is told, and everything goes on as before.
    home.write("probes/new.yaml", "suite: new\nschedule: '@hourly'\nreqests: []\n");
    served.hears("the configuration was not reloaded").await;
    let all = |served: &Served| served.said.join("\n");
    served.hears("2 problems").await;
    assert!(all(&served).contains("probes/new.yaml:3:1: unknown key `reqests`"), "{}", all(&served));
    tokio::join!(pings(&one, 4), pings(&two, 4));

    // Mended in place, which does not touch the folder.
    home.write("probes/new.yaml", "suite: new\nschedule: '@every 1s'\nrequests: [{ name: x, get: /new }]\n");
    served.hears("the configuration was reloaded").await;
    let asked = || two.asked().iter().any(|asked| asked == "GET /new");
    until("the new suite runs", async || asked().then_some(())).await;

    home.fleet([&two]);
    served.signal("HUP");
    served.hears("the configuration was reloaded").await;
    served.stop().await.0.expect(0);
    let deployments = open(&home).await.deployments().await.unwrap();
    let retired: Vec<(&str, bool)> = deployments.iter().map(|d| (&*d.name, d.retired.is_some())).collect();
    assert!(retired.contains(&("one", true)) && retired.contains(&("two", false)), "{retired:?}");
}

#[tokio::test]
async fn a_port_or_a_store_in_use_and_a_fleet_of_none_are_told_at_the_start() {
    let home = hurried();
    let member = Member::start("one", V3, Flavour::Mysql).await;
    home.fleet([&member]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let ran = home.run(["serve", "--listen", &taken]).await.expect(2);
    let words = format!(
        "error: failed to listen on {taken}; name another address with --listen: Address already in use"
    );
    assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    // It let go of the store.
    let served = Served::start(&home, &[]).await;
    let ran = home.run(["serve", "--listen", "127.0.0.1:0"]).await.expect(2);
    let words = format!("in use by another process (pid {})", served.pid());
    assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    let ran = home.run(["outbox", "list"]).await.expect(2);
    assert!(ran.stderr.contains("ask it with --daemon") && ran.stderr.contains(&words), "{}", ran.stderr);
    served.stop().await.0.expect(0);
}

#[tokio::test]
async fn rounds_that_nobody_ran_are_counted_as_missed() {
    const DOWN: Duration = Duration::from_secs(3_600);
    let home = hurried();
    let member = Member::start("one", V3, Flavour::Mysql).await;
    home.fleet([&member]);
    // The last round of the daemon before.
    let config = config::load(Source::Required(&home.path("probes")), &Env::default()).unwrap();
    let then = Clock::system().now().minus(DOWN);
    let clock = Clock::manual(then);
    let suite = config.suites.iter().find(|suite| suite.name == "cachet").unwrap();
    let store = Store::open(&Location::File(home.store()), &clock).await.unwrap();
    let id = RoundId::new(store.id(), "cachet", then);
    let round =
        Arc::new(Round { id, suite: "cachet".to_owned(), scheduled: then, started: then, extra: false });
    let prober = Prober::new(Client::new(clock.clone()), clock);
    let resource = Resource::new(store.id(), None, None).unwrap();
    for run in prober.round(&round, suite, &config.fleet, None, &|_, _| {}).await {
        store.commit(facts_of(run, &resource, true)).await.unwrap();
    }
    store.close().await;

    let mut served = Served::start(&home, &[]).await;
    let words = "scheduled rounds were missed";
    if !served.said.iter().any(|line| line.contains(words)) {
        served.hears(words).await;
    }
    pings(&member, 4).await;
    served.stop().await.0.expect(0);
    let store = open(&home).await;
    let series = store.series().await.unwrap();
    let counted = |metric: &str| {
        let found: Vec<_> = series.iter().filter(|s| s.metric == metric).collect();
        assert_eq!(found.len(), 1, "{metric} of the suite");
        assert_eq!(found[0].attributes, r#"[["cachetscope.suite.name","cachet"]]"#);
        found[0].count
    };
    let missed = counted("cachetscope.rounds.missed");
    assert!((3_590..3_660).contains(&missed), "{missed} rounds in an hour of one each second");
    counted("cachetscope.rounds.late");
}

#[tokio::test]
async fn without_a_fleet_the_daemon_waits_for_one() {
    let home = Home::new();
    std::fs::remove_dir(home.path("probes")).unwrap();
    let mut served = Served::start(&home, &[]).await;
    std::fs::create_dir(home.path("probes")).unwrap();
    let member = Member::start("one", V3, Flavour::Mysql).await;
    for name in ["cachet-v2.yaml", "cachet-v3.yaml"] {
        home.write(&format!("probes/{name}"), &shipped(name, &[EVERY_SECOND]));
    }
    home.fleet([&member]);
    served.signal("HUP");
    served.hears("the configuration was reloaded").await;
    pings(&member, 1).await;
    served.stop().await.0.expect(0);
    let ran = finish(&mut home.command(["probe", "--once", "one"])).await.expect(0);
    assert!(ran.stdout.contains("12/12"), "{}", ran.stdout);
}
