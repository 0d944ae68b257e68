//! What becomes of a one-shot's telemetry: delivered, spooled for the next one, or lost and said so.

use cachetscope::demo::Fault;
use cachetscope::model::Flavour;
use serde_json::json;
use tokio::process::Command;

use crate::rig::{Collector, Home, Member, Ran, V3, finish};

/// One span for the run, and one for each request of the shipped suite.
const SPANS: usize = 13;

async fn one() -> (Home, Member) {
    let home = Home::new();
    let member = Member::start("cachet-3", V3, Flavour::Sqlite).await;
    home.fleet([&member]);
    (home, member)
}

fn once(home: &Home, arguments: &[&str]) -> Command {
    home.command(["probe", "--once"].iter().chain(arguments))
}

async fn delivering(home: &Home, collector: &Collector, arguments: &[&str]) -> Ran {
    finish(once(home, arguments).env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).await
}

#[tokio::test]
async fn without_a_collector_telemetry_is_spooled_and_the_next_run_delivers_both() {
    let (home, member) = one().await;
    member.stand_in.set_fault("/api/metrics", Fault::Status(500));
    let first = finish(&mut once(&home, &[])).await.expect(1);
    let spool = home.spool().canonicalize().unwrap();
    let words = format!("wait in {}, and the next `probe --once` delivers them: no answer", spool.display());
    assert!(first.stderr.contains(&words), "{}", first.stderr);

    let collector = Collector::start().await;
    member.stand_in.clear();
    let second = delivering(&home, &collector, &[]).await.expect(0);
    let received = collector.received();
    // The first time `metrics` was asked twice, and `metric` not at all.
    assert_eq!(received.spans.len(), 2 * SPANS);
    assert_eq!(received.logs.len(), 1);
    assert!(received.metrics.is_empty(), "a one-shot's counters would be a series of their own");
    let words = format!("telemetry: {} items delivered to {}", 2 * SPANS + 1, collector.endpoint);
    assert!(second.stderr.contains(&words), "{}", second.stderr);
}

#[tokio::test]
async fn undelivered_is_well_unless_delivery_is_required_and_never_hides_what_is_worse() {
    let (home, mut member) = one().await;
    let required = ["--require-delivery"];
    finish(&mut once(&home, &[])).await.expect(0);
    finish(&mut once(&home, &required)).await.expect(6);
    member.stand_in.set_fault("/api/metrics", Fault::Status(500));
    finish(&mut once(&home, &required)).await.expect(1);
    member.stand_in.refuse().await;
    finish(&mut once(&home, &required)).await.expect(3);
}

#[tokio::test]
async fn what_can_be_neither_delivered_nor_kept_is_lost_aloud() {
    let (home, _member) = one().await;
    home.write("file", "in the place of a folder");
    let state = ["--state-dir", "file/state", "--output", "json"];
    let lost = finish(&mut once(&home, &state)).await.expect(6);
    assert_eq!(lost.json()["delivery"]["state"], "lost");
    assert!(lost.stderr.contains("telemetry: LOST"), "{}", lost.stderr);
    assert!(lost.stderr.contains("file/state"), "{}", lost.stderr);

    let collector = Collector::start().await;
    let delivered = delivering(&home, &collector, &state).await.expect(0);
    assert_eq!(delivered.json()["delivery"]["state"], "delivered");
    assert_eq!(collector.received().spans.len(), SPANS);
    assert!(delivered.stderr.contains("delivered past it"), "{}", delivered.stderr);
}

#[tokio::test]
async fn one_shots_at_the_same_time_share_the_spool() {
    let (home, _member) = one().await;
    let (mut a, mut b, mut c) = (once(&home, &[]), once(&home, &[]), once(&home, &[]));
    let (a, b, c) = tokio::join!(finish(&mut a), finish(&mut b), finish(&mut c));
    [a, b, c].into_iter().for_each(|ran| drop(ran.expect(0)));
    let collector = Collector::start().await;
    let (d, e) = tokio::join!(delivering(&home, &collector, &[]), delivering(&home, &collector, &[]));
    d.expect(0);
    e.expect(0);
    assert_eq!(collector.received().spans.len(), 5 * SPANS);
}

#[tokio::test]
async fn what_the_collector_refuses_for_good_is_kept_aside_and_can_be_sent_again() {
    let (home, _member) = one().await;
    let collector = Collector::start().await;
    collector.answer(400);
    let ran = delivering(&home, &collector, &["--output", "json"]).await.expect(0);
    let delivery = &ran.json()["delivery"];
    assert_eq!((&delivery["state"], &delivery["items"]), (&json!("delivered"), &json!(0)));
    assert_eq!(delivery["refused"], json!(SPANS));
    delivering(&home, &collector, &["--require-delivery"]).await.expect(6);

    let listed = home.run(["outbox", "--spool", "list"]).await.expect(0);
    let refused = listed.stdout.lines().filter(|line| line.contains("  traces") && line.contains("400"));
    assert_eq!(refused.count(), 2 * SPANS, "{}", listed.stdout);
    let strange = home.run(["outbox", "--spool", "drop", "999999"]).await.expect(1);
    assert_eq!(strange.stdout, "0 deleted\n");
    let retried = home.run(["outbox", "--spool", "retry", "--all"]).await.expect(0);
    assert_eq!(retried.stdout, format!("{} will be sent again\n", 2 * SPANS));
    collector.answer(200);
    delivering(&home, &collector, &["--require-delivery"]).await.expect(0);
    assert_eq!(collector.received().spans.len(), 3 * SPANS);
}

#[tokio::test]
async fn a_collector_that_hangs_costs_no_more_than_the_time_given_for_it() {
    let (home, _member) = one().await;
    // It takes the connection, and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = once(&home, &["--delivery-timeout", "300ms"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", listener.local_addr().unwrap()));
    let ran = finish(&mut command).await.expect(0);
    assert!(ran.stderr.contains("delivers them: it did not finish in time"), "{}", ran.stderr);
}
