//! The collector is away until 100,000 spans wait, and comes back: all arrive, in order, and the
//! daemon's memory stays small. `CACHETSCOPE_BACKLOG` says how many (20,000 in the ordinary run).

use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::model::{Deployment, Flavour, Round, RoundId};
use cachetscope::otlp::Resource;
use cachetscope::publisher::facts_of;
use cachetscope::store::Store;

use crate::parts::collector::{Attributes, Collector};
use crate::parts::daemon::Place;
use crate::parts::facts::{deployment, failed, passed, run};
use crate::parts::{eventually, variable};

/// Spans of one run below: its own, and one for each request.
const SPANS_PER_RUN: u64 = 10;
const REQUESTS: [&str; 8] =
    ["ping", "status", "components", "component", "groups", "group", "incidents", "incident"];

/// Runs of a fleet of nine, a round every 30 s up to now, as the daemon itself writes them.
async fn fill(store: &Store, spans: u64) {
    let clock = Clock::system();
    let resource = Resource::new(store.id(), None, None).unwrap();
    let fleet: Vec<Arc<Deployment>> =
        [("2.4.1", 0), ("3.0.0-dev.202508181200", 3), ("3.0.0-dev.202608221030", 6)]
            .into_iter()
            .flat_map(|(version, first)| {
                [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql]
                    .into_iter()
                    .zip(first..)
                    .map(move |(flavour, n)| deployment(&format!("cachet-{n}"), version, flavour))
            })
            .collect();
    let runs = spans.div_ceil(SPANS_PER_RUN);
    let rounds = runs.div_ceil(fleet.len() as u64);
    let mut asked: Vec<_> = REQUESTS.iter().map(|name| passed(name, 12)).collect();
    asked.push(failed("metrics", cachetscope::model::Outcome::Fail, Some(9)));
    for n in 0..rounds {
        let age = Duration::from_secs(30 * (rounds - n));
        let at: Timestamp = clock.now().minus(age);
        let round = Arc::new(Round {
            id: RoundId::new(store.id(), "cachet", at),
            suite: "cachet".to_owned(),
            scheduled: at,
            started: at,
            extra: false,
        });
        // One commit a round, as when a daemon runs.
        let commits = fleet.iter().map(|d| store.commit(facts_of(run(&round, d, &asked), &resource, true)));
        for commit in futures_util::future::join_all(commits).await {
            commit.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_arrives_whole_and_in_order_within_little_memory() {
    let spans: u64 =
        variable("CACHETSCOPE_BACKLOG").map_or(20_000, |n| n.parse().expect("a number of spans"));
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    place.write("fleet.yaml", "deployments: []\n");
    let mut collector = Collector::start(dir.path()).await;
    collector.stop().await;

    // A first start makes the store.
    let ready = || place.log().matches("ready").count();
    let daemon = place.start(&collector.http_url(), "http/protobuf");
    eventually("the daemon to be ready", async || (ready() == 1).then_some(())).await;
    assert!(daemon.stop());
    let store = Store::open(&place.location(), &Clock::system()).await.unwrap();
    fill(&store, spans).await;
    let waiting: u64 = store.outbox_status().await.unwrap()[0].items;
    assert!(waiting >= spans, "{waiting} spans wait");
    let store_id = store.id().to_owned();
    store.close().await;

    let daemon = place.start(&collector.http_url(), "http/protobuf");
    eventually("the daemon to be ready again", async || (ready() == 2).then_some(())).await;
    let address = place.log().lines().rev().find_map(page_of).expect("the log names the page");
    eventually("trouble with the collector to be told", async || {
        crate::parts::daemon::get(&address, "/api/v1/outbox").await.filter(|text| text.contains("\"words\""))
    })
    .await;
    // Idle: the daemon waits for the collector and holds nothing of the backlog.
    daemon.reset_peak();
    let (idle, _) = daemon.memory_kib();
    collector.restart(&[]).await;
    eventually("the outbox to be empty", async || {
        let text = crate::parts::daemon::get(&address, "/api/v1/outbox").await?;
        let lanes: serde_json::Value = serde_json::from_str(&text).ok()?;
        (lanes["lanes"][0]["waiting_items"] == 0 && lanes["lanes"][1]["waiting_items"] == 0).then_some(())
    })
    .await;
    let (_, peak) = daemon.memory_kib();
    assert!(daemon.stop());
    collector.stop().await;

    let received = collector.received();
    let mut seen = std::collections::HashSet::new();
    let of_fleet = |resource: &Attributes| resource["service.instance.id"] == store_id;
    let first_arrivals: Vec<u64> = received
        .spans
        .iter()
        .filter(|span| of_fleet(&span.resource))
        .filter(|span| seen.insert((span.trace.clone(), span.id.clone())))
        .filter(|span| span.parent.is_empty())
        .map(|span| span.start)
        .collect();
    assert!(seen.len() as u64 >= waiting, "{} of {waiting} spans arrived", seen.len());
    assert!(first_arrivals.is_sorted(), "the traces arrived in order");
    let records: Vec<u64> =
        received.logs.iter().filter(|record| of_fleet(&record.resource)).map(|record| record.time).collect();
    assert!(records.is_sorted(), "the log records arrived in order");
    println!(
        "{waiting} spans waited, {} arrived, in order; {} log records in order; \
         memory: idle {:.1} MiB, peak {:.1} MiB, {:+.1} MiB",
        seen.len(),
        records.len(),
        idle as f64 / 1024.0,
        peak as f64 / 1024.0,
        (peak as f64 - idle as f64) / 1024.0
    );
    assert!(peak.saturating_sub(idle) <= 32 * 1024, "the peak is at most 32 MiB above idle");
}

fn page_of(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("page=\"http://")?;
    Some(rest.split('"').next()?.to_owned())
}
