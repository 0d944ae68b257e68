//! Requests × databases: the latest version of each environment against the one before it. Pure.
//!
//! Colour and symbol come from the verdict and never from the ratio. What is shown of a cell is what its
//! judgement rests on; all of it is on the cell's own page (`comparison`).

mod cell;
mod words;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use cell::{Delta, Shared, deployment_path, path};
pub use words::{disturbed, label, severity, symbol, word};

use super::format::Count;
use crate::compare::Standing;
use crate::model::Flavour;
use crate::verdict::{Measure, Rule, Verdict};

/// Where the tables are.
pub const TABLES: &str = "/#deltas";

/// One version of one environment, against the one before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeltaTable {
    pub environment: String,
    pub version: String,
    /// What it is compared with: more than one where databases have not the same versions.
    pub against: Vec<String>,
    pub columns: Vec<DeltaColumn>,
    /// What regressed first, the others in the order of their suite.
    pub rows: Vec<DeltaRow>,
    pub tally: Tally,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeltaColumn {
    #[schema(value_type = String, example = "mysql")]
    pub db: Flavour,
    /// Null where there is no version before on this database.
    pub against: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeltaRow {
    pub suite: String,
    pub request: String,
    /// One for each column; null where the request is not asked.
    pub cells: Vec<Option<Delta>>,
}

/// Cells by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tally {
    pub regressed: Count,
    pub improved: Count,
    pub unchanged: Count,
    pub inconclusive: Count,
    pub insufficient: Count,
    pub no_baseline: Count,
    pub invalid: Count,
}

impl Tally {
    pub fn of<'a>(deltas: impl Iterator<Item = &'a Delta>) -> Self {
        let mut tally = Tally::default();
        deltas.for_each(|delta| tally.of_mut(delta.verdict).0 += 1);
        tally
    }

    fn of_mut(&mut self, verdict: Verdict) -> &mut Count {
        match verdict {
            Verdict::Regressed => &mut self.regressed,
            Verdict::Improved => &mut self.improved,
            Verdict::Unchanged => &mut self.unchanged,
            Verdict::Inconclusive => &mut self.inconclusive,
            Verdict::Insufficient => &mut self.insufficient,
            Verdict::NoBaseline => &mut self.no_baseline,
            Verdict::Invalid => &mut self.invalid,
        }
    }

    /// Those that are compared with something.
    pub fn judged(&self) -> Count {
        let others = self.undecided().0 + self.invalid.0;
        Count(self.regressed.0 + self.improved.0 + self.unchanged.0 + others)
    }

    pub fn undecided(&self) -> Count {
        Count(self.inconclusive.0 + self.insufficient.0)
    }

    /// What there is, with symbol, number and word; the worst first.
    pub fn parts(&self) -> Vec<(Verdict, &'static str, String)> {
        let mut tally = *self;
        let mut all = Verdict::ALL;
        all.sort_by_key(|verdict| std::cmp::Reverse(severity(*verdict, Measure::Latency)));
        let parts = all.into_iter().map(|verdict| (verdict, *tally.of_mut(verdict)));
        parts
            .filter(|(_, count)| !count.is_zero())
            .map(|(verdict, count)| (verdict, symbol(verdict), format!("{count} {}", word(verdict))))
            .collect()
    }
}

impl DeltaTable {
    /// Of the latest versions, by environment; where nothing is known of one, it has no table.
    pub fn all(latest: &[(String, String)], standings: &[Standing]) -> Vec<Self> {
        let tables = latest.iter().map(|(environment, version)| {
            let of = |s: &&Standing| s.environment == *environment && s.version == *version;
            DeltaTable::new(environment, version, standings.iter().filter(of))
        });
        tables.filter(|table| !table.rows.is_empty()).collect()
    }

    fn new<'a>(environment: &str, version: &str, standings: impl Iterator<Item = &'a Standing>) -> Self {
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        // The first of a row names it.
        let mut rows: Vec<(&Standing, BTreeMap<Flavour, Vec<Delta>>)> = Vec::new();
        let mut columns: BTreeMap<Flavour, Option<String>> = BTreeMap::new();
        for standing in standings {
            let key = (standing.suite.as_str(), standing.request.as_str());
            let place = *places.entry(key).or_insert_with(|| {
                rows.push((standing, BTreeMap::new()));
                rows.len() - 1
            });
            let delta = Delta::of(standing);
            let against = columns.entry(standing.db).or_default();
            if against.is_none() {
                against.clone_from(&delta.against_version);
            }
            rows[place].1.entry(standing.db).or_default().push(delta);
        }
        let mut rows: Vec<DeltaRow> = rows
            .into_iter()
            .map(|(named, mut cells)| DeltaRow {
                suite: named.suite.clone(),
                request: named.request.clone(),
                cells: columns.keys().map(|db| Delta::worst(cells.remove(db)?)).collect(),
            })
            .collect();
        rows.sort_by_key(|row| !row.has_regressed());
        let mut against: Vec<String> = Vec::new();
        for version in columns.values().flatten() {
            if !against.contains(version) {
                against.push(version.clone());
            }
        }
        DeltaTable {
            environment: environment.to_owned(),
            version: version.to_owned(),
            against,
            columns: columns.into_iter().map(|(db, against)| DeltaColumn { db, against }).collect(),
            tally: Tally::of(rows.iter().flat_map(DeltaRow::deltas)),
            rows,
        }
    }

    pub fn deltas(&self) -> impl Iterator<Item = &Delta> {
        self.rows.iter().flat_map(DeltaRow::deltas)
    }

    /// What it is told apart from other tables by, in the page's addresses.
    pub fn id(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        format!("deltas-{}", self.environment.chars().map(plain).collect::<String>())
    }

    /// Whether the suites must be named to tell rows apart.
    pub fn several_suites(&self) -> bool {
        self.rows.iter().any(|row| row.suite != self.rows[0].suite)
    }
}

impl DeltaRow {
    pub fn deltas(&self) -> impl Iterator<Item = &Delta> {
        self.cells.iter().flatten()
    }

    fn has_regressed(&self) -> bool {
        self.deltas().any(Delta::is_regressed)
    }

    /// The databases on which it was judged.
    pub fn judged(&self) -> impl Iterator<Item = &Delta> {
        self.deltas().filter(|delta| delta.is_judged())
    }
}

/// What the requests of one deployment came to: the worst, and how many of them.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Worst {
    #[schema(value_type = String, example = "regressed")]
    pub verdict: Verdict,
    #[schema(value_type = String, example = "latency")]
    pub measure: Measure,
    #[schema(value_type = String, example = "confirmed")]
    pub rule: Rule,
    pub requests: Count,
    /// Requests of this deployment in all.
    pub of: Count,
    /// Until each of those may have another verdict.
    pub rounds_needed: Count,
    pub against_version: Option<String>,
    /// Where they are shown one by one: a path on this server.
    pub evidence: String,
}

impl Worst {
    /// Of each deployment, by name.
    pub fn by_deployment(standings: &[Standing]) -> HashMap<&str, Worst> {
        let mut by_deployment: HashMap<&str, Vec<&Standing>> = HashMap::new();
        for standing in standings {
            by_deployment.entry(&standing.deployment).or_default().push(standing);
        }
        let worst = by_deployment.into_iter().filter_map(|(name, of)| Some((name, Worst::of(&of)?)));
        worst.collect()
    }

    fn of(standings: &[&Standing]) -> Option<Self> {
        let worst = standings.iter().max_by_key(|s| severity(s.verdict, s.measure))?;
        let alike = || standings.iter().filter(|s| s.verdict == worst.verdict);
        let rounds_needed = alike().filter_map(|s| s.judgement()).map(|j| j.rounds_needed).max();
        Some(Worst {
            verdict: worst.verdict,
            measure: worst.measure,
            rule: worst.rule,
            requests: alike().count().into(),
            of: standings.len().into(),
            rounds_needed: rounds_needed.unwrap_or(0).into(),
            against_version: standings.iter().find_map(|s| Some(s.against.as_ref()?.version.clone())),
            evidence: TABLES.to_owned(),
        })
    }

    pub fn symbol(&self) -> &'static str {
        symbol(self.verdict)
    }

    /// `2 of 15 regressed`, `all 15 unchanged`, `no baseline`.
    pub fn words(&self) -> String {
        let word = if self.requests.0 == 1 {
            label(self.verdict, self.measure, self.rule)
        } else {
            word(self.verdict)
        };
        match self.verdict {
            Verdict::NoBaseline => word.to_owned(),
            _ if self.requests == self.of => format!("all {} {word}", self.of),
            _ => format!("{} of {} {word}", self.requests, self.of),
        }
    }

    pub fn is_regressed(&self) -> bool {
        self.verdict == Verdict::Regressed
    }
}

#[cfg(test)]
pub mod tests;
