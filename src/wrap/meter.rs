//! What the tree uses: CPU, the peak of its memory, and how both grew while it was silent.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use procfs::process::Process;

use super::tree::{Tree, own_pid};

/// Between two samples of a tree that prints.
const EVERY: Duration = Duration::from_secs(1);
/// The first one: what is short is seen too, if only once.
const FIRST: Duration = Duration::from_millis(100);
/// A tree that was silent for so long is sampled once more, so that growth counts from there.
const QUIET: Duration = Duration::from_millis(200);

/// Samples of one command's tree.
pub(super) struct Meter {
    command: i32,
    /// CPU seconds that children of this process had used before the command.
    cpu_before: f64,
    cpu: f64,
    memory_peak: u64,
    next: Instant,
    last: Tree,
    /// The first sample of the present silence.
    quiet: Option<Tree>,
}

impl Meter {
    /// To be made before the command of this pid is waited for.
    pub fn new(command: i32, cpu_before: f64) -> Self {
        let now = Instant::now();
        let last = Tree { at: now, all: Vec::new() };
        Meter { command, cpu_before, cpu: 0.0, memory_peak: 0, next: now + FIRST, last, quiet: None }
    }

    /// Takes a sample if it is time for one. `spoke` is when the tree last printed something.
    pub fn tick(&mut self, spoke: Instant) {
        let now = Instant::now();
        let known = self.quiet.as_ref().is_some_and(|quiet| quiet.at >= spoke);
        let silence_began = !known && now.duration_since(spoke) >= QUIET;
        if now >= self.next || (silence_began && now.duration_since(self.last.at) >= QUIET) {
            self.sample(spoke);
        }
    }

    /// Takes a sample now.
    pub fn sample(&mut self, spoke: Instant) {
        let tree = Tree::scan();
        self.cpu = self.cpu.max(children_cpu() - self.cpu_before + tree.cpu());
        self.memory_peak = self.memory_peak.max(tree.memory());
        for orphan in tree.all.iter().filter(|one| one.is_over() && one.parent == own_pid()) {
            // Ours by adoption; the command itself is waited for elsewhere.
            if orphan.pid != self.command {
                let _ = waitpid(Pid::from_raw(orphan.pid), Some(WaitPidFlag::WNOHANG));
            }
        }
        self.next = tree.at + EVERY;
        self.quiet = self.quiet.take().filter(|quiet| quiet.at >= spoke);
        if self.quiet.is_none() && tree.at.saturating_duration_since(spoke) >= QUIET {
            self.quiet = Some(tree.clone());
        }
        self.last = tree;
    }

    pub fn last(&self) -> &Tree {
        &self.last
    }

    /// The tree when its silence began, within a second.
    pub fn quiet(&self) -> Option<&Tree> {
        self.quiet.as_ref()
    }

    /// CPU seconds of the whole tree, to be asked when the command was waited for.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu.max(children_cpu() - self.cpu_before)
    }

    /// The highest sum of resident memory that was sampled, and at least what the kernel noted as
    /// the highest of a single process. That note starts with what this process had at the fork, so
    /// it counts only beyond our own peak.
    pub fn memory_peak(&self) -> Option<u64> {
        let noted = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss());
        let noted = u64::try_from(noted).unwrap_or(0).saturating_mul(1024);
        let own = Process::myself().and_then(|own| own.status()).ok().and_then(|status| status.vmhwm);
        let own = own.unwrap_or(u64::MAX).saturating_mul(1024);
        let peak = if noted > own { self.memory_peak.max(noted) } else { self.memory_peak };
        (peak > 0).then_some(peak)
    }
}

/// CPU seconds of the children that this process waited for, and of theirs.
pub(super) fn children_cpu() -> f64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0.0, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        micros as f64 / 1e6
    })
}
