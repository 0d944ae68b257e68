//! What was told, in words and as JSON.

use serde_json::{Value, json};

use crate::client::{Delivery, Report};
use crate::model::{Action, Event, EventKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// One document.
    Json,
}

/// One event in a line, without what became of it.
pub(super) fn line(event: &Event) -> String {
    let title = event.title();
    let result = event.result.map_or("began", |result| result.as_str());
    let took = match (event.started, event.finished) {
        (Some(started), Some(finished)) => format!(" in {}", time(finished.since(started).as_secs_f64())),
        _ => String::new(),
    };
    match event.kind() {
        EventKind::Tests => format!("tests {title}: {}", event.tests.as_ref().map(tally).unwrap_or_default()),
        EventKind::Deploy => match event.deploy.as_ref().map(|deploy| deploy.action) {
            Some(Action::Remove) => format!("removal of {title}: {result}"),
            _ => format!("deployment {title}: {result}{took}"),
        },
        EventKind::Load => match &event.load {
            Some(load) => format!(
                "load {title}: {:.1} requests/s, {:.1} % errors{}",
                load.throughput,
                load.error_ratio() * 100.0,
                match load.rate_limited() {
                    0 => String::new(),
                    n => format!(", {n} answers 429: this measured the target's limit, not its speed"),
                }
            ),
            None => format!("load {title}"),
        },
        EventKind::Step => {
            let task = event.task.map_or("step", |task| task.as_str());
            format!("{task} {title}: {result}{took}")
        }
        EventKind::Pipeline => format!("run {} of {}: {result}{took}", event.run, event.pipeline),
    }
}

fn tally(tests: &crate::model::Tests) -> String {
    let counts = tests.counts();
    let mut words = format!("{} passed, {} failed", counts.pass, counts.bad());
    if counts.skip > 0 {
        words.push_str(&format!(", {} skipped", counts.skip));
    }
    if tests.aborted {
        words.push_str(", aborted: this is not all");
    }
    words
}

/// With a precision that a person can use.
fn time(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    humantime::format_duration(std::time::Duration::from_secs(seconds.round() as u64)).to_string()
}

/// What was recorded, and what became of it.
pub(super) fn document(events: &[Event], report: &Report, exit_code: u8) -> String {
    let document = json!({
        "events": events.iter().map(event).collect::<Vec<_>>(),
        "delivery": delivery(&report.delivery),
        "earlier": report.earlier,
        "notes": report.notes,
        "exit_code": exit_code,
    });
    format!("{document:#}\n")
}

/// Enough to find the event again, wherever it goes.
pub(super) fn event(event: &Event) -> Value {
    json!({
        "kind": event.kind(),
        "source": event.source,
        "pipeline": event.pipeline,
        "run": event.run,
        "attempt": event.attempt,
        "step": event.step,
        "name": event.title(),
        "result": event.result,
        "trace_id": event.trace(),
        "span_id": event.span(),
        "summary": line(event),
    })
}

fn delivery(delivery: &Delivery) -> Value {
    match delivery {
        Delivery::Delivered { place } => json!({ "state": "delivered", "to": place }),
        Delivery::Spooled { reason, waiting, folder } => {
            json!({ "state": "spooled", "waiting": waiting, "folder": folder, "reason": reason })
        }
        Delivery::Refused { place, refusals } => {
            json!({ "state": "refused", "by": place, "refusals": refusals })
        }
        Delivery::Lost { reason } => json!({ "state": "lost", "reason": reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::{CiResult, Counts, Deploy, Load, Task, Tests};

    #[test]
    fn each_kind_has_its_line() {
        let base = Event {
            step: Some("s".to_owned()),
            name: Some("unit 2.4.1".to_owned()),
            started: Some(Timestamp(0)),
            finished: Some(Timestamp(93_400_000_000)),
            result: Some(CiResult::Success),
            ..Event::new("jenkins", "cachet/core", "41")
        };
        let counts = Counts { pass: 968, fail: 1, error: 1, skip: 3 };
        let tests = Tests { counts: Some(counts), aborted: true, ..Tests::default() };
        let statuses = [(429, 7)].into();
        let load = Load { throughput: 812.34, requests: 1000, errors: 10, statuses, ..Load::default() };
        let quick = Some(Timestamp(1_230_000_000));
        let lines = [
            Event { tests: Some(tests), ..base.clone() },
            Event { deploy: Some(Deploy::default()), ..base.clone() },
            Event { deploy: Some(Deploy { action: Action::Remove, ..Deploy::default() }), ..base.clone() },
            Event { load: Some(load), ..base.clone() },
            Event { task: Some(Task::Build), finished: quick, ..base.clone() },
            Event { step: None, name: None, ..base.clone() },
        ];
        let lines: Vec<String> = lines.iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        tests unit 2.4.1: 968 passed, 2 failed, 3 skipped, aborted: this is not all
        deployment unit 2.4.1: success in 1m 33s
        removal of unit 2.4.1: success
        load unit 2.4.1: 812.3 requests/s, 1.0 % errors, 7 answers 429: this measured the target's limit, not its speed
        build unit 2.4.1: success in 1.2 s
        run 41 of cachet/core: success in 1m 33s
        ");
    }
}
