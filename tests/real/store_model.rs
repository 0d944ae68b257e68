//! The outbox against the simplest model of it: a list.

use std::time::Duration;

use cachetscope::clock::Timestamp;
use cachetscope::store::{Change, Entry, Facts, Lane, Refused, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::parts::Dice;
use crate::parts::facts::{START, entry};
use crate::parts::home::Home;

/// Something the daemon does to its outbox.
#[derive(Clone, Debug)]
enum Step {
    Add(Lane, usize),
    Snapshot(usize),
    Gauges(usize),
    /// So many of the oldest of a lane are accepted.
    Deliver(Lane, usize),
    /// The oldest of a lane is refused, in so many parts; the rest of it was accepted.
    Refuse(Lane, usize),
    RetryAll,
    /// One refused row, counted from the oldest.
    Retry(usize),
    DropAll,
    Drop(usize),
    Thin,
    Limit(u64),
    /// Seconds pass.
    Wait(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || prop::sample::select(Lane::ALL.to_vec());
    let size = || 1..2_000_usize;
    prop_oneof![
        6 => (prop::sample::select(vec![Lane::Traces, Lane::Logs]), size()).prop_map(|(l, n)| Step::Add(l, n)),
        6 => size().prop_map(Step::Snapshot),
        2 => size().prop_map(Step::Gauges),
        3 => (lane(), 1..4_usize).prop_map(|(l, n)| Step::Deliver(l, n)),
        2 => (lane(), 0..3_usize).prop_map(|(l, n)| Step::Refuse(l, n)),
        1 => Just(Step::RetryAll),
        1 => (0..4_usize).prop_map(Step::Retry),
        1 => Just(Step::DropAll),
        1 => (0..4_usize).prop_map(Step::Drop),
        2 => Just(Step::Thin),
        2 => (0..20_000_u64).prop_map(Step::Limit),
        6 => (1..1_200_u64).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Debug)]
struct Row {
    entry: Entry,
    refused: bool,
}

#[derive(Default)]
struct Model {
    rows: Vec<Row>,
    made: u32,
}

impl Model {
    /// A body that no other row has.
    fn body(&mut self, bytes: usize) -> Vec<u8> {
        self.made += 1;
        let mut body = self.made.to_le_bytes().to_vec();
        body.resize(bytes.max(4), 0);
        body
    }

    fn add(&mut self, entry: Entry) {
        self.rows.push(Row { entry, refused: false });
    }

    fn waiting(&self, lane: Lane) -> impl Iterator<Item = &Entry> {
        self.rows.iter().filter(move |r| !r.refused && r.entry.lane == lane).map(|r| &r.entry)
    }

    fn refused(&self) -> Vec<&Entry> {
        self.rows.iter().filter(|r| r.refused).map(|r| &r.entry).collect()
    }

    /// Removes what `goes` says of a row; the number of items that went.
    fn remove(&mut self, mut goes: impl FnMut(&Row) -> bool) -> u64 {
        let mut items = 0;
        self.rows.retain(|row| {
            let gone = goes(row);
            items += u64::from(gone) * u64::from(row.entry.items);
            !gone
        });
        items
    }

    /// Within one slot of a minute (after two hours: of ten) the last stays.
    fn thin(&mut self, now: Timestamp) -> u64 {
        let slot = |taken: Timestamp| {
            let minutes = match now.0 - taken.0 {
                age if age > 7_200 * 1_000_000_000 => 10,
                age if age > 600 * 1_000_000_000 => 1,
                _ => return None,
            };
            Some((minutes, taken.0.div_euclid(minutes * 60 * 1_000_000_000)))
        };
        let taken: Vec<Timestamp> = self.waiting(Lane::Metrics).filter_map(|e| e.snapshot).collect();
        let superseded = |t: Timestamp| {
            slot(t).is_some() && taken.iter().any(|later| *later > t && slot(*later) == slot(t))
        };
        self.remove(|row| !row.refused && row.entry.snapshot.is_some_and(superseded))
    }

    fn limit(&mut self, bytes_max: u64) -> u64 {
        let total: u64 = self.rows.iter().map(|r| r.entry.body.len() as u64).sum();
        let mut excess = total.saturating_sub(bytes_max);
        let newest = self.waiting(Lane::Metrics).filter_map(|e| e.snapshot).max();
        let mut items = 0;
        for class in 0..3 {
            items += self.remove(|row| {
                let lane = row.entry.lane;
                let of_class = match class {
                    0 => row.entry.snapshot.is_some_and(|t| Some(t) < newest),
                    1 => row.refused && matches!(lane, Lane::Metrics | Lane::Gauges),
                    _ => matches!(lane, Lane::Traces | Lane::Logs),
                };
                let goes = of_class && excess > 0;
                if goes {
                    excess = excess.saturating_sub(row.entry.body.len() as u64);
                }
                goes
            });
        }
        items
    }
}

async fn ids(store: &Store, lane: Lane) -> Vec<i64> {
    store.outbox_next(lane, usize::MAX).await.expect("the outbox").iter().map(|w| w.id).collect()
}

async fn nth_refused(store: &Store, n: usize) -> Vec<i64> {
    store.outbox_refused(100).await.expect("the outbox").get(n).map(|r| r.id).into_iter().collect()
}

/// Takes the step in the store and in the model; what both say they touched, where both say it.
async fn take(store: &Store, model: &mut Model, now: Timestamp, step: &Step) -> Option<(u64, u64)> {
    let change = async |change| store.change(change).await.expect("a change");
    match step {
        Step::Add(lane, bytes) => {
            let entry = entry(*lane, now, &model.body(*bytes));
            store
                .commit(Facts { outbox: vec![entry.clone()], ..Default::default() })
                .await
                .expect("a commit");
            model.add(entry);
            None
        }
        Step::Snapshot(bytes) => {
            let taken = Entry { snapshot: Some(now), ..entry(Lane::Metrics, now, &model.body(*bytes)) };
            let entries = vec![taken.clone()];
            change(Change::Snapshot { entries, opened: vec![], closed: vec![], at: now }).await;
            model.add(taken);
            None
        }
        Step::Gauges(bytes) => {
            let gauges = entry(Lane::Gauges, now, &model.body(*bytes));
            let replaced = change(Change::Gauges(vec![gauges.clone()])).await;
            let expected = model.remove(|r| !r.refused && r.entry.lane == Lane::Gauges);
            model.add(gauges);
            Some((replaced, expected))
        }
        Step::Deliver(lane, n) => {
            let first: Vec<i64> = ids(store, *lane).await.into_iter().take(*n).collect();
            let delivered = change(Change::Delivered(first)).await;
            let mut left = *n;
            let expected = model.remove(|r| {
                let goes = !r.refused && r.entry.lane == *lane && left > 0;
                left -= usize::from(goes);
                goes
            });
            Some((delivered, expected))
        }
        Step::Refuse(lane, parts) => {
            let id = ids(store, *lane).await.first().copied()?;
            let refused: Vec<Refused> = (0..*parts)
                .map(|n| Refused {
                    id: 0,
                    entry: entry(*lane, now, &model.body(10 + n)),
                    reason: "400".into(),
                })
                .collect();
            let count = change(Change::Refused { ids: vec![id], parts: refused.clone() }).await;
            let mut first = true;
            model.remove(|r| !r.refused && r.entry.lane == *lane && std::mem::take(&mut first));
            model.rows.extend(refused.into_iter().map(|r| Row { entry: r.entry, refused: true }));
            Some((count, *parts as u64))
        }
        Step::RetryAll => {
            let expected = model.refused().len() as u64;
            model.rows.iter_mut().for_each(|r| r.refused = false);
            Some((change(Change::Retry(None)).await, expected))
        }
        Step::Retry(n) => {
            let which = nth_refused(store, *n).await;
            let expected = which.len() as u64;
            if let Some(row) = model.rows.iter_mut().filter(|r| r.refused).nth(*n) {
                row.refused = false;
            }
            Some((change(Change::Retry(Some(which))).await, expected))
        }
        Step::DropAll => {
            let expected = model.remove(|r| r.refused);
            Some((change(Change::Drop(None)).await, expected))
        }
        Step::Drop(n) => {
            let which = nth_refused(store, *n).await;
            let mut seen = 0;
            let expected = model.remove(|r| {
                seen += usize::from(r.refused);
                r.refused && seen == n + 1
            });
            Some((change(Change::Drop(Some(which))).await, expected))
        }
        Step::Thin => Some((change(Change::Thin { now }).await, model.thin(now))),
        Step::Limit(bytes_max) => {
            Some((change(Change::Limit { bytes_max: *bytes_max }).await, model.limit(*bytes_max)))
        }
        Step::Wait(_) | Step::Reopen => None,
    }
}

/// Whether the store shows what the model holds.
async fn compare(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    let status = store.outbox_status().await.expect("the outbox");
    for lane in Lane::ALL {
        let rows = store.outbox_next(lane, usize::MAX).await.expect("the outbox");
        let shown: Vec<_> = rows.iter().map(|w| (w.created, w.items, w.body.as_slice())).collect();
        let held: Vec<_> =
            model.waiting(lane).map(|e| (e.created, u64::from(e.items), e.body.as_slice())).collect();
        prop_assert_eq!(&shown, &held, "what waits in {:?}", lane);

        let status = &status[lane as usize];
        let bytes: usize = held.iter().map(|(_, _, body)| body.len()).sum();
        let refused = model.refused().iter().filter(|e| e.lane == lane).count();
        prop_assert_eq!((status.rows, status.bytes), (held.len() as u64, bytes as u64), "{:?}", lane);
        prop_assert_eq!(status.oldest, held.iter().map(|(created, ..)| *created).min(), "{:?}", lane);
        prop_assert_eq!(status.refused, refused as u64, "{:?}", lane);
    }
    let refused = store.outbox_refused(1_000).await.expect("the outbox");
    let shown: Vec<_> = refused.iter().map(|r| r.entry.body.as_slice()).collect();
    let held: Vec<_> = model.refused().iter().map(|e| e.body.as_slice()).collect();
    prop_assert_eq!(shown, held, "what was refused");
    Ok(())
}

async fn play(home: Home, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut store = home.open().await;
    let mut model = Model::default();
    let mut now = START;
    for (n, step) in steps.iter().enumerate() {
        // No two snapshots are taken in one instant.
        now = now.plus(Duration::from_nanos(1));
        match step {
            Step::Wait(seconds) => now = now.plus(Duration::from_secs(*seconds)),
            Step::Reopen => store = home.reopen(store).await,
            step => {
                if let Some((said, expected)) = take(&store, &mut model, now, step).await {
                    prop_assert_eq!(said, expected, "step {}: {:?} says what it touched", n, step);
                }
            }
        }
        compare(&store, &model).await?;
    }
    store.close().await;
    Ok(())
}

fn hold_against_the_model(test: &str, cases: u32, home: impl AsyncFn() -> Home) {
    let mut dice = Dice::new(test);
    let seed: Vec<u8> = (0..4).flat_map(|_| dice.next().to_le_bytes()).collect();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
        runtime.block_on(async { play(home().await, steps).await })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn the_outbox_is_a_list_on_sqlite() {
    hold_against_the_model("the_outbox_is_a_list_on_sqlite", 24, async || Home::sqlite());
}

#[test]
fn the_outbox_is_a_list_on_postgres() {
    hold_against_the_model("the_outbox_is_a_list_on_postgres", 24, async || Home::postgres().await);
}
