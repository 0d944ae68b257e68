//! How the result of a one-shot is shown: a table for people, JSON, JUnit and Markdown for others.
//!
//! All four say the same; stdout gets the result, stderr the words around it.

pub(super) mod gate;
mod json;
mod junit;
mod markdown;
mod table;
pub(super) mod verdict;

pub(super) use markdown::escape;

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::model::{Deployment, Outcome, Run, Sample};

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
    /// The collector has everything but what it `refused`, whatever is tried.
    Delivered { items: u64, refused: u64, place: String },
    /// It waits in the store, which the next one-shot empties.
    Spooled { items: u64, file: String, reason: String },
    /// It could be neither delivered nor kept.
    Lost { reason: String },
}

/// One sentence for a person.
impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Delivery::Delivered { items, refused: 0, place } => {
                write!(f, "{items} items delivered to {place}")
            }
            Delivery::Delivered { items, refused, place } => {
                write!(f, "{items} items delivered to {place}, which refused {refused} for good")
            }
            Delivery::Spooled { items, file, reason } => {
                write!(f, "{items} items wait in {file}, and the next `probe --once` delivers them: {reason}")
            }
            Delivery::Lost { reason } => write!(f, "LOST, it could be neither delivered nor kept: {reason}"),
        }
    }
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
            Format::Table => table::render(self.runs, color),
            Format::Json => json::render(self),
            Format::Junit => junit::render(self.runs),
            Format::Markdown => markdown::render(self),
        }
    }
}

/// A table without rules, with numbers on the right in the columns named by their places.
pub(super) fn plain_table(header: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(header.iter().map(ToString::to_string));
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The table as lines, without spaces at their ends.
pub(super) fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The name, and what everybody who reads it should know.
pub(super) fn label(deployment: &Deployment) -> String {
    let insecure = if deployment.tls.insecure { " (insecure)" } else { "" };
    format!("{}{insecure}", deployment.name)
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

/// Something in a run that a person should look at.
#[derive(Debug, PartialEq)]
struct Remark {
    /// The request, or how many there are to which the same happened.
    requests: String,
    outcome: Outcome,
    detail: String,
}

/// Names in one remark at most; beyond it they are counted.
const NAMED_MAX: usize = 3;

/// Everything that is not a pass, and passes that needed a retry. Requests that were skipped for
/// one reason are told of together.
fn remarks(run: &Run) -> Vec<Remark> {
    let mut remarks: Vec<(Vec<&str>, Remark)> = Vec::new();
    for sample in &run.samples {
        let detail = match (sample.passed_on_retry(), sample.outcome) {
            (true, Outcome::Pass) => retried(sample),
            (true, _) => format!("{}; {}", sample.detail, retried(sample)),
            (false, Outcome::Pass) => continue,
            (false, _) => sample.detail.clone(),
        };
        let remark = Remark { requests: String::new(), outcome: sample.outcome, detail };
        match remarks.iter_mut().find(|(_, known)| sample.outcome == Outcome::Skipped && *known == remark) {
            Some((names, _)) => names.push(&sample.request.name),
            None => remarks.push((vec![&sample.request.name], remark)),
        }
    }
    let named = |(names, remark): (Vec<&str>, Remark)| {
        let requests = match names.len() {
            ..=NAMED_MAX => names.join(", "),
            n => format!("{n} requests"),
        };
        Remark { requests, ..remark }
    };
    remarks.into_iter().map(named).collect()
}

/// Why a request that held in the end had to be asked again.
fn retried(sample: &Sample) -> String {
    let first = sample.first().map(|first| match (first.status, first.error) {
        (Some(status), Some(error)) => format!(" after {status} ({error})"),
        (None, Some(error)) => format!(" after {error}"),
        _ => String::new(),
    });
    format!("passed on retry {}{}", sample.attempts.len().saturating_sub(1), first.unwrap_or_default())
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
