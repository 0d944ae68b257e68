//! A version that a deploy event puts beside another one gets rounds at once: its first verdicts do not wait
//! for the schedule.

use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::model::{CiResult, Deploy, Event, Flavour, Version};
use cachetscope::otlp::Resource;
use cachetscope::publisher::facts_of_event;
use cachetscope::store::Store;

use crate::fleet_rig::{get, living, row, start};
use crate::rig::{Collector, Home, Member, V3, until};

/// An hour of it would be needed for 60 pairs.
const SUITE: &str = "suite: each\nschedule: '@every 60s'\nbudget: 6000/min\n\
                     requests:\n- { name: ping, get: /api/ping, expect: { status: 200 } }\n\
                     - { name: components, get: /api/components, expect: { status: 200 } }\n";

async fn deploy(store: &Store, version: &str, member: &Member) {
    let mut event = Event::new("jenkins", "deploy", version);
    event.step = Some("deploy".to_owned());
    event.version = Version::parse(version);
    event.db = Some(Flavour::Mysql);
    event.deploy = Some(Deploy { url: Some(member.url().parse().unwrap()), ..Deploy::default() });
    event.finished = Some(Clock::system().now());
    event.result = Some(CiResult::Success);
    let resource = Resource::new(store.id(), None, None).unwrap();
    let facts = facts_of_event(event, Clock::system().now(), &[], &resource).unwrap();
    store.record(vec![facts]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployed_version_is_judged_within_seconds_where_the_budget_allows() {
    let home = Home::new();
    home.write("probes/each.yaml", SUITE);
    home.write("probes/fleet.yaml", "discover: { deploy_events: { allow_hosts: [127.0.0.1] } }\n");
    let collector = Collector::start().await;
    let daemon = start(&home, &collector).await;
    let store = daemon.store().clone();
    let (before, fresh) =
        (Member::start("a", V3, Flavour::Mysql).await, Member::start("b", V3, Flavour::Mysql).await);
    deploy(&store, "3.0.0", &before).await;
    deploy(&store, "3.1.0", &fresh).await;
    living(&store, &["cachet-3.0.0-mysql", "cachet-3.1.0-mysql"]).await;

    let address = daemon.address().to_string();
    let verdicts = until("both requests have the pairs of a first confirmation", async || {
        let told = get(&address, "/api/v1/verdicts?deployment=cachet-3.1.0-mysql").await;
        let of_suite = |v: &&serde_json::Value| v["suite"] == "each";
        let verdicts: Vec<_> = told["verdicts"].as_array()?.iter().filter(of_suite).cloned().collect();
        let enough = |v: &serde_json::Value| v["latency"]["assessment"]["pairs"].as_u64() >= Some(60);
        (verdicts.len() == 2 && verdicts.iter().all(enough)).then_some(verdicts)
    })
    .await;
    for verdict in &verdicts {
        assert_eq!(verdict["against"]["version"], "3.0.0", "{verdict}");
        // A twin differs by less than a millisecond, or the machine was too busy to tell.
        assert!(["unchanged", "inconclusive"].contains(&verdict["verdict"].as_str().unwrap()), "{verdict}");
    }
    let build = row(&store, |row| row.name == "cachet-3.1.0-mysql").await.unwrap();
    let runs = store.runs(build.key, 100).await.unwrap();
    let of_suite: Vec<_> = runs.iter().filter(|run| run.suite == "each").collect();
    let took = of_suite[0].started.since(of_suite[of_suite.len() - 1].started);
    assert!(of_suite.len() >= 63 && took < Duration::from_secs(600), "{} rounds in {took:?}", of_suite.len());
    daemon.shut_down().await;
}
