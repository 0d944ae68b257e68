//! A child process, and what the kernel says it took (`proc(5)`).

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

/// How long a child may take to end when asked to.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Killed when dropped.
pub struct Process(Child);

impl Process {
    /// stdout and stderr go to `log`.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Process(child.with_context(|| format!("failed to start {command:?}"))?))
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.0.id());
        fs::read_to_string(&path).with_context(|| format!("failed to read {path}; has the process ended?"))
    }

    /// User and system time of all threads so far; to 10 ms.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        const TICKS_PER_SECOND: u64 = 100; // USER_HZ, the same on every Linux of today
        let stat = self.read("stat")?;
        // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
        let (_, rest) = stat.rsplit_once(')').context("a stat without a name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|t| t.parse::<u64>().ok());
        let total = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
        Ok(Duration::from_millis(total.context("a stat without times")? * 1_000 / TICKS_PER_SECOND))
    }

    /// The most memory it ever had at once.
    pub fn peak_rss_bytes(&self) -> anyhow::Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(kib.context("a status without VmHWM")? * 1_024)
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let deadline = tokio::time::Instant::now() + END_WITHIN;
        while self.0.try_wait()?.is_none() {
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "a child did not end in {END_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
