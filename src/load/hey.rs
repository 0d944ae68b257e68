//! hey's text.
//!
//! hey's `Requests/sec` also counts requests that failed without an answer, so the throughput is
//! reckoned anew from the answers. It keeps statuses and times of the first million answers only.
//! What was asked for with `-q` is not in its output.

use std::collections::BTreeMap;

use super::error::LoadError;
use super::text::{Place, RATE_MAX, agree, blank};
use super::{CLOSED_LOOP, Load, Tool, bad_statuses, finish};
use crate::model::Quantile;

/// Answers whose statuses and times hey keeps.
pub(super) const KEPT_MAX: u64 = 1_000_000;

#[derive(Default)]
struct Printed {
    seconds: Option<f64>,
    slowest: Option<f64>,
    /// Absent for `NaN`, which stands for a mean of nothing.
    mean: Option<f64>,
    rate: Option<f64>,
    latency: Vec<Quantile>,
    statuses: BTreeMap<u16, u64>,
    told_statuses: bool,
    errors: u64,
}

#[derive(Clone, Copy)]
enum Section {
    Summary,
    Latency,
    Statuses,
    Errors,
    Other,
}

pub fn read(text: &str) -> Result<Load, LoadError> {
    let printed = scan(text)?;
    let missing = |what: &str| LoadError::truncated(Tool::Hey, format!("`{what}`"), text);
    let seconds = printed.seconds.ok_or_else(|| missing("Total"))?;
    let rate = printed.rate.ok_or_else(|| missing("Requests/sec"))?;
    if !printed.told_statuses {
        return Err(missing("Status code distribution"));
    }
    let told = printed.statuses.values().fold(0u64, |sum, count| sum.saturating_add(*count));
    let capped = told >= KEPT_MAX;
    let made = (rate * seconds).round() as u64;
    let answers = if capped { made.saturating_sub(printed.errors) } else { told };
    let all = answers.saturating_add(printed.errors);
    if !agree(all, seconds, 0.000_05, rate, 0.000_05) {
        let what =
            format!("the last of {made} requests in its status and error distributions, which hold {all}");
        return Err(LoadError::truncated(Tool::Hey, what, text));
    }
    if answers > 0 && printed.mean.is_none() {
        return Err(missing("Average"));
    }
    let mut load = Load {
        seconds,
        requests: answers,
        errors: printed.errors.saturating_add(bad_statuses(&printed.statuses)),
        throughput: if seconds > 0.0 { answers as f64 / seconds } else { 0.0 },
        statuses: printed.statuses,
        ..blank("hey")
    };
    if answers > 0 {
        load.latency = printed.latency;
        if let Some(slowest) = printed.slowest {
            load.latency.push(Quantile { quantile: 1.0, seconds: slowest });
        }
        // hey divides the sum of all times by the number of those it kept.
        load.latency_mean_seconds = printed.mean.filter(|_| !capped);
    }
    load.remarks.push(CLOSED_LOOP.to_owned());
    if capped {
        load.remarks.push("hey keeps statuses and times of the first million answers only".to_owned());
    }
    finish(Tool::Hey, load)
}

fn scan(text: &str) -> Result<Printed, LoadError> {
    let mut printed = Printed::default();
    let mut section = Section::Other;
    for (line, whole) in text.lines().enumerate() {
        if let Some(title) = whole.trim_end().strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            section = match title {
                "Summary" => Section::Summary,
                "Latency distribution" => Section::Latency,
                "Status code distribution" => Section::Statuses,
                "Error distribution" => Section::Errors,
                _ => Section::Other,
            };
            printed.told_statuses |= matches!(section, Section::Statuses);
            continue;
        }
        let place = |field| Place { tool: Tool::Hey, line, field };
        let words: Vec<&str> = whole.split_whitespace().take(4).collect();
        match (section, words.as_slice()) {
            (Section::Summary, ["Total:", value, "secs"]) => {
                let place = place("Total");
                place.set(&mut printed.seconds, place.seconds(value)?)?;
            }
            (Section::Summary, ["Slowest:", value, "secs"]) => {
                let place = place("Slowest");
                place.set(&mut printed.slowest, place.seconds(value)?)?;
            }
            (Section::Summary, ["Average:", value, "secs"]) if *value != "NaN" => {
                let place = place("Average");
                place.set(&mut printed.mean, place.seconds(value)?)?;
            }
            (Section::Summary, ["Requests/sec:", value]) => {
                let place = place("Requests/sec");
                place.set(&mut printed.rate, place.number(value, RATE_MAX)?)?;
            }
            (Section::Latency, [share, "in", value, "secs"]) => {
                let place = place("Latency distribution");
                let quantile = place.quantile(share.trim_end_matches('%'))?;
                place.push(&mut printed.latency, quantile, place.seconds(value)?)?;
            }
            (Section::Statuses, [status, count, "responses"]) => {
                let place = place("Status code distribution");
                let status = code(&place, status.trim_matches(['[', ']']))?;
                if printed.statuses.insert(status, place.count(count)?).is_some() {
                    return Err(place.wrong(whole, "each status once"));
                }
            }
            (Section::Errors, [count, ..]) => {
                // A message may have several lines; only its first begins with a count.
                let count = count.strip_prefix('[').and_then(|count| count.strip_suffix(']'));
                if let Some(count) = count.filter(|count| count.bytes().all(|b| b.is_ascii_digit())) {
                    let count = place("Error distribution").count(count)?;
                    printed.errors = printed.errors.saturating_add(count);
                }
            }
            _ => {}
        }
    }
    Ok(printed)
}

/// An HTTP status.
pub(super) fn code(place: &Place<'_>, text: &str) -> Result<u16, LoadError> {
    let code = u16::try_from(place.count(text)?).ok().filter(|code| (100..=999).contains(code));
    code.ok_or_else(|| place.wrong(text, "an HTTP status"))
}
