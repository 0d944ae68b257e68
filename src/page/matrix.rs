//! The matrix: versions as rows, flavours as columns, every deployment in its cell.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::board::{Probed, Reading};
use super::deltas::Worst;
use super::format::{Count, Ns, Time};
use super::sparkline::{Line, Point, Scale};
use super::standing::{Standing, is_broken, standing};
use crate::history::mismatch;
use crate::model::{Flavour, Outcome, TraceId};
use crate::store::{DeploymentRow, SampleRow};

/// One deployment as it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Deployment {
    pub name: String,
    pub version: String,
    /// `db.system.name` of the database behind it.
    #[schema(value_type = String, example = "postgresql")]
    pub db: Flavour,
    pub environment: String,
    pub url: String,
    /// Image digest, where CI told it; else empty.
    pub digest: String,
    /// What it says its version is; empty until it was asked and answered.
    pub reported: String,
    /// What of that cannot be true, in words.
    pub mismatch: Option<String>,
    /// When it left the fleet; null while it is probed.
    pub retired: Option<Time>,
    /// pass, degraded, skipped, fail or unreachable; null before the first round.
    #[schema(value_type = Option<OutcomeName>)]
    pub outcome: Option<Outcome>,
    /// Since when it is not a pass.
    pub since: Option<Time>,
    /// Whether it may have been so for longer than what was read.
    pub since_at_least: bool,
    pub last_round: Option<Time>,
    /// Several rounds did not take place: what is said is old.
    pub overdue: bool,
    /// Median over the rounds of the last hour of each round's median.
    pub median_ns: Option<Ns>,
    /// Rounds that this median is of.
    pub median_rounds: Count,
    /// The last rounds, oldest first, at most 40.
    pub rounds: Vec<Point>,
    /// The very request that tells why it is not a pass.
    pub reason: Option<Reason>,
    /// Against the version before; null until a round was judged, and of a version that is gone.
    pub verdict: Option<Worst>,
}

/// Names of outcomes, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for `Outcome`, whose layer knows no OpenAPI")]
pub enum OutcomeName {
    Pass,
    Degraded,
    Skipped,
    Fail,
    Unreachable,
}

/// A request that did not pass, in the words of its check.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reason {
    pub request: String,
    pub detail: String,
    /// The trace of its run.
    #[schema(value_type = Option<String>)]
    pub trace: Option<TraceId>,
}

impl Reason {
    pub fn new(sample: &SampleRow, trace: Option<TraceId>) -> Self {
        Reason { request: sample.request.clone(), detail: detail(sample), trace }
    }
}

/// What did not hold; where the probe left no words, its error and status.
pub fn detail(sample: &SampleRow) -> String {
    if !sample.detail.is_empty() {
        return sample.detail.clone();
    }
    match (sample.error, sample.status) {
        (Some(error), Some(status)) => format!("{error}, status {status}"),
        (Some(error), None) => error.to_string(),
        (None, _) => String::new(),
    }
}

impl Deployment {
    pub fn new(row: &DeploymentRow, standing: Standing, reason: Option<Reason>) -> Self {
        Deployment {
            name: row.name.clone(),
            version: row.version.to_string(),
            db: row.db,
            environment: row.environment.clone(),
            url: row.url.clone(),
            digest: row.digest.clone(),
            reported: row.reported.clone(),
            mismatch: mismatch(&row.version, &row.reported),
            retired: row.retired.map(Time),
            outcome: standing.outcome,
            since: standing.since,
            since_at_least: standing.since_at_least,
            last_round: standing.last_round,
            overdue: standing.overdue,
            median_ns: standing.median_ns,
            median_rounds: standing.median_rounds,
            rounds: standing.points,
            reason,
            verdict: None,
        }
    }

    pub fn is_broken(&self) -> bool {
        self.outcome.is_some_and(is_broken)
    }

    /// The median, unless nothing is answered now: then an hour's median would look like health.
    pub fn current_median(&self) -> Option<Ns> {
        self.median_ns.filter(|_| self.outcome != Some(Outcome::Unreachable))
    }

    /// The word of its state, which is also the class and the symbol's name.
    pub fn word(&self) -> &'static str {
        self.outcome.map_or("waiting", Outcome::as_str)
    }

    pub fn line(&self, scale: &Scale) -> Line<'_> {
        Line { points: &self.rounds, scale: *scale, of: "round" }
    }
}

/// A row of the matrix.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VersionRow {
    pub version: String,
    /// `latest` or `previous`; with several environments `latest in staging`.
    pub tags: Vec<String>,
    /// What the lines of this row share.
    pub scale: Scale,
    /// One for each of the matrix's flavours, in their order.
    pub cells: Vec<Vec<Deployment>>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Matrix {
    /// `db.system.name` of each column.
    #[schema(value_type = Vec<String>)]
    pub flavours: Vec<Flavour>,
    /// Latest version first.
    pub versions: Vec<VersionRow>,
    /// How many rounds of a deployment were read at most.
    pub rounds_max: u32,
    /// Whether the deployments are of more than one environment.
    pub several_environments: bool,
}

impl Matrix {
    /// Expects the deployments with the newest version first, as the store gives them.
    pub fn new(reading: &Reading) -> Self {
        let mut flavours: Vec<Flavour> = reading.fleet.iter().map(|d| d.row.db).collect();
        flavours.sort_unstable();
        flavours.dedup();
        let first = reading.fleet.first().map(|d| &d.row.environment);
        let several_environments = reading.fleet.iter().any(|d| Some(&d.row.environment) != first);
        let verdicts = Worst::by_deployment(&reading.verdicts.verdicts);
        let rows = reading.fleet.chunk_by(|a, b| a.row.version == b.row.version);
        let versions = rows.map(|probed| {
            let tags = tags(probed, several_environments);
            version_row(probed, tags, &flavours, reading, &verdicts)
        });
        Matrix { versions: versions.collect(), flavours, rounds_max: reading.runs_max, several_environments }
    }

    pub fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        self.versions.iter().flat_map(|version| version.cells.iter().flatten())
    }
}

/// What place a version has in which environment.
fn tags(probed: &[Probed], several_environments: bool) -> Vec<String> {
    let mut places: Vec<(usize, &str)> =
        probed.iter().map(|d| (d.rank, d.row.environment.as_str())).collect();
    places.sort_unstable();
    places.dedup();
    let tag = |(rank, environment): (usize, &str)| {
        let place = *["latest", "previous"].get(rank)?;
        Some(if several_environments { format!("{place} in {environment}") } else { place.to_owned() })
    };
    places.into_iter().filter_map(tag).collect()
}

fn version_row(
    probed: &[Probed],
    tags: Vec<String>,
    flavours: &[Flavour],
    reading: &Reading,
    verdicts: &HashMap<&str, Worst>,
) -> VersionRow {
    let mut cells: Vec<Vec<Deployment>> = vec![Vec::new(); flavours.len()];
    for d in probed {
        let standing = standing(&d.runs, reading.at);
        let trace = d.reason.as_ref().and_then(|s| d.runs.iter().find(|r| r.round == s.round)?.trace);
        let reason = d.reason.as_ref().map(|sample| Reason::new(sample, trace));
        if let Some(column) = flavours.iter().position(|f| *f == d.row.db) {
            let verdict = verdicts.get(d.row.name.as_str()).cloned();
            // Those of the latest version are on the page; the others' on their deployment's own.
            let verdict = verdict.map(|worst| match d.rank {
                0 => worst,
                _ => Worst { evidence: super::deltas::deployment_path(&d.row.name), ..worst },
            });
            cells[column].push(Deployment { verdict, ..Deployment::new(&d.row, standing, reason) });
        }
    }
    let points = cells.iter().flatten().flat_map(|d| &d.rounds);
    VersionRow {
        version: probed.first().map(|d| d.row.version.to_string()).unwrap_or_default(),
        tags,
        scale: Scale::of(points.filter_map(|p| p.median_ns).map(|ns| ns.0)),
        cells,
    }
}
