//! `check`: everything that can be known before anything is started.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::output::{label, lines, plain_table};
use super::{Global, exit};
use crate::clock::Timestamp;
use crate::config::discover::{FilePattern, Source, targets};
use crate::config::{Config, Env, Problem, Problems};
use crate::model::{Deployment, Flavour, Outcome, Phase, Request, Suite, Variant};
use crate::otlp::{BUCKETS, Resource};
use crate::verdict::Verdict;

/// More series than this cost a Prometheus server real memory (about 3 KiB each).
const SERIES_WARN: u64 = 50_000;
/// More than this is a mistake, unless somebody insists.
const SERIES_MAX: u64 = 500_000;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Accept more than 500,000 metric series
    #[arg(long)]
    force: bool,
}

impl Check {
    pub fn run(self, global: &Global, env: &Env) -> anyhow::Result<u8> {
        let mut config = global.load(env)?;
        let problems = take_file_targets(&mut config);
        // The default needs a home, which a pipeline may not have and does not ask about.
        if global.database.is_some() {
            global.location(env)?;
        }
        crate::exporter::Settings::from_env(&|name| env.get(name).map(str::to_owned)).map_err(|errors| {
            anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        Resource::new("check", env.get("OTEL_SERVICE_NAME"), env.get("OTEL_RESOURCE_ATTRIBUTES"))
            .context("OTEL_RESOURCE_ATTRIBUTES")?;
        let series: u64 = config.fleet.iter().map(|deployment| series_of(&config, deployment)).sum();
        super::print(&describe(&config, series))?;
        if let Some(problems) = Problems::of(problems) {
            return Err(problems.into());
        }
        if series > SERIES_MAX && !self.force {
            eprintln!(
                "error: {series} series are more than {SERIES_MAX}; probe fewer deployments or requests, or insist with --force"
            );
            return Ok(exit::USAGE);
        }
        if series > SERIES_WARN {
            eprintln!("warning: {series} series are many: Prometheus takes about 3 KiB of memory for each");
        }
        Ok(exit::OK)
    }
}

/// What `file_sd` discovers joins the fleet here; other sources can only be asked. Returns what is
/// wrong with the files.
fn take_file_targets(config: &mut Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in &config.sources {
        let Source::FileSd(source) = source else { continue };
        for path in source.patterns.iter().flat_map(FilePattern::files) {
            match targets::of_file(&path, &path.display().to_string(), &source.label_prefix) {
                Ok(found) => {
                    problems.extend(found.problems);
                    for deployment in found.deployments {
                        let is_known =
                            |d: &Arc<Deployment>| d.name == deployment.name || d.url == deployment.url;
                        if !config.fleet.iter().any(is_known) {
                            config.fleet.push(deployment.into());
                        }
                    }
                }
                Err(found) => problems.extend(found.iter().cloned()),
            }
        }
    }
    problems
}

fn describe(config: &Config, series: u64) -> String {
    let mut out = String::new();
    for note in &config.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    let mut table = plain_table(&["suite", "schedule", "applies to", "requests", "from"], &[3]);
    for suite in &config.suites {
        for variant in &suite.variants {
            table.add_row([
                suite.name.clone(),
                suite.schedule.to_string(),
                variant.applies_to.to_string(),
                variant.requests.len().to_string(),
                variant.file.clone(),
            ]);
        }
    }
    out.push_str(&lines(&table));
    out.push('\n');
    let asked: Vec<&Source> =
        config.sources.iter().filter(|source| !matches!(source, Source::FileSd(_))).collect();
    for source in &asked {
        out.push_str(&format!("{source}: asked by the daemon only\n"));
    }
    if config.fleet.is_empty() {
        if asked.is_empty() {
            out.push_str("no deployment: list some in probes/fleet.yaml\n");
        }
        return out;
    }
    if !asked.is_empty() {
        out.push('\n');
    }

    let header = ["deployment", "version", "database", "writes", "requests/min", "budget/min", ""];
    let mut table = plain_table(&header, &[4, 5]);
    let paces: Vec<f64> = config.suites.iter().map(rounds_per_minute).collect();
    for deployment in &config.fleet {
        let variants: Vec<(&Arc<Variant>, f64)> = config
            .suites
            .iter()
            .zip(&paces)
            .filter_map(|(suite, pace)| Some((suite.variant_for(&deployment.version)?, *pace)))
            .collect();
        let asked: usize = variants.iter().map(|(variant, _)| variant.requests_for(deployment).count()).sum();
        let rate: f64 =
            variants.iter().map(|(variant, pace)| requests_per_round(variant, deployment) * pace).sum();
        let budget = variants
            .iter()
            .filter_map(|(variant, _)| variant.budget)
            .map(|budget| f64::from(budget.requests) * 60.0 / budget.per.as_secs_f64())
            .min_by(f64::total_cmp);
        let verdict = match budget {
            _ if asked == 0 => "no suite speaks to it",
            Some(budget) if rate > budget => "over budget: requests beyond it are skipped",
            _ => "",
        };
        table.add_row([
            label(deployment),
            deployment.version.to_string(),
            deployment.db.to_string(),
            if deployment.writes { "allowed" } else { "denied" }.to_owned(),
            format!("{rate:.1}"),
            budget.map_or_else(|| "none".to_owned(), |budget| format!("{budget:.0}")),
            verdict.to_owned(),
        ]);
    }
    out.push_str(&lines(&table));
    let flavours: BTreeSet<Flavour> = config.fleet.iter().map(|d| d.db).collect();
    let versions: BTreeSet<_> = config.fleet.iter().map(|d| &d.version).collect();
    out.push_str(&format!(
        "\n{}: {} on {}\n{series} metric series to expect in Prometheus\n",
        counted(config.fleet.len(), "deployment"),
        counted(versions.len(), "version"),
        counted(flavours.len(), "database"),
    ));
    out
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// With the wake-up, and without retries: those are for bad days.
fn requests_per_round(variant: &Variant, deployment: &Deployment) -> f64 {
    match variant.requests_for(deployment).count() {
        0 => 0.0,
        n => (n + usize::from(variant.wake_up.is_some())) as f64,
    }
}

/// Over the year after 2001-01-01, a Monday, or as much of it as holds a thousand rounds.
fn rounds_per_minute(suite: &Suite) -> f64 {
    const ROUNDS_MAX: u32 = 1_000;
    let year = Duration::from_secs(365 * 86_400);
    let start = Timestamp(978_307_200_000_000_000);
    let (mut rounds, mut at) = (0, start);
    while rounds < ROUNDS_MAX
        && let Some(next) = suite.schedule.next_after(at).filter(|next| next.since(start) < year)
    {
        rounds += 1;
        at = next;
    }
    let span = if rounds == ROUNDS_MAX { at.since(start) } else { year };
    f64::from(rounds) * 60.0 / span.as_secs_f64()
}

/// Prometheus counts each bucket, the sum and the count of a histogram as a series.
fn series_of(config: &Config, deployment: &Deployment) -> u64 {
    let requests: Vec<&Request> = config
        .suites
        .iter()
        .filter_map(|suite| suite.variant_for(&deployment.version))
        .flat_map(|variant| variant.requests_for(deployment).map(AsRef::as_ref))
        .collect();
    let suites = config
        .suites
        .iter()
        .filter(|suite| {
            let variant = suite.variant_for(&deployment.version);
            variant.is_some_and(|variant| variant.requests_for(deployment).next().is_some())
        })
        .count() as u64;
    let tls = deployment.url.scheme() == "https";
    let named = deployment.url.domain().is_some();
    let phases = Phase::ALL
        .into_iter()
        .filter(|phase| match phase {
            Phase::Dns => named,
            Phase::Tls => tls,
            _ => true,
        })
        .count() as u64;
    // Buckets, sum and count of the duration; +Inf bucket, sum and count of each phase; the median; of the
    // comparison with the version before: each verdict, and the gauges of `publisher::verdicts`.
    let per_request = BUCKETS as u64 + 2 + 3 * phases + 1 + Verdict::ALL.len() as u64 + 12;
    // Runs by outcome; up, last, rank and info.
    requests.len() as u64 * per_request + suites * Outcome::ALL.len() as u64 + 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Schedule;

    #[test]
    fn the_pace_of_a_schedule_is_known_from_seconds_to_months() {
        let pace = |schedule: &str| {
            let schedule = Schedule::parse(schedule).unwrap();
            let name = "cachet".to_owned();
            let jitter = Duration::ZERO;
            let suite = Suite { name, schedule, jitter, variants: Vec::new(), order: Vec::new() };
            (rounds_per_minute(&suite) * 60.0 * 24.0 * 365.0).round()
        };
        assert_eq!(pace("*/30 * * * * *"), 2.0 * 60.0 * 24.0 * 365.0);
        assert_eq!(pace("@every 1s"), 60.0 * 60.0 * 24.0 * 365.0);
        assert_eq!(pace("@hourly"), 24.0 * 365.0);
        // The year ends before the round of its last midnight.
        assert_eq!(pace("0 3 * * 0"), 52.0);
        assert_eq!(pace("0 0 1 * *"), 11.0);
    }
}
