//! An event in a line of words, for span names, log records and status messages.

use crate::model::{CiResult, Event, Evidence};

/// What the step did, without anything that differs from run to run.
pub(super) fn span_name(event: &Event) -> String {
    if let Some(tests) = &event.tests {
        return format!("tests {}", tests.suite);
    }
    if let Some(load) = &event.load {
        return format!("load {}", load.plan);
    }
    if let Some(deploy) = &event.deploy {
        return if deploy.action.is_deploy() { "deploy".to_owned() } else { "remove".to_owned() };
    }
    let title = event.title();
    match event.task() {
        Some(task) if task.as_str() != title => format!("{} {title}", task.as_str()),
        _ => title.to_owned(),
    }
}

/// `tests unit on 3.x: failure: 966 passed, 2 failed, 1 skipped`
pub(super) fn summary(event: &Event, result: CiResult) -> String {
    let mut text = if event.step.is_some() {
        format!("{} of {} {}", span_name(event), event.pipeline, event.run)
    } else {
        format!("{} {}", event.pipeline, event.run)
    };
    if let Some(name) = event.deployment_name().filter(|_| event.deploy.is_some() || event.load.is_some()) {
        text.push_str(&format!(", {name}"));
    }
    if let Some(branch) = &event.branch {
        text.push_str(&format!(" on {branch}"));
    }
    text.push_str(&format!(": {}", result.as_str()));
    let why = why(event, result);
    if why != result.as_str() {
        text.push_str(&format!(": {why}"));
    }
    if let Some(evidence) = &event.evidence {
        text.push_str(&format!("\n{}", processes(evidence)));
        if !evidence.last_output.is_empty() {
            text.push_str(&format!("\nlast output:\n{}", evidence.last_output.join("\n")));
        }
    }
    text
}

/// The figures that decide, or the reason.
pub(super) fn why(event: &Event, result: CiResult) -> String {
    if let Some(evidence) = &event.evidence {
        return match &evidence.last_test {
            Some(test) => format!("{}; the last test that had started is {test}", evidence.reason),
            None => evidence.reason.clone(),
        };
    }
    if let Some(tests) = &event.tests {
        let counts = tests.counts();
        let parts = [
            (counts.pass, "passed"),
            (counts.fail, "failed"),
            (counts.error, "errors"),
            (counts.skip, "skipped"),
        ];
        let told: Vec<String> = parts
            .iter()
            .filter(|(n, word)| *n > 0 || *word == "passed")
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        let aborted = if tests.aborted { ", aborted" } else { "" };
        return format!("{}{aborted}", told.join(", "));
    }
    if let Some(load) = &event.load {
        return format!("{:.1} requests/s, {} errors", load.throughput, load.errors);
    }
    result.as_str().to_owned()
}

/// The process tree, a line each.
pub(super) fn processes(evidence: &Evidence) -> String {
    let lines = evidence.processes.iter().map(|process| {
        let mut line = format!("{} {} {}", process.pid, process.state, process.command);
        if let Some(cpu) = process.cpu_seconds {
            line.push_str(&format!(", {cpu:.1} s CPU"));
        }
        if let Some(memory) = process.memory_bytes {
            line.push_str(&format!(", {:.1} MiB", memory as f64 / 1_048_576.0));
        }
        if let Some(growth) = process.memory_growth_bytes.filter(|growth| *growth != 0) {
            line.push_str(&format!(" ({:+.1} MiB while silent)", growth as f64 / 1_048_576.0));
        }
        if let Some(place) = &process.waits_for {
            line.push_str(&format!(", waits for {place}"));
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}
