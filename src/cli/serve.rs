//! `serve`: the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Global, block_on, exit, manager};
use crate::clock::Clock;
use crate::config::Env;
use crate::daemon::{Daemon, Reloader, Settings, TokensFile, resource};
use crate::store::Retention;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address of the page and the API
    #[arg(long, env = "CACHETSCOPE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// How long raw samples are kept
    #[arg(long, env = "CACHETSCOPE_RETENTION", value_name = "TIME", default_value = "14d", value_parser = humantime::parse_duration)]
    retention: Duration,
    /// How long hourly summaries are kept
    #[arg(long, env = "CACHETSCOPE_RETENTION_HOURLY", value_name = "TIME", default_value = "400d", value_parser = humantime::parse_duration)]
    retention_hourly: Duration,
    /// Size of a SQLite store beyond which the oldest samples are summarised early
    #[arg(long, env = "CACHETSCOPE_STORE_MAX", value_name = "SIZE", default_value = "5GiB", value_parser = crate::config::parse_size)]
    store_max: u64,
    /// Size of undelivered telemetry beyond which the oldest goes, metric snapshots first; what events of
    /// CI wait with never goes: when it reaches this size, new events are answered 503
    #[arg(long, env = "CACHETSCOPE_OUTBOX_MAX", value_name = "SIZE", default_value = "1GiB", value_parser = crate::config::parse_size)]
    outbox_max: u64,
    /// How often metrics are published
    #[arg(long, env = "CACHETSCOPE_PUBLISH_EVERY", value_name = "TIME", default_value = "15s", value_parser = parse_period)]
    publish_every: Duration,
    /// Who may send events: a YAML list of `{name, token | sha256, scopes}`. Without it everyone on
    /// this machine may, and nobody when the address is beyond loopback
    #[arg(long, env = "CACHETSCOPE_TOKENS_FILE", value_name = "FILE")]
    tokens_file: Option<PathBuf>,
}

/// A systemd unit hands the tokens over as a credential, without any flag.
fn credential(env: &Env) -> Option<PathBuf> {
    let file = PathBuf::from(env.get("CREDENTIALS_DIRECTORY")?).join("tokens");
    file.exists().then_some(file)
}

fn parse_period(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(period) if period >= Duration::from_secs(1) => Ok(period),
        Ok(_) => Err("at least 1s is expected".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Serve {
    pub fn run(self, global: &Global, env: Env) -> anyhow::Result<u8> {
        let config = global.load(&env)?;
        for note in &config.notes {
            eprintln!("note: {note}");
        }
        let tokens = self.tokens_file.or_else(|| credential(&env)).map(TokensFile::read).transpose()?;
        for note in tokens.iter().flat_map(TokensFile::notes) {
            eprintln!("note: {note}");
        }
        let reloader = Reloader::new(global.config.clone(), env.clone(), &config);
        let process = resource(&uuid::Uuid::new_v4().to_string(), &env)?;
        let settings = Settings {
            listen: self.listen,
            any_port: false,
            location: global.location(&env)?,
            retention: Retention {
                raw: self.retention,
                hourly: self.retention_hourly,
                bytes_max: self.store_max,
            },
            publish_every: self.publish_every,
            outbox_bytes_max: self.outbox_max,
            env: env.clone(),
            process: process.clone(),
            title: String::new(),
            export: true,
            tokens,
        };
        block_on(async {
            let telemetry = crate::telemetry::start(
                global.log.as_deref(),
                global.colored(&env, &std::io::stderr()),
                Some((&process, &env)),
            )?;
            let deployments = config.fleet.len();
            let location = settings.location.clone();
            let daemon = Daemon::start(settings, config, Some(reloader), Clock::system()).await?;
            // Before anyone hears that it is ready: unheard, a signal would end it without order.
            let mut stop = StopSignal::listen()?;
            tracing::info!(page = format!("http://{}", daemon.address()), store = %location, deployments, "ready");
            let alive = manager::ready(daemon.address(), daemon.store().clone()).await;
            stop.heard().await;
            tracing::info!("stopping");
            manager::stopping();
            if let Some(alive) = alive {
                alive.abort();
            }
            tokio::select! {
                () = daemon.shut_down() => {}
                () = stop.heard() => {
                    tracing::warn!("told twice to stop: stopped at once");
                    return Ok(exit::FAILED);
                }
            }
            telemetry.shut_down().await;
            Ok(exit::OK)
        })
    }
}

/// SIGTERM, or SIGINT from a terminal; heard from `listen` on, also while nobody waits.
pub(super) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    pub fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(StopSignal { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The next such signal.
pub(super) async fn stop_signal() -> anyhow::Result<()> {
    StopSignal::listen()?.heard().await;
    Ok(())
}
