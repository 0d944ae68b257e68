//! What CI tells: a pipeline's run, a step of it, a test run, a deployment, a load run.
//!
//! One [`Event`] is one fact, in the very form in which the HTTP API takes it and a client spools it:
//! JSON with these field names. Its identity is (source, pipeline, run, attempt, step), so telling it
//! twice changes nothing, and all ids of its trace are hashed from that identity. Types here refuse
//! what is malformed when they are read; [`Event::check`] refuses what contradicts itself.

mod check;
mod complete;
mod limits;
mod load;
mod steps;
mod tests;
mod told;
mod trace;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Flavour, Version};
use crate::clock::Timestamp;
pub use check::Refusal;
pub use limits::{CASES_MAX, MESSAGE_MAX, NAME_MAX, truncate};
pub use load::{Load, Quantile};
pub use steps::{Action, Deploy, DeployStep, Evidence, Process, Usage};
pub use tests::{Case, CaseStatus, Counts, Mark, Tests};
pub use told::{EventRow, ResultRow};
pub use trace::TraceParent;

/// A fact from CI. Without `finished` it tells that something has begun; the event of the same
/// identity that carries `finished` completes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Who tells: `jenkins`, `github`, `gitlab`, or any name of your own.
    pub source: String,
    /// The pipeline (the job, the workflow).
    pub pipeline: String,
    /// Which run of it, as the CI numbers them.
    pub run: String,
    /// Which attempt at that run, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub attempt: u32,
    /// Which step, unique within the attempt; absent for the run as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What people call the step or the run; its identity unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the step is for. A run of tests is always `test`, a deployment `deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,

    /// RFC 3339. May be left out where `finished` is given: then it is taken from the event that told
    /// of the beginning, for a run as a whole also from its steps; where none did, it is not known how
    /// long it took.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// RFC 3339; at most five minutes ahead of the daemon's clock. Needs `result`.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<CiResult>,
    /// W3C Trace Context: the span this belongs under. Without it the event joins the trace of its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    pub traceparent: Option<TraceParent>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// URL of the repository, without `.git`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Where a person finds this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The machine that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,

    /// Version of Cachet it is about, such as `v2.4.1` or `3.0.0-dev.202608221030`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// `sqlite`, `mysql`, `mariadb`, `postgresql` or `microsoft.sql_server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub db: Option<Flavour>,
    /// `deployment.environment.name`; `production` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Name of the deployment it is about, unique within the fleet; `cachet-VERSION-DB` unless given,
    /// with the environment behind it where that is not production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Digest of the image that was built or deployed, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// The daemon's own: nobody told of the run as a whole, so its extent is that of its steps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(ignore)]
    pub inferred: bool,

    /// What a test run found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<Tests>,
    /// What a deployment did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Deploy>,
    /// What a load run measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// What a wrapped command used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why a wrapped command was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

fn first() -> u32 {
    1
}

fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

/// What an event is about; told by which of its sections are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A pipeline's run as a whole: no step.
    Pipeline,
    Step,
    Tests,
    Deploy,
    Load,
}

impl EventKind {
    pub const ALL: [EventKind; 5] =
        [EventKind::Pipeline, EventKind::Step, EventKind::Tests, EventKind::Deploy, EventKind::Load];

    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Pipeline => "pipeline",
            EventKind::Step => "step",
            EventKind::Tests => "tests",
            EventKind::Deploy => "deploy",
            EventKind::Load => "load",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        EventKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// `cicd.pipeline.task.type`, with `push` besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    Build,
    Test,
    Deploy,
    Push,
}

impl Task {
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Build => "build",
            Task::Test => "test",
            Task::Deploy => "deploy",
            Task::Push => "push",
        }
    }
}

/// `cicd.pipeline.result` (OpenTelemetry semantic conventions 1.44).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CiResult {
    Success,
    Failure,
    Error,
    Timeout,
    Cancellation,
    Skip,
}

impl CiResult {
    pub const ALL: [CiResult; 6] = [
        CiResult::Success,
        CiResult::Failure,
        CiResult::Error,
        CiResult::Timeout,
        CiResult::Cancellation,
        CiResult::Skip,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            CiResult::Success => "success",
            CiResult::Failure => "failure",
            CiResult::Error => "error",
            CiResult::Timeout => "timeout",
            CiResult::Cancellation => "cancellation",
            CiResult::Skip => "skip",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        CiResult::ALL.into_iter().find(|result| result.as_str() == text)
    }

    /// Of several parts that of the whole.
    pub fn worst(of_parts: impl IntoIterator<Item = CiResult>) -> Option<CiResult> {
        const WORST_FIRST: [CiResult; 6] = [
            CiResult::Timeout,
            CiResult::Error,
            CiResult::Failure,
            CiResult::Cancellation,
            CiResult::Success,
            CiResult::Skip,
        ];
        let place = |result: &CiResult| WORST_FIRST.iter().position(|other| other == result);
        of_parts.into_iter().min_by_key(place)
    }

    /// Whether something went wrong: neither a success nor skipped.
    pub fn is_bad(self) -> bool {
        !matches!(self, CiResult::Success | CiResult::Skip)
    }
}

impl Event {
    /// An event about a run, with nothing said yet.
    pub fn new(source: &str, pipeline: &str, run: &str) -> Self {
        Event {
            source: source.to_owned(),
            pipeline: pipeline.to_owned(),
            run: run.to_owned(),
            attempt: 1,
            step: None,
            name: None,
            task: None,
            started: None,
            finished: None,
            result: None,
            traceparent: None,
            branch: None,
            commit: None,
            repository: None,
            url: None,
            worker: None,
            version: None,
            db: None,
            environment: None,
            deployment: None,
            digest: None,
            inferred: false,
            tests: None,
            deploy: None,
            load: None,
            usage: None,
            evidence: None,
        }
    }

    pub fn kind(&self) -> EventKind {
        if self.tests.is_some() {
            EventKind::Tests
        } else if self.deploy.is_some() {
            EventKind::Deploy
        } else if self.load.is_some() {
            EventKind::Load
        } else if self.step.is_some() {
            EventKind::Step
        } else {
            EventKind::Pipeline
        }
    }

    /// What the step is for.
    pub fn task(&self) -> Option<Task> {
        match self.kind() {
            EventKind::Tests => Some(Task::Test),
            EventKind::Deploy => Some(Task::Deploy),
            _ => self.task,
        }
    }

    /// What people call it.
    pub fn title(&self) -> &str {
        self.name.as_deref().or(self.step.as_deref()).unwrap_or(&self.pipeline)
    }

    pub fn environment(&self) -> &str {
        self.environment.as_deref().unwrap_or("production")
    }

    /// The deployment it is about: as it was named, else `cachet-VERSION-DB`, with the environment
    /// behind it where that is not production. `None` without version and flavour.
    pub fn deployment_name(&self) -> Option<String> {
        if let Some(name) = &self.deployment {
            return Some(name.clone());
        }
        let (version, db) = (self.version.as_ref()?, self.db?);
        let environment = self.environment.as_deref().filter(|name| *name != "production");
        let suffix = environment.map(|name| format!("-{name}")).unwrap_or_default();
        Some(format!("cachet-{version}-{db}{suffix}"))
    }

    /// What sets this event apart from all others, in words.
    pub fn identity(&self) -> [&str; 4] {
        [&self.source, &self.pipeline, &self.run, self.step.as_deref().unwrap_or("")]
    }
}

/// RFC 3339 in JSON, nanoseconds in the program. An offset other than `Z` is accepted.
mod moment {
    use chrono::{DateTime, SecondsFormat};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::clock::Timestamp;

    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => s.serialize_str(&at.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
        let at = DateTime::parse_from_rfc3339(&text).map_err(|error| {
            D::Error::custom(format!(
                "expected a time such as 2026-11-23T04:05:06.789Z (RFC 3339), found `{text}`: {error}"
            ))
        })?;
        match at.timestamp_nanos_opt() {
            Some(nanos) => Ok(Some(Timestamp(nanos))),
            None => Err(D::Error::custom(format!("`{text}` is outside of the years 1677 to 2262"))),
        }
    }
}
