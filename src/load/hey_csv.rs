//! hey's CSV (`-o csv`): a row for each answer.
//!
//! It has no end mark and leaves out the requests that got no answer; both are said in the remarks.

use std::collections::BTreeMap;

use super::error::LoadError;
use super::hey::{KEPT_MAX, code};
use super::text::{Place, blank};
use super::{CLOSED_LOOP, Load, Tool, bad_statuses, finish};
use crate::model::Quantile;

/// How the CSV begins.
pub const HEAD: &str = "response-time,DNS+dialup";

/// hey writes eight.
const COLUMNS_MAX: usize = 64;

/// The quantiles of hey's text.
const QUANTILES: [f64; 7] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

pub fn read(text: &str) -> Result<Load, LoadError> {
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with(HEAD));
    let (line, head) = lines.next().unwrap_or_default();
    let names: Vec<&str> = head.trim_end().split(',').take(COLUMNS_MAX).collect();
    let column = |name: &str| {
        let place = Place { tool: Tool::Hey, line, field: "header" };
        let words = || place.wrong(head, format!("a column `{name}`; take hey 0.1.2 or later"));
        names.iter().position(|column| *column == name).ok_or_else(words)
    };
    let (time, status, offset) = (column("response-time")?, column("status-code")?, column("offset")?);

    let mut times = Vec::new();
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    let mut seconds = 0f64;
    for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
        let place = |field| Place { tool: Tool::Hey, line, field };
        let values: Vec<&str> = row.trim_end().split(',').take(COLUMNS_MAX).collect();
        if values.len() != names.len() {
            return Err(place("row").wrong(row, format!("{} columns; was it cut off?", names.len())));
        }
        let took = place("response-time").seconds(values[time])?;
        let began = place("offset").seconds(values[offset])?;
        *statuses.entry(code(&place("status-code"), values[status])?).or_default() += 1;
        seconds = seconds.max(began + took);
        times.push(took);
    }
    if times.is_empty() {
        return Err(LoadError::truncated(
            Tool::Hey,
            "its first row (none is there, too, if no request got an answer)",
            text,
        ));
    }
    if !text.ends_with('\n') {
        return Err(LoadError::truncated(Tool::Hey, "the end of its last row", text));
    }
    times.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        let rank = (quantile * times.len() as f64).ceil() as usize;
        Quantile { quantile, seconds: times[rank.clamp(1, times.len()) - 1] }
    };
    let requests = times.len() as u64;
    let mut load = Load {
        seconds,
        requests,
        errors: bad_statuses(&statuses),
        throughput: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
        latency: QUANTILES.into_iter().chain([1.0]).map(at).collect(),
        latency_mean_seconds: Some(times.iter().sum::<f64>() / requests as f64),
        statuses,
        ..blank("hey")
    };
    load.remarks.push(CLOSED_LOOP.to_owned());
    load.remarks.push("hey's CSV leaves out requests that got no answer; its text counts them".to_owned());
    load.remarks
        .push("hey's CSV has no end mark: of a run that was ended these are the first answers".to_owned());
    if requests >= KEPT_MAX {
        load.remarks.push("hey keeps the first million answers only".to_owned());
    }
    finish(Tool::Hey, load)
}
