//! `check`: everything that can be known before anything is started.

use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::{Global, exit};
use crate::clock::Timestamp;
use crate::config::{Config, Env};
use crate::model::{Deployment, Flavour, Outcome, Phase, Request, Suite, Variant};
use crate::otlp::BUCKETS;

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
        let config = global.load(env)?;
        crate::exporter::Settings::from_env(&|name| env.get(name).map(str::to_owned)).map_err(|errors| {
            anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        for note in &config.notes {
            println!("note: {note}");
        }
        print!("{}", describe(&config));
        let series: u64 = config.fleet.iter().map(|deployment| series_of(&config, deployment)).sum();
        println!("\n{series} metric series to expect in Prometheus");
        if series > SERIES_MAX && !self.force {
            eprintln!(
                "error: {series} series are more than {SERIES_MAX}; probe fewer deployments or requests, or insist with --force"
            );
            return Ok(exit::USAGE);
        }
        if series > SERIES_WARN {
            println!("warning: more than {SERIES_WARN}: expect about 3 KiB of memory in Prometheus for each");
        }
        Ok(exit::OK)
    }
}

fn describe(config: &Config) -> String {
    let mut out = String::new();
    let mut table = new_table(&["suite", "schedule", "applies to", "requests", "from"]);
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
    out.push_str(&format!("{}\n\n", table.trim_fmt()));
    if config.fleet.is_empty() {
        out.push_str("no deployment: list some in probes/fleet.yaml\n");
        return out;
    }

    let mut table = new_table(&["deployment", "version", "database", "writes", "requests/min", "budget", ""]);
    if let Some(column) = table.column_mut(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for deployment in &config.fleet {
        let rate: f64 = config
            .suites
            .iter()
            .filter_map(|suite| Some((suite, suite.variant_for(&deployment.version)?)))
            .map(|(suite, variant)| requests_per_round(variant, deployment) * rounds_per_minute(suite))
            .sum();
        let budget = config
            .suites
            .iter()
            .filter_map(|suite| suite.variant_for(&deployment.version)?.budget)
            .map(|budget| f64::from(budget.requests) * 60.0 / budget.per.as_secs_f64())
            .min_by(f64::total_cmp);
        let verdict = match budget {
            _ if rate == 0.0 => "no suite speaks to it",
            Some(budget) if rate > budget => "over budget: requests beyond it are skipped",
            _ => "",
        };
        let insecure = if deployment.tls.insecure { " (insecure)" } else { "" };
        table.add_row([
            format!("{}{insecure}", deployment.name),
            deployment.version.to_string(),
            deployment.db.to_string(),
            if deployment.writes { "allowed" } else { "denied" }.to_owned(),
            format!("{rate:.1}"),
            budget.map_or_else(|| "none".to_owned(), |budget| format!("{budget:.0}/min")),
            verdict.to_owned(),
        ]);
    }
    out.push_str(&format!("{}\n", table.trim_fmt()));
    let flavours: std::collections::BTreeSet<Flavour> = config.fleet.iter().map(|d| d.db).collect();
    let versions: std::collections::BTreeSet<_> = config.fleet.iter().map(|d| &d.version).collect();
    out.push_str(&format!(
        "\n{} deployments: {} versions on {} databases\n",
        config.fleet.len(),
        versions.len(),
        flavours.len()
    ));
    out
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty();
    table.set_header(header.iter().map(ToString::to_string));
    table
}

/// With the wake-up, and without retries: those are for bad days.
fn requests_per_round(variant: &Variant, deployment: &Deployment) -> f64 {
    match variant.requests_for(deployment).count() {
        0 => 0.0,
        n => (n + usize::from(variant.wake_up.is_some())) as f64,
    }
}

/// Over the day after 2001-01-01, a Monday.
fn rounds_per_minute(suite: &Suite) -> f64 {
    let day = Duration::from_secs(86_400);
    let start = Timestamp(978_307_200_000_000_000);
    let mut ticks = 0_u32;
    let mut at = start;
    while let Some(next) = suite.schedule.next_after(at).filter(|next| next.since(start) < day) {
        ticks += 1;
        at = next;
    }
    f64::from(ticks) / (24.0 * 60.0)
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
    // Buckets, sum and count of the duration; +Inf bucket, sum and count of each phase; the median.
    let per_request = BUCKETS as u64 + 2 + 3 * phases + 1;
    // Runs by outcome; up, last, rank and info.
    requests.len() as u64 * per_request + suites * Outcome::ALL.len() as u64 + 4
}
