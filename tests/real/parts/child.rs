//! One test of this binary once more, in a process of its own that can be killed or starved.
//!
//! A test that plays both sides asks [`role`] first: `None` in the process that judges, the folder
//! to work in within the other.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::variable;

const ROLE: &str = "CACHETSCOPE_TEST_CHILD";

pub fn role() -> Option<PathBuf> {
    variable(ROLE).map(PathBuf::from)
}

/// Runs the test of this full name again; what it prints comes on stdout.
pub fn again(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a file"));
    command.args(["--exact", test, "--nocapture"]).env(ROLE, dir);
    command
}

/// The same with `dir` on a disk of so many megabytes, which no other process sees and which goes
/// with the process. Without root it takes user namespaces (`kernel.unprivileged_userns_clone`).
pub fn again_on_small_disk(test: &str, dir: &Path, megabytes: u32) -> Command {
    let inner = again(test, dir);
    let mut command = Command::new("unshare");
    command.arg("--mount");
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$1\" && shift && exec \"$@\"");
    command.args(["bash", "-c", &mount, "bash"]).arg(dir).arg(inner.get_program()).args(inner.get_args());
    command.env(ROLE, dir);
    command
}
