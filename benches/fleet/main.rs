//! `make bench`: a thousand deployments probed every second, beside prometheus-blackbox-exporter.
//!
//! One run on one machine, the legs one after the other over the same targets. Ours is the daemon
//! as it is shipped, by its own flags alone: SQLite, outbox, and export to a real collector. What
//! is counted is the processes themselves, not the targets, the collector or whoever drives the
//! other exporter.

mod blackbox;
mod ours;
mod process;
mod target;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use process::Process;

/// Not measured: caches fill and series are made.
const WARM_UP: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(20);

#[derive(Parser)]
pub struct Settings {
    #[arg(long, default_value = "1000")]
    deployments: u16,
    /// How long each leg is measured
    #[arg(long, env = "BENCH_SECONDS", default_value = "60")]
    seconds: u64,
    #[arg(long, env = "CACHETSCOPE_TEST_OTELCOL")]
    otelcol: PathBuf,
    #[arg(long, env = "CACHETSCOPE_BENCH_BLACKBOX")]
    blackbox: PathBuf,
    /// Legs to run
    #[arg(long, env = "BENCH_LEGS", value_delimiter = ',', default_value = "ours,blackbox,wake-up")]
    legs: Vec<String>,
    /// Keep what the processes wrote
    #[arg(long, env = "BENCH_KEEP")]
    keep: Option<PathBuf>,
    /// Be the target, for so many deployments
    #[arg(long, hide = true)]
    target: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Settings {
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// What a leg took in its window.
pub struct Cost {
    pub probes: u64,
    pub cpu: Duration,
    pub peak_rss_bytes: u64,
}

impl Cost {
    fn cpu_per_probe_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.probes.max(1) as f64
    }

    fn peak_rss_mib(&self) -> f64 {
        self.peak_rss_bytes as f64 / 1_048_576.0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    if settings.target {
        return target::serve(settings.deployments).await;
    }
    let scratch = tempfile::tempdir()?;
    let dir = settings.keep.as_deref().unwrap_or(scratch.path());
    let (_target, port) = start_target(&settings, dir).await?;
    println!(
        "{} deployments, one request each, every second for {} s; load average before: {}",
        settings.deployments,
        settings.seconds,
        std::fs::read_to_string("/proc/loadavg")?.trim(),
    );
    let mut ours: Option<Cost> = None;
    let mut theirs: Option<Cost> = None;
    for leg in &settings.legs {
        match leg.as_str() {
            "ours" => {
                let (cost, rounds) = ours::run(&settings, port, &dir.join("ours"), false).await?;
                print_ours("cachetscope serve (no wake-up request)", &settings, &cost, &rounds);
                ours = Some(cost);
            }
            "wake-up" => {
                let (cost, rounds) = ours::run(&settings, port, &dir.join("wake-up"), true).await?;
                print_ours(
                    "cachetscope serve (with the wake-up request that is the default)",
                    &settings,
                    &cost,
                    &rounds,
                );
            }
            "blackbox" => {
                let cost = blackbox::run(&settings, port, &dir.join("blackbox")).await?;
                println!("\nprometheus-blackbox-exporter");
                print_cost(&cost);
                theirs = Some(cost);
            }
            other => anyhow::bail!("`{other}` is no leg; expected ours, blackbox or wake-up"),
        }
    }
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let (cpu, rss) = (
            ours.cpu_per_probe_us() / theirs.cpu_per_probe_us(),
            ours.peak_rss_mib() / theirs.peak_rss_mib(),
        );
        println!("\nours to theirs");
        line("CPU per probe", format!("{cpu:.2}"), Some((cpu <= 0.5, "at most 0.5")));
        line("peak RSS", format!("{rss:.2}"), Some((rss <= 2.0, "at most 2")));
    }
    Ok(())
}

fn print_ours(title: &str, settings: &Settings, cost: &Cost, rounds: &ours::Rounds) {
    println!("\n{title}");
    let troubles = rounds.missed + rounds.late + rounds.overlapping;
    let told = format!(
        "{} of {} done; {} missed, {} late, {} overlapping",
        rounds.done, settings.seconds, rounds.missed, rounds.late, rounds.overlapping
    );
    line("rounds", told, Some((troubles == 0 && rounds.done == settings.seconds, "none lost")));
    let p99 = ours::percentile(&rounds.starts, 99.0);
    line(
        "start of a round after its time, p99",
        in_ms(p99),
        Some((p99 <= Duration::from_millis(10), "at most 10 ms")),
    );
    let visits = [50.0, 99.0, 100.0].map(|p| in_ms(ours::percentile(&rounds.visits, p)));
    line(
        "start of a visit after the round's time",
        format!("p50 {}, p99 {}, max {}", visits[0], visits[1], visits[2]),
        None,
    );
    print_cost(cost);
    let told = format!("{} of {}", rounds.spans_arrived, rounds.spans_owed);
    line("spans at the collector", told, Some((rounds.spans_arrived == rounds.spans_owed, "all")));
    line("store", format!("{:.1} MiB", rounds.store_bytes as f64 / 1_048_576.0), None);
}

fn print_cost(cost: &Cost) {
    line("probes that passed", cost.probes.to_string(), None);
    line("CPU per probe", format!("{:.0} µs", cost.cpu_per_probe_us()), None);
    line("peak RSS", format!("{:.1} MiB", cost.peak_rss_mib()), None);
}

fn line(name: &str, value: String, aim: Option<(bool, &str)>) {
    let aim = aim.map(|(met, aim)| format!("   {} (aim: {aim})", if met { "met" } else { "NOT MET" }));
    println!("  {name:<42}{value}{}", aim.unwrap_or_default());
}

fn in_ms(d: Duration) -> String {
    format!("{:.1} ms", d.as_secs_f64() * 1e3)
}

async fn start_target(settings: &Settings, dir: &Path) -> anyhow::Result<(Process, u16)> {
    std::fs::create_dir_all(dir)?;
    let log = dir.join("target.log");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--target", "--deployments", &settings.deployments.to_string()]);
    let process = Process::start(&mut command, &log)?;
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        let said = std::fs::read_to_string(&log)?;
        if let Some(Ok(port)) = said.strip_suffix('\n').map(str::parse) {
            return Ok((process, port));
        }
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "the target did not start: {said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Free at this moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn listens(address: SocketAddr) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "nothing listens at {address} after {WAIT_MAX:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
