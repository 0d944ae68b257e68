//! What CI was told is safe is safe: `serve` is killed at random moments while 16 clients hand in a
//! thousand events, each again and again until it is acknowledged: steps whole or in two parts in
//! either order, batches, test runs and deployments. In the end every event is in the store once and
//! at the collector as one span and one log record, with all that belongs to it.
//!
//! `CACHETSCOPE_KILLS` says how often (12 in the ordinary run), and `CACHETSCOPE_TEST_SEED` replays a
//! run's moments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::model::{
    Case, CaseStatus, CiResult, Deploy, DeployStep, Event, EventKind, Flavour, Tests, Version,
};
use cachetscope::otlp::names;
use cachetscope::store::Store;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::parts::collector::{Collector, Measure, Received};
use crate::parts::daemon::Place;
use crate::parts::{Dice, eventually, variable};

const EVENTS: u64 = 1_000;
const CLIENTS: u64 = 16;

/// What is told of one event, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Whole,
    /// Its beginning, then its end.
    InParts,
    /// Its end, then its beginning.
    LateBeginning,
    /// Beginning and end in one request, beside an event that may be known already.
    Batch,
    /// A test run of three cases.
    Tests,
    /// A deployment of two steps.
    Deploy,
}

const MANNERS: [Manner; 6] =
    [Manner::Whole, Manner::InParts, Manner::LateBeginning, Manner::Batch, Manner::Tests, Manner::Deploy];
const CASES: u64 = 3;
const STEPS: u64 = 2;

fn manner(n: u64) -> Manner {
    MANNERS[n as usize % MANNERS.len()]
}

/// How many of all events are told in this manner.
fn told(wanted: Manner) -> u64 {
    (0..EVENTS).filter(|n| manner(*n) == wanted).count() as u64
}

/// All of the `n`th event. It took a second, an hour before `now`.
fn event(n: u64, now: Timestamp) -> Event {
    let mut event = Event::new("kill-test", "cachet/3.x", "1");
    event.step = Some(format!("step-{n}"));
    let started = now.minus(Duration::from_secs(3_600)).plus(Duration::from_millis(n));
    (event.started, event.finished) = (Some(started), Some(started.plus(Duration::from_secs(1))));
    event.result = Some(CiResult::Success);
    let seconds = 0.25;
    match manner(n) {
        Manner::Tests => {
            let case = |n| Case {
                class: String::new(),
                name: format!("case {n}"),
                status: CaseStatus::Pass,
                seconds: Some(seconds),
                message: None,
                mark: None,
            };
            event.tests = Some(Tests {
                suite: "unit".into(),
                cases: (0..CASES).map(case).collect(),
                ..Tests::default()
            });
        }
        Manner::Deploy => {
            (event.version, event.db) = (Version::parse("3.0.0"), Some(Flavour::Mysql));
            let step =
                |n| DeployStep { name: format!("part {n}"), seconds, offset_seconds: None, result: None };
            event.deploy = Some(Deploy { steps: (0..STEPS).map(step).collect(), ..Deploy::default() });
        }
        _ => {}
    }
    event
}

/// The requests that tell of it, and how many of their events are news: a part counts as one.
fn requests(n: u64, now: Timestamp) -> (Vec<Vec<Event>>, u64) {
    let whole = event(n, now);
    let (mut beginning, mut end) = (whole.clone(), whole.clone());
    (beginning.finished, beginning.result) = (None, None);
    end.started = None;
    match manner(n) {
        Manner::Whole | Manner::Tests | Manner::Deploy => (vec![vec![whole]], 1),
        Manner::InParts => (vec![vec![beginning], vec![end]], 2),
        Manner::LateBeginning => (vec![vec![end], vec![beginning]], 2),
        // Whoever is first tells the other one too.
        Manner::Batch => (vec![vec![beginning, end, event(0, now)]], 2),
    }
}

/// What the daemon answered; `None` when it was gone before it could.
async fn post(address: SocketAddr, body: &str) -> Option<(u16, serde_json::Value)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // A body that is cut off is no answer.
    Some((status, serde_json::from_str(body).ok()?))
}

#[derive(Default)]
struct Tally {
    acknowledged: AtomicU64,
    /// Of these, told to be new; the others were committed by a daemon that was killed before it
    /// could answer.
    accepted: AtomicU64,
    posts: AtomicU64,
}

/// Hands in every 16th event, each until it is acknowledged.
async fn client(first: u64, now: Timestamp, address: SocketAddr, turns: &Semaphore, tally: &Tally) {
    for n in (first..EVENTS).step_by(CLIENTS as usize) {
        turns.acquire().await.expect("it is never closed").forget();
        for request in requests(n, now).0 {
            let body = serde_json::to_string(&request).unwrap();
            let answer = eventually("an acknowledgement", async || {
                tally.posts.fetch_add(1, Ordering::Relaxed);
                let (status, answer) = post(address, &body).await?;
                assert!([200, 202, 503].contains(&status), "{status}: {answer}");
                (status != 503).then_some(answer)
            });
            let accepted = answer.await["accepted"].as_u64().unwrap();
            tally.accepted.fetch_add(accepted, Ordering::Relaxed);
        }
        tally.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Each event as one span, with what is below it, and one record; how often any came again.
fn check(received: &Received, now: Timestamp) -> usize {
    let numbers: BTreeMap<String, u64> = (0..EVENTS).map(|n| (event(n, now).span().to_string(), n)).collect();
    let expected: BTreeSet<String> = numbers.keys().cloned().collect();
    let mut spans = BTreeMap::new();
    let mut again = 0;
    for span in received.spans.iter().filter(|span| span.attributes.contains_key(names::TASK)) {
        if let Some(before) = spans.insert(span.id.clone(), span) {
            let grows = manner(numbers[&span.id]) == Manner::LateBeginning;
            assert!(before == span || grows, "a span changed when it was sent again: {before:?} {span:?}");
            again += 1;
        }
    }
    assert_eq!(spans.keys().cloned().collect::<BTreeSet<_>>(), expected, "one span for each event");
    for (id, span) in &spans {
        let told = event(numbers[id], now);
        let times = [told.started, told.finished].map(|at| u64::try_from(at.unwrap().0).unwrap());
        assert_eq!([span.start, span.end], times, "{told:?}");
    }
    for (name, parts) in
        [(names::TEST_CASE, CASES * told(Manner::Tests)), (names::STEP, STEPS * told(Manner::Deploy))]
    {
        let of = received.spans.iter().filter(|span| span.attributes.contains_key(name));
        let (ids, parents): (BTreeSet<_>, BTreeSet<_>) = of.map(|span| (&span.id, &span.parent)).unzip();
        assert_eq!(ids.len() as u64, parts, "{name}");
        assert!(parents.iter().all(|parent| expected.contains(*parent)), "{name}");
    }
    let records = received.logs.iter().filter(|record| record.event_name == names::CI_EVENT);
    let records: BTreeSet<String> = records.map(|record| record.span.clone()).collect();
    assert_eq!(records, expected, "one log record for each event");
    again
}

/// What the counter of events came to, over all kinds.
fn counted(received: &Received) -> u64 {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for point in received.points.iter().filter(|point| point.metric == names::EVENTS_RECEIVED.name) {
        let Measure::Number(number) = point.measure else { continue };
        let last = kinds.entry(format!("{:?}", point.attributes)).or_default();
        *last = (number as u64).max(*last);
    }
    kinds.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_survive_kills_and_are_counted_once() {
    let kills: u64 = variable("CACHETSCOPE_KILLS").map_or(12, |n| n.parse().expect("a number of kills"));
    let mut dice = Dice::new("kill_events");
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    place.write("fleet.yaml", "deployments: []\n");
    let mut collector = Collector::start(dir.path()).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    // Each life of the daemon has its share of the events, so that kills meet clients at work.
    let turns = Semaphore::new(0);
    let tally = Tally::default();
    let now = Clock::system().now();
    let clients = join_all((0..CLIENTS).map(|first| client(first, now, address, &turns, &tally)));
    let share = usize::try_from(EVENTS / (kills + 1)).unwrap();
    let lives = async {
        for _ in 0..kills {
            let before = tally.acknowledged.load(Ordering::Relaxed);
            let daemon = place.start_at(address, &collector.http_url(), "http/protobuf");
            turns.add_permits(share);
            let some = before + 1 + dice.below(share as u64 / 2);
            eventually("the daemon to be at work", async || {
                (tally.acknowledged.load(Ordering::Relaxed) >= some).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_micros(dice.below(20_000))).await;
            daemon.kill();
        }
        turns.add_permits(EVENTS as usize);
        place.start_at(address, &collector.http_url(), "http/protobuf")
    };
    let (_, daemon) = tokio::join!(clients, lives);
    assert!(daemon.stop(), "the last daemon stops well:\n{}", place.log());

    let store = Store::open(&place.location(), &Clock::system()).await.unwrap();
    let waiting: u64 =
        store.outbox_status().await.unwrap().iter().map(|lane| lane.items + lane.refused).sum();
    assert_eq!(waiting, 0, "the outbox is empty:\n{}", place.log());
    let mut rows = Vec::new();
    for kind in [EventKind::Step, EventKind::Tests, EventKind::Deploy] {
        rows.extend(store.events(kind, Timestamp(0), u32::MAX).await.unwrap());
    }
    let steps: BTreeSet<_> = rows.iter().map(|row| row.event.step.clone()).collect();
    assert_eq!((rows.len() as u64, steps.len() as u64), (EVENTS, EVENTS));
    assert!(rows.iter().all(|row| row.seconds() == Some(1.0)), "each knows when it began and ended");
    let tests = rows.iter().filter(|row| row.event.kind() == EventKind::Tests).map(|row| row.key);
    let results = store.test_results(&tests.collect::<Vec<_>>(), usize::MAX).await.unwrap();
    assert_eq!(results.len() as u64, CASES * told(Manner::Tests));
    store.close().await;

    collector.stop().await;
    let received = collector.received();
    let again = check(&received, now);
    assert_eq!(counted(&received), EVENTS, "each event is counted once");
    let [acknowledged, accepted, posts] =
        [&tally.acknowledged, &tally.accepted, &tally.posts].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(acknowledged, EVENTS);
    let news = (0..EVENTS).map(|n| requests(n, now).1).sum::<u64>();
    assert!(accepted <= news, "{accepted} of {news} were told to be new");
    println!(
        "{kills} kills, {CLIENTS} clients, {posts} posts: {acknowledged} events acknowledged ({accepted} as new), {} in \
         the store, {EVENTS} distinct spans at the collector ({again} sent again)",
        rows.len()
    );
}
