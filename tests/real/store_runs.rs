//! How what is told of one run in parts comes together: a beginning and an end, a run and its steps,
//! what was inferred and what is told. SQLite and PostgreSQL both go through the scenarios.

use cachetscope::clock::Timestamp;
use cachetscope::model::{CiResult, Deploy, Event, EventKind, Flavour, Version};
use cachetscope::otlp::{Resource, names};
use cachetscope::publisher::infer_runs;
use cachetscope::store::{Lane, Recorded, Store};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::parts::facts::{START, after};
use crate::parts::home::{Home, drain, waiting};
use crate::store::on_both;
use crate::store_events::{counted, counted_steps, record, record_one, step, the_event};

on_both! {
    a_run_without_a_told_beginning_began_with_its_first_step,
    a_run_whose_beginning_nobody_knows_has_no_duration,
    a_late_beginning_observes_no_duration_twice,
    what_only_one_of_beginning_and_end_tells_is_kept_in_either_order,
    an_end_before_what_was_told_of_its_beginning_is_refused,
    an_inferred_run_counts_once_it_is_told,
    a_run_is_inferred_where_any_step_hangs_below_it,
}

/// A run as a whole that is told with its end only, as from a pipeline's last words.
fn run_that_ended(run: &str, ended: i64) -> Event {
    let mut event = step(run, ended);
    (event.step, event.started) = (None, None);
    event
}

fn beginning_of(mut event: Event) -> Event {
    (event.finished, event.result) = (None, None);
    event
}

fn end_of(mut event: Event) -> Event {
    event.started = None;
    event
}

/// How often the duration of a run was observed, and the seconds in all.
async fn durations(store: &Store) -> (u64, f64) {
    let series = store.series().await.unwrap().into_iter();
    let of = series.filter(|s| s.metric == names::PIPELINE_DURATION.name);
    of.fold((0, 0.0), |(count, sum), series| (count + series.count, sum + series.sum))
}

/// The spans that wait under this name, oldest first: how long after the start of the tests each began
/// and ended, in seconds.
async fn extents(store: &Store, name: &str) -> Vec<(i64, i64)> {
    let mut extents = Vec::new();
    for body in waiting(store, Lane::Traces).await {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let groups = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
        let seconds = |ns: u64| (i64::try_from(ns).unwrap() - START.0) / 1_000_000_000;
        let named = groups.flat_map(|group| group.spans).filter(|span| span.name == name);
        extents.extend(named.map(|s| (seconds(s.start_time_unix_nano), seconds(s.end_time_unix_nano))));
    }
    extents
}

/// Log records that wait.
async fn records(store: &Store) -> u64 {
    store.outbox_status().await.unwrap()[Lane::Logs as usize].items
}

const RUN: &str = "RUN cachet/3.x";

async fn a_run_without_a_told_beginning_began_with_its_first_step(home: Home) {
    let store = home.open().await;
    let mut deploy = step("1", 90);
    deploy.step = Some("deploy".to_owned());
    // The order within a batch does not matter.
    record(&store, &[run_that_ended("1", 100), deploy, step("1", 60)]).await;
    assert_eq!(the_event(&store, EventKind::Pipeline).await.0, after(50));
    assert_eq!(extents(&store, RUN).await, [(50, 100)]);
    assert_eq!(durations(&store).await, (1, 50.0));

    // Nor does it matter in which commit the steps were; a step of another run or attempt is none.
    let mut other = step("2", 30);
    other.attempt = 2;
    record(&store, &[step("2", 160), other]).await;
    record(&store, &[run_that_ended("2", 200)]).await;
    assert_eq!(extents(&store, RUN).await[1..], [(150, 200)]);
    assert_eq!(durations(&store).await, (2, 100.0));
    let rows = store.events(EventKind::Pipeline, after(0), 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seconds()).collect::<Vec<_>>(), [Some(50.0), Some(50.0)]);
}

async fn a_run_whose_beginning_nobody_knows_has_no_duration(home: Home) {
    let store = home.open().await;
    // What is known of this step is its end.
    record(&store, &[end_of(step("1", 60)), run_that_ended("1", 100)]).await;
    assert_eq!(durations(&store).await, (0, 0.0));
    assert_eq!(extents(&store, RUN).await, [(100, 100)]);
    let (began, event) = the_event(&store, EventKind::Pipeline).await;
    assert_eq!((began, event.started), (after(100), None));

    // Its beginning comes late: it is told again as it was, and counted no second time.
    let mut beginning = run_that_ended("1", 100);
    beginning.started = Some(after(20));
    let beginning = beginning_of(beginning);
    assert_eq!(record_one(&store, &beginning).await, Recorded::Completed);
    assert_eq!(extents(&store, RUN).await, [(100, 100), (20, 100)]);
    assert_eq!(durations(&store).await, (1, 80.0));
    assert_eq!(record_one(&store, &beginning).await, Recorded::Duplicate { differs: false });
    assert_eq!((durations(&store).await, records(&store).await), ((1, 80.0), 2));
    assert_eq!(counted(&store).await.values().sum::<u64>(), 2, "the step and the run");
}

async fn a_late_beginning_observes_no_duration_twice(home: Home) {
    let store = home.open().await;
    record(&store, &[step("1", 60), run_that_ended("1", 100)]).await;
    assert_eq!(durations(&store).await, (1, 50.0));
    let mut beginning = run_that_ended("1", 100);
    beginning.started = Some(after(45));
    assert_eq!(record_one(&store, &beginning_of(beginning)).await, Recorded::Completed);
    assert_eq!(extents(&store, RUN).await, [(50, 100), (45, 100)]);
    assert_eq!(durations(&store).await, (1, 50.0));
}

async fn what_only_one_of_beginning_and_end_tells_is_kept_in_either_order(home: Home) {
    let store = home.open().await;
    for (run, beginning_first) in [("1", true), ("2", false)] {
        let mut beginning = beginning_of(step(run, 60));
        beginning.branch = Some("3.x".to_owned());
        beginning.commit = Some("f00".to_owned());
        beginning.url = Some("https://ci.example/1".to_owned());
        beginning.deploy = Some(Deploy { url: "http://127.0.0.1:8000/".parse().ok(), ..Deploy::default() });
        (beginning.version, beginning.db) = (Version::parse("3.0.0"), Some(Flavour::Mysql));
        let mut end = end_of(step(run, 60));
        end.digest = Some("sha256:a".to_owned());
        end.branch = Some("main".to_owned());
        let mut order = [beginning.clone(), end.clone()];
        if !beginning_first {
            order.reverse();
        }
        for event in &order {
            assert!(matches!(record_one(&store, event).await, Recorded::New | Recorded::Completed));
            assert_eq!(record_one(&store, event).await, Recorded::Duplicate { differs: false });
        }
        let rows = store.events(EventKind::Deploy, after(0), 10).await.unwrap();
        let row = rows.iter().find(|row| row.event.run == run).expect("it is a deployment");
        assert_eq!((row.started, row.seconds()), (after(50), Some(10.0)));
        let told = &row.event;
        assert_eq!(told.branch.as_deref(), Some("main"), "the end has the last word");
        assert_eq!((told.commit.as_deref(), told.digest.as_deref()), (Some("f00"), Some("sha256:a")));
        assert_eq!((&told.url, told.db, &told.version), (&beginning.url, beginning.db, &beginning.version));
        assert_eq!((told.result, &told.deploy), (end.result, &beginning.deploy));
        assert!(
            home.number(&format!("SELECT COUNT(*) FROM events WHERE run = '{run}' AND commit_id = 'f00'"))
                .await
                == 1
        );
    }
    assert_eq!(extents(&store, "deploy").await, [(50, 60), (50, 60)]);
    assert_eq!(counted(&store).await.values().sum::<u64>(), 2);
}

async fn an_end_before_what_was_told_of_its_beginning_is_refused(home: Home) {
    let store = home.open().await;
    record(&store, &[beginning_of(step("1", 60)), end_of(step("2", 40))]).await;
    let refused = Recorded::Contradicts { began: after(50), ended: after(40) };
    assert_eq!(record_one(&store, &end_of(step("1", 40))).await, refused);
    assert_eq!(record_one(&store, &beginning_of(step("2", 60))).await, refused);
    let rows = store.events_under_way(after(0), 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.event.run.as_str()).collect::<Vec<_>>(),
        ["1"],
        "it stays as it was"
    );
    // One that says itself when it began leaves no doubt.
    assert_eq!(record_one(&store, &step("1", 40)).await, Recorded::Completed);
    assert_eq!(counted_steps(&store).await, 2);
}

async fn infer(store: &Store, now: Timestamp) -> usize {
    let resource = Resource::new(store.id(), None, None).unwrap();
    infer_runs(store, now, &resource).await.unwrap()
}

async fn an_inferred_run_counts_once_it_is_told(home: Home) {
    let store = home.open().await;
    let mut failed = step("1", 60);
    failed.result = Some(CiResult::Failure);
    record(&store, &[failed]).await;
    drain(&store, Lane::Traces).await;
    drain(&store, Lane::Logs).await;
    assert_eq!(infer(&store, after(3_000)).await, 0, "it may be told yet");
    assert_eq!(infer(&store, after(4_000)).await, 1);
    assert_eq!(infer(&store, after(4_000)).await, 0);
    assert_eq!((extents(&store, RUN).await, records(&store).await), (vec![(50, 60)], 0));
    assert_eq!((durations(&store).await, counted(&store).await.len()), ((0, 0.0), 1), "only the step");

    // The truth: it went on, and was a success.
    assert_eq!(record_one(&store, &run_that_ended("1", 100)).await, Recorded::Corrected);
    assert_eq!((extents(&store, RUN).await, records(&store).await), (vec![(50, 60), (50, 100)], 1));
    assert_eq!(durations(&store).await, (1, 50.0));
    let series = store.series().await.unwrap();
    let of_runs = series.iter().find(|s| s.metric == names::PIPELINE_DURATION.name).unwrap();
    assert!(of_runs.attributes.contains("success"), "{}", of_runs.attributes);
    assert_eq!(counted(&store).await.values().sum::<u64>(), 2);
    let (_, event) = the_event(&store, EventKind::Pipeline).await;
    assert_eq!((event.inferred, event.result), (false, Some(CiResult::Success)));
    assert_eq!(record_one(&store, &run_that_ended("1", 100)).await, Recorded::Duplicate { differs: false });
}

async fn a_run_is_inferred_where_any_step_hangs_below_it(home: Home) {
    let store = home.open().await;
    // A step within a step, both of a run that nobody tells of.
    let outer = step("1", 60);
    let mut inner = step("1", 58);
    inner.step = Some("inner".to_owned());
    inner.traceparent = Some(outer.as_parent());
    // All of it hangs below a span from elsewhere.
    let mut elsewhere = step("2", 60);
    elsewhere.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
    record(&store, &[outer.clone(), inner, elsewhere]).await;
    assert_eq!(infer(&store, after(4_000)).await, 1);
    let (_, run) = the_event(&store, EventKind::Pipeline).await;
    assert_eq!((run.run.as_str(), run.span()), ("1", outer.parent().unwrap()));
}
