//! `make bench`: events taken in over HTTP, beside a bare loop that writes the same rows.
//!
//! The daemon is a child process, as it is shipped, with its collector away, so that all telemetry
//! stays in the store. 64 clients post over connections that stay open, each waiting for its answer.
//! Then a loop without HTTP, JSON or telemetry writes the very rows that the daemon wrote, in as
//! many transactions, to a new file on the same disk: the limit of what one writer can do there.

mod bare;
mod clients;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

/// Not measured.
const WARM_UP: Duration = Duration::from_secs(1);
const CLIENTS: usize = 64;
const WAIT_MAX: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Settings {
    /// How long each kind of post is measured
    #[arg(long, env = "BENCH_EVENTS_SECONDS", default_value = "10")]
    seconds: u64,
    /// Runs of each, of which the medians are told
    #[arg(long, env = "BENCH_EVENTS_RUNS", default_value = "3")]
    runs: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Killed when dropped.
struct Daemon {
    child: Child,
    address: SocketAddr,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    async fn start(dir: &Path) -> anyhow::Result<Daemon> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let probes = dir.join("probes");
        std::fs::create_dir_all(&probes)?;
        std::fs::write(probes.join("fleet.yaml"), "deployments: []\n")?;
        let log = std::fs::File::create(dir.join("cachetscope.log"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_cachetscope"))
            .args(["serve", "--listen", &address.to_string(), "--outbox-max", "8GiB"])
            .arg("--config")
            .arg(&probes)
            .arg("--state-dir")
            .arg(dir)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{nobody}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let daemon = Daemon { child, address };
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            anyhow::ensure!(
                tokio::time::Instant::now() < deadline,
                "the daemon does not listen; see {dir:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(daemon)
    }

    /// Asks it to end, so that its file holds everything, and waits.
    async fn end(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        while self.child.try_wait()?.is_none() {
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "the daemon did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

struct Leg {
    per_second: f64,
    bare_per_second: f64,
    events: u64,
    transactions: u64,
}

async fn leg(settings: &Settings, batch: usize) -> anyhow::Result<Leg> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let daemon = Daemon::start(dir.path()).await?;
    let posted =
        clients::post(daemon.address, CLIENTS, batch, WARM_UP, Duration::from_secs(settings.seconds)).await?;
    let transactions = clients::commits(daemon.address).await?;
    daemon.end().await?;
    let file = dir.path().join("cachetscope.db");
    let rows = bare::read(&file).await.context("the daemon's store")?;
    anyhow::ensure!(
        rows.events() == posted.acknowledged,
        "{} events were acknowledged, and {} are in the store",
        posted.acknowledged,
        rows.events()
    );
    let took = bare::write(&rows, transactions, &dir.path().join("bare")).await?;
    Ok(Leg {
        per_second: posted.measured as f64 / posted.window.as_secs_f64(),
        bare_per_second: rows.events() as f64 / took.as_secs_f64(),
        events: posted.acknowledged,
        transactions,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    println!("events: {CLIENTS} clients, {} s each, median of {} runs", settings.seconds, settings.runs);
    for (batch, aim) in [(1, 0.4), (20, 0.7)] {
        let mut legs = Vec::new();
        for _ in 0..settings.runs.max(1) {
            legs.push(leg(&settings, batch).await?);
        }
        let ratio = median(legs.iter().map(|leg| leg.per_second / leg.bare_per_second).collect());
        let ours = median(legs.iter().map(|leg| leg.per_second).collect());
        let bare = median(legs.iter().map(|leg| leg.bare_per_second).collect());
        let grouped: Vec<f64> = legs.iter().map(|leg| leg.events as f64 / leg.transactions as f64).collect();
        println!(
            "  {batch:>2} a request: {ours:>7.0} acknowledged/s, bare loop {bare:>7.0}/s, ratio {ratio:.2} (aim {aim}); \
             {:.0} events a transaction",
            median(grouped)
        );
    }
    Ok(())
}
