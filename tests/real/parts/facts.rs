//! Small builders for values of the model, for tests that need facts and not probes.

use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::Timestamp;
use cachetscope::model::{
    Attempt, Deployment, ErrorType, Flavour, Floors, Method, Outcome, Phases, Redirects, Request, Round,
    RoundId, Run, Sample, Template, Tls, Version, VersionRange,
};
use cachetscope::store::{Entry, Exemplar, Facts, Increment, Lane, deployment_key};

/// Where these tests begin: a full hour, 2026-11-23T10:00:00Z.
pub const START: Timestamp = Timestamp(1_795_428_000_000_000_000);

/// So many seconds after [`START`].
pub fn after(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1_000_000_000)
}

pub fn deployment(name: &str, version: &str, db: Flavour) -> Arc<Deployment> {
    Arc::new(Deployment {
        name: name.to_owned(),
        version: Version::parse(version).expect("a version"),
        db,
        environment: "test".to_owned(),
        url: "http://127.0.0.1:1/".parse().expect("a URL"),
        token: None,
        writes: false,
        host_group: name.to_owned(),
        tls: Tls::default(),
        resolver: None,
        keep_alive: false,
        digest: None,
        commit: None,
        origin: None,
    })
}

/// `GET /api/NAME` without checks.
pub fn request(name: &str) -> Arc<Request> {
    Arc::new(Request {
        name: name.to_owned(),
        method: Method::Get,
        path: Template::parse(&format!("/api/{name}")).expect("a path"),
        headers: Vec::new(),
        body: None,
        applies_to: VersionRange::any(),
        writes: false,
        authenticated: false,
        always: false,
        timeout: Duration::from_secs(5),
        retries: 0,
        degraded_after: None,
        redirects: Redirects::Keep,
        max_body: 1 << 20,
        checks: Vec::new(),
        captures: Vec::new(),
        control: false,
        floors: Floors::default(),
    })
}

/// The round of suite `cachet` that was scheduled, and started, at this time.
pub fn round(at: Timestamp) -> Arc<Round> {
    Arc::new(Round {
        id: RoundId::new("test", "cachet", at),
        suite: "cachet".to_owned(),
        scheduled: at,
        started: at,
        extra: false,
    })
}

/// What is to become of one request.
pub struct Asked {
    pub request: &'static str,
    pub outcome: Outcome,
    /// Total of each attempt; one of `None` was not answered.
    pub attempts_ms: Vec<Option<u64>>,
    pub detail: &'static str,
}

/// A request that passed at once.
pub fn passed(request: &'static str, total_ms: u64) -> Asked {
    Asked { request, outcome: Outcome::Pass, attempts_ms: vec![Some(total_ms)], detail: "" }
}

/// A request that did not pass.
pub fn failed(request: &'static str, outcome: Outcome, total_ms: Option<u64>) -> Asked {
    let detail = "expected status 200, found another";
    Asked { request, outcome, attempts_ms: vec![total_ms], detail }
}

/// A request that was never asked.
pub fn skipped(request: &'static str) -> Asked {
    Asked { request, outcome: Outcome::Skipped, attempts_ms: Vec::new(), detail: "after unreachable" }
}

/// One run whose requests follow each other from the start of the round on.
pub fn run(round: &Arc<Round>, deployment: &Arc<Deployment>, asked: &[Asked]) -> Run {
    const UNANSWERED: Duration = Duration::from_secs(5);
    let trace = round.id.trace(&deployment.key());
    let mut now = round.started;
    let mut samples = Vec::new();
    for one in asked {
        let mut attempts = Vec::new();
        for (n, total_ms) in one.attempts_ms.iter().enumerate() {
            let total = total_ms.map_or(UNANSWERED, Duration::from_millis);
            let ns = u64::try_from(total.as_nanos()).expect("a short time");
            attempts.push(Attempt {
                started: now,
                phases: Phases([0, ns / 10, 0, ns / 10, ns - 2 * (ns / 10), 0]),
                span: trace.attempt_span(one.request, u32::try_from(n).expect("few attempts")),
                status: total_ms.map(|_| if one.outcome == Outcome::Fail { 500 } else { 200 }),
                error: match (total_ms, one.outcome) {
                    (None, _) => Some(ErrorType::Timeout),
                    (_, Outcome::Fail) => Some(ErrorType::Check),
                    _ => None,
                },
                protocol: total_ms.map(|_| "1.1"),
                body_bytes: 17,
                peer: None,
                redirects: 0,
                tls_days_left: None,
            });
            now = now.plus(total);
        }
        samples.push(Sample {
            request: request(one.request),
            outcome: one.outcome,
            attempts,
            detail: one.detail.to_owned(),
        });
    }
    Run {
        round: round.clone(),
        deployment: deployment.clone(),
        trace,
        started: round.started,
        duration: now.since(round.started),
        outcome: Run::outcome_of(&samples),
        samples,
    }
}

/// Counts one run of a deployment.
pub const RUNS: &str = "test.runs";
/// A histogram of the samples' durations; bucket 0 ends at 10 ms, bucket 1 at 100 ms.
pub const DURATION: &str = "test.duration";

/// A run with what belongs to it: one added to [`RUNS`], each answered sample added to [`DURATION`],
/// and an entry of lane `traces` whose body is the trace id, so that a test can tell who waits.
pub fn facts(run: Run) -> Facts {
    let attributes = format!(r#"[["deployment","{}"]]"#, run.deployment.name);
    let deployment = Some(deployment_key(&run.deployment));
    let increment = |metric, sum| Increment {
        metric,
        attributes: attributes.clone(),
        deployment,
        started: run.started,
        count: 1,
        sum,
        bucket: None,
        exemplar: None,
    };
    let mut increments = vec![increment(RUNS, 1.0)];
    for attempt in run.samples.iter().filter_map(Sample::first).filter(|a| a.status.is_some()) {
        let seconds = attempt.phases.total().as_secs_f64();
        let bucket = if seconds <= 0.01 {
            0
        } else if seconds <= 0.1 {
            1
        } else {
            2
        };
        let exemplar = Exemplar { value: seconds, at: attempt.started, trace: run.trace, span: attempt.span };
        increments.push(Increment {
            bucket: Some(bucket),
            exemplar: Some(exemplar),
            ..increment(DURATION, seconds)
        });
    }
    let outbox = vec![entry(Lane::Traces, run.started, &run.trace.0)];
    Facts { runs: vec![run], increments, outbox, ..Facts::default() }
}

/// Facts of a run with one request that passed within 5 ms.
pub fn simple_facts(at: Timestamp, deployment: &Arc<Deployment>) -> Facts {
    facts(run(&round(at), deployment, &[passed("ping", 5)]))
}

pub fn entry(lane: Lane, created: Timestamp, body: &[u8]) -> Entry {
    Entry { lane, created, items: 1, body: body.to_vec(), snapshot: None, kept: false }
}

/// A snapshot of cumulative series that a later one supersedes.
pub fn snapshot(taken: Timestamp, items: u32, bytes: usize) -> Entry {
    Entry {
        lane: Lane::Metrics,
        created: taken,
        items,
        body: vec![7; bytes],
        snapshot: Some(taken),
        kept: false,
    }
}
