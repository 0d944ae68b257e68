//! The vocabulary: what everything else speaks about, pure and without IO.
//!
//! Words are those of ARCHITECTURE.md ("Words"). Types here are constructed by parsing, so a value
//! of one of them is valid; nothing below imports another layer (except [`crate::clock`]'s
//! `Timestamp`).

mod deployment;
mod event;
mod ids;
mod origin;
mod sample;
mod schedule;
mod suite;
mod template;
mod token;
mod version;

pub use deployment::{Deployment, Flavour, Secret, Tls};
pub use event::{
    Action, CASES_MAX, Case, CaseStatus, CiResult, Counts, Deploy, DeployStep, Event, EventKind, EventRow,
    Evidence, Load, MESSAGE_MAX, Mark, NAME_MAX, Process, Quantile, Refusal, ResultRow, Task, Tests,
    TraceParent, Usage, truncate,
};
pub use ids::{RoundId, SpanId, TraceId};
pub use origin::is_own_origin;
pub use sample::{Attempt, ErrorType, Outcome, Phase, Phases, Round, Run, SAMPLES_MIN, Sample, median_tells};
pub use schedule::{Schedule, ScheduleError};
pub use suite::{
    Budget, Capture, Check, Expected, Floors, JsonKind, Method, PAIR_GAP_MAX, Redirects, Request, StatusSet,
    Suite, Variant,
};
pub use template::{Template, TemplateError};
pub use token::{Scope, Token};
pub use version::{Version, VersionRange};
