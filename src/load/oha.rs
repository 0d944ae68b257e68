//! oha's JSON (`schema.json` of hatoo/oha): times in seconds.
//!
//! `requestsPerSec` also counts requests that failed or were aborted, so the throughput is reckoned
//! anew from the answers.

use serde_json::Value;

use super::error::LoadError;
use super::json::Node;
use super::text::{SECONDS_MAX, blank};
use super::{CLOSED_LOOP, Load, Tool, bad_statuses, finish};
use crate::model::Quantile;

/// What `-z` does to the requests that are under way when the time is over.
const ABORTED: &str = "aborted due to deadline";

pub fn read(value: &Value) -> Result<Load, LoadError> {
    let root = Node::root(Tool::Oha, value);
    let summary = root.get("summary");
    let seconds = summary.get("total").number(SECONDS_MAX)?;
    let mut load = Load { seconds, ..blank("oha") };

    let statuses = root.get("statusCodeDistribution");
    statuses.clone().there().ok_or_else(|| statuses.wrong("a count for each status"))?;
    for (status, count) in statuses.entries()? {
        let code = status.parse().ok().filter(|code| (100..=999).contains(code));
        let count_of = count.count()?;
        load.statuses.insert(code.ok_or_else(|| count.wrong("the count of an HTTP status"))?, count_of);
        load.requests = load.requests.saturating_add(count_of);
    }
    let mut aborted = 0;
    for (error, count) in root.get("errorDistribution").entries()? {
        match error {
            ABORTED => aborted = count.count()?,
            _ => load.errors = load.errors.saturating_add(count.count()?),
        }
    }
    load.errors = load.errors.saturating_add(bad_statuses(&load.statuses));
    load.throughput = if seconds > 0.0 { load.requests as f64 / seconds } else { 0.0 };

    // Without answers they are null.
    if load.requests > 0 {
        load.latency_mean_seconds = Some(summary.get("average").number(SECONDS_MAX)?);
        for (name, node) in root.get("latencyPercentiles").entries()? {
            let share: Option<f64> = name.strip_prefix('p').and_then(|share| share.parse().ok());
            let share = share.filter(|share| (0.0..=100.0).contains(share));
            let share = share.ok_or_else(|| node.wrong("a name such as `p99.9`"))?;
            let quantile = (share * 1e6).round() / 1e8;
            load.latency.push(Quantile { quantile, seconds: node.number(SECONDS_MAX)? });
        }
        let slowest = summary.get("slowest").number(SECONDS_MAX)?;
        if load.latency.iter().all(|one| one.quantile < 1.0) {
            load.latency.push(Quantile { quantile: 1.0, seconds: slowest });
        }
    }
    load.remarks.push(CLOSED_LOOP.to_owned());
    if aborted > 0 {
        load.remarks.push(format!(
            "{aborted} requests were {ABORTED} (-z); they count neither as answers nor as errors"
        ));
    }
    finish(Tool::Oha, load)
}
