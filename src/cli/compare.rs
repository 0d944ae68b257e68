//! `compare A B`: two running deployments beside each other, until it is clear which requests differ.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::gate::{Gate, Limits, Pairing, Plan};
use super::one_shot::{self, OneShot};
use super::{Global, gate};
use crate::clock::Clock;
use crate::config::{AdHoc, Config, Env};
use crate::model::Deployment;

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// What B is judged against: a name from fleet.yaml, or an address such as http://127.0.0.1:8000
    #[arg(value_name = "A")]
    a: String,
    /// What is judged: a name from fleet.yaml, or an address
    #[arg(value_name = "B")]
    b: String,
    /// Exit with 4 if B is confirmed to have regressed; with =strict with 5 unless all is clear
    #[arg(
        long,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "lenient"
    )]
    gate: Option<Gate>,
    /// Compare only these requests (repeatable, or separated by commas)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', alias = "gate-requests")]
    requests: Vec<String>,
    /// How long to go on at most
    #[arg(
        long,
        value_name = "TIME",
        default_value = "15m",
        value_parser = humantime::parse_duration,
        alias = "gate-timeout"
    )]
    timeout: Duration,
    /// How many rounds to make at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds_max: Option<u32>,
    #[command(flatten)]
    one_shot: OneShot,
    #[command(flatten)]
    addresses: Addresses,
}

/// What is known of an address. What is given for neither side is taken from the other one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where A or B is an address")]
struct Addresses {
    /// Version that is deployed at both
    #[arg(long)]
    version: Option<String>,
    /// Version of A alone
    #[arg(long, value_name = "VERSION")]
    a_version: Option<String>,
    /// Version of B alone
    #[arg(long, value_name = "VERSION")]
    b_version: Option<String>,
    /// sqlite, mysql, mariadb, postgresql or microsoft.sql_server
    #[arg(long)]
    db: Option<String>,
    /// Database of A alone
    #[arg(long, value_name = "DB")]
    a_db: Option<String>,
    /// Database of B alone
    #[arg(long, value_name = "DB")]
    b_db: Option<String>,
    /// deployment.environment.name [default: production]
    #[arg(long)]
    environment: Option<String>,
    /// Environment variable that holds the API token of both
    #[arg(long, value_name = "VARIABLE", conflicts_with = "token_file")]
    token_env: Option<String>,
    /// File that holds the API token of both
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// PEM file of certificate authorities to trust
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Accept any certificate
    #[arg(long)]
    insecure: bool,
}

impl Compare {
    pub fn run(self, global: &Global, env: Env) -> anyhow::Result<u8> {
        let clock = Clock::system();
        let plan = self.plan(global, &env, &clock)?;
        let Compare { gate, one_shot, .. } = &self;
        gate::Command { plan, gate: *gate, one_shot }.run(global, &env, &clock)
    }

    fn plan(&self, global: &Global, env: &Env, clock: &Clock) -> anyhow::Result<Plan> {
        let config = global.load(env)?;
        let (a, b) = self.sides(&config, env)?;
        let all = self.one_shot.suites(&config)?;
        for deployment in [&a, &b] {
            let spoken = all.iter().any(|suite| one_shot::variant_for(suite, deployment).is_some());
            anyhow::ensure!(spoken, "{}", one_shot::unspoken(&all, deployment));
        }
        let both = |suite: &crate::model::Suite| {
            [&a, &b].iter().all(|deployment| one_shot::variant_for(suite, deployment).is_some())
        };
        let suites = all.iter().filter(|suite| both(suite)).cloned().collect();
        let (a_name, b_name) = (a.name.clone(), b.name.clone());
        let pairing = Pairing { fleet: vec![b, a], judged: 1, pairs: vec![(0, 1)] };
        let limits = Limits { time: self.timeout, rounds: self.rounds_max, until_clear: true };
        let plan = Plan::new(suites, pairing, &self.requests, limits, clock.now())?;
        anyhow::ensure!(plan.compares(), "{a_name} and {b_name} are asked no request of the same name");
        Ok(plan)
    }

    fn sides(&self, config: &Config, env: &Env) -> anyhow::Result<(Arc<Deployment>, Arc<Deployment>)> {
        let known =
            |text: &str| if is_address(text) { Ok(None) } else { one_shot::named(config, text).map(Some) };
        let (a, b) = (known(&self.a)?, known(&self.b)?);
        let flags = &self.addresses;
        let no_address = a.is_some() && b.is_some();
        anyhow::ensure!(
            !(no_address && flags.is_used()),
            "fleet.yaml says everything about {} and {}: --version, --db and the like belong to addresses",
            self.a,
            self.b
        );
        let side = |text: &str, version: &Option<String>, db: &Option<String>, other: Option<&Deployment>| {
            let version = version.as_ref().or(flags.version.as_ref()).cloned();
            let version = version.or_else(|| other.map(|other| other.version.to_string()));
            let db = db.as_ref().or(flags.db.as_ref()).cloned();
            let db = db.or_else(|| other.map(|other| other.db.to_string()));
            let environment = flags.environment.as_deref().or(other.map(|other| other.environment.as_str()));
            let hint = || format!("{text} is an address, of which only you can know that");
            let given = AdHoc {
                url: text,
                version: &version.context("--version is missing").with_context(hint)?,
                db: &db.context("--db is missing").with_context(hint)?,
                environment,
                token_env: flags.token_env.as_deref(),
                token_file: flags.token_file.as_deref(),
                ca: flags.ca.as_deref(),
                insecure: flags.insecure,
                ..AdHoc::default()
            };
            anyhow::Ok(Arc::new(crate::config::ad_hoc(&given, env)?))
        };
        let a_side = match &a {
            Some(a) => a.clone(),
            None => side(&self.a, &flags.a_version, &flags.a_db, b.as_deref())?,
        };
        let mut b_side = match &b {
            Some(b) => b.clone(),
            None => side(&self.b, &flags.b_version, &flags.b_db, a.as_deref())?,
        };
        // One beside itself is a fair question, but everything is told by name.
        if a_side.name == b_side.name {
            Arc::make_mut(&mut b_side).name.push_str("-again");
        }
        Ok((a_side, b_side))
    }
}

impl Addresses {
    fn is_used(&self) -> bool {
        let texts = [
            &self.version,
            &self.a_version,
            &self.b_version,
            &self.db,
            &self.a_db,
            &self.b_db,
            &self.environment,
            &self.token_env,
            &self.token_file,
            &self.ca,
        ];
        self.insecure || texts.iter().any(|text| text.is_some())
    }
}

fn is_address(text: &str) -> bool {
    text.contains("://")
}
