//! The outbox's way out: a real store, the real transport, and collectors in every mood.

mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::exporter::{Exporter, LaneState, Settings, Step, Transport};
use cachetscope::store::{Change, Entry, Facts, Lane, LaneStatus, Location, Store};
use collector::{Answer, Collector, NOW, PROTOBUF, Seen, names, row};

struct Bench {
    store: Store,
    exporter: Exporter,
    clock: Clock,
    collector: Collector,
    location: Location,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(mood: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::File(folder.path().join("store.db"));
        let clock = Clock::manual(NOW);
        let store = Store::open(&location, &clock).await.unwrap();
        let collector = Collector::start(mood).await;
        let lookup = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(collector.endpoint.clone()),
            "OTEL_EXPORTER_OTLP_COMPRESSION" => Some("none".to_owned()),
            _ => None,
        };
        let transport = Transport::new(Settings::from_env(&lookup).unwrap(), clock.clone()).unwrap();
        let exporter = Exporter::new(store.clone(), transport, clock.clone());
        Bench { store, exporter, clock, collector, location, _folder: folder }
    }

    /// Each in a transaction of its own: the store joins small ones of one transaction in one row.
    async fn commit(&self, entries: Vec<Entry>) {
        for entry in entries {
            self.store.commit(Facts { outbox: vec![entry], ..Default::default() }).await.unwrap();
        }
    }

    /// Rows of `per_row` items each, named by a prefix and a number, with some poison.
    async fn fill(&self, lane: Lane, count: usize, per_row: usize, poison: &[usize]) -> Vec<String> {
        let name = |n| if poison.contains(&n) { format!("poison-{n}") } else { format!("item-{n}") };
        let all: Vec<String> = (0..count).map(name).collect();
        self.commit(all.chunks(per_row).map(|names| row(lane, names)).collect()).await;
        all
    }

    async fn status(&self, lane: Lane) -> LaneStatus {
        self.store.outbox_status().await.unwrap().swap_remove(lane as usize)
    }

    async fn reasons(&self) -> Vec<(Vec<String>, String)> {
        let refused = self.store.outbox_refused(10_000).await.unwrap();
        refused.into_iter().map(|r| (names("/v1/traces", &r.entry.body.into()), r.reason)).collect()
    }

    /// Steps a lane until it is idle; waits are taken as over at once.
    async fn work(&self, lane: Lane, state: &mut LaneState) -> usize {
        for steps in 0..20_000 {
            if self.exporter.step(lane, state).await == Step::Idle {
                return steps;
            }
        }
        panic!("the lane never became idle: {:?}", self.status(lane).await)
    }

    fn sent(&self) -> u64 {
        self.exporter.counters().sent.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.exporter.counters().refused.load(Ordering::Relaxed)
    }
}

fn clean(all: &[String]) -> Vec<String> {
    all.iter().filter(|name| !name.starts_with("poison")).cloned().collect()
}

fn poison_gets(status: u16) -> impl FnMut(&Seen) -> Answer + Send + 'static {
    move |seen| if seen.poisoned() { Answer::Status(status, "bad span") } else { Answer::Accept }
}

#[tokio::test]
async fn rows_leave_in_order_joined_and_within_the_bound() {
    let bench = Bench::new(|_| Answer::Accept).await;
    let long = "x".repeat(100_000);
    let all: Vec<String> = (0..40).map(|n| format!("{n}-{long}")).collect();
    bench.commit(all.chunks(1).map(|names| row(Lane::Traces, names)).collect()).await;
    assert!(bench.exporter.drain().await);
    assert_eq!(bench.collector.accepted("/v1/traces"), all);
    let log = bench.collector.log.lock().unwrap();
    assert_eq!(log.seen.len(), 4, "40 rows of 100 kB, ten to a request");
    assert!(log.seen.iter().all(|seen| seen.body.len() <= 1 << 20));
    assert_eq!(bench.sent(), 40);
}

#[tokio::test]
async fn a_lane_in_trouble_holds_up_no_other_and_gauges_pass_a_backlog() {
    let bench = Bench::new(|seen| match seen.path.as_str() {
        "/v1/metrics" if seen.names[0].starts_with("now") => Answer::Accept,
        "/v1/logs" => Answer::Accept,
        _ => Answer::Status(503, "no room"),
    })
    .await;
    bench.fill(Lane::Traces, 3_000, 100, &[]).await;
    bench.fill(Lane::Metrics, 3_000, 100, &[]).await;
    let logs = bench.fill(Lane::Logs, 20, 10, &[]).await;
    for name in ["now-old", "now-new"] {
        bench.store.change(Change::Gauges(vec![row(Lane::Gauges, &[name.to_owned()])])).await.unwrap();
    }
    assert!(!bench.exporter.drain().await);
    assert_eq!(bench.collector.accepted("/v1/logs"), logs);
    assert_eq!(bench.collector.accepted("/v1/metrics"), ["now-new"]);
    assert_eq!(bench.status(Lane::Traces).await.items, 3_000);
    assert_eq!(bench.status(Lane::Metrics).await.items, 3_000);
}

#[tokio::test]
async fn whatever_may_be_mended_keeps_everything_is_shown_and_clears() {
    type Mood = fn() -> Answer;
    let moods: [(Mood, u64, &str); 8] = [
        (|| Answer::Status(401, "who are you?"), 0, "401 Unauthorized: who are you?"),
        (|| Answer::Status(403, "not you"), 0, "403 Forbidden: not you"),
        (|| Answer::Status(404, "nothing here"), 0, "404 Not Found: nothing here"),
        (|| Answer::RetryAfter(429, 77), 77, "429 Too Many Requests: slow down"),
        (|| Answer::RetryAfter(503, 90), 90, "503 Service Unavailable: slow down"),
        (|| Answer::Status(500, "oops"), 0, "500 Internal Server Error: oops"),
        (|| Answer::Nonsense("text/html", b"<html>Welcome"), 0, "an HTML page"),
        (|| Answer::Nonsense(PROTOBUF, &[0xff; 40]), 0, "is it a collector?"),
    ];
    for (mood, seconds, words) in moods {
        let bench = Bench::new(move |_| mood()).await;
        let all = bench.fill(Lane::Traces, 5, 1, &[]).await;
        let mut state = LaneState::default();
        for _ in 0..3 {
            let Step::Wait(wait) = bench.exporter.step(Lane::Traces, &mut state).await else {
                panic!("{words}: no wait")
            };
            assert!(wait >= Duration::from_secs(seconds), "{words}: {wait:?}");
            bench.clock.advance(Duration::from_secs(60));
        }
        let status = bench.status(Lane::Traces).await;
        assert_eq!((status.items, status.refused, status.delivered), (5, 0, None));
        let (since, reason) = status.trouble.unwrap();
        assert_eq!(since, NOW, "{words}");
        assert!(reason.contains(words), "{words}: {reason}");
        assert_eq!(bench.exporter.counters().retries.load(Ordering::Relaxed), 3);

        bench.collector.becomes(|_| Answer::Accept);
        assert_eq!(bench.exporter.step(Lane::Traces, &mut state).await, Step::Settled);
        let status = bench.status(Lane::Traces).await;
        assert_eq!((status.items, status.trouble), (0, None), "{words}");
        assert_eq!(status.delivered, Some(NOW.plus(Duration::from_secs(180))));
        assert_eq!(bench.collector.accepted("/v1/traces"), all);
    }
}

#[tokio::test]
async fn one_refused_span_is_found_kept_aside_retried_and_dropped() {
    for (count, per_row, poison) in [(500, 10, 137), (500, 500, 0), (7, 1, 6), (1, 1, 0)] {
        let bench = Bench::new(poison_gets(400)).await;
        let all = bench.fill(Lane::Traces, count, per_row, &[poison]).await;
        assert!(bench.exporter.drain().await);
        assert_eq!(bench.collector.accepted("/v1/traces"), clean(&all), "once each, in order");
        assert!(bench.collector.requests() <= 30, "{} requests", bench.collector.requests());
        let reasons = bench.reasons().await;
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].0, [format!("poison-{poison}")]);
        assert!(reasons[0].1.ends_with("answered 400 Bad Request: bad span"), "{}", reasons[0].1);
        assert_eq!((bench.refused(), bench.sent()), (1, count as u64 - 1));
        assert_eq!(bench.status(Lane::Traces).await.refused, 1);

        // Still refused, it comes back; once the collector relents it is delivered.
        bench.store.change(Change::Retry(None)).await.unwrap();
        assert!(bench.exporter.drain().await);
        assert_eq!(bench.reasons().await.len(), 1);
        bench.collector.becomes(|_| Answer::Accept);
        bench.store.change(Change::Retry(None)).await.unwrap();
        assert!(bench.exporter.drain().await);
        assert!(bench.reasons().await.is_empty());
        assert_eq!(bench.collector.accepted("/v1/traces").last().unwrap(), &format!("poison-{poison}"));
    }
}

#[tokio::test]
async fn a_dropped_part_is_gone() {
    let bench = Bench::new(poison_gets(400)).await;
    bench.fill(Lane::Traces, 10, 5, &[3, 4]).await;
    assert!(bench.exporter.drain().await);
    assert_eq!(bench.reasons().await.len(), 2);
    assert_eq!(bench.store.change(Change::Drop(None)).await.unwrap(), 2);
    assert!(bench.reasons().await.is_empty());
    let requests = bench.collector.requests();
    assert!(bench.exporter.drain().await);
    assert_eq!(bench.collector.requests(), requests);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_takes_no_other_with_it() {
    let bench = Bench::new(|seen| {
        if seen.names[0] == "garbage" { Answer::Status(400, "malformed") } else { Answer::Accept }
    })
    .await;
    bench.fill(Lane::Traces, 20, 2, &[]).await;
    let garbage = Entry { body: vec![0xff; 50], items: 1, ..row(Lane::Traces, &[]) };
    bench.commit(vec![garbage]).await;
    bench.fill(Lane::Traces, 20, 2, &[]).await;
    assert!(bench.exporter.drain().await);
    assert_eq!(bench.collector.accepted("/v1/traces").len(), 40);
    let refused = bench.store.outbox_refused(10).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].entry.body, [0xff; 50]);
}

#[tokio::test]
async fn what_is_too_large_is_split_until_it_fits_and_the_size_is_learnt() {
    let bench =
        Bench::new(
            |seen| {
                if seen.body.len() > 60_000 { Answer::Status(413, "too much") } else { Answer::Accept }
            },
        )
        .await;
    let long = "x".repeat(1_000);
    // Rows that fit, and rows that do not.
    let mut all: Vec<String> = (0..4_000).map(|n| format!("{n}-{long}")).collect();
    all[5] = format!("giant-{}", "y".repeat(70_000));
    let (small, large) = all.split_at(2_000);
    bench.commit(small.chunks(20).map(|names| row(Lane::Traces, names)).collect()).await;
    bench.commit(large.chunks(200).map(|names| row(Lane::Traces, names)).collect()).await;
    assert!(bench.exporter.drain().await);
    let giant = all.remove(5);
    assert_eq!(bench.collector.accepted("/v1/traces"), all);
    let reasons = bench.reasons().await;
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].0, [giant]);
    assert!(reasons[0].1.contains("413 Payload Too Large: too much"), "{}", reasons[0].1);
    let log = bench.collector.log.lock().unwrap();
    let wasted: usize = log.seen.iter().map(|seen| seen.body.len()).filter(|size| *size > 60_000).sum();
    let useful: usize = log.accepted.iter().map(|seen| seen.body.len()).sum();
    // Five halvings of the first megabyte, and now and then a try whether more is taken by now.
    assert!(wasted < 6_000_000, "{wasted} bytes in vain for {useful}");
}

/// So many failures, and before each another lane passes.
async fn fail_while_others_pass(bench: &Bench, state: &mut LaneState, times: u32) {
    for _ in 0..times {
        bench.fill(Lane::Logs, 1, 1, &[]).await;
        bench.work(Lane::Logs, &mut LaneState::default()).await;
        assert!(matches!(bench.exporter.step(Lane::Traces, state).await, Step::Wait(_)));
    }
}

#[tokio::test]
async fn a_batch_that_always_fails_while_others_pass_is_taken_apart() {
    for (count, per_row, poison) in
        [(200, 10, vec![73]), (200, 10, vec![0]), (200, 200, vec![199]), (64, 4, vec![0, 1, 2, 40])]
    {
        let bench = Bench::new(poison_gets(503)).await;
        let all = bench.fill(Lane::Traces, count, per_row, &poison).await;
        let mut state = LaneState::default();
        fail_while_others_pass(&bench, &mut state, 19).await;
        assert!(bench.collector.accepted("/v1/traces").is_empty());
        bench.work(Lane::Traces, &mut state).await;
        let found: Vec<String> = bench.reasons().await.into_iter().flat_map(|(names, _)| names).collect();
        let guilty: Vec<String> = poison.iter().map(|n| format!("poison-{n}")).collect();
        assert_eq!(found, guilty);
        // Only what a suspect was compared with may come twice.
        let mut arrived = bench.collector.accepted("/v1/traces");
        let mut first = BTreeSet::new();
        arrived.retain(|name| first.insert(name.clone()));
        assert_eq!(arrived, clean(&all));
        assert_eq!(bench.status(Lane::Traces).await.trouble, None);
    }
}

#[tokio::test]
async fn with_everything_failing_nothing_is_ever_set_aside() {
    let bench = Bench::new(|_| Answer::Status(503, "down")).await;
    let all = bench.fill(Lane::Traces, 100, 10, &[]).await;
    bench.fill(Lane::Logs, 100, 10, &[]).await;
    let (mut traces, mut logs) = (LaneState::default(), LaneState::default());
    for n in 1..=200 {
        assert!(matches!(bench.exporter.step(Lane::Traces, &mut traces).await, Step::Wait(_)));
        assert!(matches!(bench.exporter.step(Lane::Logs, &mut logs).await, Step::Wait(_)));
        assert_eq!(bench.collector.requests(), 2 * n);
    }
    assert!(bench.reasons().await.is_empty());
    bench.collector.becomes(|_| Answer::Accept);
    assert!(bench.exporter.drain().await);
    assert_eq!(bench.collector.accepted("/v1/traces"), all);
}

#[tokio::test]
async fn a_signal_that_is_down_for_long_is_not_stormed_and_not_blamed_on_its_items() {
    for count in [1, 30] {
        let bench = Bench::new(|seen| match seen.path.as_str() {
            "/v1/traces" => Answer::RetryAfter(503, 5),
            _ => Answer::Accept,
        })
        .await;
        let all = bench.fill(Lane::Traces, count, 3, &[]).await;
        let mut state = LaneState::default();
        for _ in 0..500 {
            bench.fill(Lane::Logs, 1, 1, &[]).await;
            bench.work(Lane::Logs, &mut LaneState::default()).await;
            let before = bench.collector.requests();
            let step = bench.exporter.step(Lane::Traces, &mut state).await;
            assert!(matches!(step, Step::Wait(wait) if wait >= Duration::from_secs(5)), "{step:?}");
            assert!(bench.collector.requests() - before <= 2);
        }
        assert!(bench.reasons().await.is_empty());
        bench.collector.becomes(|_| Answer::Accept);
        bench.work(Lane::Traces, &mut state).await;
        assert_eq!(bench.collector.accepted("/v1/traces"), all);
        assert_eq!(bench.refused(), 0);
    }
}

#[tokio::test]
async fn a_collector_that_goes_away_while_a_batch_is_taken_apart_costs_nothing() {
    for status in [400, 503] {
        for away_after in 1..25 {
            let away = Arc::new(AtomicBool::new(false));
            let (gone, requests) = (away.clone(), AtomicUsize::new(0));
            let bench = Bench::new(move |seen| {
                if seen.path != "/v1/traces" {
                    return Answer::Accept;
                }
                // The first twenty are needed to become suspicious.
                let first = if status == 503 { 20 } else { 0 };
                if requests.fetch_add(1, Ordering::SeqCst) >= first + away_after {
                    gone.store(true, Ordering::SeqCst);
                }
                match seen.poisoned() {
                    _ if gone.load(Ordering::SeqCst) => Answer::Status(503, "away"),
                    true => Answer::Status(status, "bad span"),
                    false => Answer::Accept,
                }
            })
            .await;
            let all = bench.fill(Lane::Traces, 40, 8, &[29]).await;
            let mut state = LaneState::default();
            if status == 503 {
                fail_while_others_pass(&bench, &mut state, 20).await;
            }
            for _ in 0..200 {
                bench.exporter.step(Lane::Traces, &mut state).await;
            }
            if bench.status(Lane::Traces).await.items > 0 {
                assert!(away.load(Ordering::SeqCst));
                assert_eq!(bench.status(Lane::Traces).await.items, 40, "all rows wait");
                assert!(bench.reasons().await.is_empty());
            }
            bench.collector.becomes(poison_gets(400));
            bench.work(Lane::Traces, &mut state).await;
            let mut arrived = bench.collector.accepted("/v1/traces");
            let mut first = BTreeSet::new();
            arrived.retain(|name| first.insert(name.clone()));
            assert_eq!(arrived, clean(&all), "{status}, away after {away_after}");
            assert_eq!(bench.reasons().await.len(), 1);
        }
    }
}

#[tokio::test]
async fn what_passed_once_is_not_sent_anew_when_a_split_is_interrupted() {
    // Every second request meets a rate limit: a split that started anew would never end.
    let turn = AtomicUsize::new(0);
    let bench = Bench::new(move |seen| match turn.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Answer::RetryAfter(429, 1),
        _ if seen.names.len() > 3 => Answer::Status(413, "too much"),
        _ => Answer::Accept,
    })
    .await;
    let all = bench.fill(Lane::Traces, 100, 100, &[]).await;
    bench.work(Lane::Traces, &mut LaneState::default()).await;
    assert_eq!(bench.collector.accepted("/v1/traces"), all);
}

#[tokio::test]
async fn rows_that_go_while_they_are_taken_apart_are_left_alone() {
    let bench = Bench::new(|seen| {
        if seen.names.len() > 2 { Answer::Status(413, "too much") } else { Answer::Status(503, "busy") }
    })
    .await;
    let gauges = |prefix: &str| {
        let names: Vec<String> = (0..8).map(|n| format!("{prefix}-{n}")).collect();
        Change::Gauges(vec![row(Lane::Gauges, &names)])
    };
    let mut state = LaneState::default();
    bench.store.change(gauges("old")).await.unwrap();
    for _ in 0..5 {
        bench.exporter.step(Lane::Gauges, &mut state).await;
    }
    bench.store.change(gauges("new")).await.unwrap();
    bench.collector.becomes(|_| Answer::Accept);
    bench.work(Lane::Gauges, &mut state).await;
    let arrived = bench.collector.accepted("/v1/metrics");
    assert_eq!(arrived.len(), 8);
    assert!(arrived.iter().all(|name| name.starts_with("new")), "{arrived:?}");
}

#[tokio::test]
async fn what_a_collector_drops_of_an_accepted_request_is_counted() {
    let bench = Bench::new(|_| Answer::Partial(3, "too old")).await;
    bench.fill(Lane::Traces, 10, 10, &[]).await;
    assert!(bench.exporter.drain().await);
    assert_eq!(bench.exporter.counters().rejected.load(Ordering::Relaxed), 3);
    assert_eq!(bench.sent(), 7);
    // One that claims to have dropped more than it was sent is not believed.
    bench.fill(Lane::Traces, 2, 1, &[]).await;
    assert!(bench.exporter.drain().await);
    assert_eq!(bench.exporter.counters().rejected.load(Ordering::Relaxed), 5);
    assert_eq!(bench.sent(), 7);
    assert_eq!(bench.status(Lane::Traces).await.items, 0);
}

#[tokio::test]
async fn a_crash_between_acceptance_and_deletion_sends_the_same_bytes_again() {
    let bench = Bench::new(|_| Answer::Hang).await;
    bench.fill(Lane::Traces, 30, 3, &[]).await;
    let mut state = LaneState::default();
    tokio::select! {
        step = bench.exporter.step(Lane::Traces, &mut state) => panic!("{step:?}"),
        () = bench.collector.hung.notified() => {}
    }
    bench.collector.becomes(|_| Answer::Accept);
    assert!(bench.exporter.drain().await);
    let log = bench.collector.log.lock().unwrap();
    assert_eq!(log.accepted.len(), 2);
    assert_eq!(log.accepted[0].body, log.accepted[1].body);
}

#[tokio::test]
async fn a_store_that_cannot_settle_is_asked_again_and_the_collector_is_not() {
    use sqlx::{ConnectOptions, Connection};
    let bench = Bench::new(poison_gets(400)).await;
    let Location::File(path) = &bench.location else { unreachable!() };
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let trigger = "CREATE TRIGGER stuck BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    sqlx::query(trigger).execute(&mut other).await.unwrap();
    bench.fill(Lane::Traces, 2, 1, &[1]).await;
    let mut state = LaneState::default();
    let mut requests = None;
    for _ in 0..30 {
        let step = bench.exporter.step(Lane::Traces, &mut state).await;
        if let Step::Wait(_) = step {
            let so_far = *requests.get_or_insert(bench.collector.requests());
            assert_eq!(bench.collector.requests(), so_far);
        }
    }
    assert_eq!(requests, Some(3), "the whole and its halves");
    assert_eq!(bench.status(Lane::Traces).await.items, 2);
    assert_eq!(bench.refused(), 0);

    sqlx::query("DROP TRIGGER stuck").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    bench.work(Lane::Traces, &mut state).await;
    assert_eq!(bench.collector.requests(), 3);
    assert_eq!((bench.refused(), bench.reasons().await.len()), (1, 1));
}

#[tokio::test]
async fn the_loop_ends_when_the_store_is_closed() {
    let bench = Bench::new(|_| Answer::Accept).await;
    let all = bench.fill(Lane::Traces, 5, 1, &[]).await;
    let exporter = bench.exporter.clone();
    let running = tokio::spawn(async move { exporter.run(Default::default()).await });
    // Once the rows are gone the lane is idle, or on its way there.
    let mut changed = bench.store.outbox_changed();
    while bench.status(Lane::Traces).await.rows > 0 {
        bench.store.settle().await.unwrap();
    }
    assert_eq!(bench.collector.accepted("/v1/traces"), all);
    bench.store.clone().close().await;
    assert!(changed.changed().await.is_err() || changed.changed().await.is_err());
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("it ends").unwrap();
    assert!(!bench.exporter.drain().await, "what a closed store holds is not called delivered");
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }
}

/// `CACHETSCOPE_SEED` replays one.
#[tokio::test]
async fn whatever_a_collector_does_all_arrives_in_order_once_it_is_well() {
    #[expect(clippy::disallowed_methods, reason = "replays a failure")]
    let seeds = match std::env::var("CACHETSCOPE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..24).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        println!("seed {seed}");
        weather(seed).await;
    }
}

async fn weather(seed: u64) {
    let mut moods = Dice(seed ^ 0xC0FFEE);
    let bench = Bench::new(move |seen| {
        if seen.poisoned() && moods.below(2) == 0 {
            return Answer::Status(400, "bad span");
        }
        match moods.below(12) {
            0 => Answer::Status(503, "busy"),
            1 => Answer::RetryAfter(429, 3),
            2 => Answer::Status(401, "who?"),
            3 => Answer::Nonsense("text/html", b"<html>"),
            4 => Answer::Nonsense(PROTOBUF, &[0xff; 9]),
            5 if seen.names.len() > 1 => Answer::Status(413, "too much"),
            6 => Answer::Status(500, "oops"),
            _ if seen.poisoned() => Answer::Status(400, "bad span"),
            _ => Answer::Accept,
        }
    })
    .await;
    let lanes = [Lane::Traces, Lane::Logs, Lane::Metrics];
    let path = |lane| match lane {
        Lane::Traces => "/v1/traces",
        Lane::Logs => "/v1/logs",
        _ => "/v1/metrics",
    };
    let mut dice = Dice(seed);
    let mut committed: BTreeMap<Lane, Vec<String>> = BTreeMap::new();
    let mut states: [LaneState; 3] = Default::default();
    for n in 0..300 {
        let at = dice.below(3) as usize;
        let lane = lanes[at];
        match dice.below(10) {
            0..=2 => {
                let name = |i, dice: &mut Dice| {
                    let kind = if dice.below(40) == 0 { "poison" } else { "item" };
                    format!("{kind}-{n}-{i}")
                };
                let names: Vec<String> = (0..=dice.below(12)).map(|i| name(i, &mut dice)).collect();
                bench.commit(vec![row(lane, &names)]).await;
                committed.entry(lane).or_default().extend(names);
            }
            // A restart: what the lane remembered is gone.
            3 if dice.below(4) == 0 => states[at] = LaneState::default(),
            _ => {
                bench.exporter.step(lane, &mut states[at]).await;
            }
        }
    }
    bench.collector.becomes(poison_gets(400));
    for (lane, state) in lanes.iter().zip(&mut states) {
        bench.work(*lane, state).await;
    }
    for (lane, all) in &committed {
        let mut arrived = bench.collector.accepted(path(*lane));
        let mut first = BTreeSet::new();
        arrived.retain(|name| first.insert(name.clone()));
        assert_eq!(arrived, clean(all), "seed {seed}, {lane:?}");
    }
    let mut refused: Vec<(Lane, String)> = Vec::new();
    for part in bench.store.outbox_refused(10_000).await.unwrap() {
        let lane = part.entry.lane;
        refused.extend(names(path(lane), &part.entry.body.into()).into_iter().map(|name| (lane, name)));
    }
    let mut guilty: Vec<(Lane, String)> = committed
        .iter()
        .flat_map(|(lane, all)| all.iter().map(|name| (*lane, name.clone())))
        .filter(|(_, name)| name.starts_with("poison"))
        .collect();
    refused.sort();
    guilty.sort();
    assert_eq!(refused, guilty, "seed {seed}");
}
