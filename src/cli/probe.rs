//! `probe --once`: one round now, a result, an exit code, and telemetry that is delivered or kept.
//!
//! Nothing is held while requests are under way, so several pipelines on one machine do not wait
//! for each other: the store is opened to commit and deliver, and closed again.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Delivery, Format, Report};
use super::serve::stop_signal;
use super::spool::{self, Spool};
use super::{Global, block_on, exit};
use crate::clock::Clock;
use crate::config::{AdHoc, Config, Env, Source};
use crate::exporter;
use crate::http::Client;
use crate::model::{Deployment, Outcome, Request, Round, RoundId, Run, Suite, Variant};
use crate::otlp::Resource;
use crate::probe::Prober;

/// Between two questions to a deployment that is waited for.
const WAIT_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(super) struct Probe {
    /// Names from fleet.yaml; all of them by default
    #[arg(value_name = "DEPLOYMENT", conflicts_with = "url")]
    deployments: Vec<String>,
    /// One round, then exit; rounds on a schedule are what `serve` does
    #[arg(long)]
    once: bool,
    /// Suites to run; by default all that change nothing at the target
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// First wait, at most this long, until every deployment answers with anything but 502 to 504
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// What to print on stdout
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// Also exit with 1 when something is only degraded
    #[arg(long, value_name = "OUTCOME")]
    fail_on: Option<FailOn>,
    /// Exit with 6 unless the collector accepted the telemetry
    #[arg(long)]
    require_delivery: bool,
    /// How long to try to deliver before it is left in the spool
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,
    #[command(flatten)]
    ad_hoc: AdHocArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Degraded,
}

/// A deployment that no fleet.yaml knows.
#[derive(Debug, Args)]
#[command(next_help_heading = "A deployment that is not in fleet.yaml")]
struct AdHocArgs {
    /// Address, such as http://127.0.0.1:8000
    #[arg(long, requires = "version", requires = "db")]
    url: Option<String>,
    /// Version that is deployed there, such as v2.4.1
    #[arg(long, requires = "url")]
    version: Option<String>,
    /// Place in the order of a version that is only a name
    #[arg(long, value_name = "VERSION", requires = "url")]
    order: Option<String>,
    /// sqlite, mysql, mariadb, postgresql or microsoft.sql_server
    #[arg(long, requires = "url")]
    db: Option<String>,
    /// How to call it [default: host and port]
    #[arg(long, requires = "url")]
    name: Option<String>,
    /// deployment.environment.name [default: production]
    #[arg(long, requires = "url")]
    environment: Option<String>,
    /// Environment variable that holds the API token
    #[arg(long, value_name = "VARIABLE", requires = "url", conflicts_with = "token_file")]
    token_env: Option<String>,
    /// File that holds the API token
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<String>,
    /// Requests that change something may run there
    #[arg(long, requires = "url")]
    allow_writes: bool,
    /// PEM file of certificate authorities to trust
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<String>,
    /// Accept any certificate
    #[arg(long, requires = "url")]
    insecure: bool,
}

impl Probe {
    pub fn run(self, global: &Global, env: Env) -> anyhow::Result<u8> {
        anyhow::ensure!(
            self.once,
            "`probe` runs one round and exits: write `probe --once`; rounds on a schedule are what `serve` does"
        );
        let plan = self.plan(global, &env)?;
        let location = spool::location(global, &env)?;
        let settings =
            exporter::Settings::from_env(&|name| env.get(name).map(str::to_owned)).map_err(|errors| {
                anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            })?;
        let origin = uuid::Uuid::new_v4().to_string();
        let resource =
            Resource::new(&origin, env.get("OTEL_SERVICE_NAME"), env.get("OTEL_RESOURCE_ATTRIBUTES"))
                .context("OTEL_RESOURCE_ATTRIBUTES")?;
        let clock = Clock::system();

        block_on(async {
            let level = global.log.as_deref().or(Some("warn"));
            let telemetry = crate::telemetry::start(level, global.colored(&env, &std::io::stderr()), None)?;
            let client = Client::new(clock.clone());
            if let Some(limit) = self.wait {
                wait_until_all_answer(&client, &clock, &plan, limit).await;
            }
            let runs = probe(&plan, client, &clock, &origin).await?;
            let spool = Spool { location, settings, resource, clock, timeout: self.delivery_timeout };
            let delivery = spool.take(&runs).await;
            let exit_code = self.exit_code(&runs, &delivery);
            let color = global.colored(&env, &std::io::stdout());
            let report = Report { runs: &runs, delivery: &delivery, exit_code };
            super::print(&report.render(self.output, color))?;
            eprintln!("telemetry: {delivery}");
            telemetry.shut_down().await;
            Ok(exit_code)
        })
    }

    /// Which suites on which deployments.
    fn plan(&self, global: &Global, env: &Env) -> anyhow::Result<Plan> {
        let config = match (&self.ad_hoc.url, &global.config) {
            (Some(_), None) => crate::config::load(Source::Shipped, env)?,
            _ => global.load(env)?,
        };
        let fleet = match &self.ad_hoc.url {
            Some(_) => vec![Arc::new(self.ad_hoc.read(env)?)],
            None => self.chosen(&config)?,
        };
        let suites = self.suites(&config)?;
        // Whoever names a deployment wants it probed; of a whole fleet those are that some suite
        // speaks to.
        let named = self.ad_hoc.url.is_some() || !self.deployments.is_empty();
        let (spoken_to, others): (Vec<_>, Vec<_>) = fleet
            .into_iter()
            .partition(|deployment| suites.iter().any(|suite| variant_for(suite, deployment).is_some()));
        match others.first() {
            Some(deployment) if named || spoken_to.is_empty() => {
                Err(anyhow::anyhow!("{}", unspoken(&suites, deployment)))
            }
            _ => {
                others
                    .iter()
                    .for_each(|deployment| eprintln!("not probed: {}", unspoken(&suites, deployment)));
                Ok(Plan { suites, fleet: spoken_to })
            }
        }
    }

    fn chosen(&self, config: &Config) -> anyhow::Result<Vec<Arc<Deployment>>> {
        anyhow::ensure!(
            !config.fleet.is_empty(),
            "there is no deployment to probe: list some in probes/fleet.yaml, or give --url, --version and --db"
        );
        if self.deployments.is_empty() {
            return Ok(config.fleet.clone());
        }
        let known = || config.fleet.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
        unique(&self.deployments)
            .map(|name| {
                let found = config.fleet.iter().find(|d| d.name == *name).cloned();
                found.with_context(|| format!("no deployment is called `{name}`; there are {}", known()))
            })
            .collect()
    }

    /// Those that were named, else all without a request that writes: a check that somebody runs by
    /// hand must not leave traces at the target unasked.
    fn suites(&self, config: &Config) -> anyhow::Result<Vec<Suite>> {
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

    fn exit_code(&self, runs: &[Run], delivery: &Delivery) -> u8 {
        let any = |outcome| runs.iter().any(|run| run.outcome == outcome);
        if any(Outcome::Unreachable) {
            exit::UNREACHABLE
        // What could not be asked is no success: a pipeline must not go green on it.
        } else if any(Outcome::Fail)
            || any(Outcome::Skipped)
            || (self.fail_on == Some(FailOn::Degraded) && any(Outcome::Degraded))
        {
            exit::FAILED
        } else {
            match delivery {
                Delivery::Lost { .. } => exit::UNDELIVERED,
                Delivery::Delivered { refused: 0, .. } => exit::OK,
                _ if self.require_delivery => exit::UNDELIVERED,
                _ => exit::OK,
            }
        }
    }
}

/// Each once, in the order given.
fn unique(names: &[String]) -> impl Iterator<Item = &String> {
    let mut seen = BTreeSet::new();
    names.iter().filter(move |name| seen.insert(name.as_str()))
}

/// The variant of a suite that has something to ask this deployment.
fn variant_for<'a>(suite: &'a Suite, deployment: &Deployment) -> Option<&'a Arc<Variant>> {
    let variant = suite.variant_for(&deployment.version)?;
    variant.requests_for(deployment).next().is_some().then_some(variant)
}

/// Why a deployment is not probed.
fn unspoken(suites: &[Suite], deployment: &Deployment) -> String {
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

impl AdHocArgs {
    fn read(&self, env: &Env) -> anyhow::Result<Deployment> {
        let given = AdHoc {
            url: self.url.as_deref().unwrap_or_default(),
            version: self.version.as_deref().unwrap_or_default(),
            order: self.order.as_deref(),
            db: self.db.as_deref().unwrap_or_default(),
            name: self.name.as_deref(),
            environment: self.environment.as_deref(),
            token_env: self.token_env.as_deref(),
            token_file: self.token_file.as_deref(),
            writes: self.allow_writes,
            ca: self.ca.as_deref(),
            insecure: self.insecure,
        };
        Ok(crate::config::ad_hoc(&given, env)?)
    }
}

struct Plan {
    suites: Vec<Suite>,
    fleet: Vec<Arc<Deployment>>,
}

/// One round of each suite, one after the other, with progress for who watches. When the process is
/// told to stop, the rest is skipped; what was made at a target is still cleaned up.
async fn probe(plan: &Plan, client: Client, clock: &Clock, origin: &str) -> anyhow::Result<Vec<Run>> {
    let visits: usize = plan
        .suites
        .iter()
        .flat_map(|suite| plan.fleet.iter().map(move |deployment| (suite, deployment)))
        .filter_map(|(suite, deployment)| Some((variant_for(suite, deployment)?, deployment)))
        .map(|(variant, deployment)| variant.requests_for(deployment).count())
        .sum();
    let bar = progress_bar("{bar:24} {pos}/{len} {wide_msg}", visits);
    let asked = AtomicUsize::new(0);
    let progress = |deployment: &Deployment, request: &Request| {
        bar.set_position(asked.fetch_add(1, Ordering::Relaxed) as u64 + 1);
        bar.set_message(format!("{} {}", request.name, deployment.name));
    };
    let prober = Prober::new(client, clock.clone());
    let rounds = async {
        let mut runs = Vec::new();
        for suite in &plan.suites {
            let now = clock.now();
            let round = Arc::new(Round {
                id: RoundId::new(origin, &suite.name, now),
                suite: suite.name.clone(),
                scheduled: now,
                started: now,
                extra: false,
            });
            runs.extend(prober.round(&round, suite, &plan.fleet, None, &progress).await);
        }
        runs
    };
    let mut rounds = std::pin::pin!(rounds);
    let runs = tokio::select! {
        runs = &mut rounds => runs,
        stopped = stop_signal() => {
            stopped?;
            bar.suspend(|| eprintln!("stopping: what is under way ends, the rest is skipped"));
            prober.stop();
            rounds.await
        }
    };
    bar.finish_and_clear();
    Ok(runs)
}

/// Shown only where a person looks.
fn progress_bar(template: &str, length: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Asks every deployment again and again until it answers, or the time is over.
async fn wait_until_all_answer(client: &Client, clock: &Clock, plan: &Plan, limit: Duration) {
    let bar = progress_bar("waiting: {pos}/{len} answer {wide_msg}", plan.fleet.len());
    if !std::io::stderr().is_terminal() {
        eprintln!("waiting at most {} until all answer", humantime::format_duration(limit));
    }
    let waiting = plan.fleet.iter().map(|deployment| {
        let bar = bar.clone();
        async move {
            let variant = plan.suites.iter().find_map(|suite| variant_for(suite, deployment))?;
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
