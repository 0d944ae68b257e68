//! `make bench`: what it costs to judge 100 requests on 5 flavours in 10 versions.
//!
//! Three legs in this process: the standings of such a fleet from full windows, and what one more round
//! costs; the same read from a store of a million samples, as the daemon does at its start; and how late
//! timers of the runtime are while it is judged beside them. Figures are medians; the machine should have
//! nothing else to do; where it has, the CPU time of the judging thread tells how much of them is its own.

mod fleet;

use std::time::{Duration, Instant};

use anyhow::Context;
use cachetscope::clock::{Clock, Timestamp};
use cachetscope::compare::{Ladder, Seen};
use cachetscope::history::visits;
use cachetscope::store::{Change, DeploymentRow, Facts, Location, Store, deployment_key};
use cachetscope::verdict::Settings as Looks;
use clap::Parser;
use fleet::Fleet;

#[derive(Parser)]
struct Settings {
    /// Samples in the store that is read
    #[arg(long, env = "BENCH_VERDICTS_SAMPLES", default_value = "1000000")]
    samples: u64,
    /// How long the timers are watched, with and without judging
    #[arg(long, env = "BENCH_VERDICTS_SECONDS", default_value = "5")]
    seconds: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Rounds until every window is full.
const FULL: u64 = 643;
const RUNS: usize = 5;
/// How often the timers that are watched fire.
const EVERY: Duration = Duration::from_millis(5);

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let fleet = Fleet::new(100);
    println!("{}", fleet.told());
    let ladder = judge(&fleet)?;
    runtime.block_on(lateness(&fleet, ladder, Duration::from_secs(settings.seconds)))?;
    runtime.block_on(load(&fleet, settings.samples))
}

/// A ladder whose windows are full, and what one look at it costs.
fn judge(fleet: &Fleet) -> anyhow::Result<Ladder> {
    let mut ladder = fleet.ladder();
    let started = Instant::now();
    for n in 0..FULL {
        ladder.replay(&fleet.round(n, fleet.everyone()));
    }
    println!(
        "\nfrom full windows ({FULL} rounds, made and taken in within {:.1} s)",
        started.elapsed().as_secs_f64()
    );
    let after = |seen: &Seen, ladder: &mut Ladder| {
        let mut times = [Duration::ZERO; 6];
        let mut timed = |at: usize, work: &mut dyn FnMut()| {
            let started = Instant::now();
            work();
            times[at] = started.elapsed();
        };
        timed(0, &mut || drop(ladder.take(seen, None, seen.scheduled)));
        let mut cpu = Duration::ZERO;
        timed(4, &mut || {
            let before = cpu_time();
            ladder.judge();
            cpu = cpu_time().saturating_sub(before);
        });
        timed(1, &mut || drop(ladder.standings(seen.scheduled)));
        let mut state = String::new();
        timed(2, &mut || state = serde_json::to_string(&ladder.save()).unwrap_or_default());
        timed(3, &mut || drop(ladder.wanted()));
        times[5] = cpu;
        times
    };
    let mut whole: Vec<_> =
        (FULL..).take(RUNS).map(|n| after(&fleet.round(n, fleet.everyone()), &mut ladder)).collect();
    let mut part: Vec<_> =
        (FULL + 100..).take(RUNS).map(|n| after(&fleet.round(n, fleet.one_pair()), &mut ladder)).collect();
    let judged = median(&mut whole, 4);
    let told = format!("{} (CPU {})", ms(judged), ms(median(&mut whole, 5)));
    line("all judged anew", told, Some((judged <= Duration::from_millis(500), "at most 500 ms")));
    line("what databases have to do with each", ms(median(&mut whole, 1)), None);
    line("taking a round of all in", ms(median(&mut whole, 0)), None);
    let bytes = serde_json::to_string(&ladder.save())?.len()
        + serde_json::to_string(&ladder.standings(fleet.at(FULL)))?.len();
    line(
        "its state as JSON",
        format!("{}, with standings {:.1} MB", ms(median(&mut whole, 2)), bytes as f64 / 1e6),
        None,
    );
    line("who needs rounds", ms(median(&mut whole, 3)), None);
    let cells = fleet.cells() as u32;
    let own = median(&mut part, 4);
    line(
        "judged anew after a round of one pair",
        format!("{} for 100 of {cells} cells", ms(own)),
        Some((own <= judged / 10, "at most a tenth of all")),
    );
    line("what databases have to do with those", ms(median(&mut part, 1)), None);
    line("taking that round in", ms(median(&mut part, 0)), None);
    Ok(ladder)
}

fn median(times: &mut [[Duration; 6]], of: usize) -> Duration {
    times.sort_unstable_by_key(|t| t[of]);
    times[times.len() / 2][of]
}

/// How late timers fire, in microseconds, ascending, until `over`.
async fn timers(time: Duration) -> Vec<u64> {
    let started = tokio::time::Instant::now();
    let mut late = Vec::new();
    let mut next = started + EVERY;
    while next < started + time {
        tokio::time::sleep_until(next).await;
        late.push(next.elapsed().as_micros() as u64);
        next = (next + EVERY).max(tokio::time::Instant::now());
    }
    late.sort_unstable();
    late
}

async fn lateness(fleet: &Fleet, mut ladder: Ladder, time: Duration) -> anyhow::Result<()> {
    println!("\ntimers of the runtime, every {EVERY:?} for {time:?}");
    let idle = tokio::spawn(timers(time)).await?;
    let watched = tokio::spawn(timers(time));
    let began = Instant::now();
    let rounds: Vec<Seen> = (FULL + 500..FULL + 510).map(|n| fleet.round(n, fleet.everyone())).collect();
    let mut judged = 0;
    // As `daemon::judging` does, but without a pause.
    while !watched.is_finished() {
        let seen = rounds[judged % rounds.len()].clone();
        let again = Timestamp(seen.scheduled.0 + judged as i64);
        let seen = Seen { round: cachetscope::model::RoundId::new("bench", "again", again), ..seen };
        ladder = tokio::task::spawn_blocking(move || {
            ladder.take(&seen, None, seen.scheduled);
            let standings = ladder.standings(seen.scheduled);
            let _ = (serde_json::to_string(&ladder.save()), serde_json::to_string(&standings));
            ladder
        })
        .await?;
        judged += 1;
    }
    let busy = watched.await?;
    let of = |late: &[u64], part: f64| {
        let at = (late.len() as f64 * part) as usize;
        late.get(at.min(late.len() - 1)).copied().unwrap_or_default() as f64 / 1e3
    };
    for (name, late) in [("without judging", &idle), ("while everything is judged", &busy)] {
        let told = format!(
            "p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms late",
            of(late, 0.5),
            of(late, 0.99),
            of(late, 1.0)
        );
        let aim = (name != "without judging")
            .then(|| (of(late, 0.99) <= of(&idle, 0.99) + 5.0, "p99 within 5 ms of the one without"));
        line(name, told, aim);
    }
    println!(
        "  ({judged} rounds of all, judged and written as JSON in {:.1} s)",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn load(fleet: &Fleet, samples: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let clock = Clock::manual(fleet.at(0));
    let location = Location::File(folder.path().join("store.db"));
    let store = Store::open(&location, &clock).await?;
    let deployments = fleet.deployments();
    let rows = deployments.iter().map(|d| DeploymentRow::from(d.as_ref())).collect();
    store.change(Change::Fleet { deployments: rows, at: clock.now() }).await?;
    let each = fleet.samples_of_a_round();
    let rounds = samples.div_ceil(each);
    let started = Instant::now();
    for n in 0..rounds {
        store.commit(Facts { runs: fleet.runs(n), ..Facts::default() }).await?;
    }
    let written = started.elapsed();
    store.close().await;
    println!("\nfrom a store of {} samples (written in {:.1} s)", rounds * each, written.as_secs_f64());
    let store = Store::open(&location, &clock).await?;
    let builds = deployments.iter().map(|d| (deployment_key(d), d.key())).collect();
    let started = Instant::now();
    let seen = visits::seen(&store, &builds, fleet::SUITE, fleet.at(0)).await?;
    let read = started.elapsed();
    anyhow::ensure!(seen.len() as u64 == rounds, "{} of {rounds} rounds were read", seen.len());
    let mut ladder =
        Ladder::new(fleet::SUITE, Looks::default(), fleet.members(), Vec::new(), fleet.at(rounds));
    let before = cpu_time();
    for round in &seen {
        ladder.replay(round);
    }
    let cpu = cpu_time().saturating_sub(before);
    let all = started.elapsed();
    line("read", ms(read), None);
    line("taken in, with every look", format!("{} (CPU {})", ms(all - read), ms(cpu)), None);
    line("together", ms(all), Some((all <= Duration::from_secs(3), "at most 3 s for 1,000,000")));
    let saved = ladder.save();
    let started = Instant::now();
    let mut again = Ladder::new(fleet::SUITE, Looks::default(), fleet.members(), saved, fleet.at(rounds));
    for round in &seen {
        again.replay(round);
    }
    line("taken in where it was judged before", ms(started.elapsed()), None);
    store.close().await;
    folder.close().context("failed to remove the store")
}

/// Of this thread (`proc(5)`); 0 where the kernel does not tell.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn line(name: &str, value: String, aim: Option<(bool, &str)>) {
    let aim = aim.map(|(met, aim)| format!("   {} (aim: {aim})", if met { "met" } else { "NOT MET" }));
    println!("  {name:<42}{value}{}", aim.unwrap_or_default());
}
