//! How long a stand-in takes to answer, and when it is in trouble.
//!
//! Levels and tails are modelled on latencies measured at real deployments: log-normal with a
//! robust CV of 0.10, 2.4 % of the answers beyond four of these, the worst about 2.3 times the
//! median; SQLite faster than MariaDB, MariaDB faster than PostgreSQL, which opens a connection for
//! each request. Two liberties keep the rounds of a demo short: Cachet 3 really takes 35 to 48 ms, here
//! about a third of it, and Cachet 2.4 on PostgreSQL 12 to 19 ms, here 10 to 13. The correlation
//! between successive rounds is left out. The timer adds up to a millisecond to each answer.
//!
//! Everything drawn is a hash of (seed, stand-in, request, count), so the same seed gives the same
//! weather.

use std::f64::consts::TAU;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::data::Resource;
use super::standin::Generation;
use crate::model::Flavour;

const CV: f64 = 0.10;
const TAIL_SHARE: f64 = 0.024;
/// A tail answer takes e^0.45 to e^0.83 times the median: 1.6 to 2.3.
const TAIL_LOG: (f64, f64) = (0.45, 0.83);

/// One spell of trouble begins in each of these; the first at once, so that a demo has something
/// to show.
const SPELL_PERIOD: Duration = Duration::from_secs(300);
const SPELL_LENGTH: Duration = Duration::from_secs(40);

/// What goes wrong during a spell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Status 500.
    ServerError,
    /// So much slower.
    Slow(Duration),
}

/// The latencies and troubles of one stand-in.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    seed: Option<u64>,
    slower: Vec<(Resource, f64)>,
    troubles: Vec<(Resource, Trouble)>,
}

impl Weather {
    /// Answers at once, always. What tests want.
    pub fn calm() -> Self {
        Weather::default()
    }

    /// Latencies as described above.
    pub fn usual(seed: u64) -> Self {
        Weather { seed: Some(seed), ..Weather::default() }
    }

    /// Multiplies the latencies of one request: the list of the resource, not the read of one row.
    pub fn with_slower(mut self, resource: Resource, factor: f64) -> Self {
        self.slower.push((resource, factor));
        self
    }

    /// Trouble with a resource in spells of 40 s: from the start, then once in every five minutes
    /// at a moment drawn by the seed.
    pub fn with_trouble(mut self, resource: Resource, trouble: Trouble) -> Self {
        self.troubles.push((resource, trouble));
        self
    }

    /// The time from the arrival of the `n`th such request to its answer; zero when calm.
    pub(super) fn latency(
        &self,
        generation: Generation,
        flavour: Flavour,
        stand_in: &str,
        (resource, single): (Resource, bool),
        n: u64,
    ) -> Duration {
        let Some(seed) = self.seed else { return Duration::ZERO };
        let listed = self.slower.iter().filter(|(r, _)| *r == resource && !single);
        let slower: f64 = listed.map(|(_, factor)| factor).product();
        let [a, b, c] = uniforms(seed, stand_in, resource, single, n);
        // Box–Muller; 1 − a lies in (0, 1], so the logarithm is finite.
        let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (TAU * b).cos();
        let (low, high) = TAIL_LOG;
        let log = if c < TAIL_SHARE { low + (high - low) * c / TAIL_SHARE } else { CV * normal };
        let single = if single { 0.94 } else { 1.0 };
        Duration::from_secs_f64(level_ms(generation, flavour, resource) * slower * single * log.exp() / 1e3)
    }

    /// What is wrong with a resource, so long after the start of the stand-in.
    pub(super) fn trouble(&self, resource: Resource, elapsed: Duration) -> Option<Trouble> {
        let (_, trouble) = self.troubles.iter().find(|(r, _)| *r == resource)?;
        let period = elapsed.as_secs() / SPELL_PERIOD.as_secs();
        let into_period = elapsed.saturating_sub(SPELL_PERIOD * u32::try_from(period).ok()?);
        let start = if period == 0 {
            Duration::ZERO
        } else {
            let [at, ..] = uniforms(self.seed.unwrap_or(0), "spell", Resource::Ping, false, period);
            (SPELL_PERIOD - SPELL_LENGTH).mul_f64(at)
        };
        (start..start + SPELL_LENGTH).contains(&into_period).then_some(*trouble)
    }
}

/// Median milliseconds. Resources and reads that were not measured take the level of their nearest
/// relative.
fn level_ms(generation: Generation, flavour: Flavour, resource: Resource) -> f64 {
    let [sqlite, mariadb, postgresql] = match (generation, resource) {
        (Generation::V2, Resource::Ping | Resource::Version) => [6.2, 6.4, 6.8],
        (Generation::V2, Resource::Status) => [7.6, 8.8, 12.2],
        (Generation::V2, Resource::Components) => [8.0, 9.2, 12.6],
        (Generation::V2, Resource::Groups) => [8.8, 10.4, 13.2],
        (Generation::V2, Resource::Incidents) => [7.6, 8.8, 12.0],
        (Generation::V2, _) => [6.8, 7.4, 10.4],
        (Generation::V3, Resource::Ping | Resource::Version) => [10.6, 11.0, 13.0],
        (Generation::V3, Resource::Status) => [10.6, 11.2, 13.8],
        (Generation::V3, Resource::Components) => [11.4, 12.0, 14.6],
        (Generation::V3, Resource::Groups) => [10.4, 10.8, 12.6],
        (Generation::V3, Resource::Incidents) => [10.6, 11.2, 13.2],
        (Generation::V3, _) => [10.4, 10.8, 12.6],
    };
    match flavour {
        Flavour::Sqlite => sqlite,
        Flavour::Mysql | Flavour::Mariadb => mariadb,
        Flavour::Postgresql | Flavour::SqlServer => postgresql,
    }
}

/// Three numbers in [0, 1).
fn uniforms(seed: u64, stand_in: &str, resource: Resource, single: bool, n: u64) -> [f64; 3] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update([resource as u8, u8::from(single)]);
    hash.update(n.to_le_bytes());
    hash.update(stand_in);
    let digest = hash.finalize();
    let part = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[at..at + 8]);
        // 53 bits are all that an f64 holds.
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
    };
    [part(0), part(8), part(16)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    fn sorted_logs(weather: &Weather, flavour: Flavour) -> Vec<f64> {
        let draw =
            |n| weather.latency(Generation::V3, flavour, "x", (Resource::Components, false), n).as_secs_f64();
        let mut logs: Vec<f64> = (0..4_000).map(|n| (1e3 * draw(n)).ln()).collect();
        logs.sort_by(f64::total_cmp);
        logs
    }

    #[test]
    fn latencies_have_the_measured_level_spread_and_tail() {
        println!("seed {SEED}");
        let logs = sorted_logs(&Weather::usual(SEED), Flavour::Mariadb);
        let median = logs[2_000];
        assert!((median.exp() / 12.0 - 1.0).abs() < 0.01, "median {} ms", median.exp());
        let mut deviations: Vec<f64> = logs.iter().map(|l| (l - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        let robust_sd = 1.4826 * deviations[2_000];
        assert!((0.09..0.115).contains(&robust_sd), "robust sd {robust_sd}");
        let beyond = deviations.iter().filter(|d| **d > 4.0 * robust_sd).count() as f64 / 4_000.0;
        assert!((0.015..0.035).contains(&beyond), "share beyond four sd {beyond}");
        let worst = (logs[3_999] - median).exp();
        assert!((2.0..2.5).contains(&worst), "worst is {worst} times the median");
    }

    #[test]
    fn flavours_differ_in_the_measured_order_and_a_slower_request_by_its_factor() {
        println!("seed {SEED}");
        let usual = Weather::usual(SEED);
        let median = |weather: &Weather, flavour| sorted_logs(weather, flavour)[2_000].exp();
        let [sqlite, mariadb, postgresql] =
            [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql].map(|f| median(&usual, f));
        assert!(sqlite < mariadb && mariadb < postgresql, "{sqlite} {mariadb} {postgresql}");
        let slower = median(&usual.with_slower(Resource::Components, 1.25), Flavour::Mariadb);
        assert!((slower / mariadb - 1.25).abs() < 1e-6, "{slower} {mariadb}");
    }

    #[test]
    fn the_same_seed_gives_the_same_weather_and_another_seed_another() {
        let draw = |seed, stand_in, n| {
            let (generation, flavour) = (Generation::V2, Flavour::Sqlite);
            Weather::usual(seed).latency(generation, flavour, stand_in, (Resource::Ping, false), n)
        };
        assert_eq!(draw(1, "a", 3), draw(1, "a", 3));
        assert_ne!(draw(1, "a", 3), draw(2, "a", 3));
        assert_ne!(draw(1, "a", 3), draw(1, "b", 3));
        assert_ne!(draw(1, "a", 3), draw(1, "a", 4));
    }

    #[test]
    fn trouble_comes_from_the_start_and_then_once_in_each_period() {
        println!("seed {SEED}");
        let weather = Weather::usual(SEED).with_trouble(Resource::Incidents, Trouble::ServerError);
        let at = |resource, s| weather.trouble(resource, Duration::from_secs(s));
        assert_eq!(at(Resource::Incidents, 0), Some(Trouble::ServerError));
        assert_eq!(at(Resource::Incidents, 39), Some(Trouble::ServerError));
        assert_eq!(at(Resource::Incidents, 40), None);
        assert_eq!(at(Resource::Metrics, 0), None);
        for period in 1..20 {
            let troubled = (0..300).filter(|s| at(Resource::Incidents, 300 * period + s).is_some()).count();
            assert_eq!(troubled, 40, "in period {period}");
        }
    }
}
