//! ApacheBench's text (Apache httpd, `support/ab.c`).
//!
//! ab compares the length of every answer with that of the first, and calls others failed: pages that
//! vary fail so without anything wrong. These are not errors here, unless all of them were empty,
//! which is how ab counts connections that were closed without an answer.

use super::error::LoadError;
use super::text::{Place, RATE_MAX, agree, blank};
use super::{CLOSED_LOOP, Load, Tool, finish, untold_statuses};
use crate::model::Quantile;

/// What the text holds, as printed.
#[derive(Default)]
struct Printed {
    concurrency: Option<u64>,
    seconds: Option<f64>,
    complete: Option<u64>,
    failed: Option<u64>,
    failures: Option<Failures>,
    write_errors: Option<u64>,
    not_2xx: Option<u64>,
    /// Bytes of the first answer; absent with `-l`.
    length: Option<u64>,
    body_bytes: Option<u64>,
    rate: Option<f64>,
    mean_ms: Option<f64>,
    latency: Vec<Quantile>,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    /// Connect, receive and exceptions.
    broken: u64,
    receive: u64,
    length: u64,
}

pub fn read(text: &str) -> Result<Load, LoadError> {
    let printed = scan(text)?;
    let missing = |what: &str| LoadError::truncated(Tool::Ab, what, text);
    let concurrency = printed.concurrency.ok_or_else(|| missing("`Concurrency Level`"))?;
    let seconds = printed.seconds.ok_or_else(|| missing("`Time taken for tests`"))?;
    let requests = printed.complete.ok_or_else(|| missing("`Complete requests`"))?;
    let failed = printed.failed.ok_or_else(|| missing("`Failed requests`"))?;
    let throughput = printed.rate.ok_or_else(|| missing("`Requests per second`"))?;
    if failed > 0 && printed.failures.is_none() {
        return Err(missing("`(Connect: …, Length: …)`"));
    }
    if requests > 0 && printed.mean_ms.is_none() {
        return Err(missing("`Time per request`"));
    }
    // ab prints no table for a single request.
    if requests > 1 && printed.latency.last().is_none_or(|last| last.quantile < 1.0) {
        return Err(missing("the `100%` of its percentiles (which `-d` leaves out)"));
    }
    if !agree(requests, seconds, 0.000_5, throughput, 0.005) {
        return Err(LoadError::Malformed {
            tool: Tool::Ab,
            place: "`Requests per second`".to_owned(),
            found: throughput.to_string(),
            expected: format!("about {requests} requests in {seconds} s"),
        });
    }
    let mut load = Load {
        seconds,
        requests,
        throughput,
        concurrency: u32::try_from(concurrency).ok(),
        latency_mean_seconds: printed.mean_ms.map(|ms| ms / 1e3),
        ..blank("ab")
    };
    count_errors(&printed, &mut load);
    load.remarks.push(CLOSED_LOOP.to_owned());
    if printed.latency.first().is_some_and(|lowest| lowest.seconds < 0.01) {
        load.remarks.push("ab rounds response times to whole milliseconds".to_owned());
    }
    load.latency = printed.latency;
    finish(Tool::Ab, load)
}

fn count_errors(printed: &Printed, load: &mut Load) {
    let failures = printed.failures.unwrap_or_default();
    let not_2xx = printed.not_2xx.unwrap_or(0);
    // Whoever fails to receive fails the length, too.
    let lengths = failures.length.saturating_sub(failures.receive);
    let matching = load.requests.saturating_sub(failures.length);
    let empty = lengths > 0
        && matching > 0
        && printed
            .length
            .is_some_and(|length| length > 0 && printed.body_bytes == length.checked_mul(matching));
    let bad = if empty { not_2xx.max(lengths) } else { not_2xx };
    let broken = failures.broken.saturating_add(printed.write_errors.unwrap_or(0));
    load.errors = broken.saturating_add(bad);
    if empty {
        load.remarks.push(format!("{lengths} answers came without a body; they count as errors here, though ab takes them for complete"));
    } else if lengths > 0 {
        load.remarks.push(format!(
            "ab counts {lengths} answers of another length as failed; they are not counted as errors here, \
             though connections that closed early may be among them; run it with -l"
        ));
    }
    if not_2xx > 0 {
        load.remarks.push(untold_statuses("ab", not_2xx, "other than 2xx"));
    }
}

fn scan(text: &str) -> Result<Printed, LoadError> {
    let mut printed = Printed::default();
    let mut table = false;
    for (line, whole) in text.lines().enumerate() {
        let place = |field| Place { tool: Tool::Ab, line, field };
        if table {
            percentile(&place("percentile"), whole, &mut printed.latency)?;
            continue;
        }
        if whole.trim_start().starts_with("(Connect:") {
            let place = place("failures");
            place.set(&mut printed.failures, failures(&place, whole)?)?;
            continue;
        }
        table = whole.starts_with("Percentage of the requests served within");
        let Some((field, value)) = whole.split_once(':') else { continue };
        let (place, value) = (place(field), value.trim());
        let unit = |unit: &str| {
            value.strip_suffix(unit).map(str::trim_end).ok_or_else(|| place.wrong(value, format!("… {unit}")))
        };
        match field {
            "Concurrency Level" => place.set(&mut printed.concurrency, place.count(value)?)?,
            "Time taken for tests" => place.set(&mut printed.seconds, place.seconds(unit("seconds")?)?)?,
            "Complete requests" => place.set(&mut printed.complete, place.count(value)?)?,
            "Failed requests" => place.set(&mut printed.failed, place.count(value)?)?,
            "Write errors" => place.set(&mut printed.write_errors, place.count(value)?)?,
            "Non-2xx responses" => place.set(&mut printed.not_2xx, place.count(value)?)?,
            "Document Length" if value != "Variable" => {
                place.set(&mut printed.length, place.count(unit("bytes")?)?)?;
            }
            "HTML transferred" => place.set(&mut printed.body_bytes, place.count(unit("bytes")?)?)?,
            "Requests per second" => {
                place.set(&mut printed.rate, place.number(unit("[#/sec] (mean)")?, RATE_MAX)?)?;
            }
            "Time per request" if !value.ends_with("concurrent requests)") => {
                place.set(&mut printed.mean_ms, place.number(unit("[ms] (mean)")?, 1e12)?)?;
            }
            _ => {}
        }
    }
    Ok(printed)
}

/// `(Connect: 0, Receive: 0, Length: 100, Exceptions: 0)`
fn failures(place: &Place<'_>, line: &str) -> Result<Failures, LoadError> {
    let expected = "(Connect: …, Receive: …, Length: …, Exceptions: …)";
    let list = line.trim().strip_prefix('(').and_then(|line| line.strip_suffix(')'));
    let list = list.ok_or_else(|| place.wrong(line, expected))?;
    let mut failures = Failures::default();
    for part in list.split(", ") {
        let (kind, count) = part.split_once(": ").ok_or_else(|| place.wrong(line, expected))?;
        let count = place.count(count)?;
        match kind {
            "Length" => failures.length = count,
            "Receive" => failures.receive = count,
            "Connect" | "Exceptions" => {}
            _ => return Err(place.wrong(line, expected)),
        }
        if kind != "Length" {
            failures.broken = failures.broken.saturating_add(count);
        }
    }
    Ok(failures)
}

/// `  50%      2` and ` 100%     16 (longest request)`; anything else is not part of the table.
fn percentile(place: &Place<'_>, line: &str, latency: &mut Vec<Quantile>) -> Result<(), LoadError> {
    let Some((share, ms)) = line.trim().split_once('%') else { return Ok(()) };
    let quantile = place.quantile(share)?;
    let ms = ms.trim();
    let ms = match quantile {
        1.0 => ms.strip_suffix("(longest request)").ok_or_else(|| place.wrong(ms, "… (longest request)"))?,
        _ => ms,
    };
    place.push(latency, quantile, place.number(ms.trim_end(), 1e10)? / 1e3)
}
