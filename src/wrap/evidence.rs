//! What the command was doing, gathered at one moment into [`Evidence`].
//!
//! Whatever cannot be read (another user's process, one that has just ended) is left out.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::meter::Meter;
use super::open::OpenFiles;
use super::runners::{self, LastTest};
use super::told::size;
use super::tree::{One, Tree};
use super::{mask, waits};
use crate::model::{Evidence, Process, Secret, truncate};

const PROCESSES_MAX: usize = 100;
const OPEN_MAX: usize = 20;
const COMMAND_MAX: usize = 1024;
/// Bytes of a command line that are read.
const CMDLINE_MAX: u64 = 16 * 1024;

/// Evidence with what only the person at the terminal is told besides.
pub(super) struct Found {
    pub evidence: Evidence,
    /// In words: how the tree spent the silence; none if it was too short.
    pub silence: Option<String>,
    /// CPU of each process while silent, as a share of one core, by pid.
    pub busy: HashMap<i32, f64>,
    pub last_test_ended: bool,
    pub advice: Option<&'static str>,
    /// Processes beyond those that are listed.
    pub more: usize,
}

/// Takes a last sample for it. `cause` is the first half of the reason.
pub(super) fn gather(
    meter: &mut Meter,
    spoke: std::time::Instant,
    tail: (Vec<String>, Option<LastTest>),
    cause: &str,
    secrets: &[Secret],
) -> Found {
    meter.sample(spoke);
    let (now, quiet) = (meter.last(), meter.quiet());
    let opened: Vec<(procfs::process::Process, String)> = now
        .all
        .iter()
        .take(PROCESSES_MAX)
        .filter_map(|one| Some((procfs::process::Process::new(one.pid).ok()?, one.name.clone())))
        .collect();
    let files = OpenFiles::read(&opened);
    let mut processes = Vec::new();
    let mut busy = HashMap::new();
    for one in now.all.iter().take(PROCESSES_MAX) {
        let before = quiet.and_then(|quiet| quiet.find(one));
        let process = opened.iter().map(|(process, _)| process).find(|process| process.pid == one.pid);
        let (waits_for, open) = match process {
            Some(process) if !one.is_over() => {
                (waits::words(process, |fd| files.target(process, fd)), files.list(process, OPEN_MAX))
            }
            _ => (None, Vec::new()),
        };
        if let Some(share) =
            quiet.and_then(|quiet| share(quiet, now, one.cpu - before.map_or(0.0, |b| b.cpu)))
        {
            busy.insert(one.pid, share);
        }
        processes.push(Process {
            pid: one.pid,
            parent: Some(one.parent),
            command: command(one, secrets),
            state: state(one.state).into(),
            waits_for: waits_for.map(|text| mask::text(&text, secrets)),
            cpu_seconds: Some(one.cpu),
            memory_bytes: Some(one.memory),
            memory_growth_bytes: quiet.filter(|_| !one.is_over()).map(|_| growth(one, before)),
            threads: Some(one.threads),
            open: open.iter().map(|text| mask::text(text, secrets)).collect(),
        });
    }
    let silence = quiet.and_then(|quiet| {
        let grown = now.memory().saturating_sub(quiet.memory());
        Some(silence(share(quiet, now, now.cpu() - quiet.cpu())?, grown))
    });
    let (last_output, last_test) = tail;
    let commands: Vec<String> = processes.iter().map(|process| process.command.clone()).collect();
    let advice = if last_test.is_none() { runners::advice(&commands) } else { None };
    let mut reason = cause.to_owned();
    for more in [silence.as_deref(), advice].into_iter().flatten() {
        reason = format!("{reason}; {more}");
    }
    let more = now.all.len().saturating_sub(processes.len());
    if more > 0 {
        reason = format!("{reason}; {more} more processes are not listed");
    }
    Found {
        evidence: Evidence {
            reason,
            last_test: last_test.as_ref().map(|last| mask::text(&last.name, secrets)),
            last_output: last_output.iter().map(|line| mask::text(line, secrets)).collect(),
            processes,
        },
        silence,
        busy,
        last_test_ended: last_test.is_some_and(|last| last.ended),
        advice,
        more,
    }
}

fn growth(one: &One, before: Option<&One>) -> i64 {
    let before = before.map_or(0, |before| before.memory);
    i64::try_from(one.memory).unwrap_or(i64::MAX).saturating_sub(i64::try_from(before).unwrap_or(i64::MAX))
}

/// CPU seconds between two samples as a share of one core; none if they are too near for a figure.
fn share(from: &Tree, to: &Tree, seconds: f64) -> Option<f64> {
    const APART_MIN: Duration = Duration::from_millis(500);
    let apart = to.at.saturating_duration_since(from.at);
    (apart >= APART_MIN).then(|| (seconds / apart.as_secs_f64()).max(0.0))
}

/// How the tree spent the silence: from its share of a core, and the bytes by which it grew.
fn silence(share: f64, grown: u64) -> String {
    /// Below this an allocator's and a sampler's noise cannot be told from growth.
    const GROWN_MIN: u64 = 4 * 1024 * 1024;
    let percent = share * 100.0;
    let mut words = if percent < 0.5 {
        "it slept (no CPU used while silent)".to_owned()
    } else {
        // Whether it would have used more is not known: on a busy machine it may have had to wait.
        format!("it used {percent:.0} % of a core while silent")
    };
    if grown >= GROWN_MIN {
        words = format!("{words}, and its memory grew by {}", size(grown));
    }
    words
}

/// The state of a process in words, as `proc_pid_stat(5)` lists them.
fn state(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'S' => "sleeping",
        'D' => "waiting for the disk",
        'T' => "stopped",
        't' => "stopped by a debugger",
        'Z' => "zombie",
        'I' => "idle",
        _ => "ending",
    }
}

/// The masked command line, or the name where there is none to read.
fn command(one: &One, secrets: &[Secret]) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{}/cmdline", one.pid)) {
        // What was read before an error is good.
        let _ = file.take(CMDLINE_MAX).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let argv: Vec<String> = text.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
    let mut line =
        if bytes.is_empty() { mask::text(&one.name, secrets) } else { mask::command(&argv, secrets) };
    line = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    truncate(&mut line, COMMAND_MAX);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_put_into_words() {
        assert_eq!(silence(0.004, 0), "it slept (no CPU used while silent)");
        assert_eq!(silence(0.03, 4096), "it used 3 % of a core while silent");
        assert_eq!(
            silence(1.98, 300 << 20),
            "it used 198 % of a core while silent, and its memory grew by 300 MiB"
        );
    }
}
