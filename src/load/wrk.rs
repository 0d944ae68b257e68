//! The text of wrk, and of wrk2, which prints the same and more.
//!
//! wrk answers a stall with made-up samples at its mean interval (`stats_correct` in `src/stats.c`), so
//! its distribution is not what was measured. wrk 4.1.0 counts a connection that was closed without an
//! answer as a read error; later sources connect anew and count nothing. wrk2 sends at a fixed rate,
//! measures from the planned send, and does not print that rate.

use super::error::LoadError;
use super::text::{Place, RATE_MAX, SECONDS_MAX, agree, blank};
use super::{CLOSED_LOOP, Load, Tool, finish, untold_statuses};
use crate::model::Quantile;

#[derive(Default)]
struct Printed {
    wrk2: bool,
    connections: Option<u64>,
    mean: Option<f64>,
    max: Option<f64>,
    latency: Vec<Quantile>,
    uncorrected: bool,
    requests: Option<u64>,
    seconds: Option<Time>,
    socket_errors: Option<u64>,
    bad: Option<u64>,
    rate: Option<f64>,
    ended: bool,
}

/// A duration, with what rounding may have moved it by.
#[derive(Clone, Copy)]
struct Time {
    seconds: f64,
    off: f64,
}

pub fn read(text: &str) -> Result<Load, LoadError> {
    let printed = scan(text)?;
    let missing = |what: &str| LoadError::truncated(Tool::Wrk, format!("`{what}`"), text);
    let connections = printed.connections.ok_or_else(|| missing("… threads and … connections"))?;
    let requests = printed.requests.ok_or_else(|| missing("… requests in …"))?;
    let time = printed.seconds.ok_or_else(|| missing("… requests in …"))?;
    let throughput = printed.rate.ok_or_else(|| missing("Requests/sec"))?;
    if !printed.ended {
        return Err(missing("Transfer/sec"));
    }
    if !agree(requests, time.seconds, time.off, throughput, 0.005) {
        return Err(LoadError::Malformed {
            tool: Tool::Wrk,
            place: "`Requests/sec`".to_owned(),
            found: throughput.to_string(),
            expected: format!("about {requests} requests in {} s", time.seconds),
        });
    }
    let bad = printed.bad.unwrap_or(0);
    let name = if printed.wrk2 { "wrk2" } else { "wrk" };
    let mut load = Load {
        seconds: time.seconds,
        requests,
        errors: printed.socket_errors.unwrap_or(0).saturating_add(bad),
        throughput,
        concurrency: u32::try_from(connections).ok(),
        ..blank(name)
    };
    // Without requests they are zeroes that were not measured.
    if requests > 0 {
        load.latency_mean_seconds = printed.mean;
        load.latency = printed.latency;
        let told = load.latency.len();
        if let Some(max) = printed.max
            && load.latency.last().is_none_or(|last| last.quantile < 1.0)
        {
            load.latency.push(Quantile { quantile: 1.0, seconds: max });
        }
        if told == 0 {
            let words = format!("{name} told only mean and maximum; run it with --latency for quantiles");
            load.remarks.push(words);
        }
    }
    if printed.wrk2 {
        load.remarks.push("wrk2 sends at a fixed rate, which its output does not tell".to_owned());
    } else {
        load.remarks.push(CLOSED_LOOP.to_owned());
        load.remarks.push("wrk fills stalls with made-up samples at its mean interval".to_owned());
    }
    if printed.uncorrected {
        load.remarks
            .push("wrk2's uncorrected latency is left out; the quantiles count from the planned send".into());
    }
    if bad > 0 {
        load.remarks.push(untold_statuses(name, bad, "other than 2xx and 3xx"));
    }
    finish(Tool::Wrk, load)
}

/// Which distribution the rows belong to.
#[derive(Clone, Copy, PartialEq)]
enum Section {
    None,
    Latency,
    Other,
}

fn scan(text: &str) -> Result<Printed, LoadError> {
    let mut printed = Printed::default();
    let mut section = Section::None;
    for (line, whole) in text.lines().enumerate() {
        let place = |field| Place { tool: Tool::Wrk, line, field };
        let words: Vec<&str> = whole.split_whitespace().take(9).collect();
        match words.as_slice() {
            [share, value] if section != Section::None && share.ends_with('%') => {
                if section == Section::Latency {
                    let place = place("Latency Distribution");
                    let quantile = place.quantile(share.trim_end_matches('%'))?;
                    place.push(&mut printed.latency, quantile, time(&place, value)?.seconds)?;
                }
                continue;
            }
            ["Latency", "Distribution", rest @ ..] => {
                let corrected = !rest.contains(&"Uncorrected");
                printed.wrk2 |= !rest.is_empty();
                printed.uncorrected |= !corrected;
                section = if corrected { Section::Latency } else { Section::Other };
                continue;
            }
            ["Thread", "calibration:", ..] => printed.wrk2 = true,
            [_, "threads", "and", count, "connections"] => {
                let place = place("connections");
                place.set(&mut printed.connections, place.count(count)?)?;
            }
            ["Latency", mean, _, max, _] if whole.starts_with("    ") => {
                let place = place("Latency");
                place.set(&mut printed.mean, time(&place, mean)?.seconds)?;
                place.set(&mut printed.max, time(&place, max)?.seconds)?;
            }
            [count, "requests", "in", duration, ..] => {
                let place = place("requests");
                place.set(&mut printed.requests, place.count(count)?)?;
                place.set(&mut printed.seconds, time(&place, duration.trim_end_matches(','))?)?;
            }
            ["Socket", "errors:", ..] => {
                let place = place("Socket errors");
                place.set(&mut printed.socket_errors, socket_errors(&place, whole)?)?;
            }
            ["Non-2xx", "or", "3xx", "responses:", count] => {
                let place = place("Non-2xx or 3xx responses");
                place.set(&mut printed.bad, place.count(count)?)?;
            }
            ["Requests/sec:", rate, ..] => {
                let place = place("Requests/sec");
                place.set(&mut printed.rate, place.number(rate, RATE_MAX)?)?;
            }
            ["Transfer/sec:", ..] => printed.ended = true,
            _ => {}
        }
        section = Section::None;
    }
    Ok(printed)
}

/// `Socket errors: connect 0, read 18, write 0, timeout 0`
fn socket_errors(place: &Place<'_>, line: &str) -> Result<u64, LoadError> {
    let (_, list) = line.split_once(':').unwrap_or_default();
    list.split(',').try_fold(0u64, |sum, part| {
        match part.split_whitespace().take(3).collect::<Vec<_>>().as_slice() {
            ["connect" | "read" | "write" | "timeout", count] => Ok(sum.saturating_add(place.count(count)?)),
            _ => Err(place.wrong(part, "connect, read, write or timeout with a count")),
        }
    })
}

/// `612.00us`, `1.20ms`, `1.02s`, `1.00m`, `2.00h`: two digits behind the point (`src/units.c`).
fn time(place: &Place<'_>, text: &str) -> Result<Time, LoadError> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, unit) = unit.ok_or_else(|| place.wrong(text, "a duration in us, ms, s, m or h"))?;
    let number = place.number(number, SECONDS_MAX / unit)?;
    Ok(Time { seconds: number * unit, off: 0.005 * unit })
}
