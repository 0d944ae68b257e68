//! The daemon: wires the loops together, and takes them down in order.
//!
//! Loops only wait and then call a `tick`. Configuration, store and settings fail before the port
//! is bound. Shutdown: no new rounds → those under way end, with a deadline → one last snapshot →
//! one last export, with a deadline → the store closes; what is undelivered waits there.

mod extra;
mod fleet;
mod judging;
mod load;
mod members;
mod notices;
mod reload;
mod reported;
mod rounds;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Config, Env};
use crate::discover::Discover;
use crate::exporter::{self, Exporter, Transport};
use crate::http::Client;
use crate::ingest;
use crate::otlp::Resource;
use crate::page;
use crate::publisher::{Intake, Publisher};
use crate::store::{Change, Location, Retention, Store};
pub use fleet::Fleet;
pub use load::seen as stored_rounds;
pub use reload::Reloader;
use reported::Reported;
pub use rounds::Rounds;
pub use tokens::TokensFile;

/// How long rounds that are under way may take to end; then they skip what they have not asked yet.
/// With the deadlines below, and that of the daemon's own log, this stays within the ten seconds
/// that Docker waits.
const ROUNDS_DEADLINE: Duration = Duration::from_secs(1);
/// How long they may take after that: the requests that are under way, by the default timeout.
const REQUESTS_DEADLINE: Duration = Duration::from_millis(5_200);
/// How long the judging of the last rounds may take; else it is made up for at the next start.
const JUDGING_DEADLINE: Duration = Duration::from_millis(500);
/// How long the last export may take.
const EXPORT_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long pages may be read on.
const PAGES_DEADLINE: Duration = Duration::from_millis(500);
/// How often old samples and superseded snapshots are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Everything `serve` is told.
pub struct Settings {
    pub listen: SocketAddr,
    /// Take any free port when the one above is taken.
    pub any_port: bool,
    pub location: Location,
    pub retention: Retention,
    /// How often metrics are published.
    pub publish_every: Duration,
    /// Bytes of undelivered telemetry at most.
    pub outbox_bytes_max: u64,
    pub env: Env,
    /// Who speaks when this process tells of itself.
    pub process: Resource,
    /// Shown on the page beside the name.
    pub title: String,
    /// Whether anything is sent at all.
    pub export: bool,
    /// Who may tell events; without it everyone on this machine may, if `listen` is on loopback.
    pub tokens: Option<TokensFile>,
}

/// Who speaks, with what the environment says of it; `instance` is the store's UUID for facts about
/// the fleet, and this process's own for facts about itself.
pub fn resource(instance: &str, env: &Env) -> anyhow::Result<Resource> {
    Resource::new(instance, env.get("OTEL_SERVICE_NAME"), env.get("OTEL_RESOURCE_ATTRIBUTES"))
        .context("OTEL_RESOURCE_ATTRIBUTES")
}

/// A running daemon.
pub struct Daemon {
    address: SocketAddr,
    store: Store,
    stop: CancellationToken,
    tasks: TaskTracker,
    rounds: Rounds,
    exporter: Option<Exporter>,
    publishing: tokio::task::JoinHandle<Publisher>,
    exporting: tokio::task::JoinHandle<()>,
    stop_exporting: CancellationToken,
}

impl Daemon {
    /// Starts everything. `reloader` reads the configuration anew when it changes; without one it
    /// stays as it is.
    pub async fn start(
        settings: Settings,
        config: Config,
        reloader: Option<Reloader>,
        clock: Clock,
    ) -> anyhow::Result<Daemon> {
        let env = |name: &str| settings.env.get(name).map(str::to_owned);
        let transport_settings = exporter::Settings::from_env(&env).map_err(|errors| {
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(words.join("\n"))
        })?;
        // Before anything else: unheard, SIGHUP would end the process.
        let reloader = match reloader {
            Some(reloader) => {
                Some((reloader, signal(SignalKind::hangup()).context("failed to hear SIGHUP")?))
            }
            None => None,
        };
        let store = Store::open(&settings.location, &clock).await?;
        let fleet_resource = resource(store.id(), &settings.env)?;
        let transport = Transport::new(transport_settings, clock.clone())?;
        let listener = bind(settings.listen, settings.any_port).await?;
        let address = listener.local_addr()?;

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (notices, notices_seen) = notices::Notices::new();
        let client = Client::new(clock.clone());
        let rounds = Rounds::new(store.clone(), client.clone(), clock.clone(), fleet_resource.clone());
        let discover = Discover::new(client.clone(), clock.clone(), tasks.clone(), stop.clone());
        let discovered = discover.counts();
        let fleet = Fleet::new(store.clone(), rounds.clone(), discover, notices.clone());
        fleet.set(config).await?;
        tasks.spawn(rounds.clone().run(stop.clone()));
        tasks.spawn(fleet.clone().run(stop.clone()));
        let reported = Reported {
            store: store.clone(),
            client,
            rounds: rounds.clone(),
            deployments: fleet.deployments(),
        };
        tasks.spawn(reported.run(stop.clone()));
        if let Some((reloader, hangup)) = reloader {
            tasks.spawn(reloader.run(hangup, fleet.clone(), stop.clone()));
        }
        let access = tokens::access(settings.tokens, address, notices, &tasks, &stop)?;
        let intake = Arc::new(Intake::new());
        let ingest = ingest::router(ingest::State {
            store: store.clone(),
            clock: clock.clone(),
            resource: fleet_resource.clone(),
            intake: intake.clone(),
            access,
            outbox_bytes_max: settings.outbox_bytes_max,
        });

        let state = page::State {
            store: store.clone(),
            clock: clock.clone(),
            notices: notices_seen,
            title: settings.title,
            document: ingest::openapi(),
        };
        let served = axum::serve(listener, page::router(state).merge(ingest))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });

        let exporter = Exporter::new(store.clone(), transport, clock.clone());
        let publisher =
            Publisher::new(store.clone(), exporter.clone(), clock.clone(), fleet_resource, settings.process)
                .counting(intake, discovered);
        let publishing = tokio::spawn(publish(
            publisher,
            store.clone(),
            clock.clone(),
            Publishing {
                every: settings.publish_every,
                outbox_bytes_max: settings.outbox_bytes_max,
                retention: settings.retention,
            },
            stop.clone(),
        ));
        let stop_exporting = CancellationToken::new();
        let exporting = {
            let (exporter, cancel) = (exporter.clone(), stop_exporting.clone());
            let export = settings.export;
            tokio::spawn(async move {
                if export {
                    exporter.run(cancel).await;
                }
            })
        };
        let exporter = settings.export.then_some(exporter);
        Ok(Daemon { address, store, stop, tasks, rounds, exporter, publishing, exporting, stop_exporting })
    }

    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn rounds(&self) -> &Rounds {
        &self.rounds
    }

    /// Ends everything in order; see the module's words.
    pub async fn shut_down(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(ROUNDS_DEADLINE, self.rounds.ended()).await.is_err() {
            self.rounds.cut_short();
            if tokio::time::timeout(REQUESTS_DEADLINE, self.rounds.ended()).await.is_err() {
                self.rounds.give_up();
            }
        }
        if tokio::time::timeout(JUDGING_DEADLINE, self.rounds.judged()).await.is_err() {
            tracing::info!("the last rounds are judged at the next start");
        }
        // The last snapshot counts the last runs, which may still be in the writer's queue.
        if let Ok(mut publisher) = self.publishing.await
            && let Err(error) = async { self.store.settle().await.and(publisher.tick().await) }.await
        {
            tracing::warn!(%error, "failed to publish a last snapshot");
        }
        self.stop_exporting.cancel();
        if self.exporting.await.is_err() {
            tracing::warn!("the exporter had ended before");
        }
        if let Some(exporter) = self.exporter {
            match tokio::time::timeout(EXPORT_DEADLINE, exporter.drain()).await {
                Ok(true) => tracing::info!("all telemetry is delivered"),
                _ => tracing::info!("undelivered telemetry waits in the store"),
            }
        }
        // Pages that are still being read must not keep the store open for ever.
        if tokio::time::timeout(PAGES_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::debug!("connections were still open");
        }
        self.store.close().await;
    }
}

async fn bind(listen: SocketAddr, any_port: bool) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(listen).await {
        Ok(listener) => Ok(listener),
        Err(error) if any_port && error.kind() == std::io::ErrorKind::AddrInUse => {
            Ok(TcpListener::bind(SocketAddr::new(listen.ip(), 0)).await?)
        }
        Err(error) => Err(error)
            .with_context(|| format!("failed to listen on {listen}; name another address with --listen")),
    }
}

struct Publishing {
    every: Duration,
    outbox_bytes_max: u64,
    retention: Retention,
}

/// Publishes on time, and tidies now and then. Gives the publisher back when stopped.
async fn publish(
    mut publisher: Publisher,
    store: Store,
    clock: Clock,
    publishing: Publishing,
    stop: CancellationToken,
) -> Publisher {
    let mut tidied = clock.now();
    let mut interval = tokio::time::interval(publishing.every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return publisher,
            _ = interval.tick() => {}
        }
        if let Err(error) = publisher.tick().await {
            tracing::error!(%error, "failed to publish metrics");
        }
        if clock.now().since(tidied) >= TIDY_EVERY {
            tidied = clock.now();
            tidy(&mut publisher, &store, &clock, &publishing).await;
        }
    }
}

#[tracing::instrument(skip_all)]
async fn tidy(publisher: &mut Publisher, store: &Store, clock: &Clock, publishing: &Publishing) {
    if let Err(error) = publisher.infer_runs().await {
        tracing::error!(%error, "failed to look for runs without a span of their own");
    }
    let now = clock.now();
    let thinned = store.change(Change::Thin { now }).await;
    let dropped = store.change(Change::Limit { bytes_max: publishing.outbox_bytes_max }).await;
    let retained = store.change(Change::Retain { retention: publishing.retention.clone(), now }).await;
    if let Some(error) = [&thinned, &dropped, &retained].into_iter().find_map(|r| r.as_ref().err()) {
        tracing::error!(%error, "failed to tidy the store");
    }
    let (thinned, dropped) = (thinned.unwrap_or(0), dropped.unwrap_or(0));
    if dropped > 0 {
        tracing::warn!(items = dropped, "the outbox is at its limit; the oldest telemetry was dropped");
    }
    publisher.count_loss(thinned, dropped);
}
