//! What the commands share that probe now and exit: suites, output, delivery, waiting.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Delivery, Format};
use super::spool::{self, Spool};
use super::{Global, exit};
use crate::clock::Clock;
use crate::config::{Config, Env};
use crate::exporter;
use crate::http::Client;
use crate::model::{Deployment, Suite, Variant};
use crate::otlp::Resource;

/// Between two questions to a deployment that is waited for.
const WAIT_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(super) struct OneShot {
    /// Suites to run; by default all that change nothing at the target
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// First wait, at most this long, until every deployment answers with anything but 502 to 504
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// What to print on stdout
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    /// Also exit with 1 when something is only degraded
    #[arg(long, value_name = "OUTCOME")]
    fail_on: Option<FailOn>,
    /// Exit with 6 unless the collector accepted the telemetry
    #[arg(long)]
    require_delivery: bool,
    /// How long to try to deliver before it is left in the spool
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Degraded,
}

impl OneShot {
    /// Those that were named, else all without a request that writes: a check that somebody runs by
    /// hand must not leave traces at the target unasked.
    pub fn suites(&self, config: &Config) -> anyhow::Result<Vec<Suite>> {
        if self.suite.is_empty() {
            let reads = |suite: &&Suite| suite.variants.iter().all(|v| v.requests.iter().all(|r| !r.writes));
            return Ok(config.suites.iter().filter(reads).cloned().collect());
        }
        let known = || config.suites.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        unique(&self.suite)
            .map(|name| {
                let found = config.suites.iter().find(|s| s.name == *name).cloned();
                found.with_context(|| format!("no suite is called `{name}`; there are {}", known()))
            })
            .collect()
    }

    pub fn degraded_fails(&self) -> bool {
        self.fail_on == Some(FailOn::Degraded)
    }

    /// Where telemetry goes. `origin` is that of the rounds of this process.
    pub fn spool(&self, global: &Global, env: &Env, origin: &str, clock: &Clock) -> anyhow::Result<Spool> {
        let location = spool::location(global, env)?;
        let settings =
            exporter::Settings::from_env(&|name| env.get(name).map(str::to_owned)).map_err(|errors| {
                anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            })?;
        let (name, attributes) = (env.get("OTEL_SERVICE_NAME"), env.get("OTEL_RESOURCE_ATTRIBUTES"));
        let resource = Resource::new(origin, name, attributes).context("OTEL_RESOURCE_ATTRIBUTES")?;
        Ok(Spool { location, settings, resource, clock: clock.clone(), timeout: self.delivery_timeout })
    }

    /// The exit code, once it is known what became of the telemetry.
    pub fn exit_code(&self, code: u8, delivery: &Delivery) -> u8 {
        match delivery {
            _ if code != exit::OK => code,
            Delivery::Lost { .. } => exit::UNDELIVERED,
            Delivery::Delivered { refused: 0, .. } => exit::OK,
            _ if self.require_delivery => exit::UNDELIVERED,
            _ => exit::OK,
        }
    }

    /// Asks every deployment again and again until it answers, or the time is over.
    pub async fn wait_until_all_answer(
        &self,
        client: &Client,
        clock: &Clock,
        suites: &[Suite],
        fleet: &[Arc<Deployment>],
    ) {
        let Some(limit) = self.wait else { return };
        let bar = progress_bar("waiting: {pos}/{len} answer {wide_msg}", fleet.len());
        if !std::io::stderr().is_terminal() {
            eprintln!("waiting at most {} until all answer", humantime::format_duration(limit));
        }
        let waiting = fleet.iter().map(|deployment| {
            let bar = bar.clone();
            async move {
                let variant = suites.iter().find_map(|suite| variant_for(suite, deployment))?;
                let answered = async {
                    while !crate::probe::answers(client, clock, deployment, variant).await {
                        tokio::time::sleep(WAIT_PAUSE).await;
                    }
                };
                let answered = tokio::time::timeout(limit, answered).await;
                bar.inc(u64::from(answered.is_ok()));
                answered.is_err().then_some(deployment.name.as_str())
            }
        });
        let silent: Vec<&str> = futures_util::future::join_all(waiting).await.into_iter().flatten().collect();
        bar.finish_and_clear();
        if !silent.is_empty() {
            eprintln!("not ready after {}: {}", humantime::format_duration(limit), silent.join(", "));
        }
    }
}

/// The deployment of the fleet with this name.
pub(super) fn named(config: &Config, name: &str) -> anyhow::Result<Arc<Deployment>> {
    let known = || config.fleet.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = config.fleet.iter().find(|d| d.name == name).cloned();
    found.with_context(|| format!("no deployment is called `{name}`; there are {}", known()))
}

/// Each once, in the order given.
pub(super) fn unique(names: &[String]) -> impl Iterator<Item = &String> {
    let mut seen = BTreeSet::new();
    names.iter().filter(move |name| seen.insert(name.as_str()))
}

/// The variant of a suite that has something to ask this deployment.
pub(super) fn variant_for<'a>(suite: &'a Suite, deployment: &Deployment) -> Option<&'a Arc<Variant>> {
    let variant = suite.variant_for(&deployment.version)?;
    variant.requests_for(deployment).next().is_some().then_some(variant)
}

/// Why a deployment is not probed.
pub(super) fn unspoken(suites: &[Suite], deployment: &Deployment) -> String {
    let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
    let names = names.join(", ");
    if suites.iter().any(|suite| suite.variant_for(&deployment.version).is_some()) {
        return format!(
            "suite {names} changes what it asks, and {} does not allow writes; allow them with `writes: allowed` \
             in fleet.yaml, or with --allow-writes beside --url",
            deployment.name
        );
    }
    format!(
        "no variant of suite {names} speaks to {} (version {}); `cachetscope check` lists what each applies to",
        deployment.name, deployment.version
    )
}

/// Shown only where a person looks.
pub(super) fn progress_bar(template: &str, length: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
