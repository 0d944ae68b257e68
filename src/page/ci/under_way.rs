//! What has begun and not told of an end; it needs someone when it takes much longer than usual.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{link, pipeline_of};
use crate::history::{History, Scope, median};
use crate::model::{Event, EventKind, EventRow, Flavour, Task, TraceId};
use crate::page::format::{Secs, Time};

/// So many times its usual duration is much too long.
const OVERDUE: f64 = 3.0;
/// Fewer ended runs than this say nothing about what is usual.
const USUAL_MIN: usize = 3;
/// What is usual is the median of so many, the newest.
const USUAL_OF: usize = 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UnderWay {
    /// `pipeline`, `step`, `tests`, `deploy` or `load`.
    pub kind: String,
    /// `test phpunit`.
    pub what: String,
    pub pipeline: String,
    pub run: String,
    pub branch: Option<String>,
    pub version: Option<String>,
    #[schema(value_type = Option<String>, example = "mysql")]
    pub db: Option<Flavour>,
    /// When it began.
    pub since: Time,
    pub seconds: f64,
    /// The median of those before it; null where fewer than three are known.
    pub usual_seconds: Option<f64>,
    /// It takes more than three times as long as usual.
    pub overdue: bool,
    /// Where the CI shows it.
    pub url: Option<String>,
    #[schema(value_type = String)]
    pub trace: TraceId,
}

/// The longest first.
pub fn under_way(history: &History, now: Time) -> Vec<UnderWay> {
    let mut all: Vec<UnderWay> = history.under_way.iter().map(|row| one(row, history, now)).collect();
    all.sort_by_key(|one| one.since);
    all
}

fn one(row: &EventRow, history: &History, now: Time) -> UnderWay {
    let event = &row.event;
    let seconds = now.0.since(row.started).as_secs_f64();
    let usual_seconds = usual(event, history);
    UnderWay {
        kind: event.kind().as_str().to_owned(),
        what: what(event),
        pipeline: event.pipeline.clone(),
        run: event.run.clone(),
        branch: event.branch.clone(),
        version: event.version.as_ref().map(ToString::to_string),
        db: event.db,
        since: Time(row.started),
        seconds,
        usual_seconds,
        overdue: usual_seconds.is_some_and(|usual| seconds > usual * OVERDUE),
        url: link(event.url.as_ref()),
        trace: event.trace(),
    }
}

fn what(event: &Event) -> String {
    let task = match event.kind() {
        EventKind::Pipeline => return "pipeline".to_owned(),
        EventKind::Load => "load",
        _ => event.task().map_or("step", Task::as_str),
    };
    let name = event.tests.as_ref().map_or(event.title(), |tests| &tests.suite);
    if name == task { task.to_owned() } else { format!("{task} {name}") }
}

/// What the same took before, as far as its kind is remembered.
fn usual(event: &Event, history: &History) -> Option<f64> {
    let before: Vec<f64> = match event.task() {
        Some(Task::Test) => {
            let same = |scope: &Scope| scope.branch == event.branch && scope.db == event.db;
            let suites = history.suites.iter().filter(|suite| same(&suite.scope));
            let runs = suites.flat_map(|suite| &suite.runs).filter(|run| run.pipeline == event.pipeline);
            runs.filter(|run| !run.aborted).filter_map(|run| run.seconds).take(USUAL_OF).collect()
        }
        Some(Task::Deploy) => {
            let same =
                history.deploys.iter().filter(|d| d.succeeded() && event.db.is_none_or(|db| db == d.db));
            let same = same.filter(|d| d.pipeline == event.pipeline);
            same.filter_map(|d| d.seconds).take(USUAL_OF).collect()
        }
        _ => Vec::new(),
    };
    if before.len() < USUAL_MIN { None } else { median(before) }
}

impl UnderWay {
    pub fn lasts(&self) -> Secs {
        Secs(self.seconds)
    }

    pub fn usual(&self) -> Option<Secs> {
        self.usual_seconds.map(Secs)
    }

    /// What it is about: `of cachet/3.x 412`, `of cachet 77, 3.0.0 on mysql`.
    pub fn of(&self) -> String {
        let version = self.version.as_ref().map(|version| format!(", {version}")).unwrap_or_default();
        let db = self.db.map(|db| format!(" on {db}")).unwrap_or_default();
        format!("{} {}{version}{db}", pipeline_of(&self.pipeline, self.branch.as_deref()), self.run)
    }
}
