//! What the store promises, as scenarios that SQLite and PostgreSQL both go through.

use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::Timestamp;
use cachetscope::model::{Deployment, Flavour, Outcome, TraceId};
use cachetscope::store::{
    Change, DeploymentRow, Lane, Refused, Retention, Series, Store, StoreError, deployment_key,
};

use crate::parts::facts::{self, DURATION, RUNS, after, deployment, failed, passed, round, run, skipped};
use crate::parts::home::{Home, drain, waiting};

/// One test for each scenario on each database.
macro_rules! on_both {
    ($($scenario:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Home::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Home::postgres().await).await;
            })*
        }
    };
}

pub(crate) use on_both;

on_both! {
    facts_are_committed_with_their_telemetry_or_not_at_all,
    a_run_committed_twice_is_stored_once_with_all_that_came_with_it,
    facts_of_which_only_some_are_known_are_refused_whole,
    cumulative_series_add_up_across_commits_and_reopening,
    an_exemplar_stands_for_the_last_of_its_bucket,
    a_retired_deployment_ends_its_series_and_coming_back_resumes_them,
    a_new_build_takes_over_the_series_of_its_labels,
    a_series_that_grew_after_it_was_read_is_not_closed,
    rows_of_a_lane_leave_in_order_and_by_bytes,
    entries_of_one_transaction_share_rows,
    refused_parts_are_kept_aside_and_retried_or_dropped,
    gauges_replace_what_still_waits,
    snapshots_are_thinned_by_age,
    the_limit_takes_snapshots_first_and_counts_what_goes,
    the_limit_holds_refused_metrics_too,
    old_samples_become_hourly_summaries,
    a_late_run_is_added_to_the_summary_of_its_hour,
    retention_keeps_the_last_round_of_every_suite,
    all_of_64_producers_are_committed,
    a_bad_job_takes_no_other_with_it,
    what_waits_is_written_when_the_store_closes,
    runs_and_samples_are_read_as_they_were_written,
    many_readers_at_once_do_not_starve_each_other,
    a_reader_that_goes_away_leaves_nothing_open,
    failures_are_the_newest_that_did_not_pass,
    request_times_are_of_answered_first_attempts,
    a_zero_byte_in_a_text_loses_nothing,
    the_outbox_says_when_something_new_waits,
    the_store_keeps_its_identity,
    what_a_deployment_reports_stays_with_its_build,
    a_store_of_a_newer_program_is_refused,
}

fn three() -> Arc<Deployment> {
    deployment("three", "3.0.0", Flavour::Sqlite)
}

async fn series(store: &Store, metric: &str) -> Series {
    let all = store.series().await.expect("the series can be read");
    let mut found = all.into_iter().filter(|s| s.metric == metric);
    let one = found.next().unwrap_or_else(|| panic!("no series of {metric}"));
    assert!(found.next().is_none(), "more than one series of {metric}");
    one
}

async fn fleet(store: &Store, at: Timestamp, deployments: &[Arc<Deployment>]) {
    let deployments = deployments.iter().map(|d| DeploymentRow::from(&**d)).collect();
    store.change(Change::Fleet { deployments, at }).await.expect("the fleet is taken over");
}

async fn facts_are_committed_with_their_telemetry_or_not_at_all(home: Home) {
    let store = home.open().await;
    let good = facts::simple_facts(after(0), &three());
    let trace = good.runs[0].trace;
    store.commit(good).await.unwrap();

    let mut bad = facts::simple_facts(after(30), &three());
    bad.outbox.push(facts::entry(Lane::Logs, after(30), b"log"));
    break_outbox(&home).await;
    assert!(store.commit(bad).await.is_err());

    assert_eq!(store.runs(deployment_key(&three()), 10).await.unwrap().len(), 1);
    assert_eq!(home.number("SELECT COUNT(*) FROM samples").await, 1);
    assert_eq!(series(&store, RUNS).await.count, 1);
    assert_eq!(waiting(&store, Lane::Traces).await, [trace.0]);
    assert!(waiting(&store, Lane::Logs).await.is_empty());
}

/// From now on the database refuses rows of lane `logs`, which are written last.
async fn break_outbox(home: &Home) {
    match &home.location {
        cachetscope::store::Location::File(_) => {
            home.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON outbox WHEN NEW.lane = 'logs' \
                 BEGIN SELECT RAISE(ABORT, 'refused by the test'); END",
            )
            .await;
        }
        cachetscope::store::Location::Postgres(_) => {
            home.execute("ALTER TABLE outbox ADD CONSTRAINT refuse CHECK (lane <> 'logs')").await;
        }
    }
}

async fn a_run_committed_twice_is_stored_once_with_all_that_came_with_it(home: Home) {
    let store = home.open().await;
    for _ in 0..2 {
        store.commit(facts::simple_facts(after(0), &three())).await.unwrap();
    }
    let store = home.reopen(store).await;
    store.commit(facts::simple_facts(after(0), &three())).await.unwrap();

    assert_eq!(store.runs(deployment_key(&three()), 10).await.unwrap().len(), 1);
    assert_eq!(home.number("SELECT COUNT(*) FROM samples").await, 1);
    assert_eq!(series(&store, RUNS).await.count, 1);
    assert_eq!(series(&store, DURATION).await.buckets[0].count, 1);
    assert_eq!(waiting(&store, Lane::Traces).await.len(), 1);
    assert_eq!(store.health().dropped_runs(), 0);
}

async fn facts_of_which_only_some_are_known_are_refused_whole(home: Home) {
    let store = home.open().await;
    store.commit(facts::simple_facts(after(0), &three())).await.unwrap();
    let mut both = facts::simple_facts(after(0), &three());
    let new = facts::simple_facts(after(30), &three());
    both.runs.extend(new.runs);
    both.increments.extend(new.increments);
    both.outbox.extend(new.outbox);

    let answer = store.commit(both).await;
    assert!(matches!(answer, Err(StoreError::PartlyKnown { known: 1, runs: 2 })), "{answer:?}");
    assert_eq!(store.runs(deployment_key(&three()), 10).await.unwrap().len(), 1);
    assert_eq!(series(&store, RUNS).await.count, 1);
}

async fn cumulative_series_add_up_across_commits_and_reopening(home: Home) {
    let mut store = home.open().await;
    for n in 0..6 {
        let asked = [passed("ping", 5), passed("components", 50), passed("incidents", 500)];
        store.commit(facts::facts(run(&round(after(30 * n)), &three(), &asked))).await.unwrap();
        if n % 2 == 1 {
            store = home.reopen(store).await;
        }
    }
    let runs = series(&store, RUNS).await;
    assert_eq!((runs.count, runs.started, runs.buckets.len()), (6, after(0), 0));
    assert_eq!(runs.attributes, r#"[["deployment","three"]]"#);
    let duration = series(&store, DURATION).await;
    assert_eq!((duration.count, duration.started), (18, after(0)));
    assert!((duration.sum - 6.0 * 0.555).abs() < 1e-9, "{}", duration.sum);
    let buckets: Vec<_> = duration.buckets.iter().map(|b| (b.index, b.count)).collect();
    assert_eq!(buckets, [(0, 6), (1, 6), (2, 6)]);
}

async fn an_exemplar_stands_for_the_last_of_its_bucket(home: Home) {
    let store = home.open().await;
    for (n, ms) in [(0, 5), (1, 50), (2, 7)] {
        let facts = facts::facts(run(&round(after(30 * n)), &three(), &[passed("ping", ms)]));
        store.commit(facts).await.unwrap();
    }
    let mut without = facts::facts(run(&round(after(90)), &three(), &[passed("ping", 6)]));
    without.increments[1].exemplar = None;
    store.commit(without).await.unwrap();

    let duration = series(&store, DURATION).await;
    let [fast, slow] = &duration.buckets[..] else { panic!("two buckets, not {duration:?}") };
    assert_eq!((fast.count, slow.count), (3, 1));
    let trace = round(after(60)).id.trace(&three().key());
    let exemplar = fast.exemplar.as_ref().expect("an exemplar");
    assert_eq!((exemplar.value, exemplar.at, exemplar.trace), (0.007, after(60), trace));
    assert_eq!(exemplar.span, trace.attempt_span("ping", 0));
}

async fn a_retired_deployment_ends_its_series_and_coming_back_resumes_them(home: Home) {
    let store = home.open().await;
    fleet(&store, after(0), &[three()]).await;
    store.commit(facts::simple_facts(after(0), &three())).await.unwrap();
    let one = series(&store, RUNS).await;
    assert!(!one.retired && !one.opened);
    let all: Vec<_> = store.series().await.unwrap().iter().map(|s| (s.key, s.count)).collect();
    let opened = all.iter().map(|(key, _)| *key).collect();
    let entries = vec![facts::snapshot(after(10), 2, 10)];
    store.change(Change::Snapshot { entries, opened, closed: vec![], at: after(10) }).await.unwrap();
    assert!(series(&store, RUNS).await.opened);

    fleet(&store, after(60), &[]).await;
    assert_eq!(store.deployments().await.unwrap()[0].retired, Some(after(60)));
    assert!(series(&store, RUNS).await.retired);
    let end = Change::Snapshot { entries: vec![], opened: vec![], closed: all, at: after(70) };
    store.change(end).await.unwrap();
    assert_eq!(store.series().await.unwrap(), []);

    fleet(&store, after(120), &[three()]).await;
    store.commit(facts::simple_facts(after(120), &three())).await.unwrap();
    let resumed = series(&store, RUNS).await;
    assert_eq!((resumed.count, resumed.started), (2, after(0)));
    assert!(resumed.opened && !resumed.retired);
    let row = &store.deployments().await.unwrap()[0];
    assert_eq!((row.name.as_str(), row.version.as_str(), row.retired), ("three", "3.0.0", None));
}

async fn a_new_build_takes_over_the_series_of_its_labels(home: Home) {
    let store = home.open().await;
    let build = |digest: &str| {
        let mut deployment = three().as_ref().clone();
        deployment.digest = Some(digest.to_owned());
        Arc::new(deployment)
    };
    fleet(&store, after(0), &[build("sha256:1")]).await;
    store.commit(facts::simple_facts(after(0), &build("sha256:1"))).await.unwrap();
    fleet(&store, after(30), &[build("sha256:2")]).await;
    assert!(series(&store, RUNS).await.retired, "nothing of the new build counts yet");

    store.commit(facts::simple_facts(after(60), &build("sha256:2"))).await.unwrap();
    let taken = series(&store, RUNS).await;
    assert_eq!((taken.count, taken.retired), (2, false));
}

async fn a_series_that_grew_after_it_was_read_is_not_closed(home: Home) {
    let store = home.open().await;
    fleet(&store, after(0), &[three()]).await;
    store.commit(facts::simple_facts(after(0), &three())).await.unwrap();
    fleet(&store, after(10), &[]).await;
    let read: Vec<_> = store.series().await.unwrap().iter().map(|s| (s.key, s.count)).collect();
    // The last run was under way when its deployment was retired.
    store.commit(facts::simple_facts(after(9), &three())).await.unwrap();
    let end = Change::Snapshot { entries: vec![], opened: vec![], closed: read, at: after(11) };
    store.change(end).await.unwrap();

    assert_eq!(series(&store, RUNS).await.count, 2);
}

async fn rows_of_a_lane_leave_in_order_and_by_bytes(home: Home) {
    let store = home.open().await;
    for n in 0..5_u8 {
        let outbox = vec![
            facts::entry(Lane::Traces, after(n.into()), &[n; 100]),
            facts::entry(Lane::Logs, after(n.into()), &[100 + n; 10]),
        ];
        store.commit(cachetscope::store::Facts { outbox, ..Default::default() }).await.unwrap();
    }
    let next = store.outbox_next(Lane::Traces, 250).await.unwrap();
    let bodies: Vec<_> = next.iter().map(|w| w.body[0]).collect();
    assert_eq!(bodies, [0, 1], "100 bytes each, 250 allowed");
    assert!(next[0].id < next[1].id && next[0].created == after(0) && next[0].items == 1);
    assert_eq!(store.outbox_next(Lane::Traces, 1).await.unwrap().len(), 1, "one always comes");

    let ids = next.iter().map(|w| w.id).collect();
    assert_eq!(store.change(Change::Delivered(ids)).await.unwrap(), 2);
    let store = home.reopen(store).await;
    let left: Vec<_> = waiting(&store, Lane::Traces).await.iter().map(|b| b[0]).collect();
    assert_eq!(left, [2, 3, 4]);
    let logs: Vec<_> = drain(&store, Lane::Logs).await.iter().map(|b| b[0]).collect();
    assert_eq!(logs, [100, 101, 102, 103, 104]);

    let status = store.outbox_status().await.unwrap();
    assert_eq!(status.iter().map(|s| s.lane).collect::<Vec<_>>(), Lane::ALL);
    let traces = &status[Lane::Traces as usize];
    assert_eq!((traces.rows, traces.items, traces.bytes, traces.refused), (3, 3, 300, 0));
    assert_eq!(traces.oldest, Some(after(2)));
    assert_eq!((status[Lane::Logs as usize].rows, status[Lane::Logs as usize].oldest), (0, None));
}

async fn entries_of_one_transaction_share_rows(home: Home) {
    let store = home.open().await;
    // 100 × 10 kB of one lane: rows hold 256 KiB at most, and entries are never cut.
    let outbox = (0..100).map(|n| facts::entry(Lane::Traces, after(0), &[n; 10_000])).collect();
    store.commit(cachetscope::store::Facts { outbox, ..Default::default() }).await.unwrap();
    let rows = store.outbox_next(Lane::Traces, usize::MAX).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.items).collect::<Vec<_>>(), [26, 26, 26, 22]);
    let all: Vec<u8> = rows.iter().flat_map(|r| &r.body).step_by(10_000).copied().collect();
    assert_eq!(all, (0..100).collect::<Vec<u8>>());

    // A body larger than a row has one of its own, and comes alone.
    let outbox =
        vec![facts::entry(Lane::Logs, after(0), &vec![1; 300_000]), facts::entry(Lane::Logs, after(0), &[2])];
    store.commit(cachetscope::store::Facts { outbox, ..Default::default() }).await.unwrap();
    assert_eq!(store.outbox_next(Lane::Logs, 1_000).await.unwrap()[0].body.len(), 300_000);
    assert_eq!(waiting(&store, Lane::Logs).await.len(), 2);
}

async fn refused_parts_are_kept_aside_and_retried_or_dropped(home: Home) {
    let store = home.open().await;
    for n in 0..3_u8 {
        let mut whole = facts::entry(Lane::Traces, after(n.into()), &[n; 8]);
        whole.items = 4;
        let outbox = vec![whole];
        store.commit(cachetscope::store::Facts { outbox, ..Default::default() }).await.unwrap();
    }
    let rows = store.outbox_next(Lane::Traces, usize::MAX).await.unwrap();
    let ids = rows[..2].iter().map(|r| r.id).collect();
    let part = |n: u8, reason: &str| Refused {
        id: 0,
        entry: facts::entry(Lane::Traces, after(n.into()), &[n; 2]),
        reason: reason.to_owned(),
    };
    let refused = Change::Refused { ids, parts: vec![part(0, "400: bad"), part(1, "400: worse")] };
    assert_eq!(store.change(refused).await.unwrap(), 2);

    let store = home.reopen(store).await;
    assert_eq!(waiting(&store, Lane::Traces).await, [[2; 8]]);
    let kept = store.outbox_refused(10).await.unwrap();
    let words: Vec<_> = kept.iter().map(|r| (r.reason.as_str(), r.entry.body.as_slice())).collect();
    assert_eq!(words, [("400: bad", &[0; 2][..]), ("400: worse", &[1; 2][..])]);
    assert_eq!((kept[0].entry.lane, kept[0].entry.created, kept[0].entry.items), (Lane::Traces, after(0), 1));
    let status = &store.outbox_status().await.unwrap()[Lane::Traces as usize];
    assert_eq!((status.rows, status.items, status.refused), (1, 4, 2));

    assert_eq!(store.change(Change::Retry(Some(vec![kept[1].id, rows[2].id]))).await.unwrap(), 1);
    assert_eq!(waiting(&store, Lane::Traces).await, [vec![2; 8], vec![1; 2]]);
    assert_eq!(
        store.change(Change::Drop(Some(vec![rows[2].id]))).await.unwrap(),
        0,
        "it waits, it is not refused"
    );
    assert_eq!(store.change(Change::Drop(None)).await.unwrap(), 1);
    assert_eq!(store.change(Change::Retry(None)).await.unwrap(), 0);
    assert_eq!(drain(&store, Lane::Traces).await.len(), 2);
}

async fn gauges_replace_what_still_waits(home: Home) {
    let store = home.open().await;
    for n in 0..3_u8 {
        let gauges = Change::Gauges(vec![facts::entry(Lane::Gauges, after(n.into()), &[n])]);
        let replaced = store.change(gauges).await.unwrap();
        assert_eq!(replaced, u64::from(n > 0));
    }
    assert_eq!(waiting(&store, Lane::Gauges).await, [[2]]);

    let row = store.outbox_next(Lane::Gauges, 1).await.unwrap()[0].id;
    let part = Refused { id: 0, entry: facts::entry(Lane::Gauges, after(2), &[2]), reason: "400".into() };
    store.change(Change::Refused { ids: vec![row], parts: vec![part] }).await.unwrap();
    store.change(Change::Gauges(vec![facts::entry(Lane::Gauges, after(3), &[3])])).await.unwrap();
    assert_eq!(waiting(&store, Lane::Gauges).await, [[3]]);
    assert_eq!(store.outbox_refused(10).await.unwrap().len(), 1, "what was refused stays to be seen");
}

async fn add_snapshots(store: &Store, entries: Vec<cachetscope::store::Entry>) {
    let at = entries[0].created;
    store.change(Change::Snapshot { entries, opened: vec![], closed: vec![], at }).await.unwrap();
}

async fn snapshots_are_thinned_by_age(home: Home) {
    let store = home.open().await;
    let now = after(4 * 3_600);
    let (ten_minutes, two_hours) = (after(4 * 3_600 - 600), after(2 * 3_600));
    for n in 0..4 * 60 * 4 {
        add_snapshots(&store, vec![facts::snapshot(after(15 * n), 3, 1)]).await;
    }
    // The first and the last points of series are history of their own: never superseded.
    add_snapshots(&store, vec![facts::entry(Lane::Metrics, after(1), &[9])]).await;
    let gone = store.change(Change::Thin { now }).await.unwrap();

    let kept = home.numbers("SELECT snapshot_ns FROM outbox WHERE snapshot_ns IS NOT NULL ORDER BY id").await;
    let kept: Vec<i64> = kept.into_iter().map(|row| row[0].unwrap()).collect();
    let between = |from: Timestamp, to: Timestamp| kept.iter().filter(|t| (from.0..to.0).contains(t)).count();
    assert_eq!(between(after(0), two_hours), 12, "one in ten minutes");
    assert_eq!(between(two_hours, ten_minutes), 110, "one a minute");
    assert_eq!(between(ten_minutes, now), 40, "all of the last ten minutes");
    assert_eq!(gone, 3 * (960 - 12 - 110 - 40));
    let last_of_first_slot = after(600 - 15).0;
    assert_eq!(kept[0], last_of_first_slot, "the last of a slot stays");
    assert_eq!(home.number("SELECT COUNT(*) FROM outbox WHERE snapshot_ns IS NULL").await, 1);
    assert_eq!(store.change(Change::Thin { now }).await.unwrap(), 0);
}

async fn the_limit_takes_snapshots_first_and_counts_what_goes(home: Home) {
    let store = home.open().await;
    for n in 0..10 {
        add_snapshots(&store, vec![facts::snapshot(after(n), 5, 1_000)]).await;
        let outbox = vec![facts::entry(Lane::Traces, after(n), &[1; 1_000])];
        store.commit(cachetscope::store::Facts { outbox, ..Default::default() }).await.unwrap();
    }
    assert_eq!(store.change(Change::Limit { bytes_max: 20_000 }).await.unwrap(), 0);
    assert_eq!(store.change(Change::Limit { bytes_max: 15_000 }).await.unwrap(), 5 * 5);
    let status = store.outbox_status().await.unwrap();
    let rows = |lane: Lane| status[lane as usize].rows;
    assert_eq!((rows(Lane::Metrics), rows(Lane::Traces)), (5, 10));
    assert_eq!(status[Lane::Metrics as usize].oldest, Some(after(5)), "the oldest went");

    // The newest snapshot stands for all before it, so it stays; then the oldest spans go.
    assert_eq!(store.change(Change::Limit { bytes_max: 5_500 }).await.unwrap(), 4 * 5 + 6);
    let status = store.outbox_status().await.unwrap();
    assert_eq!(status[Lane::Metrics as usize].oldest, Some(after(9)));
    assert_eq!(status[Lane::Traces as usize].oldest, Some(after(6)));
}

async fn the_limit_holds_refused_metrics_too(home: Home) {
    let store = home.open().await;
    let part = |lane, n| Refused {
        id: 0,
        entry: facts::entry(lane, after(n), &[1; 1_000]),
        reason: "400: no".to_owned(),
    };
    for n in 0..10 {
        let parts = vec![part(Lane::Metrics, n), part(Lane::Gauges, n)];
        store.change(Change::Refused { ids: vec![], parts }).await.unwrap();
    }
    let outbox = vec![facts::entry(Lane::Traces, after(0), &[1; 1_000])];
    store.commit(cachetscope::store::Facts { outbox, ..Default::default() }).await.unwrap();

    assert_eq!(store.change(Change::Limit { bytes_max: 5_000 }).await.unwrap(), 16);
    let status = store.outbox_status().await.unwrap();
    assert_eq!(status[Lane::Metrics as usize].refused + status[Lane::Gauges as usize].refused, 4);
    assert_eq!(status[Lane::Traces as usize].rows, 1, "what waits stays while what was refused can go");
}

fn retention() -> Retention {
    let day = Duration::from_secs(86_400);
    Retention { raw: day, hourly: 10 * day, bytes_max: u64::MAX }
}

async fn retain(store: &Store, now: Timestamp) -> u64 {
    store.change(Change::Retain { retention: retention(), now }).await.unwrap()
}

async fn old_samples_become_hourly_summaries(home: Home) {
    let store = home.open().await;
    fleet(&store, after(0), &[three()]).await;
    // Within an hour: 1 … 100 ms, of which every tenth failed; then one unanswered, one skipped.
    for n in 1..=100_u64 {
        let outcome = if n % 10 == 0 { Outcome::Fail } else { Outcome::Pass };
        let asked = match outcome {
            Outcome::Pass => passed("ping", n),
            _ => failed("ping", outcome, Some(n)),
        };
        let at = after(30 * i64::try_from(n).unwrap());
        store.commit(facts::facts(run(&round(at), &three(), &[asked]))).await.unwrap();
    }
    let asked = [failed("ping", Outcome::Unreachable, None), skipped("components")];
    store.commit(facts::facts(run(&round(after(3_500)), &three(), &asked))).await.unwrap();
    store.commit(facts::simple_facts(after(3_600), &three())).await.unwrap();

    let day = 86_400;
    assert_eq!(retain(&store, after(day + 3_599)).await, 0, "the hour is not over");
    assert_eq!(retain(&store, after(day + 3_600)).await, 102);
    let summary = home
        .numbers("SELECT hour_ns, samples, failures, min_ns, p50_ns, p90_ns, p99_ns, max_ns FROM hours")
        .await;
    let ms = |n: i64| Some(n * 1_000_000);
    let expected = [Some(after(0).0), Some(101), Some(11), ms(1), ms(50), ms(90), ms(99), ms(100)];
    assert_eq!(summary, [expected], "nearest rank over the answered first attempts");
    assert_eq!(store.runs(deployment_key(&three()), 1_000).await.unwrap().len(), 1);
    assert_eq!(home.number("SELECT COUNT(*) FROM samples").await, 1);
    assert_eq!(home.number("SELECT COUNT(*) FROM rounds").await, 1);

    retain(&store, after(9 * day)).await;
    assert_eq!(home.number("SELECT COUNT(*) FROM hours").await, 2);
    retain(&store, after(10 * day + 1)).await;
    assert_eq!(home.number("SELECT COUNT(*) FROM hours").await, 1, "summaries end too");
}

async fn a_late_run_is_added_to_the_summary_of_its_hour(home: Home) {
    let store = home.open().await;
    fleet(&store, after(0), &[three()]).await;
    let now = after(2 * 86_400);
    store.commit(facts::facts(run(&round(after(0)), &three(), &[passed("ping", 10)]))).await.unwrap();
    assert_eq!(retain(&store, now).await, 1);
    // It was held while the disk was full.
    let late = [failed("ping", Outcome::Fail, Some(30))];
    store.commit(facts::facts(run(&round(after(60)), &three(), &late))).await.unwrap();
    assert_eq!(retain(&store, now).await, 1);

    let summary = home.numbers("SELECT samples, failures, min_ns, max_ns FROM hours").await;
    assert_eq!(summary, [[Some(2), Some(1), Some(10_000_000), Some(30_000_000)]]);
}

async fn retention_keeps_the_last_round_of_every_suite(home: Home) {
    let store = home.open().await;
    fleet(&store, after(0), &[three()]).await;
    store.commit(facts::simple_facts(after(0), &three())).await.unwrap();
    store.commit(facts::simple_facts(after(30), &three())).await.unwrap();
    assert_eq!(retain(&store, after(3 * 86_400)).await, 2);
    assert_eq!(home.number("SELECT COUNT(*) FROM rounds").await, 1);
    assert_eq!(store.last_round("cachet").await.unwrap(), Some(after(30)));
    assert_eq!(store.last_round("another").await.unwrap(), None);
}

async fn all_of_64_producers_are_committed(home: Home) {
    const PRODUCERS: i64 = 64;
    const RUNS_EACH: i64 = 16;
    let store = home.open().await;
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|p| {
            let store = store.clone();
            tokio::spawn(async move {
                let deployment = deployment(&format!("d{p}"), "2.4.1", Flavour::Mysql);
                for n in 0..RUNS_EACH {
                    store.commit(facts::simple_facts(after(30 * n), &deployment)).await.unwrap();
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    let (commits, _) = store.health().commits();
    assert!(commits < 1_024, "{commits} transactions for 1,024 commits: none were grouped");

    let store = home.reopen(store).await;
    assert_eq!(home.number("SELECT COUNT(*) FROM runs").await, PRODUCERS * RUNS_EACH);
    assert_eq!(home.number("SELECT COUNT(*) FROM rounds").await, RUNS_EACH);
    let all = store.series().await.unwrap();
    assert_eq!(all.len(), 2 * 64);
    assert!(all.iter().all(|s| s.count == 16), "{all:?}");
    let bodies = drain(&store, Lane::Traces).await.concat();
    let mut traces: Vec<_> = bodies.chunks(16).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 1_024, "each once");
}

async fn a_bad_job_takes_no_other_with_it(home: Home) {
    let store = home.open().await;
    break_outbox(&home).await;
    let jobs: Vec<_> = (0..40)
        .map(|n| {
            let mut facts = facts::simple_facts(after(30 * n), &three());
            if n % 8 == 3 {
                facts.outbox.push(facts::entry(Lane::Logs, after(n), b"log"));
            }
            let store = store.clone();
            tokio::spawn(async move { store.commit(facts).await })
        })
        .collect();
    for (n, job) in jobs.into_iter().enumerate() {
        let answer = job.await.unwrap();
        assert_eq!(answer.is_err(), n % 8 == 3, "job {n}: {answer:?}");
    }
    assert_eq!(store.runs(deployment_key(&three()), 100).await.unwrap().len(), 35);
    assert_eq!(series(&store, RUNS).await.count, 35);
    assert!(store.health().trouble().is_none(), "a bad job is no trouble of the store");
}

async fn what_waits_is_written_when_the_store_closes(home: Home) {
    let store = home.open().await;
    let other = store.clone();
    for n in 0..1_000 {
        store.submit(facts::simple_facts(after(30 * n), &three())).unwrap();
    }
    store.close().await;
    assert!(matches!(other.commit(facts::simple_facts(after(-30), &three())).await, Err(StoreError::Closed)));
    assert!(matches!(other.submit(facts::simple_facts(after(-30), &three())), Err(StoreError::Closed)));
    assert_eq!(other.health().dropped_runs(), 1, "nothing is dropped uncounted");
    drop(other);

    let store = home.open().await;
    assert_eq!(home.number("SELECT COUNT(*) FROM runs").await, 1_000);
    assert_eq!(series(&store, RUNS).await.count, 1_000);
}

async fn runs_and_samples_are_read_as_they_were_written(home: Home) {
    let store = home.open().await;
    let key = deployment_key(&three());
    for n in 0..5 {
        let retried = facts::Asked {
            request: "components",
            outcome: Outcome::Pass,
            attempts_ms: vec![None, Some(40)],
            detail: "",
        };
        let asked =
            [passed("ping", 10 + n), retried, failed("status", Outcome::Fail, Some(7)), skipped("a-last")];
        let at = after(30 * i64::try_from(n).unwrap());
        store.commit(facts::facts(run(&round(at), &three(), &asked))).await.unwrap();
    }
    let runs = store.runs(key, 3).await.unwrap();
    assert_eq!(runs.iter().map(|r| r.started).collect::<Vec<_>>(), [after(120), after(90), after(60)]);
    let last = &runs[0];
    assert_eq!((last.deployment, last.round, last.suite.as_str()), (key, round(after(120)).id, "cachet"));
    assert_eq!((last.outcome, last.duration_ns), (Outcome::Fail, 5_061_000_000));
    assert_eq!(last.latency_ns, Some(7_000_000), "the lower median of 7 and 14");
    assert_eq!(last.trace, Some(last.round.trace(&three().key())));

    let samples = store.run_samples(key, last.round).await.unwrap();
    let names: Vec<_> = samples.iter().map(|s| s.request.as_str()).collect();
    assert_eq!(names, ["ping", "components", "status", "a-last"], "in the order they were taken");
    let [ping, components, status, skipped] = &samples[..] else { unreachable!() };
    assert_eq!(ping.phases.unwrap().total(), Duration::from_millis(14));
    assert_eq!((ping.outcome, ping.attempts, ping.status, ping.error), (Outcome::Pass, 1, Some(200), None));
    assert!(components.passed_on_retry() && components.status.is_none() && components.error.is_none());
    assert_eq!(status.error, Some(cachetscope::model::ErrorType::Check));
    assert_eq!(status.detail, "expected status 200, found another");
    assert_eq!((skipped.attempts, skipped.phases, skipped.outcome), (0, None, Outcome::Skipped));
    assert_eq!(store.run_samples(key, round(after(1)).id).await.unwrap(), []);
    assert_eq!(store.run_samples(key + 1, last.round).await.unwrap(), []);

    let pings = store.samples(key, Some("ping"), after(60), 10).await.unwrap();
    let totals: Vec<_> = pings.iter().map(|s| s.phases.unwrap().total().as_millis()).collect();
    assert_eq!(totals, [14, 13, 12], "since a minute after the start, newest first");
    assert_eq!(store.samples(key, None, after(0), 7).await.unwrap().len(), 7);
    assert_eq!(store.last_round("cachet").await.unwrap(), Some(after(120)));
    assert!(store.size_bytes().await.unwrap() > 10_000);
}

async fn many_readers_at_once_do_not_starve_each_other(home: Home) {
    let store = home.open().await;
    store.commit(facts::simple_facts(after(0), &three())).await.unwrap();
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.run_samples(deployment_key(&three()), round(after(0)).id).await })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap().len(), 1);
    }
}

async fn a_reader_that_goes_away_leaves_nothing_open(home: Home) {
    let store = home.open().await;
    // A page that is closed while it loads drops the future at any point it waits at.
    for n in 0..200 {
        let polls = n % 12;
        let mut reading = Box::pin(store.series());
        for _ in 0..polls {
            let ready = futures_util::poll!(&mut reading).is_ready();
            if ready {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(reading);
        if n % 20 == 0 {
            store.commit(facts::simple_facts(after(30 * n), &three())).await.unwrap();
            // Every connection of the pool sees what was committed, and can write.
            let seen = futures_util::future::join_all((0..4).map(|_| series(&store, RUNS))).await;
            let expected = u64::try_from(n / 20 + 1).unwrap();
            assert!(seen.iter().all(|s| s.count == expected), "{seen:?}");
        }
    }
    assert_eq!(store.health().dropped_runs(), 0);
}

async fn failures_are_the_newest_that_did_not_pass(home: Home) {
    let store = home.open().await;
    for n in 0..20 {
        let asked = match n % 4 {
            0 => vec![failed("ping", Outcome::Unreachable, None), skipped("components")],
            1 => vec![failed("ping", Outcome::Degraded, Some(900))],
            2 => vec![passed("ping", 3), failed("components", Outcome::Fail, Some(4))],
            _ => vec![passed("ping", 3)],
        };
        store.commit(facts::facts(run(&round(after(30 * n)), &three(), &asked))).await.unwrap();
    }
    let failures = store.failures(after(0), 4).await.unwrap();
    let outcomes: Vec<_> = failures.iter().map(|f| (f.sample.started, f.sample.outcome)).collect();
    let at = |n: i64| after(30 * n);
    let (fail, degraded, unreachable) = (Outcome::Fail, Outcome::Degraded, Outcome::Unreachable);
    let components = at(18).plus(Duration::from_millis(3));
    let before = at(14).plus(Duration::from_millis(3));
    assert_eq!(outcomes, [(components, fail), (at(17), degraded), (at(16), unreachable), (before, fail)]);
    let trace: Option<TraceId> = failures[1].trace;
    assert_eq!(trace, Some(round(at(17)).id.trace(&three().key())));
    assert_eq!(store.failures(at(18), 10).await.unwrap().len(), 1);
}

async fn request_times_are_of_answered_first_attempts(home: Home) {
    let store = home.open().await;
    let key = deployment_key(&three());
    for n in 1..=100_u64 {
        let at = after(30 * i64::try_from(n).unwrap());
        let status = match n % 10 {
            0 => failed("status", Outcome::Unreachable, None),
            _ => failed("status", Outcome::Fail, Some(n)),
        };
        store.commit(facts::facts(run(&round(at), &three(), &[passed("ping", n), status]))).await.unwrap();
    }
    let times = store.request_times(key, after(0), 10_000).await.unwrap();
    let [ping, status] = &times[..] else { panic!("two requests, not {times:?}") };
    let ms = |n: u64| Some(n * 1_000_000);
    assert_eq!((ping.request.as_str(), ping.samples, ping.failures), ("ping", 100, 0));
    assert_eq!((ping.median_ns, ping.p90_ns, ping.last), (ms(50), ms(90), Outcome::Pass));
    assert_eq!(ping.recent_ns, (61..=100).filter_map(ms).collect::<Vec<_>>(), "oldest first");
    assert_eq!((status.samples, status.failures, status.last), (100, 100, Outcome::Unreachable));
    assert_eq!(status.recent_ns.last().copied(), ms(99), "an unanswered one has no time");
    assert_eq!(store.request_times(key, after(30 * 100), 10_000).await.unwrap()[0].samples, 1);
    assert_eq!(store.request_times(key + 1, after(0), 10).await.unwrap(), []);
}

async fn a_zero_byte_in_a_text_loses_nothing(home: Home) {
    let store = home.open().await;
    let mut facts = facts::facts(run(&round(after(0)), &three(), &[failed("ping", Outcome::Fail, Some(1))]));
    facts.runs[0].samples[0].detail = "found `a\0b`".to_owned();
    store.commit(facts).await.unwrap();
    let failure = &store.failures(after(0), 1).await.unwrap()[0];
    assert_eq!(failure.sample.detail, "found `a\u{fffd}b`");
}

async fn the_outbox_says_when_something_new_waits(home: Home) {
    let store = home.open().await;
    let mut changed = store.outbox_changed();
    changed.mark_unchanged();
    store.commit(facts::simple_facts(after(0), &three())).await.unwrap();
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();

    // An exporter that woke itself by what it delivered would never rest.
    drain(&store, Lane::Traces).await;
    fleet(&store, after(0), &[three()]).await;
    assert!(!changed.has_changed().unwrap());
    store.change(Change::Gauges(vec![facts::entry(Lane::Gauges, after(0), &[1])])).await.unwrap();
    assert!(changed.has_changed().unwrap());
}

async fn what_a_deployment_reports_stays_with_its_build(home: Home) {
    let store = home.open().await;
    fleet(&store, after(0), &[three()]).await;
    let key = deployment_key(&three());
    let report = |version: &str| Change::Reported { key, version: version.to_owned() };
    assert_eq!(store.change(report("3.x-dev")).await.unwrap(), 1);
    assert_eq!(store.change(report("3.x-dev")).await.unwrap(), 0, "nothing new is no write");
    fleet(&store, after(30), &[three()]).await;
    let mut rebuilt = three().as_ref().clone();
    rebuilt.digest = Some("sha256:2".to_owned());
    fleet(&store, after(60), &[Arc::new(rebuilt)]).await;
    let known = store.deployments().await.unwrap();
    let shown: Vec<_> = known.iter().map(|d| (d.digest.as_str(), d.reported.as_str())).collect();
    assert_eq!(shown, [("sha256:2", ""), ("", "3.x-dev")]);
}

async fn the_store_keeps_its_identity(home: Home) {
    let store = home.open().await;
    let id = store.id().to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4);
    let store = home.reopen(store).await;
    assert_eq!(store.id(), id);
}

async fn a_store_of_a_newer_program_is_refused(home: Home) {
    home.open().await.close().await;
    home.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 1000 + version, 'of the future', success, checksum, 1 FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    let error = home.try_open().await.err().expect("a newer schema is refused");
    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("newer"), "{error}");
}
