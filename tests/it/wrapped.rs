//! `wrap::run` in a process of its own, as `cachetscope run` has it: with streams, signals and
//! children that belong to it alone.
//!
//! The process is this test binary again, told to run [`stand_in`] only. A vocabulary for the tests
//! of both binaries; not every word is in use in each.
#![allow(dead_code)]

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cachetscope::clock::Clock;
use cachetscope::model::{Evidence, Secret, Usage};
use cachetscope::wrap::{self, EndedFor, Exit};
use serde::{Deserialize, Serialize};

/// Where the process that runs the command finds what to do, as JSON.
const ROLE: &str = "CACHETSCOPE_TEST_WRAP";
/// Printed before the command starts: what the test harness said is before it.
const BEGINS: &str = "--- the command begins ---\n";
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to run. The process's own streams are the test's.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Wrapped {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub timeout_ms: Option<u64>,
    pub stall_ms: Option<u64>,
    pub grace_ms: Option<u64>,
    pub secrets: Vec<String>,
    report: PathBuf,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub exit: String,
    pub ended_for: Option<String>,
    pub seconds: f64,
    pub usage: Option<Usage>,
    pub evidence: Option<Evidence>,
    pub last_output: Vec<String>,
}

/// A process that runs [`wrap::run`]; killed when dropped.
pub struct Running {
    pub child: Child,
    dir: tempfile::TempDir,
}

/// All that one sees from outside.
pub struct Seen {
    /// 128+n if the wrapping process itself was ended by a signal.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub report: Option<Report>,
}

impl Seen {
    pub fn report(&self) -> &Report {
        self.report.as_ref().unwrap_or_else(|| panic!("no report; stderr: {}", self.stderr))
    }

    pub fn evidence(&self) -> &Evidence {
        self.report().evidence.as_ref().expect("evidence")
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

impl Wrapped {
    pub fn new(argv: &[&str]) -> Self {
        Wrapped { argv: argv.iter().map(|s| (*s).to_owned()).collect(), ..Wrapped::default() }
    }

    pub fn shell(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    pub fn stall_ms(mut self, ms: u64) -> Self {
        self.stall_ms = Some(ms);
        self
    }

    pub fn grace_ms(mut self, ms: u64) -> Self {
        self.grace_ms = Some(ms);
        self
    }

    pub fn start(&self) -> Running {
        self.start_with(Stdio::piped(), Stdio::piped())
    }

    pub fn start_with(&self, stdout: Stdio, stderr: Stdio) -> Running {
        self.start_by(Command::new(std::env::current_exe().unwrap()), stdout, stderr)
    }

    /// As under `nohup`.
    pub fn start_ignoring_hup(&self) -> Running {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        self.start_by(shell, Stdio::piped(), Stdio::piped())
    }

    fn start_by(&self, mut program: Command, stdout: Stdio, stderr: Stdio) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let wrapped = Wrapped { report: dir.path().join("report"), ..self.clone() };
        let child = program
            .args(["--exact", "wrapped::stand_in", "--nocapture"])
            .env(ROLE, serde_json::to_string(&wrapped).unwrap())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Running { child, dir }
    }

    pub fn run(&self) -> Seen {
        self.start().seen()
    }
}

impl Running {
    /// Reads both streams to their ends, and waits for the process.
    pub fn seen(mut self) -> Seen {
        use std::os::unix::process::ExitStatusExt;
        let stdout = self.child.stdout.take();
        let stderr = self.child.stderr.take();
        let reading = std::thread::spawn(move || stdout.map(read).unwrap_or_default());
        let stderr = String::from_utf8_lossy(&stderr.map(read).unwrap_or_default()).into_owned();
        let all = reading.join().unwrap();
        let status = self.child.wait().unwrap();
        let begins = all.windows(BEGINS.len()).position(|w| w == BEGINS.as_bytes());
        let stdout = begins.map(|at| all[at + BEGINS.len()..].to_vec()).unwrap_or_default();
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        let report = std::fs::read(self.dir.path().join("report")).ok();
        let report = report.map(|json| serde_json::from_slice(&json).unwrap());
        Seen { code, stdout, stderr, report }
    }

    /// Reads what the harness said and a little of what the command printed, and goes away.
    pub fn close_stdout_once_it_began(&mut self) {
        let mut stdout = self.child.stdout.take().unwrap();
        let mut read: Vec<u8> = Vec::new();
        while !read.windows(BEGINS.len()).any(|w| w == BEGINS.as_bytes()) {
            let mut some = [0; 64];
            let n = stdout.read(&mut some).unwrap();
            assert!(n > 0, "it ended before it began");
            read.extend(&some[..n]);
        }
    }

    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

/// Polls until `probe` gives something: for what another process does, which sends no notice.
#[expect(clippy::disallowed_methods, reason = "between two looks at another process")]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process of this number runs; a zombie does not.
pub fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Runs what the environment says and exits as `cachetscope run` would; without it, it proves that
/// this works.
#[test]
#[expect(clippy::disallowed_methods, reason = "tests have no configuration; this is where they read theirs")]
fn stand_in() {
    let Ok(json) = std::env::var(ROLE) else {
        let seen = Wrapped::shell("echo there; exit 3").run();
        assert_eq!((seen.code, seen.text().as_str()), (3, "there\n"));
        return;
    };
    let wrapped: Wrapped = serde_json::from_str(&json).unwrap();
    let millis = |ms: Option<u64>| ms.map(Duration::from_millis);
    let command = wrap::Command {
        argv: wrapped.argv.iter().map(Into::into).collect(),
        env: wrapped.env.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
        timeout: millis(wrapped.timeout_ms),
        stall_timeout: millis(wrapped.stall_ms),
        grace: millis(wrapped.grace_ms).unwrap_or(wrap::Command::GRACE),
        secrets: wrapped.secrets.iter().map(|s| Secret::new(s)).collect(),
    };
    use std::io::Write as _;
    let mut stdout = std::io::stdout();
    stdout.write_all(BEGINS.as_bytes()).unwrap();
    stdout.flush().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ended = match runtime.block_on(wrap::run(command, &Clock::system())) {
        Ok(ended) => ended,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(error.exit_code().into());
        }
    };
    let code = ended.exit_code();
    let report = Report {
        exit: match ended.exit {
            Exit::Code(code) => format!("code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
        },
        ended_for: ended.ended_for.map(|why| match why {
            EndedFor::Stall => "stall".to_owned(),
            EndedFor::Timeout => "timeout".to_owned(),
            EndedFor::Signal(signal) => format!("signal {signal}"),
        }),
        seconds: ended.duration.as_secs_f64(),
        usage: Some(ended.usage),
        evidence: ended.evidence,
        last_output: ended.last_output,
    };
    std::fs::write(&wrapped.report, serde_json::to_vec(&report).unwrap()).unwrap();
    std::process::exit(code.into());
}
