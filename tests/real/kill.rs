//! Nothing that was committed is lost, and nothing is told twice as two things: `serve` is killed at
//! random moments under load, while the collector comes and goes.
//!
//! `CACHETSCOPE_KILLS` says how often (12 in the ordinary run, 200 by `make kill-test`), and
//! `CACHETSCOPE_TEST_SEED` replays a run's moments.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::demo::{Kind, StandIn};
use cachetscope::model::{Flavour, Outcome, Version};
use cachetscope::store::Store;

use crate::parts::collector::{Collector, Measure, Received, Span};
use crate::parts::daemon::{Place, Target};
use crate::parts::{Dice, eventually, variable};

/// Suites of one round a second each: load at every moment.
const SUITES: [&str; 3] = ["one", "two", "three"];
const DEPLOYMENTS: usize = 12;

fn suite(name: &str) -> String {
    format!(
        "suite: {name}\napplies_to: \"*\"\nschedule: \"@every 1s\"\njitter: 500ms\n\
         defaults: {{ timeout: 2s, retries: 1 }}\nrequests:\n\
         \x20 - {{ name: ping, get: /api/ping, expect: {{ status: 200 }} }}\n\
         \x20 - {{ name: components, get: \"/api/components?per_page=5\", expect: {{ status: 200 }} }}\n\
         \x20 - {{ name: broken, get: /api/no-such-thing, expect: {{ status: 200 }} }}\n"
    )
}

/// What the store says must have arrived.
struct Committed {
    /// Trace, span → what for.
    spans: HashMap<(String, String), String>,
    /// Samples that did not pass: each one log record.
    failures: usize,
    attempts: u64,
    runs: u64,
    series: BTreeMap<String, (u64, f64)>,
}

async fn committed(store: &Store) -> Committed {
    let mut all =
        Committed { spans: HashMap::new(), failures: 0, attempts: 0, runs: 0, series: BTreeMap::new() };
    for deployment in store.deployments().await.unwrap() {
        for run in store.runs(deployment.key, u32::MAX).await.unwrap() {
            let trace = run.trace.unwrap();
            all.runs += 1;
            let root = (trace.to_string(), trace.root_span().to_string());
            all.spans.insert(root, format!("{} {}", deployment.name, run.suite));
            for sample in store.run_samples(run.deployment, run.round).await.unwrap() {
                all.failures += usize::from(!matches!(sample.outcome, Outcome::Pass | Outcome::Skipped));
                all.attempts += u64::from(sample.attempts);
                for attempt in 0..sample.attempts {
                    let span = trace.attempt_span(&sample.request, attempt);
                    all.spans.insert((trace.to_string(), span.to_string()), sample.request.clone());
                }
            }
        }
    }
    for series in store.series().await.unwrap() {
        all.series.insert(format!("{}{}", series.metric, series.attributes), (series.count, series.sum));
    }
    all
}

fn is_fleet(span: &Span, store_id: &str) -> bool {
    span.resource["service.instance.id"] == store_id
}

/// Every span is there, none changed when it was sent again, and none tells of what is not so.
fn check_spans(received: &Received, committed: &Committed, store_id: &str) -> usize {
    let mut seen: HashMap<(String, String), &Span> = HashMap::new();
    let mut again = 0;
    for span in received.spans.iter().filter(|span| is_fleet(span, store_id)) {
        let id = (span.trace.clone(), span.id.clone());
        assert!(committed.spans.contains_key(&id), "a span of no committed run arrived: {span:?}");
        if let Some(first) = seen.insert(id, span) {
            assert_eq!(first, span, "a span changed when it was sent again");
            again += 1;
        }
    }
    let missing: Vec<_> = committed.spans.iter().filter(|(id, _)| !seen.contains_key(id)).collect();
    assert!(missing.is_empty(), "{} spans never arrived, such as {:?}", missing.len(), missing[0]);
    again
}

/// A point of a cumulative series.
#[derive(Debug)]
struct State {
    time: u64,
    start: u64,
    count: u64,
    sum: f64,
    buckets: Vec<u64>,
}

/// Each series only grows, under one start time, and ends at what the store holds.
fn check_series(received: &Received, committed: &Committed, store_id: &str) -> usize {
    let mut by_series: BTreeMap<String, Vec<State>> = BTreeMap::new();
    for point in &received.points {
        if point.resource["service.instance.id"] != store_id || point.start == 0 {
            continue;
        }
        let (count, sum, buckets) = match &point.measure {
            Measure::Number(number) => (*number as u64, *number, Vec::new()),
            Measure::Histogram { count, sum, counts, .. } => (*count, *sum, counts.clone()),
        };
        // The store keeps attributes in the order they were given; sort both.
        let key = format!("{}{:?}", point.metric, point.attributes);
        let state = State { time: point.time, start: point.start, count, sum, buckets };
        by_series.entry(key).or_default().push(state);
    }
    let stored: HashSet<(u64, u64)> = committed.series.values().map(|(n, sum)| (*n, sum.to_bits())).collect();
    for (series, points) in &mut by_series {
        // A request that was accepted just before a kill comes again, so only its repetition may
        // step back in time.
        points.sort_by_key(|point| (point.time, point.count));
        for pair in points.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            assert_eq!(a.start, b.start, "{series} changed its start: a reset");
            assert!(a.count <= b.count && a.sum <= b.sum, "{series} went back from {a:?} to {b:?}");
            let shrank = a.buckets.iter().zip(&b.buckets).any(|(a, b)| a > b);
            assert!(!shrank, "a bucket of {series} went back from {a:?} to {b:?}");
        }
        let (first, last) = (&points[0], &points[points.len() - 1]);
        assert!(
            stored.contains(&(last.count, last.sum.to_bits())),
            "{series} ends at {last:?}, unlike the store"
        );
        assert_eq!(first.count, 0, "{series} does not begin with 0");
    }
    assert_eq!(by_series.len(), committed.series.len(), "every series of the store arrived");
    by_series.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_committed_is_lost_or_changed_by_kills_and_outages() {
    let kills: u64 = variable("CACHETSCOPE_KILLS").map_or(12, |n| n.parse().expect("a number of kills"));
    let mut dice = Dice::new("kill");
    let dir = tempfile::tempdir().unwrap();
    let mut stand_ins = Vec::new();
    for flavour in [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql] {
        let version = Version::parse("3.0.0-dev.202608221030").unwrap();
        let kind = Kind { requests_per_minute_max: None, ..Kind::new(version, flavour) };
        stand_ins.push(StandIn::start(kind).await.unwrap());
    }
    let place = Place::new(dir.path());
    let targets: Vec<Target> = (0..DEPLOYMENTS)
        .map(|n| Target {
            name: format!("d{n}"),
            version: "3.0.0-dev.202608221030",
            db: ["sqlite", "mariadb", "postgresql"][n % 3],
            url: stand_ins[n % 3].url().to_string(),
        })
        .collect();
    place.write_fleet(&targets);
    for name in SUITES {
        place.write(&format!("{name}.yaml"), &suite(name));
    }

    let mut collector = Collector::start(dir.path()).await;
    let mut outages = 0;
    for n in 0..kills {
        // Both transports, in turn: what one left behind the other delivers.
        let (endpoint, protocol) = match n % 2 {
            0 => (collector.http_url(), "http/protobuf"),
            _ => (collector.grpc_url(), "grpc"),
        };
        let mut daemon = place.start(&endpoint, protocol);
        let life = Duration::from_millis(50 + dice.below(1_800));
        let turn = Duration::from_millis(dice.below(1_500)).min(life);
        tokio::time::sleep(turn).await;
        match (collector.is_running(), dice.below(4)) {
            (true, 0) => {
                collector.kill();
                outages += 1;
            }
            (true, 1) => {
                collector.stop().await;
                outages += 1;
            }
            (false, 0..=1) => collector.restart(&[]).await,
            _ => {}
        }
        tokio::time::sleep(life.saturating_sub(turn)).await;
        assert!(!daemon.has_ended(), "the daemon ended by itself:\n{}", place.log());
        daemon.kill();
    }

    if !collector.is_running() {
        collector.restart(&[]).await;
    }
    let ready = || place.log().matches("ready").count();
    let before = ready();
    let daemon = place.start(&collector.http_url(), "http/protobuf");
    eventually("the last daemon to be ready", async || (ready() > before).then_some(())).await;
    assert!(daemon.stop(), "the last daemon stops well:\n{}", place.log());

    let store = Store::open(&place.location(), &Clock::system()).await.unwrap();
    let waiting: u64 =
        store.outbox_status().await.unwrap().iter().map(|lane| lane.items + lane.refused).sum();
    assert_eq!(waiting, 0, "the outbox is empty:\n{}", place.log());
    let (store_id, committed) = (store.id().to_owned(), committed(&store).await);
    store.close().await;
    collector.stop().await;

    let received = collector.received();
    let again = check_spans(&received, &committed, &store_id);
    let series = check_series(&received, &committed, &store_id);
    let of_fleet =
        |resource: &crate::parts::collector::Attributes| resource["service.instance.id"] == store_id;
    let records: HashSet<(&str, &str)> = received
        .logs
        .iter()
        .filter(|record| of_fleet(&record.resource))
        .map(|record| (record.trace.as_str(), record.span.as_str()))
        .collect();
    assert_eq!(records.len(), committed.failures, "each failed sample has its log record");
    let counted: u64 = committed
        .series
        .iter()
        .filter(|(key, _)| key.starts_with("http.client.request.duration"))
        .map(|(_, (count, _))| count)
        .sum();
    assert_eq!(counted, committed.attempts, "the histograms count each attempt once");
    assert!(committed.runs > kills, "there was load: {} runs", committed.runs);
    println!(
        "{kills} kills, {outages} outages of the collector: {} runs, {} spans committed and arrived \
         ({again} sent again, unchanged), {} log records, {series} series without a reset, {counted} attempts counted",
        committed.runs,
        committed.spans.len(),
        records.len(),
    );
}
