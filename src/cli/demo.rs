//! `demo`: everything in one process with stand-in deployments and a made-up CI, on a store that is thrown
//! away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::serve::stop_signal;
use super::{Global, block_on, exit};
use crate::clock::Clock;
use crate::config::{Config, Env, Source};
use crate::daemon::{Daemon, Settings, resource};
use crate::model::{Budget, Schedule, Suite, Variant};
use crate::store::{Location, Retention};

/// Often enough that the page is alive soon; a round of all stand-ins takes one to three seconds,
/// since they share one host and are visited one at a time.
const ROUND_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Stop by itself after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
    /// Address of the page; another port is taken when this one is in use
    #[arg(long, env = "CACHETSCOPE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Seed of the stand-ins' weather
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Demo {
    pub fn run(self, global: &Global, env: Env) -> anyhow::Result<u8> {
        let folder = tempfile::Builder::new().prefix("cachetscope-demo-").tempdir()?;
        let shipped = crate::config::load(Source::Shipped, &env)?;
        // Only what somebody pointed at a collector is sent anywhere.
        let export = env.get("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        let settings = Settings {
            listen: self.listen,
            any_port: true,
            location: Location::File(folder.path().join("demo.db")),
            retention: Retention::default(),
            publish_every: Duration::from_secs(5),
            outbox_bytes_max: 256 << 20,
            env: env.clone(),
            process: resource(&uuid::Uuid::new_v4().to_string(), &env)?,
            title: "demo: stand-ins, not real Cachet".to_owned(),
            export,
            tokens: None,
        };
        block_on(async {
            let level = global.log.as_deref().or(Some("warn"));
            let telemetry = crate::telemetry::start(level, global.colored(&env, &std::io::stderr()), None)?;
            let clock = Clock::system();
            let stand_ins = crate::demo::start_fleet(self.seed, &clock).await.context("the stand-ins")?;
            let fleet = stand_ins.deployments().iter().cloned().map(Arc::new).collect();
            let suites = shipped.suites.iter().filter(reads_only).map(hurried).collect();
            let config = Config { suites, fleet, ..Config::default() };
            let daemon = Daemon::start(settings, config, None, clock.clone()).await?;
            let speaker = resource(daemon.store().id(), &env)?;
            let feed = crate::demo::ci::feed(daemon.store().clone(), clock, speaker, self.seed);
            let feeding = tokio::spawn(async move {
                if let Err(error) = feed.await {
                    tracing::warn!(%error, "the demo tells no more of CI");
                }
            });
            let telemetry_goes = match export {
                true => "sent to the collector of OTEL_EXPORTER_OTLP_ENDPOINT",
                false => "kept in the outbox; set OTEL_EXPORTER_OTLP_ENDPOINT to send it",
            };
            let stops = match self.length {
                Some(length) => format!("in {}, or with Ctrl-C", humantime::format_duration(length)),
                None => "with Ctrl-C".to_owned(),
            };
            super::print(&format!(
                "page:      http://{}\n\
                 probing:   {} stand-in deployments (not real Cachet), a round every {ROUND_EVERY:?}\n\
                 CI:        ten days of made-up history, a small run every {:?}\n\
                 telemetry: {telemetry_goes}\n\
                 stops:     {stops}\n",
                daemon.address(),
                stand_ins.deployments().len(),
                crate::demo::ci::LIVE_EVERY
            ))?;
            let length = self.length;
            let elapsed = async move {
                match length {
                    Some(length) => tokio::time::sleep(length).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = elapsed => {}
                stopped = stop_signal() => stopped?,
            }
            feeding.abort();
            daemon.shut_down().await;
            stand_ins.shutdown().await;
            telemetry.shut_down().await;
            folder.close().context("failed to remove the demo's folder")?;
            Ok(exit::OK)
        })
    }
}

fn reads_only(suite: &&Suite) -> bool {
    suite.variants.iter().all(|variant| variant.requests.iter().all(|request| !request.writes))
}

/// The shipped suite at the demo's pace, which the stand-ins allow and a real Cachet might not: rounds for
/// verdicts that wait follow each other closely, so that there are some within two minutes.
fn hurried(suite: &Suite) -> Suite {
    let budget = Some(Budget { requests: 1_000, per: Duration::from_secs(1) });
    let unlimited = |variant: &Arc<Variant>| Arc::new(Variant { budget, ..variant.as_ref().clone() });
    Suite {
        schedule: Schedule::every(ROUND_EVERY),
        jitter: Duration::ZERO,
        variants: suite.variants.iter().map(unlimited).collect(),
        ..suite.clone()
    }
}
