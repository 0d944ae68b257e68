//! How the result of a one-shot is shown: a table for people, JSON, JUnit and Markdown for others.
//!
//! All four say the same; stdout gets the result, stderr the words around it.

mod json;
mod junit;
mod markdown;
mod table;

use std::time::Duration;

use crate::model::{Outcome, Run, Sample};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One document with every sample and its phases.
    Json,
    /// One test suite for each deployment, one test case for each request.
    Junit,
    /// For a pull request's comment.
    Markdown,
}

/// What became of the telemetry of a one-shot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The collector has everything.
    Delivered { items: u64, place: String },
    /// It waits in the store, which the next one-shot empties.
    Spooled { items: u64, file: String, reason: String },
    /// It could not even be kept.
    Lost { reason: String },
}

/// Everything a one-shot has to say.
pub struct Report<'a> {
    pub runs: &'a [Run],
    pub delivery: &'a Delivery,
    pub exit_code: u8,
}

impl Report<'_> {
    pub fn render(&self, format: Format, color: bool) -> String {
        match format {
            Format::Table => table::render(self, color),
            Format::Json => json::render(self),
            Format::Junit => junit::render(self),
            Format::Markdown => markdown::render(self),
        }
    }
}

/// The symbol that goes with an outcome everywhere: never a colour alone.
fn symbol(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "●",
        Outcome::Degraded => "■",
        Outcome::Skipped => "○",
        Outcome::Fail => "✕",
        Outcome::Unreachable => "◆",
    }
}

/// Milliseconds with one decimal, as everywhere on the page.
fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Median and slowest of the first attempts that were answered.
fn times(run: &Run) -> Option<(Duration, &Sample, Duration)> {
    let mut answered: Vec<(Duration, &Sample)> = run
        .samples
        .iter()
        .filter_map(|sample| {
            let first = sample.first().filter(|attempt| attempt.status.is_some())?;
            Some((first.phases.total(), sample))
        })
        .collect();
    answered.sort_by_key(|(total, _)| *total);
    let median = answered.get(answered.len().checked_sub(1)? / 2)?.0;
    let (slowest, sample) = answered.last()?;
    Some((median, sample, *slowest))
}

/// Samples that held, of those that were asked.
fn tally(run: &Run) -> (usize, usize) {
    let good = |s: &&Sample| matches!(s.outcome, Outcome::Pass | Outcome::Degraded);
    (run.samples.iter().filter(good).count(), run.samples.len())
}

/// What a person has to look at: everything that is not a pass, and passes that needed a retry.
/// Requests that were skipped only because of an earlier one are told with that one.
fn remarks(run: &Run) -> Vec<(&Sample, String)> {
    let mut remarks: Vec<(&Sample, String)> = Vec::new();
    let mut skipped = 0;
    for sample in &run.samples {
        match sample.outcome {
            Outcome::Pass if sample.passed_on_retry() => {
                remarks.push((sample, format!("passed on retry {}", sample.attempts.len() - 1)));
            }
            Outcome::Pass => {}
            Outcome::Skipped if sample.detail.starts_with("skipped after") => skipped += 1,
            _ => remarks.push((sample, sample.detail.clone())),
        }
    }
    if skipped > 0
        && let Some((_, detail)) = remarks.last_mut()
    {
        let plural = if skipped == 1 { "" } else { "s" };
        detail.push_str(&format!(" ({skipped} later request{plural} skipped)"));
    }
    remarks
}

/// One line: how many of each outcome, worst first.
fn summary(runs: &[Run]) -> String {
    let counts: Vec<String> = Outcome::ALL
        .iter()
        .rev()
        .filter_map(|outcome| {
            let n = runs.iter().filter(|run| run.outcome == *outcome).count();
            (n > 0).then(|| format!("{n} {outcome}"))
        })
        .collect();
    let plural = if runs.len() == 1 { "" } else { "s" };
    format!("{} run{plural}: {}", runs.len(), counts.join(", "))
}
