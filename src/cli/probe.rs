//! `probe --once`: one round now, a result, an exit code, and telemetry that is delivered or kept.
//!
//! Nothing is held while requests are under way, so several pipelines on one machine do not wait
//! for each other: the store is opened to commit and deliver, and closed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Delivery, Format, Report};
use super::{Global, exit, open_shared, runtime};
use crate::clock::Clock;
use crate::config::{AdHoc, Config, Env, Source};
use crate::exporter::{self, Exporter};
use crate::http::Client;
use crate::model::{Deployment, Outcome, Round, RoundId, Run, Suite};
use crate::otlp::Resource;
use crate::probe::Prober;
use crate::publisher::facts_of;
use crate::store::{Location, StoreError};

/// How long to wait for another one-shot that is delivering.
const SPOOL_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Probe {
    /// Names from fleet.yaml; all of them by default
    #[arg(value_name = "DEPLOYMENT", conflicts_with = "url")]
    deployments: Vec<String>,
    /// One round, then exit. Without it nothing else happens either: rounds on a schedule are what
    /// `serve` does
    #[arg(long)]
    once: bool,
    /// Suites to run; by default all that change nothing at the target
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    #[command(flatten)]
    ad_hoc: AdHocArgs,
    /// First wait until every deployment answers, at most this long
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

/// Where one-shots keep what is not delivered yet.
pub(super) fn spool(global: &Global, env: &Env) -> anyhow::Result<Location> {
    Ok(Location::File(global.state_dir(env)?.join("probe.db")))
}

impl Probe {
    pub fn run(self, global: &Global, env: Env) -> anyhow::Result<u8> {
        anyhow::ensure!(
            self.once,
            "`probe` runs one round and exits: write `probe --once`; rounds on a schedule are what `serve` does"
        );
        let plan = self.plan(global, &env)?;
        let spool = spool(global, &env)?;
        let settings =
            exporter::Settings::from_env(&|name| env.get(name).map(str::to_owned)).map_err(|errors| {
                anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            })?;
        let origin = uuid::Uuid::new_v4().to_string();
        let resource =
            Resource::new(&origin, env.get("OTEL_SERVICE_NAME"), env.get("OTEL_RESOURCE_ATTRIBUTES"))
                .context("OTEL_RESOURCE_ATTRIBUTES")?;
        let clock = Clock::system();

        runtime()?.block_on(async {
            let client = Client::new(clock.clone());
            if let Some(limit) = self.wait {
                wait_until_all_answer(&client, &plan, limit).await;
            }
            let runs = probe(&plan, client, &clock, &origin).await;
            let delivery = self.keep_and_deliver(&runs, &spool, settings, &resource, &clock).await;
            let exit_code = self.exit_code(&runs, &delivery);
            tell(&delivery);
            let color = global.colored(&env, &std::io::stdout());
            print!("{}", Report { runs: &runs, delivery: &delivery, exit_code }.render(self.output, color));
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
        for deployment in &fleet {
            let spoken_to = suites.iter().filter_map(|suite| suite.variant_for(&deployment.version));
            anyhow::ensure!(
                spoken_to.into_iter().any(|variant| variant.requests_for(deployment).next().is_some()),
                "no suite speaks to {} (version {}); `cachetscope check` lists what each applies to",
                deployment.name,
                deployment.version
            );
        }
        Ok(Plan { suites, fleet })
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
        self.deployments
            .iter()
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
        self.suite
            .iter()
            .map(|name| {
                let found = config.suites.iter().find(|s| s.name == *name).cloned();
                found.with_context(|| format!("no suite is called `{name}`; there are {}", known()))
            })
            .collect()
    }

    /// Commits first, so that whatever happens to the delivery, nothing is lost.
    async fn keep_and_deliver(
        &self,
        runs: &[Run],
        spool: &Location,
        settings: exporter::Settings,
        resource: &Resource,
        clock: &Clock,
    ) -> Delivery {
        let lost = |error: anyhow::Error| Delivery::Lost { reason: format!("{error:#}") };
        let transport = match exporter::Transport::new(settings, clock.clone()) {
            Ok(transport) => transport,
            Err(error) => return lost(error.into()),
        };
        let store = match open_shared(spool, clock, SPOOL_PATIENCE).await {
            Ok(store) => store,
            Err(error) => return lost(error.into()),
        };
        for run in runs {
            if let Err(error) = store.commit(facts_of(run.clone(), resource, false)).await {
                store.close().await;
                return lost(error.into());
            }
        }
        let exporter = Exporter::new(store.clone(), transport, clock.clone());
        // At the deadline what is under way is given up; it stays in the spool.
        let drained = tokio::time::timeout(self.delivery_timeout, exporter.drain()).await;
        let delivery = match drained {
            Ok(true) => {
                let items = exporter.counters().sent.load(Ordering::Relaxed);
                Ok(Delivery::Delivered { items, place: exporter.place().to_owned() })
            }
            _ => spooled(&store, spool).await,
        };
        let retention = crate::store::Change::Retain { retention: Default::default(), now: clock.now() };
        if let Err(error) = store.change(retention).await {
            tracing::warn!(%error, "failed to tidy the spool");
        }
        store.close().await;
        delivery.unwrap_or_else(|error| lost(error.into()))
    }

    fn exit_code(&self, runs: &[Run], delivery: &Delivery) -> u8 {
        let any = |outcome| runs.iter().any(|run| run.outcome == outcome);
        // What could not be checked is no success: a pipeline must not go green on it.
        let failed = any(Outcome::Fail) || runs.iter().any(was_limited);
        if any(Outcome::Unreachable) {
            exit::UNREACHABLE
        } else if failed || (self.fail_on == Some(FailOn::Degraded) && any(Outcome::Degraded)) {
            exit::FAILED
        } else {
            match delivery {
                Delivery::Delivered { .. } => exit::OK,
                Delivery::Spooled { .. } if !self.require_delivery => exit::OK,
                Delivery::Spooled { .. } | Delivery::Lost { .. } => exit::UNDELIVERED,
            }
        }
    }
}

/// Whether something was left unasked because of a rate limit or the deadline.
fn was_limited(run: &Run) -> bool {
    run.samples.iter().any(|s| s.outcome == Outcome::Skipped && s.detail.starts_with("rate_limited"))
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

/// One round of each suite, one after the other, with progress for who watches.
async fn probe(plan: &Plan, client: Client, clock: &Clock, origin: &str) -> Vec<Run> {
    let visits: usize = plan
        .suites
        .iter()
        .flat_map(|suite| plan.fleet.iter().map(move |deployment| (suite, deployment)))
        .filter_map(|(suite, deployment)| Some((suite.variant_for(&deployment.version)?, deployment)))
        .map(|(variant, deployment)| variant.requests_for(deployment).count())
        .sum();
    let bar = ProgressBar::with_draw_target(Some(visits as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    let asked = AtomicUsize::new(0);
    let prober = Prober::new(client, clock.clone());
    let mut runs = Vec::new();
    for suite in &plan.suites {
        let now = clock.now();
        let round = Arc::new(Round {
            id: RoundId::new(origin, &suite.name, now),
            suite: suite.name.clone(),
            scheduled: now,
            started: now,
        });
        let progress = |deployment: &Deployment, request: &crate::model::Request| {
            bar.set_position(asked.fetch_add(1, Ordering::Relaxed) as u64 + 1);
            bar.set_message(format!("{} {}", request.name, deployment.name));
        };
        runs.extend(prober.round(&round, suite, &plan.fleet, None, &progress).await);
    }
    bar.finish_and_clear();
    runs
}

/// Asks the first request of every deployment again and again until each has answered something.
async fn wait_until_all_answer(client: &Client, plan: &Plan, limit: Duration) {
    let started = std::time::Instant::now();
    let waiting = plan.fleet.iter().map(|deployment| async move {
        let suite = plan.suites.iter().find_map(|suite| suite.variant_for(&deployment.version));
        let Some(request) = suite.and_then(|variant| variant.requests.first()) else { return };
        while started.elapsed() < limit && !crate::probe::answers(client, deployment, request).await {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    futures_util::future::join_all(waiting).await;
}

async fn spooled(store: &crate::store::Store, spool: &Location) -> Result<Delivery, StoreError> {
    let status = store.outbox_status().await?;
    let items = status.iter().map(|lane| lane.items).sum();
    let reason = status
        .into_iter()
        .find_map(|lane| lane.trouble)
        .map_or_else(|| "it did not finish in time".to_owned(), |(_, reason)| reason);
    Ok(Delivery::Spooled { items, file: spool.to_string(), reason })
}

/// Words for stderr; the result itself goes to stdout.
fn tell(delivery: &Delivery) {
    match delivery {
        Delivery::Delivered { items, place } => eprintln!("telemetry: {items} items delivered to {place}"),
        Delivery::Spooled { items, file, reason } => eprintln!(
            "telemetry: {items} items wait in {file}: {reason}. The next `probe --once` delivers them."
        ),
        Delivery::Lost { reason } => {
            eprintln!("telemetry: LOST, it could be neither delivered nor kept: {reason}")
        }
    }
}
