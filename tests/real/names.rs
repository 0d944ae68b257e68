//! Everything that is sent has its name in `otlp::names`, and everything named there is sent: held
//! against what a real collector received, over both transports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::exporter::{Exporter, Settings, Transport};
use cachetscope::model::{
    Attempt, Deployment, ErrorType, Flavour, Outcome, Phase, Phases, Round, RoundId, Run, Sample,
};
use cachetscope::otlp::Resource;
use cachetscope::otlp::names::{self, ALL_ATTRIBUTES, ALL_METRICS};
use cachetscope::probe::Tick;
use cachetscope::publisher::{Publisher, facts_of, facts_of_tick};
use cachetscope::store::{Change, DeploymentRow, Store, deployment_key};

use crate::parts::collector::{Collector, Kind, Received};
use crate::parts::facts::{deployment, request};
use crate::parts::home::Home;

/// A run in which everything happens that a run can tell of.
fn eventful(store: &Store, deployment: &Arc<Deployment>, clock: &Clock) -> Run {
    let now = clock.now();
    let round = Arc::new(Round {
        id: RoundId::new(store.id(), "cachet", now),
        suite: "cachet".to_owned(),
        scheduled: now,
        started: now,
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
        Publisher::new(store.clone(), exporter.clone(), clock.clone(), fleet.clone(), process);

    let mut living = deployment("cachet-3", "3.0.0", Flavour::Postgresql).as_ref().clone();
    living.digest = Some("sha256:0123".to_owned());
    living.url = "https://localhost/".parse().unwrap();
    let living = Arc::new(living);
    let rows = vec![DeploymentRow::from(living.as_ref())];
    store.change(Change::Fleet { deployments: rows, at: clock.now() }).await.unwrap();
    let reported = Change::Reported { key: deployment_key(&living), version: "3.x-dev".to_owned() };
    store.change(reported).await.unwrap();
    store.commit(facts_of(eventful(&store, &living, &clock), &fleet, true)).await.unwrap();
    let tick = Tick {
        suite: "cachet".to_owned(),
        scheduled: clock.now(),
        period: Duration::from_secs(30),
        overlaps: false,
        late: true,
        missed: 1,
    };
    store.commit(facts_of_tick(&tick)).await.unwrap();
    publisher.tick().await.unwrap();
    assert!(exporter.drain().await, "everything is delivered: {:?}", store.outbox_status().await.unwrap());
    store.close().await;
    collector.stop().await;
    collector.received()
}

fn check(received: &Received) {
    let mut metrics = BTreeSet::new();
    let mut attributes: BTreeSet<&str> = BTreeSet::new();
    let mut events = BTreeSet::new();
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
        assert_eq!(record.event_name, names::SAMPLE_EVENT);
    }
    let known: BTreeSet<&str> = ALL_METRICS.iter().map(|m| m.name).collect();
    assert_eq!(metrics, known, "metrics received, and metrics named");
    let known: BTreeSet<&str> = ALL_ATTRIBUTES.iter().copied().collect();
    assert_eq!(attributes, known, "attributes received, and attributes named");
    let known: BTreeSet<&str> = Phase::ALL.into_iter().map(names::phase_event).collect();
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
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_over_http_is_what_is_named() {
    check(&sent_over("http/protobuf").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_over_grpc_is_what_is_named() {
    check(&sent_over("grpc").await);
}
