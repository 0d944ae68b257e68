//! What the tests of the commands share: the binary as a child process with a home of its own,
//! fleets of stand-ins, and a collector that keeps what it was sent.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use cachetscope::demo::{Kind, StandIn};
use cachetscope::model::{Flavour, Version};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

pub const V2: &str = "2.4.1";
pub const V3: &str = "3.0.0-dev.202608221030";
/// Nothing listens on the first port, and nothing is sent beyond the loopback device.
pub const NO_COLLECTOR: &str = "http://127.0.0.1:1";
/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client for plain HTTP.
pub fn plain_http() -> reqwest::Client {
    cachetscope::http::ordinary(rustls::RootCertStore::empty()).unwrap().build().unwrap()
}

/// Waits until a condition holds.
pub async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A folder that a child process takes for its home, with a configuration in `probes/`.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::create_dir(home.path("probes")).unwrap();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `probes/fleet.yaml` with these deployments.
    pub fn fleet<'a>(&self, members: impl IntoIterator<Item = &'a Member>) {
        let entries: String = members.into_iter().map(Member::yaml).collect();
        self.write("probes/fleet.yaml", &format!("deployments:\n{entries}"));
    }

    /// The program in this home, without anything of this process's environment; what it sends
    /// goes nowhere unless the caller says where.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cachetscope"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", NO_COLLECTOR)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        finish(&mut self.command(arguments)).await
    }

    /// Where one-shots keep what is not delivered.
    pub fn spool(&self) -> PathBuf {
        self.path(".local/state/cachetscope/probe.db")
    }

    /// Where the daemon keeps everything.
    pub fn store(&self) -> PathBuf {
        self.path(".local/state/cachetscope/cachetscope.db")
    }
}

/// What a process said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }
}

/// Runs a command to its end.
pub async fn finish(command: &mut Command) -> Ran {
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{command:?} still runs after {PATIENCE:?}")).unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A stand-in that is a member of a fleet.
pub struct Member {
    pub name: String,
    pub version: String,
    pub flavour: Flavour,
    pub stand_in: StandIn,
    /// Further lines of its entry in `fleet.yaml`, such as `writes: allowed`.
    pub more: Vec<String>,
}

impl Member {
    pub async fn start(name: &str, version: &str, flavour: Flavour) -> Self {
        let kind = Kind { seen_max: 10_000, ..Kind::new(Version::parse(version).unwrap(), flavour) };
        Self::of(name, kind).await
    }

    pub async fn of(name: &str, kind: Kind) -> Self {
        let (version, flavour) = (kind.version.to_string(), kind.flavour);
        let stand_in = StandIn::start(kind).await.unwrap();
        Member { name: name.to_owned(), version, flavour, stand_in, more: Vec::new() }
    }

    pub fn with(mut self, line: impl Into<String>) -> Self {
        self.more.push(line.into());
        self
    }

    pub fn url(&self) -> String {
        self.stand_in.url().to_string()
    }

    /// What was asked, as `GET /path`, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.stand_in.requests().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    fn yaml(&self) -> String {
        let Member { name, version, flavour, .. } = self;
        let mut entry = format!("  - name: {name}\n    version: {version}\n    db: {flavour}\n");
        entry.push_str(&format!("    url: {}\n", self.url()));
        self.more.iter().for_each(|line| entry.push_str(&format!("    {line}\n")));
        entry
    }
}

/// A shipped suite with something changed.
pub fn shipped(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name} holds no {from:?} any more");
        text.replacen(from, to, 1)
    })
}

/// A loopback collector for OTLP over HTTP.
pub struct Collector {
    pub endpoint: String,
    received: Arc<Mutex<Received>>,
}

/// Everything a collector was sent.
#[derive(Default)]
pub struct Received {
    pub spans: Vec<Span>,
    pub logs: Vec<LogRecord>,
    pub metrics: Vec<Metric>,
    /// Decompressed, one after the other.
    pub bytes: Vec<u8>,
    /// What it answers, when not 200.
    status: Option<StatusCode>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Received>>::default();
        let router = axum::Router::new().fallback(receive).with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Collector { endpoint, received }
    }

    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }

    /// From now on it answers everything with this status, and keeps nothing unless that is 200.
    pub fn answer(&self, status: u16) {
        let status = StatusCode::from_u16(status).unwrap();
        self.received().status = (status != StatusCode::OK).then_some(status);
    }
}

async fn receive(
    State(received): State<Arc<Mutex<Received>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut plain = Vec::new();
    match headers.get("content-encoding").map(|v| v.as_bytes()) {
        Some(b"gzip") => drop(flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap()),
        _ => plain.extend_from_slice(&body),
    }
    let mut received = received.lock().unwrap();
    if let Some(status) = received.status {
        return status;
    }
    match uri.path() {
        "/v1/traces" => {
            let request = ExportTraceServiceRequest::decode(&*plain).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
            received.spans.extend(scopes.flat_map(|s| s.spans));
        }
        "/v1/logs" => {
            let request = ExportLogsServiceRequest::decode(&*plain).unwrap();
            let scopes = request.resource_logs.into_iter().flat_map(|r| r.scope_logs);
            received.logs.extend(scopes.flat_map(|s| s.log_records));
        }
        "/v1/metrics" => {
            let request = ExportMetricsServiceRequest::decode(&*plain).unwrap();
            let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
            received.metrics.extend(scopes.flat_map(|s| s.metrics));
        }
        _ => return StatusCode::NOT_FOUND,
    }
    received.bytes.extend(plain);
    StatusCode::OK
}

/// A daemon as a child process.
pub struct Served {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// What it said on stderr so far.
    pub said: Vec<String>,
    pub address: String,
}

impl Served {
    /// Starts `serve` on any free port, and waits until it is ready.
    pub async fn start(home: &Home, arguments: &[&str]) -> Self {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--color", "never"];
        Self::of(&mut home.command(serve.iter().chain(arguments))).await
    }

    pub async fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut served = Served { child, lines, said: Vec::new(), address: String::new() };
        let ready = served.hears("ready").await;
        let page = ready.split("http://").nth(1).unwrap_or_else(|| panic!("no address in {ready}"));
        served.address = page.split('"').next().unwrap().to_owned();
        served
    }

    /// Waits until it says a line that holds these words; returns the line.
    pub async fn hears(&mut self, words: &str) -> String {
        let heard = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended without `{words}`: {:#?}", self.said));
                self.said.push(line.clone());
                if line.contains(words) {
                    return line;
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        heard.unwrap_or_else(|_| panic!("it did not say `{words}`, but {:#?}", self.said))
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}: {status}");
    }

    /// Stops it as systemd does; returns what it said, and how long that took.
    pub async fn stop(mut self) -> (Ran, Duration) {
        self.signal("TERM");
        let started = Instant::now();
        let rest = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push(line);
            }
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(PATIENCE, rest).await.expect("it does not stop");
        let ran =
            Ran { code: status.code().unwrap_or(-1), stdout: String::new(), stderr: self.said.join("\n") };
        (ran, started.elapsed())
    }
}
