//! What the git work tree around here tells, asked of the `git` command. Without it, or outside of
//! a work tree, nothing is known, which is no error.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::clock::Timestamp;

pub(super) struct WorkTree {
    pub top: PathBuf,
}

impl WorkTree {
    pub fn at(dir: &Path) -> Option<Self> {
        Some(WorkTree { top: ask(dir, &["rev-parse", "--show-toplevel"])?.into() })
    }

    /// `None` when a commit is checked out by itself, as CI systems do.
    pub fn branch(&self) -> Option<String> {
        ask(&self.top, &["symbolic-ref", "--quiet", "--short", "HEAD"])
    }

    pub fn commit(&self) -> Option<String> {
        ask(&self.top, &["rev-parse", "--verify", "--quiet", "HEAD"])
    }

    pub fn remote(&self) -> Option<String> {
        ask(&self.top, &["config", "--get", "remote.origin.url"])
    }

    /// When a commit was made; of `HEAD` unless named by its hash.
    pub fn time_of(&self, commit: Option<&str>) -> Option<Timestamp> {
        let commit = commit.unwrap_or("HEAD");
        let is_hash = (4..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash && commit != "HEAD" {
            return None;
        }
        let seconds = ask(&self.top, &["show", "-s", "--format=%ct", &format!("{commit}^{{commit}}")])?;
        seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000).map(Timestamp)
    }
}

/// The one line that git answers with.
fn ask(dir: &Path, arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|answer| answer.status.success())?;
    let line = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
    Some(line).filter(|line| !line.is_empty())
}
