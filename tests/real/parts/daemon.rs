//! `cachetscope serve` as a process of its own, over a fleet of stand-ins.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cachetscope::store::{Location, default_file};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Files of a daemon that may be started again and again: configuration, state, log.
pub struct Place {
    dir: PathBuf,
}

/// A deployment as `fleet.yaml` has it.
pub struct Target {
    pub name: String,
    pub version: &'static str,
    pub db: &'static str,
    pub url: String,
}

impl Place {
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("probes")).expect("a folder for the configuration");
        Place { dir: dir.to_owned() }
    }

    /// Each target gets a host group of its own.
    pub fn write_fleet(&self, targets: &[Target]) {
        let mut text = String::from("deployments:\n");
        for target in targets {
            let Target { name, version, db, url } = target;
            writeln!(
                text,
                "  - {{ name: {name}, version: {version}, db: {db}, url: \"{url}\", host_group: {name} }}"
            )
            .expect("a string takes what is written");
        }
        self.write("fleet.yaml", &text);
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.join("probes").join(file), text).expect("a configuration file");
    }

    pub fn location(&self) -> Location {
        Location::File(default_file(&self.dir.join("state")))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Starts a daemon that sends to `endpoint`; returns at once.
    pub fn start(&self, endpoint: &str, protocol: &str) -> Daemon {
        self.start_at(([127, 0, 0, 1], 0).into(), endpoint, protocol)
    }

    /// The same at an address that stays.
    pub fn start_at(&self, listen: SocketAddr, endpoint: &str, protocol: &str) -> Daemon {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_cachetscope"))
            .args(["serve", "--listen", &listen.to_string(), "--publish-every", "1s"])
            .arg("--config")
            .arg(self.dir.join("probes"))
            .arg("--state-dir")
            .arg(self.dir.join("state"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        Daemon { child }
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Resident memory and its peak, in KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let value = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        (value("VmRSS:").unwrap_or(0), value("VmHWM:").unwrap_or(0))
    }

    /// Makes the present memory the peak (proc(5), `clear_refs`).
    pub fn reset_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("the peak is reset");
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// SIGTERM; whether it ended well.
    pub fn stop(mut self) -> bool {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "SIGTERM reaches {pid}");
        self.child.wait().expect("a child ends").success()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of an answer of the daemon's API, when it is 200.
pub async fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding");
    (head.starts_with("HTTP/1.1 200") && !chunked).then(|| body.to_owned())
}
