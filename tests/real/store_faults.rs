//! The store in bad weather: a full disk, a lock, kills, a server that goes away.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cachetscope::model::{Deployment, Flavour};
use cachetscope::store::{
    Change, DeploymentRow, Lane, Location, Retention, Store, StoreError, deployment_key,
};

use crate::parts::child;
use crate::parts::facts::{self, RUNS, after, deployment};
use crate::parts::home::{Home, drain, waiting};
use crate::parts::postgres::Postgres;
use crate::parts::{Dice, eventually};

fn named(n: i64) -> Arc<Deployment> {
    deployment(&format!("d{n}"), "3.0.0", Flavour::Sqlite)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_handle_on_a_file_is_refused_and_told_who_holds_it() {
    let home = Home::sqlite();
    let store = home.open().await;
    let error = home.try_open().await.err().expect("the file is held");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    assert!(text.contains("--state-dir"), "{text}");

    // It stays held until what was queued is written, whoever still holds a handle.
    let other = store.clone();
    store.close().await;
    home.open().await.close().await;
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let home = Home::sqlite();
    let Location::File(path) = &home.location else { unreachable!() };
    std::fs::write(path, "these are somebody's notes, longer than a page header\n".repeat(20)).unwrap();
    let before = std::fs::read(path).unwrap();
    let error = home.try_open().await.err().expect("no database");
    assert!(error.to_string().contains("not a database"), "{error}");
    assert_eq!(std::fs::read(path).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_store_holds_what_arrives_until_the_lock_goes() {
    let home = Home::sqlite();
    let store = home.open().await;
    store.commit(facts::simple_facts(after(0), &named(0))).await.unwrap();
    let mut other = home.sqlite_connection().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let held = tokio::spawn({
        let store = store.clone();
        async move { store.commit(facts::simple_facts(after(30), &named(0))).await }
    });
    let (_, words) =
        eventually("the store to say that it is locked", async || store.health().trouble()).await;
    assert!(words.contains("locked"), "{words}");
    assert_eq!(store.runs(deployment_key(&named(0)), 10).await.unwrap().len(), 1, "reading goes on");
    assert!(!held.is_finished());

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    held.await.unwrap().unwrap();
    assert!(store.health().trouble().is_none());
    assert_eq!(store.runs(deployment_key(&named(0)), 10).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_too_large_gives_up_its_oldest_samples_and_shrinks() {
    let home = Home::sqlite();
    let store = home.open().await;
    let deployments = vec![DeploymentRow::from(&*named(0))];
    store.change(Change::Fleet { deployments, at: after(0) }).await.unwrap();
    const HOURS: i64 = 6;
    for n in 0..HOURS * 10 {
        let mut facts = facts::simple_facts(after(360 * n), &named(0));
        facts.runs[0].samples[0].detail = "x".repeat(20_000);
        store.commit(facts).await.unwrap();
    }
    let full = store.size_bytes().await.unwrap();
    assert!(full > 1_200_000, "{full}");
    let now = after(3_600 * HOURS - 1);
    let retain = async |bytes_max| {
        let retention = Retention { bytes_max, ..Retention::default() };
        store.change(Change::Retain { retention, now }).await.unwrap()
    };
    assert_eq!(retain(2 * full).await, 0, "neither old nor too large");
    let gone = retain(full / 2).await;
    assert!((20..=40).contains(&gone), "{gone} of 60 samples went to halve the file");
    let oldest = store.runs(deployment_key(&named(0)), 100).await.unwrap().pop().unwrap().started;
    assert_eq!(oldest, after(360 * i64::try_from(gone).unwrap()), "the oldest went");
    assert_eq!(
        home.number("SELECT CAST(SUM(samples) AS BIGINT) FROM hours").await,
        i64::try_from(gone).unwrap()
    );
    let shrunk = store.size_bytes().await.unwrap();
    assert!(shrunk <= full / 2, "{full} bytes became {shrunk}, not half of it");

    // Whatever the size, the hour that still grows is not summed up.
    while retain(1).await > 0 {}
    assert_eq!(store.runs(deployment_key(&named(0)), 100).await.unwrap().len(), 10);
}

/// What `PRAGMA integrity_check` found, as `ok` or its words.
async fn integrity(home: &Home) -> String {
    let mut connection = home.sqlite_connection().await;
    sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_holds_what_arrives_until_there_is_space() {
    if let Some(dir) = child::role() {
        return on_a_small_disk(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "store_faults::a_full_disk_holds_what_arrives_until_there_is_space";
    let output = child::again_on_small_disk(test, dir.path(), 128).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && words.contains("all 2280 are there"),
        "{words}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Takes all space but so many bytes.
fn fill_disk(file: &Path, leave: u64) {
    let mut filler = std::fs::File::create(file).unwrap();
    let full = loop {
        if let Err(error) = filler.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let length = filler.metadata().unwrap().len();
    filler.set_len(length - leave).unwrap();
}

async fn on_a_small_disk(dir: &Path) {
    const PRODUCERS: i64 = 64;
    const RUNS_EACH: i64 = 20;
    let home = Home::file(dir.join("store.db"));
    let filler = dir.join("filler");
    let store = home.open().await;
    fill_disk(&filler, 256 * 1024);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|p| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..RUNS_EACH {
                    store.commit(facts::simple_facts(after(30 * n), &named(p))).await.unwrap();
                }
            })
        })
        .collect();
    let (_, words) =
        eventually("the store to say that the disk is full", async || store.health().trouble()).await;
    assert!(words.contains("full") && words.contains("free some space"), "{words}");
    let before = home.number("SELECT COUNT(*) FROM runs").await;
    assert!(before < PRODUCERS * RUNS_EACH, "{before} were committed on a full disk");
    assert_eq!(store.outbox_status().await.unwrap().len(), 4, "reading goes on");

    std::fs::remove_file(&filler).unwrap();
    for producer in producers {
        producer.await.unwrap();
    }
    assert!(store.health().trouble().is_none());
    let all = usize::try_from(PRODUCERS * RUNS_EACH).unwrap();
    assert_eq!(check_consistency(&home, &store, PRODUCERS).await.len(), all);

    // Closing waits for the disk too, while anybody still holds a handle.
    const SUBMITTED: i64 = 1_000;
    fill_disk(&filler, 128 * 1024);
    for n in 0..SUBMITTED {
        let mut facts = facts::simple_facts(after(-30 * (n + 1)), &named(0));
        // More than what the write-ahead log has room for within what it took before.
        facts.runs[0].samples[0].detail = "x".repeat(20_000);
        store.submit(facts).unwrap();
    }
    let closing = tokio::time::timeout(Duration::from_millis(700), store.clone().close()).await;
    assert!(closing.is_err(), "the store closed although the disk is full");
    assert!(store.health().trouble().is_some());
    std::fs::remove_file(&filler).unwrap();
    let again = eventually("the store to be closed", async || home.try_open().await.ok()).await;
    let all = all + usize::try_from(SUBMITTED).unwrap();
    assert_eq!(check_consistency(&home, &again, PRODUCERS).await.len(), all);
    assert_eq!(store.health().dropped_runs(), 0);
    again.close().await;
    assert_eq!(integrity(&home).await, "ok");
    println!("all {all} are there");
}

/// Every run has its sample, its place in the counters, and its span in the outbox, once.
async fn check_consistency(home: &Home, store: &Store, deployments: i64) -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    for n in 0..deployments {
        let runs = store.runs(deployment_key(&named(n)), 1_000_000).await.unwrap();
        traces.extend(runs.into_iter().filter_map(|r| r.trace).map(|t| t.to_string()));
    }
    let runs = i64::try_from(traces.len()).unwrap();
    assert_eq!(home.number("SELECT COUNT(*) FROM runs").await, runs);
    assert_eq!(home.number("SELECT COUNT(*) FROM samples").await, runs);
    let counted: u64 =
        store.series().await.unwrap().iter().filter(|s| s.metric == RUNS).map(|s| s.count).sum();
    assert_eq!(counted, traces.len() as u64);
    assert_eq!(home.number("SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM buckets").await, runs);
    assert_eq!(
        home.number("SELECT CAST(COALESCE(SUM(items), 0) AS BIGINT) FROM outbox WHERE lane = 'traces'").await,
        runs
    );
    traces
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    const KILLS: i64 = 20;
    const PRODUCERS: i64 = 8;
    if let Some(dir) = child::role() {
        return commit_until_killed(&dir, PRODUCERS).await;
    }
    let mut dice = Dice::new("what_was_acknowledged_survives_kill_9");
    let dir = tempfile::tempdir().unwrap();
    let home = Home::file(dir.path().join("store.db"));
    let mut acknowledged = BTreeSet::new();
    for kill in 0..KILLS {
        std::fs::write(dir.path().join("kill"), kill.to_string()).unwrap();
        let mut child = child::again("store_faults::what_was_acknowledged_survives_kill_9", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Now and then before anything is acknowledged: while the store opens.
        let wanted = if dice.below(5) == 0 { 0 } else { dice.below(300) };
        let mut heard = 0;
        // At the end of the pipe everything that was said before the kill has been heard.
        for line in lines {
            if let Some(trace) = line.strip_prefix("committed ") {
                acknowledged.insert(trace.to_owned());
                heard += 1;
            }
            if heard == wanted {
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended by itself: {status}");

        let store = home.open().await;
        let kept = check_consistency(&home, &store, PRODUCERS).await;
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert!(lost.is_empty(), "kill {kill} after {heard}: {lost:?} were acknowledged");
        store.close().await;
        assert_eq!(integrity(&home).await, "ok");
    }
    assert!(!acknowledged.is_empty());
    let store = home.open().await;
    let kept = check_consistency(&home, &store, PRODUCERS).await;
    let sent: BTreeSet<String> = drain(&store, Lane::Traces)
        .await
        .concat()
        .chunks(16)
        .map(|b| b.iter().map(|b| format!("{b:02x}")).collect())
        .collect();
    assert_eq!(sent, kept, "the outbox tells of every run and of nothing else");
    println!("{KILLS} kills: {} acknowledged, {} kept", acknowledged.len(), kept.len());
}

async fn commit_until_killed(dir: &Path, producers: i64) {
    let kill: i64 = std::fs::read_to_string(dir.join("kill")).unwrap().parse().unwrap();
    let store = Home::file(dir.join("store.db")).open().await;
    let producers: Vec<_> = (0..producers)
        .map(|p| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..1_000_000 {
                    let facts = facts::simple_facts(after(30 * (1_000_000 * kill + n)), &named(p));
                    let trace = facts.runs[0].trace;
                    store.commit(facts).await.unwrap();
                    println!("committed {trace}");
                }
            })
        })
        .collect();
    futures_util::future::join_all(producers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drops_connections_loses_nothing() {
    let home = Home::postgres().await;
    let store = home.open().await;
    let mut committed = 0;
    for kick in 0..4 {
        let producers = (0..8).map(|p| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    let at = after(30 * (100 * kick + n));
                    store.commit(facts::simple_facts(at, &named(p))).await.unwrap();
                }
            })
        });
        let producers: Vec<_> = producers.collect();
        home.execute(
            "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid(); END $$",
        )
        .await;
        for producer in producers {
            producer.await.unwrap();
        }
        committed += 80;
    }
    assert_eq!(check_consistency(&home, &store, 8).await.len(), committed);
    assert_eq!(store.health().dropped_runs(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_and_comes_back_loses_nothing() {
    let server = Postgres::alone();
    // The test servers answer before they write, which is not what this is about.
    let url = format!("{}?options[synchronous_commit]=on", server.fresh_database().await);
    let home = Home::postgres_at(url);
    let store = home.open().await;
    store.commit(facts::simple_facts(after(0), &named(0))).await.unwrap();
    server.stop();
    let held: Vec<_> = (1..20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(facts::simple_facts(after(30 * n), &named(0))).await })
        })
        .collect();
    eventually("the store to say that the server is away", async || store.health().trouble()).await;
    server.start_again();
    for commit in held {
        commit.await.unwrap().unwrap();
    }
    assert!(store.health().trouble().is_none());
    assert_eq!(check_consistency(&home, &store, 1).await.len(), 20);
    assert_eq!(waiting(&store, Lane::Logs).await, Vec::<Vec<u8>>::new());
    store.close().await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_on_one_server_neither_deadlock_nor_lose_counts() {
    let home = Home::postgres().await;
    let (one, two) = tokio::join!(home.open(), home.open());
    assert_eq!(one.id(), two.id(), "opened at once, they are still one store");
    let writers = [one.clone(), two].into_iter().zip(0..).flat_map(|(store, daemon)| {
        (0..8).map(move |p| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..25 {
                    let mut facts = facts::simple_facts(after(30 * n), &named(8 * daemon + p));
                    // All of them count into the same thirty series, each in an order of its own.
                    for k in 0..30 {
                        let mut shared = facts.increments[1].clone();
                        let place = (k * 7 + p + 11 * daemon + n) % 30;
                        shared.attributes = format!(r#"[["shared","{place}"]]"#);
                        facts.increments.push(shared);
                    }
                    store.commit(facts).await.unwrap();
                }
            })
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let all = one.series().await.unwrap();
    let shared: Vec<_> = all.iter().filter(|s| s.attributes.contains("shared")).collect();
    assert_eq!(shared.len(), 30);
    assert_eq!(shared.iter().map(|s| s.count).sum::<u64>(), 16 * 25 * 30);
    assert!(shared.iter().all(|s| s.buckets[0].count == s.count), "{shared:?}");
}

#[test]
fn a_missing_part_names_the_command_that_installs_it() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "harness::what_a_real_collector_accepts_is_read_back", "--nocapture"])
        .env_remove("CACHETSCOPE_TEST_OTELCOL")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("CACHETSCOPE_TEST_OTELCOL is not set: run `make test`"), "{words}");
}
