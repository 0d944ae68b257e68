//! How the daemon itself fares: the outbox by lane, the store, rounds that did not go as planned.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::format::{Bytes, Count, Ns, Time};
use crate::clock::{Timestamp, nanos};
use crate::otlp::names;
use crate::store::{LaneStatus, Store, StoreError};

/// Counters of rounds, one series for each suite.
pub const ROUND_COUNTERS: [&str; 3] =
    [names::ROUNDS_MISSED.name, names::ROUNDS_LATE.name, names::ROUNDS_OVERLAPPING.name];

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// One for each lane of the outbox.
    pub outbox: Vec<LaneHealth>,
    pub store: StoreHealth,
    pub suites: Vec<SuiteHealth>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LaneHealth {
    /// traces, logs, metrics or gauges.
    pub lane: &'static str,
    /// Spans, log records or data points that wait for the collector.
    pub waiting_items: Count,
    pub waiting_bytes: Bytes,
    /// When the oldest that waits was made.
    pub oldest: Option<Time>,
    /// Items that the collector refused for good, kept until they are retried or dropped.
    pub refused_items: Count,
    /// When the collector last accepted something, since this process started.
    pub delivered: Option<Time>,
    pub trouble: Option<Trouble>,
}

/// Something that does not work, since when, in the words of whoever refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Trouble {
    pub since: Time,
    pub words: String,
}

impl Trouble {
    pub fn new(trouble: Option<(Timestamp, String)>) -> Option<Self> {
        trouble.map(|(since, words)| Trouble { since: Time(since), words })
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoreHealth {
    /// A file, or a database's address without its password.
    pub location: String,
    pub size_bytes: Bytes,
    /// While it cannot be written.
    pub trouble: Option<Trouble>,
    /// Runs that were lost since this process started.
    pub dropped_runs: Count,
    /// Transactions since this process started.
    pub commits: Count,
    /// Their mean duration; null before the first.
    pub commit_mean_ns: Option<Ns>,
}

/// How the rounds of a suite went, since the store was made.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct SuiteHealth {
    pub suite: String,
    /// When its last round was due.
    pub last_round: Option<Time>,
    pub missed: Count,
    pub late: Count,
    pub overlapping: Count,
}

impl SuiteHealth {
    pub fn is_well(&self) -> bool {
        [self.missed, self.late, self.overlapping].iter().all(Count::is_zero)
    }
}

impl From<LaneStatus> for LaneHealth {
    fn from(status: LaneStatus) -> Self {
        LaneHealth {
            lane: status.lane.as_str(),
            waiting_items: Count(status.items),
            waiting_bytes: Bytes(status.bytes),
            oldest: status.oldest.map(Time),
            refused_items: Count(status.refused),
            delivered: status.delivered.map(Time),
            trouble: Trouble::new(status.trouble),
        }
    }
}

impl Health {
    /// `suites`: those that are known to have run.
    pub async fn read(store: &Store, suites: &[String]) -> Result<Self, StoreError> {
        let mut by_suite: BTreeMap<String, SuiteHealth> = BTreeMap::new();
        for suite in suites {
            by_suite.entry(suite.clone()).or_default().last_round = store.last_round(suite).await?.map(Time);
        }
        for (metric, attributes, count) in store.counters(&ROUND_COUNTERS).await? {
            let health = by_suite.entry(suite_of(&attributes)).or_default();
            match ROUND_COUNTERS.iter().position(|name| *name == metric) {
                Some(0) => health.missed.0 += count,
                Some(1) => health.late.0 += count,
                _ => health.overlapping.0 += count,
            }
        }
        let (commits, total) = store.health().commits();
        Ok(Health {
            outbox: store.outbox_status().await?.into_iter().map(LaneHealth::from).collect(),
            store: StoreHealth {
                location: store.location().to_string(),
                size_bytes: Bytes(store.size_bytes().await?),
                trouble: Trouble::new(store.health().trouble()),
                dropped_runs: Count(store.health().dropped_runs()),
                commits: Count(commits),
                commit_mean_ns: u64::try_from(nanos(total))
                    .ok()
                    .and_then(|ns| ns.checked_div(commits))
                    .map(Ns),
            },
            suites: by_suite.into_iter().map(|(suite, health)| SuiteHealth { suite, ..health }).collect(),
        })
    }

    pub fn last_delivery(&self) -> Option<Time> {
        self.outbox.iter().filter_map(|lane| lane.delivered).max()
    }

    /// What the collector says, with the lanes that it says it of; the longest first.
    pub fn troubles(&self) -> Vec<(String, &Trouble)> {
        let mut by_words: BTreeMap<&str, (Vec<&str>, &Trouble)> = BTreeMap::new();
        for (lane, trouble) in self.outbox.iter().filter_map(|lane| Some((lane.lane, lane.trouble.as_ref()?)))
        {
            let (lanes, oldest) = by_words.entry(&trouble.words).or_insert((Vec::new(), trouble));
            lanes.push(lane);
            *oldest = std::cmp::min_by_key(*oldest, trouble, |t| t.since);
        }
        let mut troubles: Vec<(String, &Trouble)> =
            by_words.into_values().map(|(lanes, trouble)| (either(&lanes), trouble)).collect();
        troubles.sort_by_key(|(_, trouble)| trouble.since);
        troubles
    }

    /// The lane that has waited longest for a collector that takes nothing.
    pub fn undelivered(&self) -> Option<&Trouble> {
        self.outbox.iter().filter_map(|lane| lane.trouble.as_ref()).min_by_key(|trouble| trouble.since)
    }
}

/// Joins as a sentence does: `traces, logs or metrics`.
fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// The suite that a series' attributes name.
fn suite_of(attributes: &str) -> String {
    let pairs: Vec<(String, serde_json::Value)> = serde_json::from_str(attributes).unwrap_or_default();
    let suite = pairs.iter().find(|(name, _)| name == names::SUITE);
    suite.and_then(|(_, value)| value.as_str()).unwrap_or("(no suite)").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_is_read_from_the_attributes() {
        assert_eq!(suite_of(r#"[["cachetscope.suite.name","cachet"]]"#), "cachet");
        assert_eq!(suite_of(r#"[["a",1],["cachetscope.suite.name","cachet-writes"]]"#), "cachet-writes");
        assert_eq!(suite_of("nonsense"), "(no suite)");
    }
}
