//! Everything that is sent has its name in `otlp::names`, and everything named there is sent: held
//! against what a real collector received, over both transports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::compare::{Ladder, Member, Seen, Visited};
use cachetscope::config::{self, Env, Source};
use cachetscope::discover::{Counts, Discover};
use cachetscope::exporter::{Exporter, Settings, Transport};
use cachetscope::http::Client;
use cachetscope::model::{
    Attempt, Case, CaseStatus, CiResult, Deploy, DeployStep, Deployment, ErrorType, Event, Evidence, Flavour,
    Load, Mark, Outcome, Phase, Phases, Process, Quantile, Round, RoundId, Run, SAMPLES_MIN, Sample, Task,
    Tests, Usage, Version,
};
use cachetscope::otlp::Resource;
use cachetscope::otlp::names::{self, ALL_ATTRIBUTES, ALL_METRICS};
use cachetscope::probe::Tick;
use cachetscope::publisher::{
    Intake, Publisher, entries_of, facts_of, facts_of_event, facts_of_tick, increments_of,
};
use cachetscope::store::{Change, DeploymentRow, Facts, Store, VerdictsRow, deployment_key};
use cachetscope::verdict::{Answer, CellRules, Settings as Watching, Tally, Visit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::parts::collector::{Collector, Kind, Received};
use crate::parts::facts::{self, deployment, request};
use crate::parts::home::Home;

/// A run in which everything happens that a run can tell of.
fn eventful(store: &Store, deployment: &Arc<Deployment>, clock: &Clock) -> Run {
    let now = clock.now();
    let round = Arc::new(Round {
        id: RoundId::new(store.id(), "cachet", now),
        suite: "cachet".to_owned(),
        scheduled: now,
        started: now,
        extra: false,
    });
    let trace = round.id.trace(&deployment.key());
    let attempt = |request: &str, number: u32, error: Option<ErrorType>| Attempt {
        started: now,
        phases: Phases([1_000, 2_000, 3_000, 4_000, 5_000_000, 6_000]),
        span: trace.attempt_span(request, number),
        status: Some(if error.is_some() { 500 } else { 200 }),
        error,
        protocol: Some("1.1"),
        body_bytes: 17,
        peer: Some(([127, 0, 0, 1], 443).into()),
        redirects: 1,
        tls_days_left: Some(30),
    };
    let sample = |name: &str, outcome, attempts, detail: &str| Sample {
        request: request(name),
        outcome,
        attempts,
        detail: detail.to_owned(),
    };
    let samples = vec![
        sample(
            "ping",
            Outcome::Pass,
            vec![attempt("ping", 0, Some(ErrorType::Check)), attempt("ping", 1, None)],
            "",
        ),
        sample("status", Outcome::Fail, vec![attempt("status", 0, Some(ErrorType::Check))], "expected 200"),
    ];
    Run {
        outcome: Run::outcome_of(&samples),
        deployment: deployment.clone(),
        trace,
        started: now,
        duration: Duration::from_millis(20),
        samples,
        round,
    }
}

/// A step of the run that all events here are of; the run as a whole where there is none.
fn event(step: Option<&str>, result: CiResult, now: Timestamp) -> Event {
    let mut event = Event::new("jenkins", "cachet/3.x", "1197");
    event.step = step.map(str::to_owned);
    (event.started, event.finished) = (Some(now.minus(Duration::from_secs(60))), Some(now));
    event.result = Some(result);
    event.branch = Some("3.x".to_owned());
    event.commit = Some("8f3c2a".to_owned());
    event.repository = Some("https://github.com/cachethq/core".to_owned());
    event.url = Some("http://jenkins.example/job/3.x/1197/".to_owned());
    event.worker = Some("agent-1".to_owned());
    event
}

/// Deploys a version on PostgreSQL, in steps.
fn deployed(name: &str, version: &str, now: Timestamp) -> Event {
    let mut event = event(Some(&format!("deploy-{name}")), CiResult::Success, now);
    event.version = Version::parse(version);
    event.db = Some(Flavour::Postgresql);
    event.deployment = Some(name.to_owned());
    event.environment = Some("test".to_owned());
    event.digest = Some("sha256:0123".to_owned());
    let step = |name: &str| DeployStep {
        name: name.to_owned(),
        seconds: 20.0,
        offset_seconds: None,
        result: Some(CiResult::Success),
    };
    event.deploy = Some(Deploy { steps: vec![step("pull"), step("migrate")], ..Deploy::default() });
    event
}

/// Load on a version; `limited` answers were 429.
fn loaded(name: &str, version: &str, limited: u64, now: Timestamp) -> Event {
    let mut event = Event { deploy: None, ..deployed(name, version, now) };
    event.step = Some(format!("load-{name}-{limited}"));
    event.load = Some(Load {
        plan: if limited > 0 { "api" } else { "status-page" }.to_owned(),
        tool: "oha".to_owned(),
        seconds: 30.0,
        requests: 3_000,
        errors: limited,
        throughput: 100.0,
        offered: Some(120.0),
        latency: vec![Quantile { quantile: 0.5, seconds: 0.08 }, Quantile { quantile: 0.99, seconds: 0.2 }],
        statuses: [(200, 3_000 - limited), (429, limited)].into(),
        ..Load::default()
    });
    event
}

/// A run of tests that was ended, with all that a case can tell.
fn tested(now: Timestamp) -> Event {
    let mut event = event(Some("unit"), CiResult::Timeout, now);
    let case = |name: &str, status: CaseStatus, mark| Case {
        class: "ApiTest".to_owned(),
        name: name.to_owned(),
        status,
        seconds: Some(1.0),
        message: status.is_bad().then(|| "Failed asserting that 500 is identical to 200.".to_owned()),
        mark,
    };
    let cases = vec![
        case("lists", CaseStatus::Pass, Some(Mark::Risky)),
        case("creates", CaseStatus::Fail, None),
        case("deletes", CaseStatus::Error, None),
        case("sorts", CaseStatus::Skip, None),
    ];
    event.tests = Some(Tests { suite: "pest".to_owned(), cases, aborted: true, ..Tests::default() });
    event.usage = Some(Usage {
        exit_code: Some(124),
        cpu_seconds: Some(41.5),
        memory_peak_bytes: Some(1 << 30),
        ..Usage::default()
    });
    event.evidence = Some(Evidence {
        reason: "silent for 5m".to_owned(),
        last_test: Some("ApiTest::imports".to_owned()),
        last_output: vec!["RUN ApiTest".to_owned()],
        processes: vec![Process {
            pid: 8,
            command: "php vendor/bin/pest".to_owned(),
            state: "running".to_owned(),
            memory_bytes: Some(1 << 30),
            ..Process::default()
        }],
    });
    event
}

/// A run of CI in which everything happens that an event can tell of; the last deploys `cachet-3`.
fn eventful_ci(now: Timestamp) -> Vec<Event> {
    let mut image = event(Some("image"), CiResult::Success, now);
    image.task = Some(Task::Build);
    image.digest = Some("sha256:0123".to_owned());
    vec![
        event(None, CiResult::Failure, now),
        image,
        tested(now),
        loaded("cachet-2", "2.4.1", 0, now.minus(Duration::from_secs(300))),
        loaded("cachet-3", "3.0.0", 0, now),
        loaded("cachet-3", "3.0.0", 12, now),
        deployed("cachet-2", "2.4.1", now.minus(Duration::from_secs(300))),
        deployed("cachet-3", "3.0.0", now),
    ]
}

/// What is counted once a source was asked, here one without targets.
async fn discovered() -> Arc<Counts> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("targets.json"), "[]").unwrap();
    std::fs::write(dir.path().join("fleet.yaml"), "discover: { file_sd: { files: [targets.json] } }\n")
        .unwrap();
    let config = config::load(Source::Required(dir.path()), &Env::default()).unwrap();
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let discover = Discover::new(Client::new(clock.clone()), clock, TaskTracker::new(), stop.clone());
    discover.set(&config.sources);
    discover.asked_once(Duration::from_secs(60)).await;
    stop.cancel();
    discover.counts()
}

/// Commits the verdicts of 70 rounds in which `living` answered half as fast as the version before it on
/// its database, and as fast on another one.
async fn judge(store: &Store, living: &Arc<Deployment>, fleet: &Resource, now: Timestamp) {
    let name = |version: &str, db| deployment(&format!("{version}-{db}"), version, db);
    let others = [
        name("2.4.1", living.db),
        name("2.4.1", Flavour::Sqlite),
        name(&living.version.to_string(), Flavour::Sqlite),
    ];
    let all: Vec<&Arc<Deployment>> = others.iter().chain([living]).collect();
    let began = now.minus(Duration::from_secs(3_600));
    let member = |d: &&Arc<Deployment>| Member {
        build: d.key(),
        name: d.name.clone(),
        version: d.version.clone(),
        db: d.db,
        environment: d.environment.clone(),
        since: began,
        requests: vec![("ping".to_owned(), CellRules::default())],
        control: None,
        rolled_back: false,
    };
    let members = all.iter().map(member).collect();
    let mut ladder = Ladder::new("cachet", Watching::default(), members, Vec::new(), now);
    let (mut changes, mut tally) = (Vec::new(), Tally::default());
    for n in 0..70_u64 {
        let at = began.plus(Duration::from_secs(30 * n));
        let visit = |d: &&Arc<Deployment>| {
            let base = if Arc::ptr_eq(d, living) { 20_000 } else { 10_000 };
            let took = Duration::from_micros(base + n * 7_919 % 501);
            let visit = Visit { started: at, answer: Answer::Passed(took) };
            Visited { build: d.key(), request: "ping".to_owned(), visit }
        };
        let visits = all.iter().map(visit).collect();
        let seen = Seen { round: RoundId::new(store.id(), "judged", at), scheduled: at, visits };
        let (changed, own) = ladder.take(&seen, None, at);
        changes.extend(changed);
        tally.add(own);
    }
    let standings = serde_json::to_string(&ladder.standings(now)).unwrap();
    let find = |name: &str| all.iter().find(|d| d.name == name).map(|d| &***d);
    let row = VerdictsRow { suite: "cachet".to_owned(), at: now, state: "[]".to_owned(), standings };
    let facts = Facts {
        verdicts: vec![row],
        increments: increments_of("cachet", tally, began),
        outbox: entries_of(&changes, find, fleet),
        ..Facts::default()
    };
    store.commit(facts).await.unwrap();
}

async fn sent_over(protocol: &'static str) -> Received {
    let home = Home::sqlite();
    let clock = Clock::system();
    let dir = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(dir.path()).await;
    let store = home.open().await;
    let endpoint = if protocol == "grpc" { collector.grpc_url() } else { collector.http_url() };
    let settings = Settings::from_env(&|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
        _ => None,
    })
    .unwrap();
    let exporter =
        Exporter::new(store.clone(), Transport::new(settings, clock.clone()).unwrap(), clock.clone());
    let fleet = Resource::new(store.id(), None, None).unwrap();
    let process = Resource::new("process", None, None).unwrap();
    let mut publisher =
        Publisher::new(store.clone(), exporter.clone(), clock.clone(), fleet.clone(), process)
            .counting(Arc::new(Intake::new()), discovered().await);

    let mut living = deployment("cachet-3", "3.0.0", Flavour::Postgresql).as_ref().clone();
    living.digest = Some("sha256:0123".to_owned());
    living.url = "https://localhost/".parse().unwrap();
    let ci = eventful_ci(clock.now());
    living.origin = ci.last().map(Event::as_parent);
    let facts = ci.into_iter().map(|event| facts_of_event(event, clock.now(), &[], &fleet));
    store.record(facts.collect::<Result<_, _>>().unwrap()).await.unwrap();
    let living = Arc::new(living);
    let rows = vec![DeploymentRow::from(living.as_ref())];
    store.change(Change::Fleet { deployments: rows, at: clock.now() }).await.unwrap();
    let reported = Change::Reported { key: deployment_key(&living), version: "3.x-dev".to_owned() };
    store.change(reported).await.unwrap();
    store.commit(facts_of(eventful(&store, &living, &clock), &fleet, true)).await.unwrap();
    // A median speaks only when there are enough of them.
    for n in 1..=SAMPLES_MIN {
        let round = facts::round(clock.now().minus(Duration::from_secs(n)));
        let run = facts::run(&round, &living, &[facts::passed("ping", 5)]);
        store.commit(facts_of(run, &fleet, true)).await.unwrap();
    }
    let tick = Tick {
        suite: "cachet".to_owned(),
        scheduled: clock.now(),
        period: Duration::from_secs(30),
        overlaps: false,
        late: true,
        missed: 1,
    };
    store.commit(facts_of_tick(&tick)).await.unwrap();
    judge(&store, &living, &fleet, clock.now()).await;
    publisher.tick().await.unwrap();
    assert!(exporter.drain().await, "everything is delivered: {:?}", store.outbox_status().await.unwrap());
    store.close().await;
    collector.stop().await;
    collector.received()
}

fn check(received: &Received) {
    let mut metrics = BTreeSet::new();
    let mut attributes: BTreeSet<&str> = BTreeSet::new();
    let (mut events, mut records) = (BTreeSet::new(), BTreeSet::new());
    for point in &received.points {
        metrics.insert(point.metric.as_str());
        attributes.extend(point.attributes.keys().chain(point.resource.keys()).map(String::as_str));
        let named = ALL_METRICS.iter().find(|m| m.name == point.metric);
        let named = named.unwrap_or_else(|| panic!("`{}` is not in otlp::names", point.metric));
        assert_eq!((named.unit, named.description), (point.unit.as_str(), point.description.as_str()));
        let kind = match named.kind {
            names::Kind::Gauge => Kind::Gauge,
            names::Kind::Counter => Kind::Sum { monotonic: true, cumulative: true },
            names::Kind::Histogram(_) => Kind::Histogram { cumulative: true },
        };
        assert_eq!(kind, point.kind, "{}", point.metric);
    }
    for span in &received.spans {
        attributes.extend(span.attributes.keys().chain(span.resource.keys()).map(String::as_str));
        for event in &span.events {
            events.insert(event.name.as_str());
            attributes.extend(event.attributes.keys().map(String::as_str));
        }
    }
    for record in &received.logs {
        attributes.extend(record.attributes.keys().chain(record.resource.keys()).map(String::as_str));
        records.insert(record.event_name.as_str());
    }
    assert_eq!(records, BTreeSet::from([names::SAMPLE_EVENT, names::CI_EVENT, names::VERDICT_EVENT]));
    let known: BTreeSet<&str> = ALL_METRICS.iter().map(|m| m.name).collect();
    assert_eq!(metrics, known, "metrics received, and metrics named");
    let known: BTreeSet<&str> = ALL_ATTRIBUTES.iter().copied().collect();
    assert_eq!(attributes, known, "attributes received, and attributes named");
    let mut known: BTreeSet<&str> = Phase::ALL.into_iter().map(names::phase_event).collect();
    known.extend([names::EXCEPTION_EVENT, names::EVIDENCE_EVENT]);
    assert_eq!(events, known, "span events received, and span events named");

    let exemplars: Vec<_> = received
        .points
        .iter()
        .filter(|p| p.metric == names::REQUEST_DURATION.name)
        .flat_map(|p| &p.exemplars)
        .collect();
    assert!(!exemplars.is_empty(), "request durations carry exemplars");
    for exemplar in exemplars {
        let of = received.spans.iter().find(|s| (&s.trace, &s.id) == (&exemplar.trace, &exemplar.span));
        assert!(of.is_some_and(|span| span.kind == 3), "an exemplar leads to the span of its attempt");
    }

    // From a run of probes one gets to the deployment, and from there to tests, image and verdicts.
    let run = received.spans.iter().find(|span| span.name == "probe cachet").unwrap();
    let [link] = run.links.as_slice() else { panic!("{:?}", run.links) };
    let deployment =
        received.spans.iter().find(|span| (&span.trace, &span.id) == (&link.0, &link.1)).unwrap();
    assert_eq!(deployment.name, "deploy");
    let trace: BTreeSet<&str> =
        received.spans.iter().filter(|span| span.trace == link.0).map(|span| span.name.as_str()).collect();
    let verdict = names::verdict_span("ping", "regressed");
    let told =
        ["RUN cachet/3.x", "build image", "tests pest", "ApiTest::creates", "deploy", "migrate", &verdict];
    for name in told {
        assert!(trace.contains(name), "{name} is not in {trace:?}");
    }
    let root = received.spans.iter().find(|span| span.trace == link.0 && span.parent.is_empty()).unwrap();
    assert_eq!((root.name.as_str(), root.kind), ("RUN cachet/3.x", 2));
    let runs =
        received.points.iter().find(|p| p.metric == names::PIPELINE_DURATION.name && !p.exemplars.is_empty());
    let exemplar = &runs.unwrap().exemplars[0];
    assert_eq!((&exemplar.trace, &exemplar.span), (&root.trace, &root.id), "it leads to the run");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_over_http_is_what_is_named() {
    check(&sent_over("http/protobuf").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_over_grpc_is_what_is_named() {
    check(&sent_over("grpc").await);
}
