//! Load runs beside that of the version before them: same plan, flavour and environment.

use super::{ended, growth};
use crate::clock::Timestamp;
use crate::model::{EventRow, Flavour, Load, TraceParent, Version};

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
    pub load: Load,
    /// The newest run of the version just before it.
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

    /// Why this run and the one before it do not compare, in words; `None` when they do.
    pub fn hindrance(&self) -> Option<String> {
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
    let mut all: Vec<Loaded> = rows.iter().filter_map(loaded).collect();
    all.sort_by_key(|run| std::cmp::Reverse(run.at));
    for place in 0..all.len() {
        let this = &all[place];
        let beside = |other: &&Loaded| {
            (&other.load.plan, other.db, &other.environment) == (&this.load.plan, this.db, &this.environment)
        };
        let lower = all[place + 1..].iter().filter(beside).filter(|other| other.version < this.version);
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
    use crate::model::{CiResult, Event, Quantile};

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
        limited.event.load.as_mut().unwrap().statuses.insert(429, 7);
        let runs = compare(&[limited, row(1, "2.4.1", 100.0, 0.1)]);
        assert_eq!((runs[0].throughput_delta(), runs[0].latency_deltas()), (None, Vec::new()));
        assert!(runs[0].hindrance().unwrap().contains("7 answers 429"));
    }
}
