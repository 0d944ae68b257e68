//! Runs for tests: one by hand, and any number by strategy.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

pub(crate) use super::events::fixture as events;
use super::{Resource, names};
use crate::clock::Timestamp;
use crate::model::{
    Attempt, Deployment, ErrorType, Flavour, Floors, Method, Outcome, Phases, Redirects, Request, Round,
    RoundId, Run, Sample, Secret, Template, Tls, Version, VersionRange,
};

pub(crate) fn resource() -> Resource {
    Resource::new("store-uuid", None, None).unwrap()
}

pub(crate) fn request(name: &str, path: &str) -> Arc<Request> {
    Arc::new(Request {
        name: name.to_owned(),
        method: Method::Get,
        path: Template::parse(path).unwrap(),
        headers: Vec::new(),
        body: None,
        applies_to: VersionRange::any(),
        writes: false,
        authenticated: false,
        always: false,
        timeout: Duration::from_secs(5),
        retries: 1,
        degraded_after: None,
        redirects: Redirects::Keep,
        max_body: 1 << 20,
        checks: Vec::new(),
        captures: Vec::new(),
        control: false,
        floors: Floors::default(),
    })
}

pub(crate) fn deployment(url: &str) -> Arc<Deployment> {
    Arc::new(Deployment {
        name: "cachet-3-mysql".to_owned(),
        version: Version::parse("3.0.0-dev.202608221030").unwrap(),
        db: Flavour::Mysql,
        environment: "staging".to_owned(),
        url: url.parse().unwrap(),
        token: Some(Secret::new("hunter2")),
        writes: false,
        host_group: "a".to_owned(),
        tls: Tls::default(),
        resolver: None,
        keep_alive: false,
        digest: Some("sha256:abc".to_owned()),
        commit: None,
        origin: None,
    })
}

/// A run whose samples were tried as often as said, with these outcomes, 10 ms after each other.
pub(crate) fn run(url: &str, samples: &[(&str, &str, Outcome, u32)]) -> Run {
    let started = Timestamp(1_763_870_400_000_000_000);
    let id = RoundId::new("store-uuid", "cachet", started);
    let deployment = deployment(url);
    let trace = id.trace(&deployment.key());
    let mut at = started;
    let samples: Vec<Sample> = samples
        .iter()
        .map(|(name, path, outcome, tries)| {
            let attempts = (0..*tries)
                .map(|n| {
                    at = at.plus(Duration::from_millis(10));
                    let failed = n + 1 < *tries || matches!(outcome, Outcome::Fail | Outcome::Unreachable);
                    Attempt {
                        started: at,
                        phases: Phases([0, 200_000, 0, 50_000, 4_000_000, 750_000]),
                        span: trace.attempt_span(name, n),
                        status: Some(if failed { 500 } else { 200 }),
                        error: failed.then_some(ErrorType::Check),
                        protocol: Some("1.1"),
                        body_bytes: 1_234,
                        peer: Some("[::1]:8101".parse().unwrap()),
                        redirects: 0,
                        tls_days_left: None,
                    }
                })
                .collect();
            let detail = if *outcome == Outcome::Pass { "" } else { "status: expected 200, found 500" };
            Sample { request: request(name, path), outcome: *outcome, attempts, detail: detail.to_owned() }
        })
        .collect();
    Run {
        round: Arc::new(Round { id, suite: "cachet".to_owned(), scheduled: started, started, extra: false }),
        trace,
        started,
        duration: Duration::from_millis(120),
        outcome: Run::outcome_of(&samples),
        samples,
        deployment,
    }
}

/// Runs of none to six samples of any outcome.
pub(crate) fn any_run() -> impl Strategy<Value = Run> {
    let sample = (0..Outcome::ALL.len(), 0..4_u32, "[a-z]{1,12}", "(/[a-zé?=]{0,9}){1,4}");
    prop::collection::vec(sample, 0..6).prop_map(|samples| {
        let samples: Vec<_> = samples
            .iter()
            .map(|(outcome, tries, name, path)| {
                (name.as_str(), path.as_str(), Outcome::ALL[*outcome], *tries)
            })
            .collect();
        run("http://127.0.0.1:8101", &samples)
    })
}

/// A batch of gauges with `points` points, and as many histograms.
pub(crate) fn metrics(points: u32, max_bytes: usize) -> Vec<super::Encoded> {
    let mut batch = super::MetricBatch::new(&resource(), max_bytes);
    for n in 0..points {
        let attributes = || vec![(names::DEPLOYMENT.into(), format!("deployment-{n}").into())];
        batch.gauge(&names::PROBE_UP, attributes(), Timestamp(1), i64::from(n));
        batch.zero(&names::REQUEST_DURATION, attributes(), Timestamp(i64::from(n)));
    }
    batch.finish()
}
