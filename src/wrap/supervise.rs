//! One command from its start to its end: what is waited for, and what each arrival does.

use std::io::{IsTerminal, Write, stderr, stdin};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use humantime::format_duration;
use nix::sys::signal::Signal;
use tokio::process::Child;

use super::end::{self, Group, Outcome};
use super::evidence::{self, Found};
use super::meter::{self, Meter};
use super::relay::Relay;
use super::signals::{self, Signals};
use super::start::{self, Started};
use super::told::{self, duration};
use super::{Command, Ended, EndedFor, Exit, StartError, mask};
use crate::clock::Clock;
use crate::model::{Evidence, Usage};

/// Between two looks at the time and the tree.
const TICK: Duration = Duration::from_millis(100);
/// How long our stderr may take what we have to say; whoever reads it may be stuck.
const TELLING: Duration = Duration::from_secs(2);

/// A command that runs.
struct Run {
    command: Command,
    child: Child,
    group: Group,
    relay: Arc<Relay>,
    meter: Meter,
    signals: Signals,
    began: Instant,
    told_to_stop: Option<Signal>,
    evidence: Option<Evidence>,
}

/// Runs it to its end. What it prints is printed, and what is found when it stalls is told on stderr.
///
/// # Errors
/// When it could not be started; whatever happens later is in [`Ended`].
pub async fn run(command: Command, clock: &Clock) -> Result<Ended, StartError> {
    let other = |error: std::io::Error| StartError::Other(error.to_string());
    let signals = Signals::listen().map_err(other)?;
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "failed to adopt orphans: what leaves the command's tree is not seen");
    }
    let own_group = !stdin().is_terminal();
    let cpu_before = meter::children_cpu();
    let started = clock.now();
    let began = Instant::now();
    let Started { child, pid, streams } = start::start(&command, own_group)?;
    let relay = Relay::start(streams).map_err(other)?;
    let (group, meter) = (Group { pid, own: own_group }, Meter::new(pid, cpu_before));
    let mut run =
        Run { command, child, group, relay, meter, signals, began, told_to_stop: None, evidence: None };
    let (status, ended_for) = run.watch().await;
    // Whoever was told to stop does not wait long for a reader that takes nothing.
    let through = tokio::select! {
        through = run.relay.drained(ended_for.is_some().then_some(TELLING)) => through,
        () = run.signals.asked_to_end() => false,
    };
    if !through {
        tracing::info!("the command has ended; what else holds its output open is not waited for");
    }

    let exit = match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(Signal::SIGKILL as i32)),
        },
        None => Exit::Signal(Signal::SIGKILL as i32),
    };
    let usage = Usage {
        exit_code: if let Exit::Code(code) = exit { Some(code) } else { None },
        signal: if let Exit::Signal(signal) = exit { Some(signal) } else { None },
        cpu_seconds: Some(run.meter.cpu_seconds()),
        memory_peak_bytes: run.meter.memory_peak(),
        output_bytes: Some(run.relay.bytes()),
    };
    let secrets = &run.command.secrets;
    let last_output = run.relay.tail().lines().iter().map(|line| mask::text(line, secrets)).collect();
    Ok(Ended {
        exit,
        started,
        duration: began.elapsed(),
        usage,
        evidence: run.evidence,
        ended_for,
        last_output,
    })
}

impl Run {
    /// Until the command has ended, by itself or by us.
    async fn watch(&mut self) -> (Option<ExitStatus>, Option<EndedFor>) {
        loop {
            if let Some((why, cause)) = self.is_over() {
                let status = self.end(&cause).await;
                return (status, Some(why));
            }
            self.meter.tick(self.relay.spoke());
            let next_look = self.next_look();
            tokio::select! {
                status = self.child.wait() => {
                    let ended_for = self.told_to_stop.map(|signal| EndedFor::Signal(signal as i32));
                    return (status.ok(), ended_for);
                }
                signal = self.signals.next() => self.hand_on(signal),
                () = tokio::time::sleep(next_look) => {}
            }
        }
    }

    /// How long until something is due.
    fn next_look(&self) -> Duration {
        let left = |limit: Option<Duration>, passed: Duration| limit.map(|l| l.saturating_sub(passed));
        let limits = [
            left(self.command.timeout, self.began.elapsed()),
            left(self.command.stall_timeout, self.relay.spoke().elapsed()),
        ];
        limits.into_iter().flatten().fold(TICK, Duration::min)
    }

    /// Why it has to be ended now, and the same in words.
    fn is_over(&self) -> Option<(EndedFor, String)> {
        let silent = self.relay.spoke().elapsed();
        if let Some(limit) = self.command.stall_timeout
            && silent >= limit
        {
            return Some((EndedFor::Stall, format!("no output for {}", format_duration(limit))));
        }
        if let Some(limit) = self.command.timeout
            && self.began.elapsed() >= limit
        {
            let cause = format!("still running after {}, its time limit", format_duration(limit));
            return Some((EndedFor::Timeout, format!("{cause}, and silent for {}", duration(silent))));
        }
        None
    }

    /// What is gathered before a signal that asks to end is kept, and told by whoever reports.
    fn hand_on(&mut self, signal: Signal) {
        if signals::asks_to_end(signal) {
            // What the keyboard sent to all of the terminal's group has reached the command by now.
            let in_time = self.group.own || !signals::comes_from_keyboard(signal);
            if self.told_to_stop.is_none() && in_time {
                let silent = duration(self.relay.spoke().elapsed());
                let cause = format!("told to stop by {signal} after {silent} without output");
                self.evidence = Some(self.gather(&cause).evidence);
            }
            self.told_to_stop = Some(signal);
        }
        self.group.forward(signal);
    }

    fn gather(&mut self, cause: &str) -> Found {
        let said = {
            let tail = self.relay.tail();
            (tail.lines(), tail.last_test())
        };
        evidence::gather(&mut self.meter, self.relay.spoke(), said, cause, &self.command.secrets)
    }

    /// Tells what it was doing, and ends it.
    async fn end(&mut self, cause: &str) -> Option<ExitStatus> {
        let found = self.gather(cause);
        self.tell(told::block(&format!("{cause}; ending the command."), &found)).await;
        self.evidence = Some(found.evidence);
        let Outcome { status, killed, left } =
            end::end(&mut self.child, &self.group, self.command.grace, &mut self.signals).await;
        if !killed.is_empty() {
            let grace = format_duration(self.command.grace);
            let words =
                format!("cachetscope: {} did not end on TERM within {grace}; killed.\n", names(&killed));
            self.tell(words).await;
        }
        if !left.is_empty() {
            self.tell(format!("cachetscope: {} could not be killed and is left behind.\n", names(&left)))
                .await;
        }
        status
    }

    /// Writes it to our stderr, on a line of its own.
    async fn tell(&self, mut text: String) {
        if !self.relay.tail().line_ended() {
            text.insert(0, '\n');
        }
        let (done, told) = tokio::sync::oneshot::channel();
        let telling = std::thread::Builder::new().name("tell".into()).spawn(move || {
            let _ = stderr().write_all(text.as_bytes());
            let _ = done.send(());
        });
        if telling.is_ok() {
            let _ = tokio::time::timeout(TELLING, told).await;
        }
    }
}

/// `php (1234), sh (1235)`, a few of them.
fn names(processes: &[(i32, String)]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> =
        processes.iter().take(SHOWN_MAX).map(|(pid, name)| format!("{name} ({pid})")).collect();
    let more = processes.len().saturating_sub(SHOWN_MAX);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
