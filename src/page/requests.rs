//! The requests of one version of each environment, by environment and flavour.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::board::Probed;
use super::format::{Count, Ns};
use crate::model::{Flavour, median_tells};
use crate::store::RequestTimes;

/// The slowest of a row stands out when it takes this much longer than the fastest.
pub const FACTOR_MIN: f64 = 1.1;

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RequestTable {
    /// The version, where it is one for all environments; else null, and each column has its own.
    pub version: Option<String>,
    pub columns: Vec<Column>,
    pub rows: Vec<RequestRow>,
    /// Samples of one deployment that were read at most.
    pub samples_max: u32,
    /// Whether some deployment had more samples within the window, so that its medians are of less
    /// than the hour.
    pub cut: bool,
}

/// The deployments of one flavour in one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Column {
    #[schema(value_type = String, example = "postgresql")]
    pub db: Flavour,
    pub environment: String,
    pub version: String,
    /// With several deployments a median is the median of theirs.
    pub deployments: Vec<String>,
    /// They are no longer probed.
    pub retired: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RequestRow {
    pub request: String,
    /// One for each column; null where the request was not asked.
    pub cells: Vec<Option<RequestCell>>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct RequestCell {
    /// Of the first attempts that were answered; null when none was.
    pub median_ns: Option<Ns>,
    pub samples: Count,
    /// Of these: failed or unreachable.
    pub failures: Count,
    /// The slowest of its environment, and by at least a tenth.
    pub slowest: bool,
}

impl RequestCell {
    /// The median, when it may be compared: enough samples, and hardly any of them an error page.
    pub fn comparable(&self) -> Option<u64> {
        let (samples, failures) = (self.samples.0, self.failures.0);
        self.median_ns.filter(|_| median_tells(samples, failures)).map(|ns| ns.0)
    }
}

impl RequestTable {
    /// Of the deployments of one version of each environment.
    pub fn new<'a>(probed: impl Iterator<Item = &'a Probed>, samples_max: u32) -> Self {
        let probed: Vec<&Probed> = probed.collect();
        let mut groups: BTreeMap<(&str, Flavour), Vec<&Probed>> = BTreeMap::new();
        for d in &probed {
            groups.entry((&d.row.environment, d.row.db)).or_default().push(d);
        }
        let mut rows: BTreeMap<&str, Vec<Option<RequestCell>>> = BTreeMap::new();
        for (column, group) in groups.values().enumerate() {
            let mut times: BTreeMap<&str, Vec<&RequestTimes>> = BTreeMap::new();
            for t in group.iter().flat_map(|d| &d.times) {
                times.entry(&t.request).or_default().push(t);
            }
            for (request, times) in times {
                let cells = rows.entry(request).or_insert_with(|| vec![None; groups.len()]);
                cells[column] = merge(&times);
            }
        }
        let columns: Vec<Column> = groups
            .iter()
            .map(|((environment, db), group)| Column {
                db: *db,
                environment: (*environment).to_owned(),
                version: group[0].row.version.to_string(),
                deployments: group.iter().map(|d| d.row.name.clone()).collect(),
                retired: group.iter().all(|d| d.row.retired.is_some()),
            })
            .collect();
        let rows = rows.into_iter().map(|(request, mut cells)| {
            mark_slowest(&mut cells, &columns);
            RequestRow { request: request.to_owned(), cells }
        });
        let version = columns.first().map(|c| c.version.clone());
        let taken = |d: &Probed| d.times.iter().map(|t| t.samples).sum::<u32>();
        RequestTable {
            version: version.filter(|v| columns.iter().all(|c| c.version == *v)),
            rows: rows.collect(),
            columns,
            samples_max,
            cut: probed.iter().any(|d| taken(d) >= samples_max),
        }
    }

    /// The cells of a row that stand in one environment, with their flavours.
    pub fn within<'a>(
        &'a self,
        row: &'a RequestRow,
        environment: &'a str,
    ) -> impl Iterator<Item = (Flavour, &'a RequestCell)> + Clone {
        let cells = self.columns.iter().zip(&row.cells).filter(move |(c, _)| c.environment == environment);
        cells.filter_map(|(column, cell)| Some((column.db, cell.as_ref()?)))
    }

    /// Whether both have some flavour in the same environment.
    pub fn shares_a_column(&self, other: &RequestTable) -> bool {
        let same = |a: &Column, b: &Column| a.environment == b.environment && a.db == b.db;
        self.columns.iter().any(|a| other.columns.iter().any(|b| same(a, b)))
    }

    pub fn environments(&self) -> Vec<&str> {
        let mut environments: Vec<&str> = self.columns.iter().map(|c| c.environment.as_str()).collect();
        environments.dedup();
        environments
    }
}

/// One request on the deployments of one column.
fn merge(times: &[&RequestTimes]) -> Option<RequestCell> {
    let samples = times.iter().map(|t| u64::from(t.samples)).sum();
    if samples == 0 {
        return None;
    }
    let mut medians: Vec<u64> = times.iter().filter_map(|t| t.median_ns).collect();
    medians.sort_unstable();
    Some(RequestCell {
        median_ns: medians.get(medians.len().saturating_sub(1) / 2).copied().map(Ns),
        samples: Count(samples),
        failures: Count(times.iter().map(|t| u64::from(t.failures)).sum()),
        slowest: false,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of two durations")]
pub fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

fn mark_slowest(cells: &mut [Option<RequestCell>], columns: &[Column]) {
    for environment in columns.chunk_by(|a, b| a.environment == b.environment).map(|c| &c[0].environment) {
        let mut inside: Vec<&mut RequestCell> = cells
            .iter_mut()
            .zip(columns)
            .filter(|(_, column)| column.environment == *environment)
            .filter_map(|(cell, _)| cell.as_mut().filter(|c| c.comparable().is_some()))
            .collect();
        inside.sort_by_key(|cell| cell.comparable());
        if let [fastest, .., slowest] = inside.as_mut_slice()
            && let (Some(low), Some(high)) = (fastest.comparable(), slowest.comparable())
            && ratio(high, low) >= FACTOR_MIN
        {
            slowest.slowest = true;
        }
    }
}
