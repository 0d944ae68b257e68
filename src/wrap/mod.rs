//! Runs a command, passes its output through, watches it, and gathers evidence when it stalls.
//!
//! Invariants: the bytes of both streams arrive unchanged and in order, and the command ends as it
//! would have ended alone, but for three things:
//! - its stdout and stderr are pipes, also where ours are a terminal. A terminal of its own for the
//!   command would join both streams and change bytes; so who wants colours asks the command for
//!   them. Where our two streams are one file, they are one pipe, so that their lines stay in order.
//! - it runs in a process group of its own, to which INT, TERM, HUP, QUIT, USR1 and USR2 are handed
//!   on; where our stdin is a terminal it stays in our group, since a group in the background that
//!   reads from its terminal is stopped, and what the keyboard sends reaches it without us.
//! - what it leaves behind in the background may write into the pipes only until we end.
//!
//! When nobody reads our stdout any more (`| head`), the command's pipe is closed, and it gets the
//! SIGPIPE that it would have got.
//!
//! This process must have no other children: whatever becomes one (orphans do, see
//! `PR_SET_CHILD_SUBREAPER`) counts as the command's, is sampled, and is ended with it.
//!
//! Deliberately absent: telling the command to end when we are killed with SIGKILL (the parent-death
//! signal takes code between fork and exec), handing on SIGTSTP, cgroups, and the environment of
//! other processes, which is never read. Linux only: evidence comes from `/proc`.

mod end;
mod evidence;
mod mask;
mod meter;
mod open;
mod relay;
mod runners;
mod signals;
mod start;
mod supervise;
mod tail;
mod told;
mod tree;
mod waits;

use std::ffi::OsString;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Evidence, Secret, Usage};

pub use start::StartError;
pub use supervise::run;

/// Exit code of a command that was ended for a stall or for its time limit, as `timeout(1)` has it.
const ENDED: u8 = 124;

/// What to run, and how long it may take.
#[derive(Debug)]
pub struct Command {
    /// Program and arguments; the program is looked up in `PATH`.
    pub argv: Vec<OsString>,
    /// Added to the inherited environment.
    pub env: Vec<(String, OsString)>,
    /// For the whole run.
    pub timeout: Option<Duration>,
    /// For silence on both streams. Time in which our own reader takes nothing does not count.
    pub stall_timeout: Option<Duration>,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// Taken out of evidence and of [`Ended::last_output`]; what is passed through is left alone.
    pub secrets: Vec<Secret>,
}

impl Command {
    /// Between TERM and KILL, unless said otherwise.
    pub const GRACE: Duration = Duration::from_secs(10);
}

/// How it went.
#[derive(Debug)]
pub struct Ended {
    /// How the command itself ended.
    pub exit: Exit,
    pub started: Timestamp,
    /// Until the command had ended and its output was through.
    pub duration: Duration,
    pub usage: Usage,
    /// What it was doing when it stalled, ran over its time, or when we were told to stop.
    pub evidence: Option<Evidence>,
    pub ended_for: Option<EndedFor>,
    /// Its last lines, from both streams: at most 50, together at most 64 KiB, without control
    /// characters.
    pub last_output: Vec<String>,
}

impl Ended {
    /// What to exit with: the command's own code, 128+n for a signal, 124 for a stall or time-out.
    pub fn exit_code(&self) -> u8 {
        match (self.ended_for, self.exit) {
            (Some(EndedFor::Stall | EndedFor::Timeout), _) => ENDED,
            (_, Exit::Code(code)) => u8::try_from(code).unwrap_or(u8::MAX),
            (_, Exit::Signal(signal)) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// Why it ended, where that was not its own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedFor {
    /// It printed nothing for `stall_timeout`.
    Stall,
    /// It took longer than `timeout`.
    Timeout,
    /// We were told to stop by this signal and handed it on; how the command took it is in `exit`.
    Signal(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit: Exit, ended_for: Option<EndedFor>) -> u8 {
        let (started, duration, usage) = (Timestamp(0), Duration::ZERO, Usage::default());
        Ended { exit, started, duration, usage, evidence: None, ended_for, last_output: Vec::new() }
            .exit_code()
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(ended(Exit::Code(0), None), 0);
        assert_eq!(ended(Exit::Code(255), None), 255);
        assert_eq!(ended(Exit::Signal(9), None), 137);
        assert_eq!(ended(Exit::Code(0), Some(EndedFor::Stall)), 124);
        assert_eq!(ended(Exit::Signal(15), Some(EndedFor::Timeout)), 124);
        assert_eq!(ended(Exit::Signal(2), Some(EndedFor::Signal(2))), 130);
    }
}
