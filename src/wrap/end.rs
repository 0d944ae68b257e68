//! Ends a process tree: TERM, some grace, KILL; and hands signals on.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Child;

use super::signals::{self, Signals};
use super::tree::Tree;

/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(20);
/// How long what was killed may take to go. A process that waits for a broken disk cannot be killed.
const KILLED: Duration = Duration::from_secs(5);

/// The command's processes, as far as signals are concerned.
pub(super) struct Group {
    /// Of the command itself.
    pub pid: i32,
    /// Whether it has a process group of its own, whose number is its pid.
    pub own: bool,
}

impl Group {
    /// Hands a signal on as if it had been sent to the command's group.
    pub fn forward(&self, signal: Signal) {
        if self.own {
            // An error means that nobody is left to get it.
            let _ = killpg(Pid::from_raw(self.pid), signal);
        } else if !signals::comes_from_keyboard(signal) {
            let own = nix::unistd::getpgrp().as_raw();
            Tree::scan().alive().filter(|one| one.group == own).for_each(|one| send(one.pid, signal));
        }
    }

    /// To every process of the tree, in whatever group it is.
    fn send_all(&self, tree: &Tree, signal: Signal) {
        if self.own && tree.alive().any(|one| one.group == self.pid) {
            let _ = killpg(Pid::from_raw(self.pid), signal);
        }
        for one in tree.alive().filter(|one| !self.own || one.group != self.pid) {
            send(one.pid, signal);
        }
    }
}

fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// What it took to end a tree.
pub(super) struct Outcome {
    /// None if the command could not even be killed.
    pub status: Option<ExitStatus>,
    /// Pids and names of those that TERM did not end.
    pub killed: Vec<(i32, String)>,
    /// Those that KILL did not end either.
    pub left: Vec<(i32, String)>,
}

/// Ends the command and all its descendants. A signal that asks us to end cuts the grace short.
pub(super) async fn end(child: &mut Child, group: &Group, grace: Duration, signals: &mut Signals) -> Outcome {
    let mut status = None;
    let began = Instant::now();
    group.send_all(&Tree::scan(), Signal::SIGTERM);
    // A stopped process takes TERM only when it goes on.
    group.send_all(&Tree::scan(), Signal::SIGCONT);
    while began.elapsed() < grace {
        if gone(child, &mut status) {
            return Outcome { status, killed: Vec::new(), left: Vec::new() };
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK.min(grace.saturating_sub(began.elapsed()))) => {}
            signal = signals.next() => if signals::asks_to_end(signal) { break },
        }
    }

    let names = |tree: &Tree| tree.alive().map(|one| (one.pid, one.name.clone())).collect::<Vec<_>>();
    let mut killed: Vec<(i32, String)> = Vec::new();
    let began = Instant::now();
    // Again and again: a process that forks may have got a child past the first round.
    while !gone(child, &mut status) && began.elapsed() < KILLED {
        let tree = Tree::scan();
        killed.extend(names(&tree).into_iter().filter(|one| !killed.contains(one)).collect::<Vec<_>>());
        group.send_all(&tree, Signal::SIGKILL);
        tokio::time::sleep(LOOK).await;
    }
    Outcome { status, killed, left: names(&Tree::scan()) }
}

/// Whether the command was waited for and nothing of its tree is alive.
fn gone(child: &mut Child, status: &mut Option<ExitStatus>) -> bool {
    if status.is_none() {
        *status = child.try_wait().ok().flatten();
    }
    status.is_some() && Tree::scan().alive().next().is_none()
}
