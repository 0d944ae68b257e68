//! What the store promises of events of CI, as scenarios that SQLite and PostgreSQL both go through.

use std::collections::BTreeMap;
use std::time::Duration;

use cachetscope::clock::Timestamp;
use cachetscope::model::{
    Case, CaseStatus, CiResult, Event, EventKind, Flavour, Mark, ResultRow, Tests, Version,
};
use cachetscope::otlp::names;
use cachetscope::otlp::{Encoded, Resource};
use cachetscope::publisher::facts_of_event;
use cachetscope::store::{
    Change, Entry, EventFacts, Facts, Lane, Location, Recorded, Refused, Retention, Store, Telemetry,
    event_key,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use sqlx::Connection as _;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::parts::facts::{self, START, after};
use crate::parts::home::{Home, drain, waiting};
use crate::store::on_both;

on_both! {
    an_event_is_new_once_and_a_duplicate_says_whether_it_differs,
    a_beginning_is_completed_by_its_end,
    an_end_that_came_first_is_completed_by_its_beginning,
    of_many_who_tell_one_event_at_once_exactly_one_is_new,
    an_event_twice_in_a_batch_is_one,
    telemetry_and_increments_come_with_new_events_only,
    results_are_read_as_they_were_told,
    doubtful_are_all_results_of_cases_that_ever_failed,
    events_are_read_by_kind_newest_first,
    an_image_leads_to_the_event_that_made_it,
    a_reader_hears_of_new_events_only,
    events_outlive_their_results,
    a_call_of_retention_does_a_bounded_amount,
    events_that_were_told_late_are_as_old_as_their_arrival,
    the_limit_never_takes_what_was_acknowledged,
    refused_parts_of_what_was_acknowledged_stay_kept,
    a_store_of_the_first_schema_keeps_its_data,
}

const DAY: i64 = 86_400;

/// A step that ended so many seconds after the start of the tests, having taken ten.
pub fn step(run: &str, ended: i64) -> Event {
    let mut event = Event::new("jenkins", "cachet/3.x", run);
    event.step = Some("unit".to_owned());
    (event.started, event.finished) = (Some(after(ended - 10)), Some(after(ended)));
    event.result = Some(CiResult::Success);
    event
}

fn case(name: &str, status: CaseStatus) -> Case {
    let message = status.is_bad().then(|| format!("{name} failed"));
    Case {
        class: "ApiTest".to_owned(),
        name: name.to_owned(),
        status,
        seconds: Some(0.25),
        message,
        mark: None,
    }
}

fn tests(run: &str, ended: i64, cases: Vec<Case>) -> Event {
    let mut event = step(run, ended);
    event.tests = Some(Tests { suite: "pest".to_owned(), cases, ..Tests::default() });
    event
}

fn told(store: &Store, event: &Event, received: Timestamp) -> EventFacts {
    let resource = Resource::new(store.id(), None, None).unwrap();
    facts_of_event(event.clone(), received, &[], &resource).unwrap()
}

pub async fn record(store: &Store, events: &[Event]) -> Vec<Recorded> {
    let facts = events.iter().map(|event| told(store, event, event.finished.unwrap_or(START))).collect();
    store.record(facts).await.unwrap()
}

pub async fn record_one(store: &Store, event: &Event) -> Recorded {
    let recorded = record(store, std::slice::from_ref(event)).await;
    let [one] = recorded.as_slice() else { panic!("{recorded:?}") };
    *one
}

/// Names of the spans that wait, each with its run.
async fn spans(store: &Store) -> Vec<String> {
    let mut spans = Vec::new();
    for body in waiting(store, Lane::Traces).await {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let groups = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
        spans.extend(groups.flat_map(|group| group.spans).map(|span| span.name));
    }
    spans
}

/// How many events the counter tells of, by kind.
pub async fn counted(store: &Store) -> BTreeMap<String, u64> {
    let series = store.series().await.unwrap().into_iter();
    series.filter(|s| s.metric == names::EVENTS_RECEIVED.name).map(|s| (s.attributes, s.count)).collect()
}

pub async fn counted_steps(store: &Store) -> u64 {
    counted(store).await.get(r#"[["cachetscope.event.kind","step"]]"#).copied().unwrap_or(0)
}

pub async fn the_event(store: &Store, kind: EventKind) -> (Timestamp, Event) {
    let rows = store.events(kind, after(-1_000_000), 10).await.unwrap();
    let [row] = rows.as_slice() else { panic!("one event, not {rows:?}") };
    (row.started, row.event.clone())
}

async fn an_event_is_new_once_and_a_duplicate_says_whether_it_differs(home: Home) {
    let store = home.open().await;
    let event = step("1", 60);
    assert_eq!(record_one(&store, &event).await, Recorded::New);
    assert_eq!(record_one(&store, &event).await, Recorded::Duplicate { differs: false });
    let mut other = event.clone();
    other.result = Some(CiResult::Failure);
    assert_eq!(record_one(&store, &other).await, Recorded::Duplicate { differs: true });
    let store = home.reopen(store).await;
    assert_eq!(record_one(&store, &event).await, Recorded::Duplicate { differs: false });
    assert_eq!(the_event(&store, EventKind::Step).await, (after(50), event.clone()), "the first one stays");

    // Each part of the identity makes another event.
    let mut others = vec![event.clone(); 5];
    others[0].source = "github".to_owned();
    others[1].pipeline = "cachet/2.4".to_owned();
    others[2].run = "2".to_owned();
    others[3].attempt = 2;
    others[4].step = Some("lint".to_owned());
    assert_eq!(record(&store, &others).await, [Recorded::New; 5]);
    assert_eq!(counted_steps(&store).await, 6);
}

async fn a_beginning_is_completed_by_its_end(home: Home) {
    let store = home.open().await;
    let mut end = tests("1", 60, vec![case("lists", CaseStatus::Pass)]);
    let mut beginning = step("1", 60);
    (beginning.finished, beginning.result) = (None, None);
    assert_eq!(record_one(&store, &beginning).await, Recorded::New);
    assert_eq!(record_one(&store, &beginning).await, Recorded::Duplicate { differs: false });
    assert_eq!(store.events_under_way(after(0), 10).await.unwrap().len(), 1);
    assert_eq!((spans(&store).await, counted(&store).await.len()), (vec![], 0), "nothing is told yet");

    end.started = None;
    assert_eq!(record_one(&store, &end).await, Recorded::Completed);
    assert_eq!(record_one(&store, &end).await, Recorded::Duplicate { differs: false });
    assert!(store.events_under_way(after(0), 10).await.unwrap().is_empty());
    let (started, event) = the_event(&store, EventKind::Tests).await;
    assert_eq!((started, event.finished), (after(50), Some(after(60))));
    assert_eq!(store.test_results(&[event_key(&end)], 10).await.unwrap().len(), 1);
    assert_eq!(spans(&store).await, ["tests pest", "ApiTest::lists"]);
    assert_eq!(counted(&store).await.values().sum::<u64>(), 1);
}

async fn an_end_that_came_first_is_completed_by_its_beginning(home: Home) {
    let store = home.open().await;
    let mut end = step("1", 60);
    end.started = None;
    assert_eq!(record_one(&store, &end).await, Recorded::New);
    assert_eq!(the_event(&store, EventKind::Step).await.0, after(60), "as far as is known");
    let mut beginning = step("1", 60);
    (beginning.finished, beginning.result) = (None, None);
    assert_eq!(record_one(&store, &beginning).await, Recorded::Completed);
    let (started, event) = the_event(&store, EventKind::Step).await;
    assert_eq!((started, event.started, event.finished), (after(50), Some(after(50)), Some(after(60))));
    assert_eq!(event.result, Some(CiResult::Success));
    assert!(store.events_under_way(after(0), 10).await.unwrap().is_empty());
    assert_eq!((spans(&store).await.len(), counted_steps(&store).await), (2, 1), "told anew, counted once");

    assert_eq!(record_one(&store, &beginning).await, Recorded::Duplicate { differs: false });
    beginning.started = Some(after(40));
    assert_eq!(record_one(&store, &beginning).await, Recorded::Duplicate { differs: true });
    assert_eq!(the_event(&store, EventKind::Step).await.0, after(50));
}

async fn of_many_who_tell_one_event_at_once_exactly_one_is_new(home: Home) {
    let store = home.open().await;
    for round in 0..20 {
        let event = tests(&round.to_string(), 60 + round, vec![case("lists", CaseStatus::Fail)]);
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(8));
        let tellers: Vec<_> = (0..8)
            .map(|_| {
                let (store, event, barrier) = (store.clone(), event.clone(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    record_one(&store, &event).await
                })
            })
            .collect();
        let mut new = 0;
        for teller in tellers {
            match teller.await.unwrap() {
                Recorded::New => new += 1,
                other => assert_eq!(other, Recorded::Duplicate { differs: false }),
            }
        }
        assert_eq!(new, 1, "in round {round}");
    }
    assert_eq!(counted(&store).await.values().sum::<u64>(), 20);
    assert_eq!(spans(&store).await.len(), 40, "each run, and its case, once");
    assert_eq!(home.number("SELECT COUNT(*) FROM test_results").await, 20);
}

async fn an_event_twice_in_a_batch_is_one(home: Home) {
    let store = home.open().await;
    let event = step("1", 60);
    let mut differs = event.clone();
    differs.branch = Some("3.x".to_owned());
    let mut beginning = step("2", 90);
    (beginning.finished, beginning.result) = (None, None);
    let batch = [event.clone(), step("3", 70), event, differs, beginning, step("2", 90)];
    let (new, same) = (Recorded::New, Recorded::Duplicate { differs: false });
    let expected = [new, new, same, Recorded::Duplicate { differs: true }, new, Recorded::Completed];
    assert_eq!(record(&store, &batch).await, expected);
    assert_eq!((spans(&store).await.len(), counted_steps(&store).await), (3, 3));
    assert_eq!(home.number("SELECT COUNT(*) FROM events").await, 3);
}

async fn telemetry_and_increments_come_with_new_events_only(home: Home) {
    let store = home.open().await;
    record(&store, &[step("1", 60)]).await;
    drain(&store, Lane::Traces).await;
    drain(&store, Lane::Logs).await;

    let recorded = record(&store, &[step("1", 60), step("2", 70)]).await;
    assert_eq!(recorded, [Recorded::Duplicate { differs: false }, Recorded::New]);
    assert_eq!(spans(&store).await.len(), 1);
    let status = store.outbox_status().await.unwrap();
    assert_eq!(status[Lane::Logs as usize].items, 1);
    assert_eq!(counted_steps(&store).await, 2);
    let rows = store.outbox_next(Lane::Traces, usize::MAX).await.unwrap();
    assert!(rows.iter().all(|row| row.kept), "what was acknowledged is kept");

    // In one transaction with facts of probes, whose telemetry is not kept.
    let three = facts::deployment("three", "3.0.0", Flavour::Sqlite);
    let (a, b) = tokio::join!(
        store.commit(facts::simple_facts(after(0), &three)),
        store.record(vec![told(&store, &step("3", 80), after(80))]),
    );
    assert_eq!((a.is_ok(), b.unwrap()), (true, vec![Recorded::New]));
    let rows = store.outbox_next(Lane::Traces, usize::MAX).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.kept).map(|row| row.items).sum::<u64>(), 2);
    assert_eq!(rows.iter().filter(|row| !row.kept).map(|row| row.items).sum::<u64>(), 1);
}

async fn results_are_read_as_they_were_told(home: Home) {
    let store = home.open().await;
    let mut cases = vec![
        case("lists", CaseStatus::Pass),
        case("creates", CaseStatus::Fail),
        case("deletes", CaseStatus::Error),
        case("sorts", CaseStatus::Skip),
        case("lists", CaseStatus::Pass),
    ];
    cases[0].mark = Some(Mark::Risky);
    cases[3].seconds = None;
    cases[1].message = Some("a\0b: é".to_owned());
    let (first, second) = (tests("1", 60, cases.clone()), tests("2", 90, cases[1..2].to_vec()));
    record(&store, &[first.clone(), second.clone()]).await;

    let keys = [event_key(&second), event_key(&first)];
    let results = store.test_results(&keys, 100).await.unwrap();
    assert_eq!(results.len(), 6);
    assert_eq!((results[0].event, results[0].name.as_str()), (keys[0], "creates"), "in the order asked");
    for (row, case) in results[1..].iter().zip(&cases) {
        assert_eq!((row.event, &row.class, &row.name), (keys[1], &case.class, &case.name));
        assert_eq!((row.status, row.mark, row.seconds), (case.status, case.mark, case.seconds));
        assert_eq!(row.message, case.message.as_ref().map(|message| message.replace('\0', "\u{fffd}")));
    }
    assert_eq!(results[0].case, results[2].case, "a case is the same from run to run");
    assert_eq!(results[1].case, results[5].case, "and twice in one run");
    assert_eq!(home.number("SELECT COUNT(*) FROM test_cases").await, 4);
    assert_eq!(store.test_results(&keys, 3).await.unwrap().len(), 3);

    let event = the_event_of(&store, keys[1]).await;
    let tests = event.tests.unwrap();
    assert!(tests.cases.is_empty(), "cases have rows of their own");
    assert_eq!((tests.counts().total(), tests.counts().bad()), (5, 2));
}

async fn the_event_of(store: &Store, key: i64) -> Event {
    let rows = store.events(EventKind::Tests, after(0), 100).await.unwrap();
    rows.into_iter().find(|row| row.key == key).unwrap().event
}

async fn doubtful_are_all_results_of_cases_that_ever_failed(home: Home) {
    let store = home.open().await;
    let (pass, fail) = (CaseStatus::Pass, CaseStatus::Fail);
    let rerun = Case { mark: Some(Mark::Rerun), ..case("sometimes", pass) };
    let risky = Case { mark: Some(Mark::Risky), ..case("doubted", pass) };
    let runs = [
        tests("1", 60, vec![case("always", pass), case("once", fail), rerun, risky]),
        tests("2", 90, vec![case("always", pass), case("once", pass), case("sometimes", pass)]),
        tests("3", 120, vec![case("always", fail), case("once", pass)]),
    ];
    record(&store, &runs).await;
    let keys: Vec<i64> = runs.iter().map(event_key).collect();
    let names = |results: &[ResultRow]| {
        let mut names: Vec<_> = results
            .iter()
            .map(|r| {
                let run = keys.iter().position(|key| *key == r.event).unwrap() + 1;
                format!("{run} {} {}", r.name, r.status.as_str())
            })
            .collect();
        names.sort();
        names
    };
    let both = store.doubtful_results(&keys[..2], 100).await.unwrap();
    assert_eq!(names(&both), ["1 once fail", "1 sometimes pass", "2 once pass", "2 sometimes pass"]);
    let all = store.doubtful_results(&keys, 100).await.unwrap();
    assert_eq!(all.len(), 8, "`always` failed in the third: {:?}", names(&all));
    assert_eq!(store.doubtful_results(&keys[1..2], 100).await.unwrap(), []);
    assert_eq!(store.doubtful_results(&keys, 3).await.unwrap().len(), 3);
}

async fn events_are_read_by_kind_newest_first(home: Home) {
    let store = home.open().await;
    let mut whole = step("1", 300);
    whole.step = None;
    let mut begun = step("9", 400);
    (begun.finished, begun.result) = (None, None);
    record(&store, &[step("1", 100), step("3", 300), step("2", 200), whole, begun]).await;
    let runs = async |kind, since, limit| {
        let rows = store.events(kind, since, limit).await.unwrap();
        rows.into_iter().map(|row| row.event.run).collect::<Vec<_>>()
    };
    assert_eq!(runs(EventKind::Step, after(0), 10).await, ["9", "3", "2", "1"]);
    assert_eq!(runs(EventKind::Step, after(0), 2).await, ["9", "3"]);
    assert_eq!(runs(EventKind::Step, after(190), 10).await, ["9", "3", "2"]);
    assert_eq!(runs(EventKind::Pipeline, after(0), 10).await, ["1"]);
    assert_eq!(store.known_runs("jenkins", "cachet/3.x").await.unwrap(), [("1".to_owned(), 1)]);
    assert_eq!(store.known_runs("github", "cachet/3.x").await.unwrap(), []);
}

async fn an_image_leads_to_the_event_that_made_it(home: Home) {
    let store = home.open().await;
    let with_digest = |run: &str, ended| {
        let mut event = step(run, ended);
        event.digest = Some("sha256:a".to_owned());
        event
    };
    let mut deploy = with_digest("3", 300);
    deploy.version = Version::parse("3.0.0");
    deploy.db = Some(Flavour::Mysql);
    deploy.deploy = Some(cachetscope::model::Deploy::default());
    record(&store, &[with_digest("1", 100), with_digest("2", 200), deploy, step("4", 400)]).await;
    let made = store.event_of_image("sha256:a").await.unwrap().unwrap();
    assert_eq!(made.event.run, "2", "the newest, and no deployment");
    assert!(store.event_of_image("sha256:b").await.unwrap().is_none());
    assert!(store.event_of_image("").await.unwrap().is_none());
}

async fn a_reader_hears_of_new_events_only(home: Home) {
    let store = home.open().await;
    let mut changed = store.events_changed();
    changed.mark_unchanged();
    record(&store, &[step("1", 60)]).await;
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    record(&store, &[step("1", 60)]).await;
    assert!(!changed.has_changed().unwrap());
}

fn retention() -> Retention {
    let day = Duration::from_secs(DAY as u64);
    Retention { raw: 14 * day, hourly: 400 * day, bytes_max: u64::MAX }
}

async fn retain(store: &Store, now: Timestamp) -> u64 {
    store.change(Change::Retain { retention: retention(), now }).await.unwrap()
}

async fn events_outlive_their_results(home: Home) {
    let store = home.open().await;
    let (pass, fail) = (CaseStatus::Pass, CaseStatus::Fail);
    let old = tests("1", 60, vec![case("gone", fail), case("stays", pass), case("gone", pass)]);
    let new = tests("2", 60 + DAY, vec![case("stays", pass)]);
    record(&store, &[old.clone(), new.clone(), step("3", 60)]).await;
    assert_eq!(retain(&store, after(60 + 14 * DAY)).await, 0, "not older than two weeks yet");
    assert_eq!(retain(&store, after(61 + 14 * DAY)).await, 3);
    assert_eq!(retain(&store, after(61 + 14 * DAY)).await, 0);

    assert_eq!(store.test_results(&[event_key(&old)], 10).await.unwrap(), []);
    assert_eq!(store.test_results(&[event_key(&new)], 10).await.unwrap().len(), 1);
    assert_eq!(home.number("SELECT COUNT(*) FROM test_cases").await, 1, "no run has the other any more");
    let event = the_event_of(&store, event_key(&old)).await;
    assert_eq!(event.tests.unwrap().counts().total(), 3, "the counts stay");
    assert_eq!(record_one(&store, &old).await, Recorded::Duplicate { differs: false }, "it is still known");
    assert_eq!(home.number("SELECT COUNT(*) FROM test_results").await, 1);

    assert_eq!(retain(&store, after(60 + 400 * DAY)).await, 1);
    assert_eq!(home.number("SELECT COUNT(*) FROM events").await, 3);
    retain(&store, after(61 + 400 * DAY)).await;
    assert_eq!(home.numbers("SELECT received_ns FROM events").await, [[Some(after(60 + DAY).0)]]);
    assert_eq!(home.number("SELECT COUNT(*) FROM test_cases").await, 0);
}

async fn a_call_of_retention_does_a_bounded_amount(home: Home) {
    let store = home.open().await;
    let many = |run: i64| {
        let cases = (0..9_000).map(|n| case(&format!("case {n}"), CaseStatus::Pass)).collect();
        tests(&run.to_string(), 60 + run, cases)
    };
    for run in 0..4 {
        record(&store, &[many(run)]).await;
    }
    let small: Vec<Event> =
        (100..400).map(|run| tests(&run.to_string(), run, vec![case("x", CaseStatus::Pass)])).collect();
    record(&store, &small).await;
    let now = after(100 * DAY);
    assert_eq!(retain(&store, now).await, 27_000, "three of the large runs, the oldest");
    assert_eq!(
        retain(&store, now).await,
        9_000 + 255,
        "the fourth, and as many of the small ones as a call may"
    );
    assert_eq!(retain(&store, now).await, 45);
    assert_eq!(retain(&store, now).await, 0);
    for table in ["test_results", "test_cases"] {
        assert_eq!(home.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0);
    }
    assert_eq!(home.number("SELECT COUNT(*) FROM events").await, 304);

    let steps: Vec<Event> = (0..1_000).map(|n| step(&format!("s{n}"), 30)).collect();
    record(&store, &steps).await;
    retain(&store, after(401 * DAY)).await;
    assert_eq!(home.number("SELECT COUNT(*) FROM events").await, 304, "a thousand in one call, the oldest");
}

async fn events_that_were_told_late_are_as_old_as_their_arrival(home: Home) {
    let store = home.open().await;
    let imported = tests("1", 60, vec![case("lists", CaseStatus::Pass)]);
    let now = after(500 * DAY);
    store.record(vec![told(&store, &imported, now)]).await.unwrap();
    assert_eq!(retain(&store, now).await, 0);
    assert_eq!(record_one(&store, &imported).await, Recorded::Duplicate { differs: false });
    assert_eq!(retain(&store, now.plus(Duration::from_secs(15 * DAY as u64))).await, 1);
}

async fn the_limit_never_takes_what_was_acknowledged(home: Home) {
    let store = home.open().await;
    let kept = |n: i64| {
        let Encoded { items, body } = Encoded { items: 3, body: vec![u8::try_from(n).unwrap(); 1_000] };
        let lanes = [Lane::Traces, Lane::Logs];
        let entry =
            |lane| Entry { lane, created: after(n), items, body: body.clone(), snapshot: None, kept: true };
        let outbox = lanes.map(entry).to_vec();
        let telemetry = Telemetry { increments: Vec::new(), outbox };
        EventFacts::new(step(&n.to_string(), 60), after(60), move |_| telemetry.clone()).unwrap()
    };
    for n in 0..10 {
        store.record(vec![kept(n)]).await.unwrap();
        let outbox = vec![facts::entry(Lane::Traces, after(n), &[7; 1_000])];
        store.commit(Facts { outbox, ..Default::default() }).await.unwrap();
    }
    assert_eq!(store.kept_bytes().await.unwrap(), 20_000);
    assert_eq!(store.change(Change::Limit { bytes_max: 25_000 }).await.unwrap(), 5, "of probes, the oldest");
    assert_eq!(
        store.change(Change::Limit { bytes_max: 1_000 }).await.unwrap(),
        5,
        "all of them, and no more"
    );
    assert_eq!(store.change(Change::Limit { bytes_max: 0 }).await.unwrap(), 0);
    let status = store.outbox_status().await.unwrap();
    assert_eq!([Lane::Traces, Lane::Logs].map(|lane| status[lane as usize].items), [30, 30]);
    assert_eq!(store.kept_bytes().await.unwrap(), 20_000);
    drain(&store, Lane::Traces).await;
    assert_eq!(store.kept_bytes().await.unwrap(), 10_000, "what is delivered is kept no more");
}

async fn refused_parts_of_what_was_acknowledged_stay_kept(home: Home) {
    let store = home.open().await;
    record(&store, &[step("1", 60)]).await;
    let rows = store.outbox_next(Lane::Traces, usize::MAX).await.unwrap();
    let part = Refused {
        id: 0,
        entry: Entry { kept: rows[0].kept, ..facts::entry(Lane::Traces, after(0), &[1; 500]) },
        reason: "400: bad".to_owned(),
    };
    let of_probes = Refused {
        id: 0,
        entry: facts::entry(Lane::Traces, after(0), &[2; 500]),
        reason: "400: bad".to_owned(),
    };
    let ids = rows.iter().map(|row| row.id).collect();
    store.change(Change::Refused { ids, parts: vec![part, of_probes] }).await.unwrap();
    drain(&store, Lane::Logs).await;
    assert_eq!(store.kept_bytes().await.unwrap(), 0, "it does not wait");

    let store = home.reopen(store).await;
    let kept: Vec<_> = store.outbox_refused(10).await.unwrap().iter().map(|r| r.entry.kept).collect();
    assert_eq!(kept, [true, false]);
    assert_eq!(store.change(Change::Limit { bytes_max: 0 }).await.unwrap(), 1, "the part of probes");
    store.change(Change::Retry(None)).await.unwrap();
    assert_eq!(store.kept_bytes().await.unwrap(), 500, "it waits again");
    assert_eq!(store.change(Change::Limit { bytes_max: 0 }).await.unwrap(), 0);
    let rows = store.outbox_next(Lane::Traces, usize::MAX).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.kept, row.body.len())).collect::<Vec<_>>(), [(true, 500)]);
}

/// Makes the store as its first schema had it, with nothing but that schema's own file.
async fn first_schema(home: &Home) {
    let migrator = |sql: &'static str| {
        let first = Migration::new(1, "initial".into(), MigrationType::Simple, sql.into_sql_str(), false);
        Migrator::with_migrations(vec![first])
    };
    match &home.location {
        Location::File(path) => {
            let sql = include_str!("../../src/store/migrations/sqlite/0001_initial.sql");
            let url = format!("sqlite:{}?mode=rwc", path.display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            migrator(sql).run(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Location::Postgres(_) => {
            let sql = include_str!("../../src/store/migrations/postgres/0001_initial.sql");
            let mut connection = home.postgres_connection().await;
            migrator(sql).run(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

async fn a_store_of_the_first_schema_keeps_its_data(home: Home) {
    first_schema(&home).await;
    let body = match &home.location {
        Location::File(_) => "x'0102'",
        Location::Postgres(_) => r"'\x0102'",
    };
    for sql in [
        "INSERT INTO store (only_row, id, created_ns) VALUES (1, 'who-i-am', 1)".to_owned(),
        "INSERT INTO deployments (id, name, version, version_order, db, environment, digest, url, first_seen_ns) \
         VALUES (7, 'three', '3.0.0', '3.0.0', 'sqlite', 'test', '', 'http://127.0.0.1:1/', 5)"
            .to_owned(),
        format!(
            "INSERT INTO outbox (lane, created_ns, items, bytes, body) VALUES ('traces', 9, 1, 2, {body})"
        ),
        format!(
            "INSERT INTO outbox (lane, created_ns, items, bytes, body, refused) \
             VALUES ('logs', 9, 1, 2, {body}, '400: bad')"
        ),
    ] {
        home.execute(&sql).await;
    }
    let store = home.open().await;
    assert_eq!(store.id(), "who-i-am");
    let deployments = store.deployments().await.unwrap();
    assert_eq!(deployments.iter().map(|d| (d.key, d.name.as_str())).collect::<Vec<_>>(), [(7, "three")]);
    assert_eq!(waiting(&store, Lane::Traces).await, [[1, 2]]);
    assert_eq!(store.outbox_refused(10).await.unwrap().len(), 1);
    assert_eq!(store.kept_bytes().await.unwrap(), 0, "what was there is telemetry of probes");
    assert_eq!(
        record(&store, &[tests("1", 60, vec![case("lists", CaseStatus::Pass)])]).await,
        [Recorded::New]
    );
    let store = home.reopen(store).await;
    assert_eq!(store.test_results(&[event_key(&step("1", 60))], 10).await.unwrap().len(), 1);
    let taken = store.change(Change::Limit { bytes_max: 0 }).await.unwrap();
    assert_eq!((taken, spans(&store).await.len()), (2, 2), "what was there may go, the new event stays");
}

/// Only a file has a size that deleting brings down.
#[tokio::test]
async fn a_file_that_is_too_large_loses_its_oldest_results() {
    let home = Home::sqlite();
    let store = home.open().await;
    let keys: Vec<i64> = (0..6).map(|run| event_key(&large(run))).collect();
    for run in 0..6 {
        record(&store, &[large(run)]).await;
    }
    drain(&store, Lane::Traces).await;
    drain(&store, Lane::Logs).await;
    let used = async || {
        let pages = home.number("PRAGMA page_count").await - home.number("PRAGMA freelist_count").await;
        u64::try_from(pages * home.number("PRAGMA page_size").await).unwrap()
    };
    let half = Retention { bytes_max: used().await / 2, ..retention() };
    let mut gone = 0;
    loop {
        let change = Change::Retain { retention: half.clone(), now: after(3_600) };
        let forgotten = store.change(change).await.unwrap();
        if forgotten == 0 {
            break;
        }
        gone += forgotten;
    }
    let mut left = Vec::new();
    for key in &keys {
        left.push(store.test_results(&[*key], 10_000).await.unwrap().len());
    }
    assert_eq!(gone as usize, 6 * 2_000 - left.iter().sum::<usize>());
    assert!(gone > 0 && left[5] == 2_000, "the newest stay: {left:?}");
    assert!(left.is_sorted(), "the oldest went first: {left:?}");
    assert!(used().await <= half.bytes_max, "{} of {}", used().await, half.bytes_max);
    assert_eq!(home.number("SELECT COUNT(*) FROM events").await, 6);
}

/// A run of 2,000 cases with a message each.
fn large(run: i64) -> Event {
    let case = |n| Case {
        message: Some("Failed asserting that 500 is identical to 200. ".repeat(10)),
        ..case(&format!("case {n}"), CaseStatus::Fail)
    };
    tests(&run.to_string(), 60 + run, (0..2_000).map(case).collect())
}
