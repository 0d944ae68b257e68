//! What a person reads on stderr when a command is ended: the evidence in plain words, bounded.

use std::fmt::Write as _;
use std::time::Duration;

use super::evidence::Found;
use crate::model::{Process, truncate};

const PROCESSES_MAX: usize = 12;
const OPEN_MAX: usize = 6;
const LINES_MAX: usize = 12;
/// Bytes of one line.
const WIDTH_MAX: usize = 160;

/// The block with an empty line around it. Nothing in it can move a terminal.
pub(super) fn block(headline: &str, found: &Found) -> String {
    let evidence = &found.evidence;
    let mut text = format!("\ncachetscope: {headline} What it was doing:\n\n");
    let mut line = |indent: usize, words: String| {
        // Names of files and tests can hold anything.
        let mut words = words.replace(char::is_control, "?");
        truncate(&mut words, WIDTH_MAX);
        let _ = writeln!(text, "{:indent$}{words}", "");
    };
    if let Some(test) = &evidence.last_test {
        let words =
            if found.last_test_ended { "last test started (it had ended)" } else { "last test started" };
        line(2, format!("{words}: {test}"));
    }
    if let Some(advice) = found.advice {
        line(2, format!("hint: {advice}"));
    }
    if let Some(silence) = &found.silence {
        line(2, silence.clone());
    }
    if evidence.processes.is_empty() {
        line(2, "no process of it is left".into());
    }
    let shown = &evidence.processes[..evidence.processes.len().min(PROCESSES_MAX)];
    for process in shown {
        let depth = depth(process, shown);
        line(0, String::new());
        line(2 + 2 * depth, format!("{}  {}", process.pid, process.command));
        let indent = 4 + 2 * depth;
        line(indent, doing(process, found.busy.get(&process.pid).copied()));
        line(indent, memory(process));
        for (i, open) in process.open.iter().take(OPEN_MAX).enumerate() {
            line(indent, format!("{} {open}", if i == 0 { "open:" } else { "     " }));
        }
        if process.open.len() > OPEN_MAX {
            line(indent, format!("      and {} more", process.open.len() - OPEN_MAX));
        }
    }
    let hidden = evidence.processes.len() - shown.len() + found.more;
    if hidden > 0 {
        line(0, String::new());
        line(2, format!("and {hidden} more processes"));
    }
    line(0, String::new());
    let lines = &evidence.last_output[evidence.last_output.len().saturating_sub(LINES_MAX)..];
    if lines.is_empty() {
        line(2, "it printed nothing".into());
    } else {
        line(2, "its last output:".into());
        lines.iter().for_each(|said| line(2, format!("│ {said}").trim_end().to_owned()));
    }
    line(0, String::new());
    text
}

/// How many of its ancestors are shown.
fn depth(process: &Process, shown: &[Process]) -> usize {
    let parent = process.parent.and_then(|parent| shown.iter().find(|other| other.pid == parent));
    parent.map_or(0, |parent| 1 + depth(parent, shown))
}

fn doing(process: &Process, busy: Option<f64>) -> String {
    let mut words = process.state.clone();
    if let Some(what) = &process.waits_for {
        let _ = write!(words, ", waits for {what}");
    }
    if let Some(seconds) = process.cpu_seconds {
        let _ = write!(words, " · CPU {seconds:.2} s");
    }
    if let Some(share) = busy {
        let _ = write!(words, ", {:.0} % of a core while silent", share * 100.0);
    }
    words
}

fn memory(process: &Process) -> String {
    let mut words = String::from("memory ");
    let _ = write!(words, "{}", size(process.memory_bytes.unwrap_or(0)));
    match process.memory_growth_bytes {
        Some(0) => words.push_str(", unchanged while silent"),
        Some(grown) => {
            let sign = if grown > 0 { '+' } else { '−' };
            let _ = write!(words, ", {sign}{} while silent", size(grown.unsigned_abs()));
        }
        None => {}
    }
    if let Some(threads) = process.threads.filter(|threads| *threads > 1) {
        let _ = write!(words, " · {threads} threads");
    }
    words
}

/// Bytes in binary units, to three digits.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter().peekable();
    while value >= 1023.5 && units.len() > 1 {
        value /= 1024.0;
        units.next();
    }
    let unit = units.next().unwrap_or("B");
    let digits = if unit == "B" || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {unit}")
}

/// A measured time, without more digits than matter: `5s`, `1m 30s`, `250ms`.
pub(super) fn duration(d: Duration) -> String {
    let whole = if d < Duration::from_secs(1) {
        Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(0))
    } else {
        Duration::from_secs(d.as_secs())
    };
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::Evidence;

    fn found() -> Found {
        let php = Process {
            pid: 1235,
            parent: Some(1234),
            command: "php /usr/bin/phpunit --debug tests".into(),
            state: "sleeping".into(),
            waits_for: Some("data from tcp 127.0.0.1:4040 → 127.0.0.1:5432 (connected) (read)".into()),
            cpu_seconds: Some(0.21),
            memory_bytes: Some(123_456_789),
            memory_growth_bytes: Some(45_000_000),
            threads: Some(3),
            open: (0..9).map(|i| format!("/srv/app/storage/\u{1b}[31m{i}.log")).collect(),
        };
        let make = Process {
            pid: 1234,
            parent: Some(1),
            command: "make test".into(),
            state: "sleeping".into(),
            cpu_seconds: Some(0.0),
            memory_bytes: Some(900),
            memory_growth_bytes: Some(0),
            threads: Some(1),
            ..Process::default()
        };
        Found {
            evidence: Evidence {
                reason: String::new(),
                last_test: Some("QueueTest::testDrains".into()),
                last_output: (0..20).map(|i| format!("line {i}")).collect(),
                processes: vec![make, php],
            },
            silence: Some("it slept (no CPU used while silent)".into()),
            busy: HashMap::from([(1235, 0.004)]),
            last_test_ended: false,
            advice: None,
            more: 3,
        }
    }

    #[test]
    fn a_person_sees_the_test_the_tree_and_the_last_lines() {
        insta::assert_snapshot!(block("no output for 5s; ending the command.", &found()));
    }

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 1023, 1024, 102_400, 1024 * 1024 - 1, 5_000_000_000].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "100 KiB", "1.0 MiB", "4.7 GiB"]);
    }
}
