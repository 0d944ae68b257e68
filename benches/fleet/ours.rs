//! The leg of `cachetscope serve`: started as a user does, judged by what its store and the
//! collector hold in the end.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use cachetscope::clock::{Clock, Timestamp};
use cachetscope::otlp::names;
use serde::Deserialize;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use super::process::Process;
use super::{Cost, Settings, WARM_UP, free_address, listens, target};

/// What was seen of the rounds in the window.
pub struct Rounds {
    /// Rounds of the window that are in the store.
    pub done: u64,
    /// As the daemon counted them over its whole life.
    pub missed: u64,
    pub late: u64,
    pub overlapping: u64,
    /// From the time on the schedule to the start of the round, ascending.
    pub starts: Vec<Duration>,
    /// From the time on the schedule to the start of each visit, ascending.
    pub visits: Vec<Duration>,
    /// Spans of probes in the store's whole life, and those that the collector has, each once.
    pub spans_owed: u64,
    pub spans_arrived: u64,
    pub store_bytes: u64,
}

pub async fn run(
    settings: &Settings,
    port: u16,
    dir: &Path,
    wake_up: bool,
) -> anyhow::Result<(Cost, Rounds)> {
    fs::create_dir_all(dir)?;
    let probes = dir.join("probes");
    write_configuration(&probes, settings.deployments, port, wake_up)?;
    let (grpc, http, health) = (free_address()?, free_address()?, free_address()?);
    let mut collector = Command::new(&settings.otelcol);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("otel-collector/test.yaml");
    collector.arg("--config").arg(config).env("OUT_DIR", dir);
    for (name, address) in [("GRPC_ADDR", grpc), ("HTTP_ADDR", http), ("HEALTH_ADDR", health)] {
        collector.env(name, address.to_string());
    }
    let collector = Process::start(&mut collector, &dir.join("collector.log"))?;
    listens(health).await?;

    let listen = free_address()?;
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_cachetscope"));
    daemon.args(["serve", "--listen", &listen.to_string()]);
    daemon.arg("--config").arg(&probes).arg("--state-dir").arg(dir);
    daemon.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{http}"));
    let daemon = Process::start(&mut daemon, &dir.join("cachetscope.log"))?;
    listens(listen).await?;

    tokio::time::sleep(WARM_UP).await;
    let clock = Clock::system();
    let from = Timestamp((clock.now().0 / 1_000_000_000 + 1) * 1_000_000_000);
    let to = from.plus(settings.time());
    tokio::time::sleep(from.since(clock.now())).await;
    let cpu_before = daemon.cpu()?;
    tokio::time::sleep(to.since(clock.now())).await;
    let cpu = daemon.cpu()? - cpu_before;
    let peak_rss_bytes = daemon.peak_rss_bytes()?;
    daemon.end().await?;
    collector.end().await?;

    let (probes, mut rounds) = read_store(&dir.join("cachetscope.db"), from, to).await?;
    rounds.spans_arrived = count_spans(&dir.join("traces.json"))?;
    Ok((Cost { probes, cpu, peak_rss_bytes }, rounds))
}

/// One suite of one request, in two variants that take the place of the shipped ones.
fn write_configuration(dir: &Path, deployments: u16, port: u16, wake_up: bool) -> anyhow::Result<()> {
    const FLAVOURS: [&str; 3] = ["sqlite", "mysql", "postgresql"];
    fs::create_dir_all(dir)?;
    let mut fleet = String::from("deployments:\n");
    for n in 1..=deployments {
        let version = if n % 2 == 0 { "2.4.1" } else { "3.0.0" };
        let (db, url) = (FLAVOURS[usize::from(n) % FLAVOURS.len()], target::address(n, port));
        writeln!(
            fleet,
            "  - {{ name: d{n:04}, version: {version}, db: {db}, url: 'http://{url}', host_group: d{n:04} }}"
        )?;
    }
    fs::write(dir.join("fleet.yaml"), fleet)?;
    let wake_up = if wake_up { "/api/ping" } else { "false" };
    for (file, versions) in [("cachet-v2.yaml", "<3.0.0-0"), ("cachet-v3.yaml", ">=3.0.0-0")] {
        let suite = format!(
            "suite: bench\napplies_to: '{versions}'\nschedule: '@every 1s'\nwake_up: {wake_up}\n\
             defaults: {{ timeout: 5s, headers: {{ Accept: application/json }} }}\n\
             requests:\n  - name: ping\n    get: /api/ping\n    \
             expect: {{ status: 200, json: {{ \"$.data\": \"Pong!\" }} }}\n"
        );
        fs::write(dir.join(file), suite)?;
    }
    Ok(())
}

/// Samples that passed in rounds of the window, and what is told of those rounds.
async fn read_store(file: &Path, from: Timestamp, to: Timestamp) -> anyhow::Result<(u64, Rounds)> {
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file)).await?;
    let since = |scheduled: i64, at: i64| Timestamp(at).since(Timestamp(scheduled));
    let rows = sqlx::query(
        "SELECT scheduled_ns, started_ns FROM rounds WHERE scheduled_ns >= $1 AND scheduled_ns < $2",
    )
    .bind(from.0)
    .bind(to.0)
    .fetch_all(&pool)
    .await?;
    let mut starts: Vec<Duration> = rows.iter().map(|r| since(r.get(0), r.get(1))).collect();
    starts.sort_unstable();
    let rows = sqlx::query(
        "SELECT r.scheduled_ns, s.started_ns FROM samples s JOIN rounds r ON r.id = s.round_id \
         WHERE r.scheduled_ns >= $1 AND r.scheduled_ns < $2 AND s.outcome = 'pass'",
    )
    .bind(from.0)
    .bind(to.0)
    .fetch_all(&pool)
    .await?;
    let mut visits: Vec<Duration> = rows.iter().map(|r| since(r.get(0), r.get(1))).collect();
    visits.sort_unstable();
    let number = async |sql: &'static str| -> anyhow::Result<u64> {
        let number: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await?;
        Ok(u64::try_from(number)?)
    };
    let counted = async |metric: &str| -> anyhow::Result<u64> {
        let sql = "SELECT COALESCE(SUM(t.count), 0) FROM totals t JOIN series s ON s.id = t.series_id WHERE s.metric = $1";
        let number: i64 = sqlx::query_scalar(sql).bind(metric).fetch_one(&pool).await?;
        Ok(u64::try_from(number)?)
    };
    let rounds = Rounds {
        done: starts.len() as u64,
        missed: counted(names::ROUNDS_MISSED.name).await?,
        late: counted(names::ROUNDS_LATE.name).await?,
        overlapping: counted(names::ROUNDS_OVERLAPPING.name).await?,
        starts,
        // A span for each attempt, and one above them for each run.
        spans_owed: number(
            "SELECT (SELECT COALESCE(SUM(attempts), 0) FROM samples) + (SELECT COUNT(*) FROM runs)",
        )
        .await?,
        spans_arrived: 0,
        store_bytes: fs::metadata(file)?.len(),
        visits,
    };
    pool.close().await;
    Ok((rounds.visits.len() as u64, rounds))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    span_id: String,
    name: String,
}

/// Spans of probes that the collector wrote down, each once.
fn count_spans(file: &Path) -> anyhow::Result<u64> {
    let mut seen = HashSet::new();
    let file = fs::File::open(file).context("the collector wrote no traces")?;
    for line in BufReader::new(file).lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
        let probes = scopes
            .flat_map(|s| s.spans)
            .filter(|s| ["probe bench", "GET /api/ping"].contains(&s.name.as_str()));
        for span in probes {
            seen.insert(u64::from_str_radix(&span.span_id, 16)?);
        }
    }
    Ok(seen.len() as u64)
}

/// The value that `percent` of them do not exceed.
pub fn percentile(ascending: &[Duration], percent: f64) -> Duration {
    let rank = (ascending.len() as f64 * percent / 100.0).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
