//! The demo's CI history, judged as every other is: it tells the story that it promises.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::demo::{ci, start_fleet};
use cachetscope::history::{Deployed, History, SuiteHistory};
use cachetscope::model::{CiResult, EventKind, TraceParent};
use cachetscope::otlp::Resource;
use cachetscope::store::{Change, Lane, Location, Store};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

const SEED: u64 = 1;
const NOW: Timestamp = Timestamp(1_795_428_000_000_000_000);
const NEWEST: &str = "3.0.0-dev.202608221030";
const PREVIOUS: &str = "3.0.0-dev.202508181200";

struct Told {
    _folder: tempfile::TempDir,
    store: Store,
    clock: Clock,
    resource: Resource,
}

impl Told {
    /// A store that knows the past as of [`NOW`].
    async fn past(seed: u64) -> Told {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let store = Store::open(&Location::File(folder.path().join("demo.db")), &clock).await.unwrap();
        let resource = Resource::new(store.id(), None, None).unwrap();
        let told = Told { _folder: folder, store, clock, resource };
        ci::record(&told.store, &told.clock, &told.resource, ci::past(seed, NOW)).await.unwrap();
        told
    }

    async fn history(&self) -> History {
        History::read(&self.store, self.clock.now()).await.unwrap()
    }
}

fn suite<'a>(history: &'a History, suite: &str, branch: &str) -> &'a SuiteHistory {
    let is = |s: &&SuiteHistory| s.scope.suite == suite && s.scope.branch.as_deref() == Some(branch);
    history.suites.iter().find(is).unwrap()
}

fn deployed<'a>(history: &'a History, name: &str) -> Vec<&'a Deployed> {
    history.deploys.iter().filter(|deployed| deployed.deployment == name).collect()
}

#[tokio::test]
async fn the_history_of_tests_is_the_one_that_is_promised() {
    let told = Told::past(SEED).await;
    let history = told.history().await;
    let scopes: BTreeSet<_> =
        history.suites.iter().map(|s| (s.scope.suite.as_str(), s.scope.head(), s.runs.len())).collect();
    let expected = [("pest", "3.x", 17), ("pest", "pr-312", 5), ("phpunit", "2.4", 10)];
    let expected = expected.map(|(suite, head, runs)| (suite, head.to_owned(), runs));
    assert_eq!(scopes, BTreeSet::from(expected));

    let main = suite(&history, "pest", "3.x");
    let [new] = main.newly_failing.as_slice() else { panic!("{:?}", main.newly_failing) };
    assert_eq!(new.title, r"Tests\Feature\Api\ComponentTest::it can filter components by status");
    let [still] = main.still_failing.as_slice() else { panic!("{:?}", main.still_failing) };
    assert_eq!(still.title, r"Tests\Feature\Api\ScheduleTest::it can update a schedule");
    assert_eq!(still.runs, 5);
    let days = NOW.since(still.since).as_secs_f64() / 86_400.0;
    assert!((1.9..2.1).contains(&days), "since {days} days");
    let [fixed] = main.fixed.as_slice() else { panic!("{:?}", main.fixed) };
    assert_eq!(
        (fixed.title.as_str(), fixed.runs),
        (r"Tests\Unit\Models\SubscriberTest::it finds its subscribers by name", 2)
    );
    let [flaky] = main.flaky.as_slice() else { panic!("{:?}", main.flaky) };
    assert_eq!(flaky.title, r"Tests\Unit\Actions\Incident\CreateIncidentTest::it dispatches its event");
    assert_eq!(flaky.failures, 1);
    assert!(flaky.commit.is_some(), "it passed and failed on one commit");
    let [slower] = main.slower.as_slice() else { panic!("{:?}", main.slower) };
    assert_eq!(slower.title, r"Tests\Feature\Api\MetricPointTest::it can list metric points");
    assert!((1.0..3.0).contains(&slower.ratio), "{slower:?}");
    assert_eq!((main.last().counts.bad(), main.last().counts.total()), (2, 317));

    let old = suite(&history, "phpunit", "2.4");
    assert_eq!((old.last().counts.total(), old.last().counts.bad()), (137, 0));
    assert!([&old.newly_failing, &old.still_failing, &old.fixed].iter().all(|notes| notes.is_empty()));
    assert!(old.flaky.is_empty() && old.slower.is_empty());

    let events =
        told.store.events(EventKind::Tests, NOW.minus(Duration::from_secs(86_400)), 50).await.unwrap();
    let last = &events.iter().find(|row| row.key == main.last().key).unwrap().event;
    assert_eq!(last.result, Some(CiResult::Failure));
    let results = told.store.test_results(&[main.last().key], 1_000).await.unwrap();
    let message = results.iter().find(|r| r.case == new.case).unwrap().message.clone().unwrap();
    assert!(
        message.starts_with("Expected response status code [200] but received 500.\nFailed asserting"),
        "{message}"
    );
}

#[tokio::test]
async fn the_run_that_hung_shows_why() {
    let told = Told::past(SEED).await;
    let history = told.history().await;
    let hung = suite(&history, "pest", "pr-312").last().clone();
    assert_eq!((hung.result, hung.aborted), (Some(CiResult::Timeout), true));
    assert_eq!(hung.ended_for.as_deref(), Some("silent for 5m"));
    let last = r"Tests\Feature\Api\MetricPointTest::it can list more than one page of metric points";
    assert_eq!(hung.last_test.as_deref(), Some(last));
    assert!(hung.seconds.unwrap() > 300.0);
    let events =
        told.store.events(EventKind::Tests, NOW.minus(Duration::from_secs(86_400)), 50).await.unwrap();
    let evidence = events.into_iter().find(|row| row.key == hung.key).unwrap().event.evidence.unwrap();
    let php = &evidence.processes[1];
    assert!(php.command.starts_with("php ") && php.memory_growth_bytes.unwrap() > 1 << 30, "{php:?}");
    assert!(evidence.last_output[0].contains("MetricPointTest"), "{:?}", evidence.last_output);
}

#[tokio::test]
async fn deployments_are_those_of_the_fleet_with_a_delta_and_the_accidents_that_are_promised() {
    let told = Told::past(SEED).await;
    let history = told.history().await;
    let fleet = start_fleet(SEED, &told.clock).await.unwrap();
    for deployment in fleet.deployments() {
        let last = deployed(&history, &deployment.name)[0];
        assert!(last.succeeded() && last.is_last, "{}", deployment.name);
        assert_eq!((&last.version, last.db), (&deployment.version, deployment.db));
        assert_eq!(last.environment, deployment.environment);
        assert_eq!((&last.digest, &last.commit), (&deployment.digest, &deployment.commit));
        assert_eq!(Some(last.place), deployment.origin, "its runs link to its deployment");
        assert!(last.digest.is_some() && last.previous.is_some() && last.delta_seconds().is_some());
        let steps: Vec<_> = last.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(steps, ["pull", "migrate", "cache", "start"]);
    }
    fleet.shutdown().await;

    let slow = deployed(&history, "cachet-3.0-202608-mariadb")[0];
    assert_eq!(slow.previous.as_ref().unwrap().version.as_str(), PREVIOUS);
    assert!(slow.delta_seconds().unwrap() > 12.0, "{:?}", slow.delta_seconds());
    assert_eq!(slow.grown_step().unwrap().0, "migrate");

    let names = |wanted: fn(&&Deployed) -> bool| {
        let found = history.deploys.iter().filter(wanted);
        found.map(|d| (d.deployment.as_str(), d.version.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(names(|d| !d.succeeded()), [("cachet-3.0-staging-mariadb", NEWEST)]);
    assert_eq!(names(|d| d.rolled_back_from.is_some()), [("cachet-3.0-staging-postgresql", PREVIOUS)]);
    let rebuilt = names(|d| d.is_rebuild);
    let expected = ["cachet-2.4-mariadb", "cachet-2.4-postgresql", "cachet-2.4-sqlite"];
    assert_eq!(rebuilt.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    assert_eq!(rebuilt.len(), 3);

    let [soak] = history.under_way.as_slice() else { panic!("{:?}", history.under_way) };
    assert_eq!((soak.event.kind(), soak.event.title()), (EventKind::Pipeline, "nightly soak"));
}

#[tokio::test]
async fn throughput_fell_on_mariadb_alone_and_one_run_met_the_rate_limit() {
    let told = Told::past(SEED).await;
    let history = told.history().await;
    assert_eq!(history.loads.len(), 9);
    assert!(history.loads.iter().all(|loaded| loaded.is_last));
    let newest: BTreeMap<_, _> = history
        .loads
        .iter()
        .filter(|loaded| loaded.version.as_str() == NEWEST)
        .map(|loaded| (loaded.db.as_str(), loaded))
        .collect();
    let delta = newest["mariadb"].throughput_delta().unwrap();
    assert!((-0.35..-0.15).contains(&delta), "{delta}");
    assert!(newest["postgresql"].throughput_delta().unwrap().abs() < 0.12);
    assert_eq!(newest["sqlite"].throughput_delta(), None);
    assert_eq!(
        newest["sqlite"].hindrance().unwrap(),
        "this run got 7518 answers 429 (96 %): it measured the rate limit, not the version"
    );
    assert!(history.loads.iter().all(|l| l.load.tool == "oha" && l.load.plan == "status-page"));
}

#[tokio::test]
async fn every_event_could_have_come_over_the_api_and_the_seed_tells_one_story() {
    let told = ci::past(SEED, NOW);
    for one in &told {
        assert_eq!(one.event.check(NOW), [], "{:?}", one.event.identity());
        assert!(one.event.finished.is_none_or(|finished| finished < NOW));
    }
    let identities: HashSet<_> = told.iter().map(|one| (one.event.identity(), one.event.attempt)).collect();
    assert_eq!(identities.len(), told.len());
    let cases: usize = told.iter().filter_map(|one| one.event.tests.as_ref()).map(|t| t.cases.len()).sum();
    println!("{} events, {cases} results", told.len());
    assert!(told.len() < 150 && cases <= 15_000, "{} events, {cases} results", told.len());
    assert_eq!(ci::past(SEED, NOW), told);
    assert_ne!(ci::past(SEED + 1, NOW), told);
    // Whatever the seed, the story is the same.
    for seed in 2..6 {
        println!("seed {seed}");
        let history = Told::past(seed).await.history().await;
        let main = suite(&history, "pest", "3.x");
        let counts = [main.newly_failing.len(), main.still_failing.len(), main.fixed.len(), main.flaky.len()];
        assert_eq!((counts, main.slower.len()), ([1; 4], 1));
    }
}

/// Every span that waits in the outbox: trace, own id, and its parent's.
async fn spans(store: &Store) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut spans = Vec::new();
    loop {
        let rows = store.outbox_next(Lane::Traces, 1 << 20).await.unwrap();
        if rows.is_empty() {
            return spans;
        }
        for row in &rows {
            let request = ExportTraceServiceRequest::decode(row.body.as_slice()).unwrap();
            let groups = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
            let of_row: Vec<_> = groups.flat_map(|group| group.spans).collect();
            assert_eq!(of_row.len() as u64, row.items);
            spans.extend(of_row.into_iter().map(|s| (s.trace_id, s.span_id, s.parent_span_id)));
        }
        store.change(Change::Delivered(rows.iter().map(|row| row.id).collect())).await.unwrap();
    }
}

#[tokio::test]
async fn all_of_it_is_telemetry_once_in_whole_traces() {
    let started = Instant::now();
    let told = Told::past(SEED).await;
    println!("recorded in {:?}", started.elapsed());
    let past = ci::past(SEED, NOW);
    ci::record(&told.store, &told.clock, &told.resource, past.clone()).await.unwrap();
    let parts = |one: &ci::Told| {
        let tests = one.event.tests.as_ref().map_or(0, |tests| tests.cases.len());
        tests + one.event.deploy.as_ref().map_or(0, |deploy| deploy.steps.len())
    };
    let expected: usize =
        past.iter().filter(|one| one.event.finished.is_some()).map(|one| 1 + parts(one)).sum();
    let spans = spans(&told.store).await;
    assert_eq!(spans.len(), expected, "also after it was told twice");
    let ids: HashSet<_> = spans.iter().map(|(trace, id, _)| (trace, id)).collect();
    assert_eq!(ids.len(), expected, "ids are distinct");
    let roots = spans.iter().filter(|(.., parent)| parent.is_empty()).count();
    let orphans =
        spans.iter().filter(|(trace, _, parent)| !parent.is_empty() && !ids.contains(&(trace, parent)));
    assert_eq!(orphans.count(), 0, "every parent is there");
    let pipelines = past.iter().filter(|one| one.event.kind() == EventKind::Pipeline).count();
    assert_eq!(roots, pipelines - 1, "a run each, save the one that is under way");
    let links: HashSet<TraceParent> = past.iter().flat_map(|one| one.links.clone()).collect();
    assert!(!links.is_empty());
    for link in links {
        assert!(ids.contains(&(&link.trace.0.to_vec(), &link.span.0.to_vec())), "{link} leads nowhere");
    }
}

#[tokio::test]
async fn small_runs_appear_step_by_step_and_deploy_rebuilds() {
    let told = Told::past(SEED).await;
    for n in 0..5 {
        told.clock.advance(ci::LIVE_EVERY);
        let began = told.clock.now();
        let steps = ci::live_run(SEED, n, began);
        assert!(steps.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(steps.last().unwrap().0 < ci::LIVE_EVERY, "{:?}", steps.last());
        for (offset, one) in
            steps.into_iter().flat_map(|(offset, told)| told.into_iter().map(move |t| (offset, t)))
        {
            assert_eq!(one.event.check(began.plus(offset)), []);
            assert!(
                one.event.finished.is_none_or(|finished| finished <= began.plus(offset)),
                "not ahead of time"
            );
            ci::record(&told.store, &told.clock, &told.resource, vec![one]).await.unwrap();
            if offset == Duration::ZERO {
                assert_eq!(told.history().await.under_way.len(), 2, "the soak test, and this run");
            }
        }
        assert_eq!(told.history().await.under_way.len(), 1, "it has ended");
    }
    let history = told.history().await;
    let staging = deployed(&history, "cachet-2.4-staging-sqlite");
    assert_eq!(staging.len(), 2, "one of the past, and the first of these");
    assert!(staging[0].is_rebuild, "from an image of its own");
    let smoke = suite(&history, "smoke", "2.4");
    assert_eq!((smoke.runs.len(), smoke.newly_failing.len()), (5, 1), "the fifth fails, and deploys nothing");
    // The story of the past stays as it is.
    assert_eq!(suite(&history, "pest", "3.x").newly_failing.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_is_fed_with_the_past_and_then_with_what_begins() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let store = Store::open(&Location::File(folder.path().join("demo.db")), &clock).await.unwrap();
    let resource = Resource::new(store.id(), None, None).unwrap();
    let mut changed = store.events_changed();
    let feeding = tokio::spawn(ci::feed(store.clone(), clock.clone(), resource, SEED));
    let begun = async {
        loop {
            let history = History::read(&store, clock.now()).await.unwrap();
            if history.under_way.iter().any(|row| row.event.pipeline == "cachet/2.4") {
                return history;
            }
            changed.changed().await.unwrap();
        }
    };
    let history = tokio::time::timeout(Duration::from_secs(60), begun).await.unwrap();
    assert_eq!(suite(&history, "pest", "3.x").newly_failing.len(), 1);
    assert_eq!(history.loads.len(), 9);
    feeding.abort();
    assert!(feeding.await.unwrap_err().is_cancelled(), "it goes on until it is stopped");
    store.close().await;
}
