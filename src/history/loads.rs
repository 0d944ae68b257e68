//! Load runs beside that of the version before them: same plan, flavour and environment.

use super::{ended, growth};
use crate::clock::Timestamp;
use crate::model::{CiResult, EventRow, Flavour, Load, TraceParent, Version};

/// The share of requests that may fail, or be turned away with a 429, before a run counts as failed: what
/// it measured then is how fast errors come.
const FAILED_SHARE: f64 = 0.05;
/// Quantiles whose growth is told.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// One load run that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub key: i64,
    pub deployment: String,
    pub version: Version,
    pub db: Flavour,
    pub environment: String,
    pub at: Timestamp,
    pub result: CiResult,
    pub load: Load,
    /// The newest run of the version just before it that did not fail.
    pub previous: Option<Previous>,
    /// No later run of the same plan on the same deployment is known.
    pub is_last: bool,
    pub pipeline: String,
    pub run: String,
    pub url: Option<String>,
    pub place: TraceParent,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    pub version: Version,
    pub at: Timestamp,
    pub load: Load,
}

/// How much longer answers took at one quantile: 0.1 is a tenth longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyDelta {
    pub quantile: f64,
    pub ratio: f64,
}

impl Loaded {
    /// Throughput against the version before: 0.1 is a tenth more. `None` also where the two cannot
    /// be compared (see [`Loaded::hindrance`]).
    pub fn throughput_delta(&self) -> Option<f64> {
        let previous = self.previous.as_ref().filter(|_| self.hindrance().is_none())?;
        growth(self.load.throughput, previous.load.throughput)
    }

    pub fn latency_deltas(&self) -> Vec<LatencyDelta> {
        let Some(previous) = self.previous.as_ref().filter(|_| self.hindrance().is_none()) else {
            return Vec::new();
        };
        let delta = |quantile| {
            let ratio = growth(self.load.at(quantile)?, previous.load.at(quantile)?)?;
            Some(LatencyDelta { quantile, ratio })
        };
        QUANTILES.into_iter().filter_map(delta).collect()
    }

    /// Why its figures say nothing about the version, in words; `None` when they do. Such a run is no
    /// version's headline, and nothing is compared with it.
    pub fn failure(&self) -> Option<String> {
        let all = self.load.requests.max(self.load.errors).max(1);
        let percent = |n: u64| 100.0 * n as f64 / all as f64;
        let limited = self.load.rate_limited();
        if self.result.is_bad() {
            Some(format!("this run failed: it ended with {}", self.result.as_str()))
        } else if percent(limited) > 100.0 * FAILED_SHARE {
            let share = percent(limited);
            Some(format!(
                "this run got {limited} answers 429 ({share:.0} %): it measured the rate limit, not the version"
            ))
        } else if percent(self.load.errors) > 100.0 * FAILED_SHARE {
            Some(format!("this run failed: {:.0} % of its requests did", percent(self.load.errors)))
        } else {
            None
        }
    }

    /// Why this run and the one before it do not compare, in words; `None` when they do.
    pub fn hindrance(&self) -> Option<String> {
        if let Some(failure) = self.failure() {
            return Some(failure);
        }
        let previous = &self.previous.as_ref()?.load;
        for (which, load) in [("this run", &self.load), ("the run before", previous)] {
            if load.rate_limited() > 0 {
                let n = load.rate_limited();
                return Some(format!(
                    "{which} got {n} answers 429: it measured the rate limit, not the version"
                ));
            }
        }
        if previous.tool != self.load.tool {
            return Some(format!(
                "the run before was made with {}, this one with {}",
                previous.tool, self.load.tool
            ));
        }
        if previous.concurrency != self.load.concurrency {
            let number =
                |n: Option<u32>| n.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
            return Some(format!(
                "the run before had {} requests under way at once, this one {}",
                number(previous.concurrency),
                number(self.load.concurrency)
            ));
        }
        None
    }
}

/// `rows` are load events newest first; what is under way is left out.
pub(super) fn compare(rows: &[EventRow]) -> Vec<Loaded> {
    let mut all: Vec<(Loaded, Timestamp)> =
        rows.iter().filter_map(|row| Some((loaded(row)?, row.received))).collect();
    // Runs of one moment: the later version is the newer one, then the one that came last.
    all.sort_by(|(a, a_received), (b, b_received)| {
        (b.at, &b.version, b_received, b.key).cmp(&(a.at, &a.version, a_received, a.key))
    });
    let mut all: Vec<Loaded> = all.into_iter().map(|(run, _)| run).collect();
    for place in 0..all.len() {
        let this = &all[place];
        let beside = |other: &&Loaded| {
            (&other.load.plan, other.db, &other.environment) == (&this.load.plan, this.db, &this.environment)
        };
        let lower = all[place + 1..].iter().filter(beside).filter(|other| other.version < this.version);
        let lower = lower.filter(|other| other.failure().is_none());
        let before = lower.fold(None, |best: Option<&Loaded>, other| match best {
            Some(best) if best.version >= other.version => Some(best),
            _ => Some(other),
        });
        let previous =
            before.map(|b| Previous { version: b.version.clone(), at: b.at, load: b.load.clone() });
        let is_last = !all[..place]
            .iter()
            .filter(beside)
            .any(|other| (&other.deployment, &other.version) == (&this.deployment, &this.version));
        (all[place].previous, all[place].is_last) = (previous, is_last);
    }
    all
}

fn loaded(row: &EventRow) -> Option<Loaded> {
    let event = &row.event;
    event.finished?;
    Some(Loaded {
        key: row.key,
        deployment: event.deployment_name()?,
        version: event.version.clone()?,
        db: event.db?,
        environment: event.environment().to_owned(),
        at: ended(row),
        result: event.result?,
        load: event.load.clone()?,
        previous: None,
        is_last: false,
        pipeline: event.pipeline.clone(),
        run: event.run.clone(),
        url: event.url.clone(),
        place: event.as_parent(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Quantile};

    fn row(n: i64, version: &str, throughput: f64, p95: f64) -> EventRow {
        let at = Timestamp(n * 3_600_000_000_000);
        let mut event = Event::new("test", "load", &n.to_string());
        event.step = Some("load".to_owned());
        (event.started, event.finished, event.result) = (Some(at), Some(at), Some(CiResult::Success));
        (event.version, event.db) = (Version::parse(version), Some(Flavour::Mysql));
        event.load = Some(Load {
            plan: "home".to_owned(),
            tool: "oha".to_owned(),
            throughput,
            latency: vec![Quantile { quantile: 0.95, seconds: p95 }],
            ..Load::default()
        });
        EventRow { key: n, started: at, received: at, event }
    }

    #[test]
    fn throughput_and_latency_are_compared_with_the_version_before() {
        let runs =
            compare(&[row(3, "3.0.0", 90.0, 0.2), row(2, "2.4.1", 100.0, 0.1), row(1, "2.3.0", 1.0, 1.0)]);
        assert!((runs[0].throughput_delta().unwrap() + 0.1).abs() < 1e-9);
        let [delta] = runs[0].latency_deltas().try_into().unwrap();
        assert_eq!(delta.quantile, 0.95);
        assert!((delta.ratio - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_into_the_rate_limit_is_compared_with_nothing() {
        let mut limited = row(2, "3.0.0", 900.0, 0.001);
        let load = limited.event.load.as_mut().unwrap();
        load.requests = 1_000;
        load.statuses.insert(429, 7);
        let runs = compare(&[limited, row(1, "2.4.1", 100.0, 0.1)]);
        assert_eq!((runs[0].throughput_delta(), runs[0].latency_deltas()), (None, Vec::new()));
        assert!(runs[0].hindrance().unwrap().contains("7 answers 429"));
    }

    #[test]
    fn a_run_that_failed_is_no_baseline() {
        let ok = || row(1, "2.3.0", 80.0, 0.1);
        let mut ended_badly = row(2, "2.4.1", 100.0, 0.1);
        ended_badly.event.result = Some(CiResult::Failure);
        let mut errors = row(2, "2.4.1", 100.0, 0.1);
        let load = errors.event.load.as_mut().unwrap();
        (load.requests, load.errors) = (1_000, 51);
        let mut limited = row(2, "2.4.1", 100.0, 0.1);
        let load = limited.event.load.as_mut().unwrap();
        load.requests = 1_000;
        load.statuses.insert(429, 51);
        for (failed, words) in [
            (ended_badly, "it ended with failure"),
            (errors, "5 % of its requests did"),
            (limited, "got 51 answers 429 (5 %)"),
        ] {
            let runs = compare(&[row(3, "3.0.0", 90.0, 0.2), failed, ok()]);
            assert_eq!(runs[0].previous.as_ref().unwrap().version.as_str(), "2.3.0", "{words}");
            assert!(runs[1].failure().unwrap().contains(words), "{:?}", runs[1].failure());
            assert_eq!((runs[1].throughput_delta(), runs[1].latency_deltas()), (None, Vec::new()));
        }
        let mut few = row(2, "2.4.1", 100.0, 0.1);
        let load = few.event.load.as_mut().unwrap();
        (load.requests, load.errors) = (1_000, 50);
        assert_eq!(compare(&[few])[0].failure(), None);
    }

    #[test]
    fn of_runs_of_one_moment_the_later_version_is_the_newer() {
        let rows = [row(1, "2.4.1", 100.0, 0.1), row(1, "3.0.0", 90.0, 0.1)];
        for rows in [rows.to_vec(), rows.iter().rev().cloned().collect()] {
            let runs = compare(&rows);
            let versions: Vec<&str> = runs.iter().map(|run| run.version.as_str()).collect();
            assert_eq!(versions, ["3.0.0", "2.4.1"]);
            assert!((runs[0].throughput_delta().unwrap() + 0.1).abs() < 1e-9);
        }
        let mut again = row(1, "3.0.0", 80.0, 0.1);
        (again.key, again.received) = (7, Timestamp(again.received.0 + 1));
        let runs = compare(&[row(1, "3.0.0", 90.0, 0.1), again]);
        assert_eq!((runs[0].key, runs[0].is_last, runs[1].is_last), (7, true, false));
    }
}
