//! What a job of CI calls: `run`, `record`, `flush`.
//!
//! CI never fails because observability does: whatever goes wrong on the way to the daemon is told on
//! stderr, and kept for the next call. Only `--require-delivery` makes it count.

mod events;
mod files;
mod flush;
mod moment;
mod record;
mod run;
mod say;
mod steps;
mod times;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use url::{Host, Url};

use super::Global;
use crate::client::{Client, Delivery};
use crate::clock::Clock;
use crate::config::Env;
use crate::config::ci::{Context, Overrides};
use crate::model::{Flavour, Secret, Version};
pub(super) use flush::Flush;
pub(super) use record::Record;
pub(super) use run::Run;

/// Bytes of a token file at most.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
#[command(next_help_heading = "Which run this is [default: as Jenkins, GitHub, GitLab or git tell]")]
struct ContextArgs {
    /// Who tells: jenkins, github, gitlab, local, or any name
    #[arg(long, env = "CACHETSCOPE_SOURCE", value_name = "NAME")]
    source: Option<String>,
    /// The pipeline, job or workflow
    #[arg(long, env = "CACHETSCOPE_PIPELINE", value_name = "NAME")]
    pipeline: Option<String>,
    /// Which run of it
    #[arg(long, env = "CACHETSCOPE_RUN_ID", value_name = "ID")]
    run_id: Option<String>,
    /// Which attempt at that run, from 1
    #[arg(long, env = "CACHETSCOPE_ATTEMPT", value_name = "N")]
    attempt: Option<String>,
    /// Branch it was run on
    #[arg(long, env = "CACHETSCOPE_BRANCH", value_name = "NAME")]
    branch: Option<String>,
    /// Hash of the commit
    #[arg(long, env = "CACHETSCOPE_COMMIT", value_name = "HASH")]
    commit: Option<String>,
    /// URL of the repository
    #[arg(long, env = "CACHETSCOPE_REPOSITORY", value_name = "URL")]
    repository: Option<String>,
    /// Where a person finds the run
    #[arg(long, env = "CACHETSCOPE_RUN_URL", value_name = "URL")]
    run_url: Option<String>,
}

impl ContextArgs {
    fn detect(&self, env: &Env, clock: &Clock) -> anyhow::Result<Context> {
        let given = Overrides {
            source: self.source.clone(),
            pipeline: self.pipeline.clone(),
            run: self.run_id.clone(),
            attempt: self.attempt.clone(),
            branch: self.branch.clone(),
            commit: self.commit.clone(),
            repository: self.repository.clone(),
            url: self.run_url.clone(),
        };
        Ok(Context::detect(env, &given, Path::new("."), clock.now())?)
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
struct DaemonArgs {
    /// Address of the daemon
    #[arg(long, env = "CACHETSCOPE_DAEMON", value_name = "URL", default_value = "http://127.0.0.1:8787")]
    daemon: Url,
    /// File with the token for the daemon [default: $CACHETSCOPE_TOKEN, else the systemd credential
    /// `token`]
    #[arg(long, env = "CACHETSCOPE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long to try to deliver before it is left for the next call
    #[arg(long, env = "CACHETSCOPE_DELIVERY_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,
}

impl DaemonArgs {
    /// A way to the daemon. A token that cannot be read is told and left out: the event is kept then,
    /// where an error would lose it.
    fn client(&self, global: &Global, env: &Env, clock: Clock) -> anyhow::Result<(Client, Option<Secret>)> {
        let token = self.token(env).unwrap_or_else(|error| {
            warn(&format!("{error:#}; going on without a token"));
            None
        });
        if token.is_some() && self.daemon.scheme() == "http" && !is_loopback(&self.daemon) {
            warn(&format!("the token goes to {} in the clear; use https", self.daemon));
        }
        let folder = global.state_dir(env)?.join("spool");
        let client = Client::new(&self.daemon, token.clone(), &folder, clock).context("--daemon")?;
        Ok((client.with_timeout(self.delivery_timeout), token))
    }

    /// Never from a flag's value, which everybody sees in the process list.
    fn token(&self, env: &Env) -> anyhow::Result<Option<Secret>> {
        let credential = env.get("CREDENTIALS_DIRECTORY").map(|folder| Path::new(folder).join("token"));
        let path = match (&self.token_file, env.get("CACHETSCOPE_TOKEN")) {
            (Some(path), _) => path.clone(),
            (None, Some(token)) => return Ok(Some(Secret::new(token))),
            (None, None) => match credential.filter(|path| path.exists()) {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let text = files::text(&path, TOKEN_BYTES_MAX).context("the token file")?;
        anyhow::ensure!(!text.trim().is_empty(), "the token file {} is empty", path.display());
        Ok(Some(Secret::new(&text)))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// What an event is about.
#[derive(Debug, Args)]
struct SubjectArgs {
    /// Version of Cachet it is about: v2.4.1, or 3.x for the commit that is checked out here
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// sqlite, mysql, mariadb, postgresql or microsoft.sql_server
    #[arg(long, value_name = "NAME")]
    db: Option<Flavour>,
    /// deployment.environment.name [default: production]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Name of the deployment in the fleet [default: cachet-VERSION-DB]
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    /// Digest of the image, or @FILE that holds it
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// What people call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Identity of the step within its run, instead of one that is made of the name and the time or the
    /// content
    #[arg(long, value_name = "ID")]
    step_id: Option<String>,
}

impl SubjectArgs {
    fn version(&self, commit: Option<&str>) -> anyhow::Result<Option<Version>> {
        let Some(text) = &self.version else { return Ok(None) };
        Ok(Some(crate::config::ci::version(text, commit, Path::new(".")).context("--version")?))
    }

    /// A name, with what sets it apart from others of its name.
    fn named(&self, name: &str, version: Option<&Version>) -> String {
        let version = version.map(Version::as_str);
        [Some(name), version, self.db.map(Flavour::as_str)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Words for a person, on stderr.
fn warn(words: &str) {
    eprintln!("cachetscope: warning: {words}");
}

/// Whether something counts as undelivered: what is lost always, what waits or was refused where
/// delivery is required.
fn is_undelivered(delivery: &Delivery, required: bool) -> bool {
    match delivery {
        Delivery::Delivered { .. } => false,
        Delivery::Spooled { .. } | Delivery::Refused { .. } => required,
        Delivery::Lost { .. } => true,
    }
}

/// Tells what there is to know about a delivery besides.
fn tell(report: &crate::client::Report) {
    report.notes.iter().for_each(|note| warn(note));
    match report.earlier {
        0 => {}
        1 => eprintln!("cachetscope: 1 event of an earlier call was delivered with it"),
        n => eprintln!("cachetscope: {n} events of earlier calls were delivered with it"),
    }
}
