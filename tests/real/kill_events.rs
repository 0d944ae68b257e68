//! What CI was told is safe is safe: `serve` is killed at random moments while 16 clients hand in a
//! thousand events, each again and again until it is acknowledged. In the end every event is in the
//! store once and at the collector as one span and one log record.
//!
//! `CACHETSCOPE_KILLS` says how often (12 in the ordinary run), and `CACHETSCOPE_TEST_SEED` replays a
//! run's moments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::model::{CiResult, Event, EventKind};
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

fn event(n: u64) -> Event {
    let mut event = Event::new("kill-test", "cachet/3.x", "1");
    event.step = Some(format!("step-{n}"));
    event.started = Some(Clock::system().now());
    event.finished = event.started;
    event.result = Some(CiResult::Success);
    event
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
async fn client(first: u64, address: SocketAddr, turns: &Semaphore, tally: &Tally) {
    for n in (first..EVENTS).step_by(CLIENTS as usize) {
        turns.acquire().await.expect("it is never closed").forget();
        let body = serde_json::to_string(&event(n)).unwrap();
        let answer = eventually("an acknowledgement", async || {
            tally.posts.fetch_add(1, Ordering::Relaxed);
            let (status, answer) = post(address, &body).await?;
            assert!([200, 202, 503].contains(&status), "{status}: {answer}");
            (status != 503).then_some(answer)
        });
        let accepted = answer.await["accepted"].as_u64().unwrap();
        tally.accepted.fetch_add(accepted, Ordering::Relaxed);
        tally.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Each event as one span and one record; how often any came again.
fn check(received: &Received) -> usize {
    let expected: BTreeSet<String> = (0..EVENTS).map(|n| event(n).span().to_string()).collect();
    let mut spans = BTreeMap::new();
    let mut again = 0;
    for span in received.spans.iter().filter(|span| span.attributes.contains_key(names::TASK)) {
        if let Some(first) = spans.insert(span.id.clone(), span) {
            assert_eq!(first, span, "a span changed when it was sent again");
            again += 1;
        }
    }
    assert_eq!(spans.into_keys().collect::<BTreeSet<_>>(), expected, "one span for each event");
    let records = received.logs.iter().filter(|record| record.event_name == names::CI_EVENT);
    let records: BTreeSet<String> = records.map(|record| record.span.clone()).collect();
    assert_eq!(records, expected, "one log record for each event");
    again
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
    let clients = join_all((0..CLIENTS).map(|first| client(first, address, &turns, &tally)));
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
    let rows = store.events(EventKind::Step, cachetscope::clock::Timestamp(0), u32::MAX).await.unwrap();
    let steps: BTreeSet<_> = rows.iter().map(|row| row.event.step.clone()).collect();
    assert_eq!((rows.len() as u64, steps.len() as u64), (EVENTS, EVENTS));
    store.close().await;

    collector.stop().await;
    let received = collector.received();
    let again = check(&received);
    let counted = received.points.iter().filter(|point| point.metric == names::EVENTS_RECEIVED.name);
    let counted = counted.filter_map(|point| match point.measure {
        Measure::Number(number) => Some(number as u64),
        Measure::Histogram { .. } => None,
    });
    assert_eq!(counted.max(), Some(EVENTS), "each event is counted once");
    let [acknowledged, accepted, posts] =
        [&tally.acknowledged, &tally.accepted, &tally.posts].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(acknowledged, EVENTS);
    assert!(accepted <= EVENTS, "{accepted} were told to be new");
    println!(
        "{kills} kills, {CLIENTS} clients, {posts} posts: {acknowledged} events acknowledged ({accepted} as new), {} in \
         the store, {EVENTS} distinct spans at the collector ({again} sent again, unchanged)",
        rows.len()
    );
}
