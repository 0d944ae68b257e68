//! k6's summaries: the file of `--summary-export`, and the data of `handleSummary`, which holds the
//! same figures one level deeper. Times in milliseconds.
//!
//! `passes` of `http_req_failed` are the requests that failed, which many get wrong (grafana/k6 issue
//! 2386); its ratio cannot be mistaken and is what is read.

use serde_json::Value;

use super::error::LoadError;
use super::json::Node;
use super::text::{SECONDS_MAX, blank};
use super::{Load, Tool, finish};
use crate::model::Quantile;

pub fn read(value: &Value) -> Result<Load, LoadError> {
    let root = Node::root(Tool::K6, value);
    let metric = |name: &str| {
        let metric = root.get("metrics").get(name).there()?;
        Some(metric.get("values").there().unwrap_or(metric))
    };
    let Some(reqs) = metric("http_reqs") else {
        return Err(root
            .get("metrics")
            .get("http_reqs")
            .wrong("its count; does the script make HTTP requests?"));
    };
    let requests = reqs.get("count").count()?;
    let throughput = reqs.get("rate").rate()?;
    let seconds = match root.get("state").get("testRunDurationMs").there() {
        Some(duration) => duration.number(SECONDS_MAX * 1e3)? / 1e3,
        None if throughput > 0.0 => requests as f64 / throughput,
        None => 0.0,
    };
    if seconds > SECONDS_MAX || (requests > 0) != (throughput > 0.0) {
        return Err(reqs.get("rate").wrong(format!("about {requests} requests in the time of the run")));
    }
    let mut load = Load { seconds, requests, throughput, ..blank("k6") };

    match metric("http_req_failed") {
        Some(failed) => {
            load.errors = errors(&failed, requests)?;
            if load.errors > 0 {
                let words = "k6 counts requests that got no answer among the requests and in their rate";
                load.remarks.push(words.to_owned());
            }
        }
        None => load.remarks.push("k6 did not tell which requests failed (no `http_req_failed`)".to_owned()),
    }
    if let Some(vus) = metric("vus").or_else(|| metric("vus_max")) {
        load.concurrency = u32::try_from(vus.get("max").count()?).ok().filter(|vus| *vus > 0);
    }
    if let Some(duration) = metric("http_req_duration") {
        read_latency(&duration, &mut load)?;
    }
    load.remarks.push("k6's summary does not tell statuses; 429s, if any, are among the errors".to_owned());

    let dropped = match metric("dropped_iterations") {
        Some(dropped) => dropped.get("count").count()?,
        None => 0,
    };
    let iterations = match metric("iterations") {
        Some(iterations) => iterations.get("count").count()?,
        None => 0,
    };
    if dropped > 0 && iterations > 0 {
        let planned = (iterations as f64 + dropped as f64) / iterations as f64;
        load.offered = Some(throughput * planned).filter(|rate| rate.is_finite());
        load.remarks.push(format!(
            "{dropped} iterations were dropped; the offered rate supposes that each would have made as many \
             requests as the {iterations} others"
        ));
    } else if dropped > 0 {
        load.remarks.push(format!("{dropped} iterations were dropped, and none completed"));
    } else {
        load.remarks.push(
            "k6's summary does not tell its executor: unless it is one of arrival rate, a stall hides the \
             requests that it kept from being sent"
                .to_owned(),
        );
    }
    finish(Tool::K6, load)
}

fn errors(failed: &Node<'_>, requests: u64) -> Result<u64, LoadError> {
    let ratio = failed.get("rate").there().unwrap_or_else(|| failed.get("value")).number(1.0)?;
    let all = match (failed.get("passes").there(), failed.get("fails").there()) {
        (Some(passes), Some(fails)) => passes.count()?.saturating_add(fails.count()?),
        _ => requests,
    };
    Ok((ratio * all as f64).round() as u64)
}

fn read_latency(duration: &Node<'_>, load: &mut Load) -> Result<(), LoadError> {
    for (name, node) in duration.entries()? {
        let percent = name.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
        let share = match name {
            "avg" => {
                load.latency_mean_seconds = Some(node.number(SECONDS_MAX * 1e3)? / 1e3);
                continue;
            }
            "med" => Some(50.0),
            "max" => Some(100.0),
            _ => percent.and_then(|share| share.parse::<f64>().ok()).filter(|s| (0.0..=100.0).contains(s)),
        };
        // `min`, `count`, `thresholds`, and whatever comes later.
        let Some(share) = share else { continue };
        let quantile = (share * 1e6).round() / 1e8;
        // `med` and `p(50)` are the same.
        if load.at(quantile).is_none() {
            let seconds = node.number(SECONDS_MAX * 1e3)? / 1e3;
            load.latency.push(Quantile { quantile, seconds });
        }
    }
    if load.latency.iter().all(|one| one.quantile < 0.99 || one.quantile == 1.0) {
        let words =
            "k6 told no p(99); ask for it with summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max']";
        load.remarks.push(words.to_owned());
    }
    Ok(())
}
