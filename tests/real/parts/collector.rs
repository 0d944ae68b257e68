//! A real OpenTelemetry Collector, and what it received.
//!
//! It runs with `otel-collector/test.yaml`: whatever it accepted is in a file before its answer
//! leaves, so what is read back after a kill is all that was promised. Each start writes to a folder
//! of its own; only then can nothing but the last line of a file be torn.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{eventually, part};

mod received;

#[allow(unused_imports)] // The vocabulary of tests that read telemetry back.
pub use received::{Attributes, Event, Exemplar, Kind, LogRecord, Measure, Point, Received, Span};

/// The process, or the place where it will start again; killed when dropped.
pub struct Collector {
    dir: PathBuf,
    addresses: Addresses,
    out_dirs: Vec<PathBuf>,
    child: Option<Child>,
}

#[derive(Clone, Copy)]
struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    health: SocketAddr,
}

impl Addresses {
    /// Three loopback ports that are free now; another process may take one before we do.
    fn free() -> Self {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free loopback port"));
        let [grpc, http, health] = listeners.map(|l| l.local_addr().expect("a bound socket has an address"));
        Addresses { grpc, http, health }
    }
}

impl Collector {
    /// Starts one on free ports, which answers when this returns. `dir` takes its output and log.
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[]).await
    }

    /// With more configuration over `test.yaml`, such as `yaml:receivers::otlp::…: value`.
    pub async fn start_with(dir: &Path, overrides: &[&str]) -> Self {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            let mut collector = Collector {
                dir: dir.to_owned(),
                addresses: Addresses::free(),
                out_dirs: Vec::new(),
                child: None,
            };
            match collector.try_restart(overrides).await {
                Ok(()) => return collector,
                Err(log) if log.contains("address already in use") => {}
                Err(log) => panic!("the collector did not start:\n{log}"),
            }
        }
        panic!("other processes took the collector's ports {TRIES} times");
    }

    /// Starts again at the same addresses, with a new output folder.
    pub async fn restart(&mut self, overrides: &[&str]) {
        assert!(self.child.is_none(), "the collector still runs");
        if let Err(log) = self.try_restart(overrides).await {
            panic!("the collector did not start again:\n{log}");
        }
    }

    /// The error is what it logged before it ended.
    async fn try_restart(&mut self, overrides: &[&str]) -> Result<(), String> {
        let run = self.out_dirs.len();
        let out = self.dir.join(format!("received-{run}"));
        let log = self.dir.join(format!("collector-{run}.log"));
        std::fs::create_dir_all(&out).expect("a folder for the collector's output");
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("otel-collector/test.yaml");
        let mut command = Command::new(part("CACHETSCOPE_TEST_OTELCOL"));
        command.arg("--config").arg(config);
        for text in overrides {
            command.args(["--config", text]);
        }
        let child = command
            .env("GRPC_ADDR", self.addresses.grpc.to_string())
            .env("HTTP_ADDR", self.addresses.http.to_string())
            .env("HEALTH_ADDR", self.addresses.health.to_string())
            .env("OUT_DIR", &out)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file for the collector's log"))
            .spawn()
            .expect("the collector can be started");
        self.child = Some(child);
        self.out_dirs.push(out);

        let health = self.addresses.health;
        let child = &mut self.child;
        let ready = eventually("the collector to answer", async || {
            let ended = child.as_mut()?.try_wait().expect("our own child can be asked");
            if ended.is_some() {
                return Some(false);
            }
            is_healthy(health).await.then_some(true)
        })
        .await;
        if ready {
            return Ok(());
        }
        self.child = None;
        Err(std::fs::read_to_string(&log).unwrap_or_default())
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("the command kill");
        assert!(sent.success(), "kill -TERM {pid} failed");
        let status = eventually("the collector to end", async || {
            child.try_wait().expect("our own child can be asked")
        })
        .await;
        // It answers before it listens for signals, so a stop right after the start just ends it; what
        // it accepted is in its files either way.
        let ended = status.success() || status.signal() == Some(15);
        assert!(ended, "the collector ended with {status}");
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.addresses.grpc)
    }

    pub fn http_url(&self) -> String {
        format!("http://{}", self.addresses.http)
    }

    /// One folder for each start, oldest first.
    pub fn out_dirs(&self) -> &[PathBuf] {
        &self.out_dirs
    }

    /// Everything it accepted since the first start, in the order of arrival.
    pub fn received(&self) -> Received {
        Received::read(&self.out_dirs)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn is_healthy(address: SocketAddr) -> bool {
    let ask = async || -> std::io::Result<bool> {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer.windows(5).any(|w| w == b" 200 "))
    };
    ask().await.unwrap_or(false)
}
