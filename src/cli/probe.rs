//! `probe --once`: one round now, a result, an exit code, and telemetry that is delivered or kept; or, with
//! a baseline, as many rounds as it takes to compare with it (`gate`).
//!
//! Nothing is held while requests are under way, so several pipelines on one machine do not wait
//! for each other: the store is opened to commit and deliver, and closed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;

use super::gate::{self, Baseline, Gate, Limits};
use super::one_shot::{self, OneShot, progress_bar, unspoken, variant_for};
use super::output::Report;
use super::serve::stop_signal;
use super::{Global, block_on, exit};
use crate::clock::Clock;
use crate::config::{AdHoc, Config, Env, Source};
use crate::http::Client;
use crate::model::{Deployment, Outcome, Request, Round, RoundId, Run, Suite};
use crate::probe::Prober;

#[derive(Debug, Args)]
pub(super) struct Probe {
    /// Names from fleet.yaml; all of them by default
    #[arg(value_name = "DEPLOYMENT", conflicts_with = "url")]
    deployments: Vec<String>,
    /// One round, then exit; rounds on a schedule are what `serve` does
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    one_shot: OneShot,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    ad_hoc: AdHocArgs,
}

/// Comparing with another version, over as many rounds as that takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Compare with another version")]
struct GateArgs {
    /// Compare with this version, or with `previous`, the greatest below, on the same database and in
    /// the same environment; unless deployments are named, those of the latest version are judged
    #[arg(long, value_name = "VERSION")]
    baseline: Option<Baseline>,
    /// Exit with 4 if a regression is confirmed; with =strict with 5 unless it is shown that nothing
    /// got slower. Without --baseline against the previous version
    #[arg(
        long,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "lenient"
    )]
    gate: Option<Gate>,
    /// Compare only these requests (repeatable, or separated by commas); all are checked once
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    gate_requests: Vec<String>,
    /// How long to go on at most
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
    gate_timeout: Duration,
    /// How many rounds to make at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds_max: Option<u32>,
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
        anyhow::ensure!(
            !self.gate.is_idle(),
            "--gate-requests and --rounds-max belong to a comparison: add --gate, or --baseline VERSION"
        );
        let plan = self.plan(global, &env)?;
        let clock = Clock::system();
        if let Some(baseline) = self.gate.baseline() {
            return self.compare(plan, baseline, global, &env, &clock);
        }
        let origin = uuid::Uuid::new_v4().to_string();
        let spool = self.one_shot.spool(global, &env, &origin, &clock)?;

        block_on(async {
            let level = global.log.as_deref().or(Some("warn"));
            let telemetry = crate::telemetry::start(level, global.colored(&env, &std::io::stderr()), None)?;
            let client = Client::new(clock.clone());
            self.one_shot.wait_until_all_answer(&client, &clock, &plan.suites, &plan.fleet).await;
            let runs = probe(&plan, client, &clock, &origin).await?;
            let delivery = spool.take(&runs).await;
            let exit_code = self.one_shot.exit_code(self.exit_code(&runs), &delivery);
            let color = global.colored(&env, &std::io::stdout());
            let report = Report { runs: &runs, delivery: &delivery, exit_code };
            super::print(&report.render(self.one_shot.output, color))?;
            eprintln!("telemetry: {delivery}");
            telemetry.shut_down().await;
            Ok(exit_code)
        })
    }

    /// Which suites on which deployments.
    fn plan(&self, global: &Global, env: &Env) -> anyhow::Result<Plan> {
        // A baseline is found in the fleet, also for a deployment that is not in it.
        let alone = self.ad_hoc.url.is_some() && self.gate.baseline().is_none();
        let config = match &global.config {
            None if alone => crate::config::load(Source::Shipped, env)?,
            _ => global.load(env)?,
        };
        let fleet = match &self.ad_hoc.url {
            Some(_) => vec![Arc::new(self.ad_hoc.read(env)?)],
            None => self.chosen(&config)?,
        };
        let suites = self.one_shot.suites(&config)?;
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
                Ok(Plan { suites, fleet: spoken_to, named, listed: config.fleet })
            }
        }
    }

    /// The same deployments over many rounds, each beside the one that it is judged against.
    fn compare(
        &self,
        plan: Plan,
        baseline: Baseline,
        global: &Global,
        env: &Env,
        clock: &Clock,
    ) -> anyhow::Result<u8> {
        let Plan { suites, fleet, named, listed } = plan;
        if let (Some(_), Some(deployment)) = (&self.ad_hoc.url, fleet.first()) {
            anyhow::ensure!(
                listed.iter().all(|other| other.name != deployment.name),
                "fleet.yaml has a deployment that is called {} too: call this one differently with --name",
                deployment.name
            );
        }
        let judged = if named { fleet } else { gate::latest(&fleet) };
        let spoken = |deployment: &&Arc<Deployment>| {
            suites.iter().any(|suite| variant_for(suite, deployment).is_some())
        };
        let known: Vec<Arc<Deployment>> = listed.iter().filter(spoken).cloned().collect();
        let pairing = baseline.pair(judged, &known).map_err(anyhow::Error::msg)?;
        pairing.alone().for_each(|deployment| eprintln!("{}", baseline.missing(deployment, &known)));
        let GateArgs { gate, gate_requests, gate_timeout, rounds_max, .. } = &self.gate;
        let until_clear = *gate == Some(Gate::Strict);
        let limits = Limits { time: *gate_timeout, rounds: *rounds_max, until_clear };
        let plan = gate::Plan::new(suites, pairing, gate_requests, limits, clock.now())?;
        gate::Command { plan, gate: *gate, one_shot: &self.one_shot }.run(global, env, clock)
    }

    fn chosen(&self, config: &Config) -> anyhow::Result<Vec<Arc<Deployment>>> {
        anyhow::ensure!(
            !config.fleet.is_empty(),
            "there is no deployment to probe: list some in probes/fleet.yaml, or give --url, --version and --db"
        );
        if self.deployments.is_empty() {
            return Ok(config.fleet.clone());
        }
        one_shot::unique(&self.deployments).map(|name| one_shot::named(config, name)).collect()
    }

    /// Without what became of the telemetry.
    fn exit_code(&self, runs: &[Run]) -> u8 {
        let any = |outcome| runs.iter().any(|run| run.outcome == outcome);
        if any(Outcome::Unreachable) {
            exit::UNREACHABLE
        // What could not be asked is no success: a pipeline must not go green on it.
        } else if any(Outcome::Fail)
            || any(Outcome::Skipped)
            || (self.one_shot.degraded_fails() && any(Outcome::Degraded))
        {
            exit::FAILED
        } else {
            exit::OK
        }
    }
}

impl GateArgs {
    /// What to compare with, if anything.
    fn baseline(&self) -> Option<Baseline> {
        self.baseline.clone().or_else(|| self.gate.map(|_| Baseline::Previous))
    }

    /// Settings of a comparison that is none.
    fn is_idle(&self) -> bool {
        self.baseline().is_none() && (!self.gate_requests.is_empty() || self.rounds_max.is_some())
    }
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
    /// Whether somebody chose these deployments.
    named: bool,
    /// Everything in fleet.yaml.
    listed: Vec<Arc<Deployment>>,
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
