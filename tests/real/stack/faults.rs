//! The collector, Prometheus and the daemon go away in turn and come back: what panels say of the latest
//! version and of differences is right again, and what was told meanwhile is not lost.
//! `CACHETSCOPE_OUTAGE` says how long each is away (6 s in the ordinary run).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::demo::{Fleet, ci, start_fleet};
use cachetscope::model::{CiResult, Deploy, Deployment, Event};
use cachetscope::otlp::Resource;
use cachetscope::store::Store;

use super::panels::{Query, queries, values};
use super::{Stack, now};
use crate::dashboards::{Grafana, project};
use crate::parts::daemon::{Daemon, Place};
use crate::parts::process::{free_addresses, post};
use crate::parts::{eventually_every, variable};

const PROTOCOL: &str = "http/protobuf";
const RUNS: &str = "cachetscope_probe_runs_total";
const RANK: &str = "cachetscope_target_version_rank";
const MEDIANS: &str = "cachetscope:request_median_seconds:latest";
const REDEPLOYED: &str = "cachet-3.0-202608-sqlite";
/// How long the deployment took that is told while the collector is away.
const TOLD_SECONDS: u64 = 321;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_each_fault_panels_are_right_and_the_gap_is_filled() {
    let length = variable("CACHETSCOPE_OUTAGE").unwrap_or_else(|| "6s".to_owned());
    let length = humantime::parse_duration(&length).expect("CACHETSCOPE_OUTAGE is a time such as 10m");
    let dir = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(dir.path()).await;
    let clock = Clock::system();
    let stand_ins = start_fleet(1, &clock).await.unwrap();
    let mut rig = Rig::start(dir.path(), &stack, &clock, &stand_ins).await;
    let panels = rig.compared(&stack).await;
    // From here on nothing is measured, so all values are to be the same after a fault.
    rig.stop_probing(&stack, &stand_ins).await;
    let before = said(&stack, &panels).await;

    // The collector: the daemon keeps all, also what is told meanwhile.
    stack.kill_collector();
    let latest =
        stand_ins.deployments().iter().find(|one| one.name == REDEPLOYED).expect("it is of the demo");
    let gap = away(length, async || rig.tell_of_a_deployment(&clock, latest).await).await;
    stack.start_collector().await.unwrap();
    eventually("the deployment that was told meanwhile", async || {
        let longest = "max(cachetscope_deployment_duration_seconds{deployment_environment_name=\"demo\"})";
        let found = stack.prometheus.query(longest, None).await.ok()?;
        found.first().filter(|series| series.points[0].1 as u64 == TOLD_SECONDS).map(drop)
    })
    .await;
    rig.settle(&stack, now()).await;
    let after = said(&stack, &panels).await;
    print("the collector was away", length, &before, &after);
    let tells = |query: &&Query| query.text.contains("cachetscope_deployment_");
    let told_of: BTreeSet<String> = panels.iter().filter(tells).map(Query::place).collect();
    same(&before, &after, |place| told_of.contains(place));
    let told = after.values().flatten().any(|value| value.contains(&format!("{TOLD_SECONDS}.0000")));
    assert!(told, "a panel of the latest version shows the deployment that was told meanwhile");
    assert_filled(&stack, RUNS, gap).await;
    eventually("the trace of that deployment", async || {
        let query = "{ span.cicd.pipeline.run.id = `told-meanwhile` }";
        let end = now() as u64 + 1;
        stack.tempo.search(query, end - 3_600, end, 20).await.ok().filter(|spans| !spans.is_empty())
    })
    .await;

    // Prometheus: the collector keeps all.
    let before = after;
    stack.prometheus.kill();
    let gap = away(length, async || {}).await;
    stack.prometheus.start().await.unwrap();
    rig.settle(&stack, gap.1).await;
    let after = said(&stack, &panels).await;
    print("Prometheus was away", length, &before, &after);
    same(&before, &after, |_| false);
    assert_filled(&stack, RUNS, gap).await;
    assert_filled(&stack, RANK, gap).await;

    // The daemon: nothing was measured meanwhile, and nothing begins anew.
    rig.daemon.take().expect("the daemon runs").kill();
    let gap = away(length, async || {}).await;
    rig.start_daemon(&stack);
    rig.settle(&stack, gap.1).await;
    let after = said(&stack, &panels).await;
    print("the daemon was away", length, &before, &after);
    same(&before, &after, |_| false);
    let resets = format!("sum(resets({RUNS}[1h]))");
    let resets = stack.prometheus.query(&resets, None).await.unwrap();
    assert_eq!(resets[0].points[0].1, 0.0, "a restart of the daemon is no reset");

    drop(rig);
    stand_ins.shutdown().await;
}

/// The daemon, over the demo's fleet and history, but with a state that stays.
struct Rig {
    place: Place,
    page: SocketAddr,
    daemon: Option<Daemon>,
}

impl Rig {
    async fn start(dir: &Path, stack: &Stack, clock: &Clock, stand_ins: &Fleet) -> Rig {
        let dir = dir.join("daemon");
        let place = Place::new(&dir);
        std::fs::create_dir_all(dir.join("state")).unwrap();
        let store = Store::open(&place.location(), clock).await.unwrap();
        let resource = Resource::new(store.id(), None, None).unwrap();
        ci::record(&store, clock, &resource, ci::past(1, clock.now())).await.unwrap();
        store.close().await;
        let [page] = free_addresses();
        let mut rig = Rig { place, page, daemon: None };
        rig.configure(stand_ins, "@every 2s", "6000/min");
        rig.start_daemon(stack);
        rig
    }

    fn start_daemon(&mut self, stack: &Stack) {
        self.daemon = Some(self.place.start_at(self.page, &stack.endpoint(), PROTOCOL));
    }

    /// The demo's fleet, and the suites that are shipped with another schedule.
    fn configure(&self, stand_ins: &Fleet, schedule: &str, budget: &str) {
        let mut fleet = String::from("deployments:\n");
        for one in stand_ins.deployments() {
            let (name, version, db, url) = (&one.name, &one.version, one.db, &one.url);
            fleet += &format!(
                "  - {{ name: {name}, version: {version}, db: {db}, environment: demo, url: \"{url}\", host_group: {name} }}\n"
            );
        }
        self.place.write("fleet.yaml", &fleet);
        for name in ["cachet-v2.yaml", "cachet-v3.yaml"] {
            let shipped = std::fs::read_to_string(project().join("probes").join(name)).unwrap();
            let lines = shipped.lines().filter(|line| !line.starts_with("budget:"));
            let lines = lines.map(|line| match line.starts_with("schedule:") {
                true => format!("schedule: \"{schedule}\"\nbudget: {budget}\n"),
                false => format!("{line}\n"),
            });
            self.place.write(name, &lines.collect::<String>());
        }
    }

    /// Queries about the latest version and about differences, once all of them have an answer.
    async fn compared(&self, stack: &Stack) -> Vec<Query> {
        let (grafana, problems) = Grafana::load();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        eventually("panels to be filled", async || {
            let mut compared = Vec::new();
            for (_, dashboard) in &grafana.dashboards {
                compared.extend(queries(stack, dashboard).await.ok()?);
            }
            let about = |query: &Query| {
                let of_rank = query.text.contains(":latest") || query.text.contains("delta");
                // What a rate shows depends on the moment; what no one fills yet, on nothing.
                of_rank && !query.is_traceql() && !query.text.contains("[")
            };
            compared.retain(about);
            let mut filled = Vec::new();
            for query in compared {
                if !values(stack, &query).await.is_empty() {
                    filled.push(query);
                }
            }
            let medians = stack.prometheus.query(&format!("count({MEDIANS})"), None).await.ok()?;
            let all_measured = medians.first().is_some_and(|count| count.points[0].1 >= 36.0);
            (all_measured && filled.len() >= 20).then_some(filled)
        })
        .await
    }

    /// The daemon starts again, so that what it computes now and then is computed of all there is.
    async fn stop_probing(&mut self, stack: &Stack, stand_ins: &Fleet) {
        assert!(self.daemon.take().expect("the daemon runs").stop());
        // A budget below one round keeps verdicts that wait from making rounds of their own.
        self.configure(stand_ins, "@every 366d", "1/h");
        let stopped = now();
        self.start_daemon(stack);
        self.settle(stack, stopped).await;
    }

    /// Waits until what the daemon tells after this time has come into the rules. Counters come last:
    /// a backlog goes out in its order, and gauges beside it.
    async fn settle(&self, stack: &Stack, after: f64) {
        let newest = async |series: &str| {
            let found = stack.prometheus.query(&format!("min(timestamp({series}))"), None).await.ok()?;
            Some(found.first()?.points[0].1)
        };
        eventually("the backlog to be sent", async || newest(RUNS).await.filter(|at| *at > after)).await;
        let raw = eventually("the daemon's news", async || newest(RANK).await.filter(|at| *at > after)).await;
        // The rules build on each other, so it takes a round of them after the last.
        eventually("the rules' news", async || newest(MEDIANS).await.filter(|at| *at > raw + 1.0)).await;
    }

    /// The latest version was deployed once more, and it took long. It is the same build: of another
    /// one nothing would have been measured yet.
    async fn tell_of_a_deployment(&self, clock: &Clock, deployed: &Deployment) {
        let mut event = Event::new("jenkins", "cachet/3.x", "told-meanwhile");
        event.step = Some("deploy".to_owned());
        event.version = Some(deployed.version.clone());
        event.db = Some(deployed.db);
        event.deployment = Some(deployed.name.clone());
        event.environment = Some(deployed.environment.clone());
        event.digest.clone_from(&deployed.digest);
        event.started = Some(clock.now().minus(Duration::from_secs(TOLD_SECONDS)));
        event.finished = Some(clock.now());
        event.result = Some(CiResult::Success);
        event.deploy = Some(Deploy::default());
        let answer = post(self.page, "/api/v1/events", &serde_json::to_string(&event).unwrap()).await;
        assert!(matches!(answer, Some((200..=202, _))), "{answer:?}");
    }
}

/// Polls twice a second: each look asks Prometheus a lot. A backlog of ten minutes takes its time.
async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_every(Duration::from_millis(500), Duration::from_secs(300), what, probe).await
}

/// Lets so much time pass, with something in the midst of it; from when to when it was.
async fn away(length: Duration, midst: impl AsyncFnOnce()) -> (f64, f64) {
    let from = now();
    tokio::time::sleep(length / 2).await;
    midst().await;
    tokio::time::sleep(length / 2).await;
    (from, now())
}

type Said = BTreeMap<String, Vec<String>>;

async fn said(stack: &Stack, panels: &[Query]) -> Said {
    let mut said = Said::new();
    for query in panels {
        said.insert(query.place(), values(stack, query).await);
    }
    // That nothing is measured, so that nothing else has a reason to change.
    let runs = stack.prometheus.query(&format!("sum({RUNS})"), None).await.unwrap();
    said.insert("runs of probes".to_owned(), vec![runs[0].points[0].1.to_string()]);
    said
}

fn print(what: &str, length: Duration, before: &Said, after: &Said) {
    println!("{what} for {length:?}: {} queries of panels", before.len());
    for (place, old) in before {
        let shown = |values: &[String]| values.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        match &after[place] {
            new if new == old => println!("  {place}: {} values, the same: {}", old.len(), shown(old)),
            new => println!("  {place}: {} → {}", shown(old), shown(new)),
        }
    }
}

fn same(before: &Said, after: &Said, may_change: impl Fn(&str) -> bool) {
    let changed: Vec<&String> =
        before.keys().filter(|place| before[*place] != after[*place] && !may_change(place)).collect();
    assert!(changed.is_empty(), "after the fault these are not what they were: {changed:?}");
}

/// Samples of all series lie in each part of the time when something was away.
async fn assert_filled(stack: &Stack, series: &str, (from, to): (f64, f64)) {
    // In a long outage snapshots thin to one a minute (ARCHITECTURE.md, "When the collector is away").
    let window = if to - from < 120.0 { 3.0 } else { 90.0 };
    let all = stack.prometheus.query(&format!("count({series})"), None).await.unwrap()[0].points[0].1;
    let mut at = from + window;
    let mut parts = 0;
    while at <= to {
        let query = format!("count(count_over_time({series}[{window:.0}s]) > 0)");
        let found = eventually("the gap to be filled", async || {
            let found = stack.prometheus.query(&query, Some(at)).await.ok()?;
            found.first().map(|count| count.points[0].1).filter(|count| *count == all)
        })
        .await;
        assert_eq!(found, all);
        parts += 1;
        at += window;
    }
    assert!(parts > 0, "the outage was too short to look into");
    println!("  {series}: {all} series have samples in each of {parts} parts of {window} s of the gap");
}
