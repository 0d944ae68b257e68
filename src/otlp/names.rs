//! Every name that leaves this process in a metric, span, event or log record; nothing else in the
//! crate spells one.
//!
//! OpenTelemetry semantic conventions 1.44 are followed where they have a name; the rest carries the
//! prefix `cachetscope.`. A test holds [`ALL_METRICS`] and [`ALL_ATTRIBUTES`] against what a real
//! collector received, so a name enters these lists when it is first sent.

use super::bounds::{BOUNDS_RUN_SECONDS, BOUNDS_SECONDS};
use crate::model::Phase;

/// Where the conventions of this version are published; sent with every scope.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The instrumentation scope of all that is encoded here; its version is the crate's.
pub const SCOPE: &str = "cachetscope";

/// `service.name`, unless `OTEL_SERVICE_NAME` says otherwise.
pub const SERVICE: &str = "cachetscope";

/// What a metric is, as OTLP keeps it. Everything that adds up is cumulative and monotonic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Gauge,
    Counter,
    /// Its bounds in the metric's unit; none means sum and count only.
    Histogram(&'static [f64]),
}

/// One metric: the only place its unit and words are written.
#[derive(Debug, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    /// UCUM, as the conventions ask. Empty where Prometheus would otherwise append `_ratio`.
    pub unit: &'static str,
    pub description: &'static str,
    pub kind: Kind,
}

macro_rules! metrics {
    ($($id:ident = $name:literal, $unit:literal, $kind:expr, $description:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $description)]
            pub const $id: Metric =
                Metric { name: $name, unit: $unit, description: $description, kind: $kind };
        )*

        /// Every metric above.
        pub const ALL_METRICS: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    REQUEST_DURATION = "http.client.request.duration", "s", Kind::Histogram(&BOUNDS_SECONDS),
        "Duration of probe requests, from name resolution to the last byte of the body.";
    PHASE_DURATION = "cachetscope.request.phase.duration", "s", Kind::Histogram(&[]),
        "Time spent in each phase of probe requests; the phases of a request sum to its duration.";
    PROBE_RUNS = "cachetscope.probe.runs", "{run}", Kind::Counter,
        "Runs of a suite on a deployment, by outcome.";
    PROBE_UP = "cachetscope.probe.up", "", Kind::Gauge,
        "1 when the last run on the deployment had every answer right, 0 when not; absent when nothing could be asked.";
    PROBE_LAST = "cachetscope.probe.last.timestamp", "s", Kind::Gauge,
        "Unix time of the end of the last run on the deployment.";
    TARGET_RANK = "cachetscope.target.version.rank", "{rank}", Kind::Gauge,
        "Place of the version within its environment: 0 latest, 1 the one before it; -1 retired.";
    TARGET_INFO = "cachetscope.target.info", "", Kind::Gauge,
        "Always 1; what is known about the deployment is in the attributes.";
    REQUEST_MEDIAN = "cachetscope.request.median", "s", Kind::Gauge,
        "Median duration of a request's first attempts over the last hour; absent with fewer than 10 samples, or when more than a tenth failed.";
    VERDICT = "cachetscope.verdict", "", Kind::Gauge,
        "What comparing a request with the version before it on the same database has come to: of the seven values one is 1, the others 0.";
    DELTA_RATIO = "cachetscope.request.delta.ratio", "", Kind::Gauge,
        "By how much a request takes longer than on the version before it, from paired visits: 0.1 is a tenth longer.";
    DELTA_SECONDS = "cachetscope.request.delta.seconds", "s", Kind::Gauge,
        "The same as time; absent where more than a tenth of the visits failed.";
    DELTA_LOW = "cachetscope.request.delta.confidence.low", "", Kind::Gauge,
        "Lower end of the 95 % interval of that ratio.";
    DELTA_HIGH = "cachetscope.request.delta.confidence.high", "", Kind::Gauge,
        "Upper end of the 95 % interval of that ratio.";
    DELTA_PAIRS = "cachetscope.request.delta.pairs", "{pair}", Kind::Gauge,
        "Of how many paired visits that is.";
    DELTA_FAILURES = "cachetscope.request.delta.failures", "", Kind::Gauge,
        "Failure rate of a request less that on the version before it, from the same visits: 0.1 is ten in a hundred more.";
    DB_FACTOR = "cachetscope.db.factor", "", Kind::Gauge,
        "How many times as long a request takes as on the database that answers it fastest in the same version, from shared rounds; 1 for that one.";
    DB_FACTOR_LOW = "cachetscope.db.factor.confidence.low", "", Kind::Gauge,
        "Lower end of the 95 % interval of that factor.";
    DB_FACTOR_HIGH = "cachetscope.db.factor.confidence.high", "", Kind::Gauge,
        "Upper end of the 95 % interval of that factor.";
    DB_INTERACTION = "cachetscope.db.interaction.ratio", "", Kind::Gauge,
        "How much more a request changed on this database than on the others: 0.1 is a tenth more.";
    DB_INTERACTION_LOW = "cachetscope.db.interaction.confidence.low", "", Kind::Gauge,
        "Lower end of the 95 % interval of that ratio.";
    DB_INTERACTION_HIGH = "cachetscope.db.interaction.confidence.high", "", Kind::Gauge,
        "Upper end of the 95 % interval of that ratio.";
    AA_COMPARISONS = "cachetscope.aa.comparisons", "{comparison}", Kind::Counter,
        "Comparisons of deployments with themselves that are over.";
    AA_FALSE_VERDICTS = "cachetscope.aa.false_verdicts", "{comparison}", Kind::Counter,
        "Of these, how many found a difference that cannot be.";
    TEST_CASES = "cachetscope.test.cases", "{test_case}", Kind::Gauge,
        "Cases of the last run of a test suite on a branch, by status; flaky and new_failure are counted besides.";
    TEST_RUN_DURATION = "cachetscope.test.run.duration", "s", Kind::Gauge,
        "How long the last run of a test suite on a branch took.";
    TEST_RUN_TIMESTAMP = "cachetscope.test.run.timestamp", "s", Kind::Gauge,
        "Unix time of the end of the last run of a test suite on a branch.";
    TEST_RUN_SUCCESS = "cachetscope.test.run.success", "", Kind::Gauge,
        "1 when the last run of a test suite on a branch came to its end and nothing in it failed, 0 when not.";
    DEPLOYMENT_DURATION = "cachetscope.deployment.duration", "s", Kind::Gauge,
        "How long the last deployment of a version took.";
    DEPLOYMENT_DELTA = "cachetscope.deployment.duration.delta.seconds", "s", Kind::Gauge,
        "By how much that is more than for the version before it on the same database.";
    DEPLOYMENT_DELTA_RATIO = "cachetscope.deployment.duration.delta.ratio", "", Kind::Gauge,
        "The same as a ratio of the version before it: 0.25 is a quarter longer.";
    DEPLOYMENT_STEP = "cachetscope.deployment.step.duration", "s", Kind::Gauge,
        "How long each step of the last deployment of a version took.";
    DEPLOYMENT_TIMESTAMP = "cachetscope.deployment.timestamp", "s", Kind::Gauge,
        "Unix time of the end of the last deployment of a version.";
    DEPLOYMENT_SUCCESS = "cachetscope.deployment.success", "", Kind::Gauge,
        "1 when the last deployment of a version succeeded, 0 when not.";
    LOAD_THROUGHPUT = "cachetscope.load.throughput", "{request}/s", Kind::Gauge,
        "Completed requests per second in the last load run of a plan on a version.";
    LOAD_OFFERED = "cachetscope.load.offered", "{request}/s", Kind::Gauge,
        "Requests per second that this load run asked for, where its tool tells.";
    LOAD_LATENCY = "cachetscope.load.latency", "s", Kind::Gauge,
        "Response times under load, by quantile.";
    LOAD_ERROR_RATIO = "cachetscope.load.error.ratio", "", Kind::Gauge,
        "Of the requests of the last load run, how many failed: 0 to 1.";
    LOAD_TIMESTAMP = "cachetscope.load.timestamp", "s", Kind::Gauge,
        "Unix time of the end of the last load run.";
    LOAD_THROUGHPUT_DELTA = "cachetscope.load.throughput.delta.ratio", "", Kind::Gauge,
        "Throughput against the version before it on the same database: 0.1 is a tenth more.";
    LOAD_LATENCY_DELTA = "cachetscope.load.latency.delta.ratio", "", Kind::Gauge,
        "Response time under load at a quantile against the version before it: 0.1 is a tenth longer.";
    PIPELINE_DURATION = "cicd.pipeline.run.duration", "s", Kind::Histogram(&BOUNDS_RUN_SECONDS),
        "Duration of runs of a pipeline.";
    EVENTS_RECEIVED = "cachetscope.events.received", "{event}", Kind::Counter,
        "Events of CI that were taken in, each once, by kind.";
    EVENTS_DUPLICATE = "cachetscope.events.duplicate", "{event}", Kind::Counter,
        "Events that were known already.";
    EVENTS_REFUSED = "cachetscope.events.refused", "{event}", Kind::Counter,
        "Events that were refused because of what they say.";
    EVENTS_REJECTED = "cachetscope.events.rejected", "{request}", Kind::Counter,
        "Requests to the events API that were turned away, by HTTP status.";
    DISCOVER_TARGETS = "cachetscope.discover.targets", "{target}", Kind::Gauge,
        "Deployments that sources of discovery tell of, by kind of source.";
    DISCOVER_FAILURES = "cachetscope.discover.failures", "{look}", Kind::Counter,
        "Looks at sources of discovery that failed, by kind of source.";
    OUTBOX_SIZE = "cachetscope.outbox.size", "{item}", Kind::Gauge,
        "Spans, data points and log records that the collector has not accepted yet, by lane.";
    OUTBOX_AGE = "cachetscope.outbox.age", "s", Kind::Gauge,
        "Age of the oldest of them; 0 when there is none.";
    OUTBOX_DEAD = "cachetscope.outbox.dead", "{item}", Kind::Gauge,
        "Items that the collector refused for good, kept aside, by lane.";
    OUTBOX_THINNED = "cachetscope.outbox.thinned", "{item}", Kind::Counter,
        "Data points of superseded snapshots, dropped out of a backlog.";
    OUTBOX_DROPPED = "cachetscope.outbox.dropped", "{item}", Kind::Counter,
        "Items dropped because the outbox was at its limit.";
    RUNS_DROPPED = "cachetscope.runs.dropped", "{run}", Kind::Counter,
        "Runs that were lost because the store could not take them.";
    EXPORT_SENT = "cachetscope.export.sent", "{item}", Kind::Counter,
        "Spans, data points and log records that the collector accepted.";
    EXPORT_REJECTED = "cachetscope.export.rejected", "{item}", Kind::Counter,
        "Items that the collector dropped out of requests it accepted (partial success).";
    EXPORT_REFUSED = "cachetscope.export.refused", "{item}", Kind::Counter,
        "Items that the collector refused for good.";
    EXPORT_RETRIES = "cachetscope.export.retries", "{request}", Kind::Counter,
        "Deliveries that failed and are tried again.";
    ROUNDS_MISSED = "cachetscope.rounds.missed", "{round}", Kind::Counter,
        "Scheduled rounds that never started.";
    ROUNDS_LATE = "cachetscope.rounds.late", "{round}", Kind::Counter,
        "Rounds that started later than allowed.";
    ROUNDS_OVERLAPPING = "cachetscope.rounds.overlapping", "{round}", Kind::Counter,
        "Rounds that were skipped because the one before them was still under way.";
    COMMIT_DURATION = "cachetscope.store.commit.duration", "s", Kind::Histogram(&[]),
        "Duration of the store's group commits; sum and count only.";
}

macro_rules! attributes {
    ($($(#[$doc:meta])* $id:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $id: &str = $name;)*

        /// Every attribute above, of resources, spans, span events, log records and data points.
        pub const ALL_ATTRIBUTES: &[&str] = &[$($id),*];
    };
}

attributes! {
    SERVICE_NAME = "service.name";
    /// This program's version, never Cachet's.
    SERVICE_VERSION = "service.version";
    /// The store's UUID for facts about the fleet, the process's own for facts about itself.
    SERVICE_INSTANCE = "service.instance.id";

    TARGET_VERSION = "cachetscope.target.version";
    /// What the deployment says of itself; 2.4 and 3 say too little.
    REPORTED_VERSION = "cachetscope.target.reported_version";
    DEPLOYMENT = "cachetscope.deployment.name";
    ENVIRONMENT = "deployment.environment.name";
    /// The flavour: see [`crate::model::Flavour`].
    DB = "db.system.name";
    IMAGE_DIGEST = "oci.manifest.digest";
    SUITE = "cachetscope.suite.name";
    REQUEST = "cachetscope.request.name";
    ROUND = "cachetscope.round.id";
    /// See [`crate::model::Outcome`].
    OUTCOME = "cachetscope.outcome";
    /// true on the last attempt of a request that passed, but not at once.
    PASSED_ON_RETRY = "cachetscope.passed_on_retry";
    /// See [`crate::model::Phase`].
    PHASE = "cachetscope.phase";
    /// Seconds.
    EVENT_DURATION = "cachetscope.phase.duration";
    /// Redirects that an attempt followed.
    REDIRECTS = "cachetscope.redirects";
    /// Days until the certificate of the deployment expires; negative when it has.
    TLS_DAYS_LEFT = "cachetscope.tls.days_left";
    /// What comparing two versions has come to: see [`crate::verdict::Verdict`].
    VERDICT_VALUE = "cachetscope.verdict.value";
    /// What it was until then.
    VERDICT_BEFORE = "cachetscope.verdict.before";
    /// `latency` or `errors`.
    VERDICT_MEASURE = "cachetscope.verdict.measure";
    /// The rule that decided: see [`crate::verdict::Rule`].
    VERDICT_RULE = "cachetscope.verdict.rule";
    VERDICT_PAIRS = "cachetscope.verdict.pairs";
    /// Time of the later version over that of the earlier one, less 1, and its 95 % interval.
    VERDICT_RATIO = "cachetscope.verdict.ratio";
    VERDICT_LOW = "cachetscope.verdict.ratio.low";
    VERDICT_HIGH = "cachetscope.verdict.ratio.high";
    BASELINE_VERSION = "cachetscope.baseline.version";
    BASELINE_DEPLOYMENT = "cachetscope.baseline.deployment.name";

    METHOD = "http.request.method";
    STATUS = "http.response.status_code";
    BODY_SIZE = "http.response.body.size";
    RESEND_COUNT = "http.request.resend_count";
    /// See [`crate::model::ErrorType`].
    ERROR_TYPE = "error.type";
    SERVER_ADDRESS = "server.address";
    SERVER_PORT = "server.port";
    /// Built from the template, so it never holds a captured value or a secret.
    URL_FULL = "url.full";
    /// Path and query as the suite writes them, places as `{name}`.
    URL_TEMPLATE = "url.template";
    PROTOCOL_VERSION = "network.protocol.version";
    PEER_ADDRESS = "network.peer.address";
    PEER_PORT = "network.peer.port";
    /// Always [`SYNTHETIC_TEST`].
    SYNTHETIC_TYPE = "user_agent.synthetic.type";

    PIPELINE = "cicd.pipeline.name";
    PIPELINE_ACTION = "cicd.pipeline.action.name";
    PIPELINE_RUN = "cicd.pipeline.run.id";
    PIPELINE_RUN_URL = "cicd.pipeline.run.url.full";
    PIPELINE_STATE = "cicd.pipeline.run.state";
    /// See [`crate::model::CiResult`].
    PIPELINE_RESULT = "cicd.pipeline.result";
    TASK = "cicd.pipeline.task.name";
    TASK_TYPE = "cicd.pipeline.task.type";
    TASK_RUN = "cicd.pipeline.task.run.id";
    TASK_RESULT = "cicd.pipeline.task.run.result";
    TASK_URL = "cicd.pipeline.task.run.url.full";
    WORKER = "cicd.worker.name";
    /// Who told: `jenkins`, `github`, `gitlab`, or a name of its own.
    EVENT_SOURCE = "cachetscope.event.source";
    /// See [`crate::model::EventKind`].
    EVENT_KIND = "cachetscope.event.kind";
    /// Which attempt at the run, from 1.
    ATTEMPT = "cachetscope.event.attempt";
    BRANCH = "vcs.ref.head.name";
    COMMIT = "vcs.ref.head.revision";
    REPOSITORY = "vcs.repository.url.full";
    TEST_SUITE = "test.suite.name";
    TEST_SUITE_STATUS = "test.suite.run.status";
    TEST_CASE = "test.case.name";
    /// `pass` or `fail`; ours: `error`, `skip`, and as a metric's label `flaky` and `new_failure`.
    TEST_STATUS = "test.case.result.status";
    /// See [`crate::model::Mark`].
    TEST_MARK = "cachetscope.test.mark";
    /// How many cases of the run passed, failed, could not be carried through, were skipped.
    TESTS_PASSED = "cachetscope.tests.passed";
    TESTS_FAILED = "cachetscope.tests.failed";
    TESTS_ERRORS = "cachetscope.tests.errors";
    TESTS_SKIPPED = "cachetscope.tests.skipped";
    EXCEPTION_MESSAGE = "exception.message";
    EXCEPTION_TYPE = "exception.type";
    DEPLOYMENT_STATUS = "deployment.status";
    /// Part of a deployment: `pull`, `migrate`, and so on.
    STEP = "cachetscope.step";
    LOAD = "cachetscope.load.name";
    /// `ab`, `wrk`, `hey`, `oha`, `k6`, or another.
    LOAD_TOOL = "cachetscope.load.tool";
    LOAD_REQUESTS = "cachetscope.load.requests";
    LOAD_ERRORS = "cachetscope.load.errors";
    /// Answers 429: the target's own limit.
    LOAD_RATE_LIMITED = "cachetscope.load.rate_limited";
    LOAD_RATE = "cachetscope.load.rate";
    /// Between 0 and 1, as text.
    QUANTILE = "cachetscope.quantile";
    EXIT_CODE = "process.exit.code";
    /// CPU seconds of a wrapped command and its descendants.
    CPU_SECONDS = "cachetscope.process.cpu_seconds";
    /// Bytes of memory of a wrapped command and its descendants at their highest.
    MEMORY_PEAK = "cachetscope.process.memory_peak";
    /// The last test that had started before a command was ended.
    LAST_TEST = "cachetscope.evidence.last_test";
    /// What the processes did before the command was ended, in words.
    EVIDENCE = "cachetscope.evidence.processes";

    /// `http_sd`, `file_sd` or `docker`.
    DISCOVER_KIND = "cachetscope.discover.kind";
    /// Queue of the outbox: `traces`, `logs`, `metrics` or `gauges`.
    LANE = "cachetscope.lane";
}

/// The conventions' value for traffic of tests.
pub const SYNTHETIC_TEST: &str = "test";

/// Event name of the log record about a sample that did not pass.
pub const SAMPLE_EVENT: &str = "cachetscope.sample";

/// Values of [`TEST_STATUS`] besides those of [`crate::model::CaseStatus`], as a metric's label.
pub const STATUS_FLAKY: &str = "flaky";
pub const STATUS_NEW_FAILURE: &str = "new_failure";

/// Event name of the log record about a verdict that changed.
pub const VERDICT_EVENT: &str = "cachetscope.verdict";
/// Event name of the log record about a fact from CI.
pub const CI_EVENT: &str = "cachetscope.event";
/// Name of the span event that says why something failed (semantic conventions, exceptions).
pub const EXCEPTION_EVENT: &str = "exception";
/// Name of the span event with what a command was doing when it was ended.
pub const EVIDENCE_EVENT: &str = "cachetscope.evidence";
/// The conventions' name for what a pipeline's run does.
pub const ACTION_RUN: &str = "RUN";

/// Name of the span of a run of this suite.
pub fn run_span(suite: &str) -> String {
    format!("probe {suite}")
}

/// Name of the span of a verdict on this request.
pub fn verdict_span(request: &str, verdict: &str) -> String {
    format!("verdict {request} {verdict}")
}

/// Name of the span event for a phase.
pub const fn phase_event(phase: Phase) -> &'static str {
    match phase {
        Phase::Dns => "cachetscope.phase.dns",
        Phase::Connect => "cachetscope.phase.connect",
        Phase::Tls => "cachetscope.phase.tls",
        Phase::Send => "cachetscope.phase.send",
        Phase::Wait => "cachetscope.phase.wait",
        Phase::Receive => "cachetscope.phase.receive",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_listed_once() {
        let metrics: HashSet<_> = ALL_METRICS.iter().map(|m| m.name).collect();
        let attributes: HashSet<_> = ALL_ATTRIBUTES.iter().collect();
        assert_eq!((metrics.len(), attributes.len()), (ALL_METRICS.len(), ALL_ATTRIBUTES.len()));
    }

    #[test]
    fn no_unit_becomes_a_ratio_in_prometheus() {
        for metric in ALL_METRICS {
            assert_ne!(metric.unit, "1", "{}", metric.name);
        }
    }

    #[test]
    fn each_phase_has_the_event_that_its_text_says() {
        for phase in Phase::ALL {
            assert_eq!(phase_event(phase), format!("{PHASE}.{phase}"));
        }
    }
}
