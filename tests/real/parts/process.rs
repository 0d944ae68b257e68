//! A part that is one process: started with a log, asked over HTTP, killed when dropped.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::eventually;

/// Loopback addresses that are free now; another process may take one before we do.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free loopback port"));
    listeners.map(|l| l.local_addr().expect("a bound socket has an address"))
}

pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Its log goes on in `dir`, over all starts.
    pub fn start(name: &'static str, dir: &Path, command: &mut Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let open =
            || -> File { OpenOptions::new().create(true).append(true).open(&log).expect("a file for a log") };
        let child = command.stdin(Stdio::null()).stdout(open()).stderr(open()).spawn();
        Process { name, child: child.unwrap_or_else(|error| panic!("{name} does not start: {error}")), log }
    }

    /// Waits until `path` is answered with 200. The error is the log of a process that ended instead.
    pub async fn ready(&mut self, address: SocketAddr, path: &str) -> Result<(), String> {
        let what = format!("{} to be ready", self.name);
        let child = &mut self.child;
        let ready = eventually(&what, async || {
            if child.try_wait().expect("our own child can be asked").is_some() {
                return Some(false);
            }
            let (status, _) = get(address, path).await?;
            (status == 200).then_some(true)
        })
        .await;
        if ready { Ok(()) } else { Err(std::fs::read_to_string(&self.log).unwrap_or_default()) }
    }

    /// As `kill -9` does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Status and body, if an answer came.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    exchange(address, &format!("GET {path}"), "").await
}

/// The same for JSON that is posted.
pub async fn post(address: SocketAddr, path: &str, json: &str) -> Option<(u16, String)> {
    exchange(address, &format!("POST {path}"), json).await
}

/// HTTP/1.0, so that no answer comes in chunks.
async fn exchange(address: SocketAddr, line: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!(
        "{line} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The JSON that this path answers with these parameters. The error has status and body.
pub async fn ask(address: SocketAddr, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    let path = format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"));
    match get(address, &path).await {
        Some((200, body)) => serde_json::from_str(&body).map_err(|error| format!("{error} in {body}")),
        Some((status, body)) => Err(format!("{status}: {}", body.trim())),
        None => Err("no answer".to_owned()),
    }
}
