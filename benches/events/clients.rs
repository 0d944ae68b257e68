//! Clients that post as fast as they are answered. They speak HTTP by hand, so that they cost little
//! beside the daemon on the same two cores.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub struct Posted {
    /// In all.
    pub acknowledged: u64,
    /// Within the window.
    pub measured: u64,
    pub window: Duration,
}

pub async fn post(
    address: SocketAddr,
    clients: usize,
    batch: usize,
    warm_up: Duration,
    time: Duration,
) -> anyhow::Result<Posted> {
    let from = Instant::now() + warm_up;
    let to = from + time;
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        tasks.spawn(one(address, client, batch, from, to));
    }
    let (mut acknowledged, mut measured) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (all, within) = done??;
        acknowledged += all;
        measured += within;
    }
    Ok(Posted { acknowledged, measured, window: time })
}

/// One event as a step of a CI run would tell it: some 450 bytes.
fn event(client: usize, n: u64) -> String {
    let second = n % 60;
    format!(
        r#"{{"source":"jenkins","pipeline":"cachet/3.x","run":"{client}","step":"step-{n}","name":"lint",
"task":"build","started":"2026-01-02T03:04:{second:02}Z","finished":"2026-01-02T03:05:{second:02}.250Z",
"result":"success","branch":"3.x","commit":"0123456789abcdef0123456789abcdef01234567",
"repository":"https://git.example/cachethq/core","url":"https://ci.example/job/cachet/412/","worker":"agent-7"}}"#
    )
}

async fn one(
    address: SocketAddr,
    client: usize,
    batch: usize,
    from: Instant,
    to: Instant,
) -> anyhow::Result<(u64, u64)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut all, mut within, mut n) = (0, 0, 0);
    while Instant::now() < to {
        let events: Vec<String> = (0..batch).map(|i| event(client, n + i as u64)).collect();
        n += batch as u64;
        let body = if batch == 1 { events.concat() } else { format!("[{}]", events.join(",")) };
        let request = format!(
            "POST /api/v1/events HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let answer = read(&mut stream).await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        all += batch as u64;
        let now = Instant::now();
        if now >= from && now < to {
            within += batch as u64;
        }
    }
    Ok((all, within))
}

/// Head and body of one answer; bodies here have a length.
async fn read(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        anyhow::ensure!(stream.read_buf(&mut bytes).await? > 0, "the daemon closed the connection");
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                value.trim().parse::<usize>().ok()
            } else {
                None
            }
        });
        let length = length.with_context(|| format!("an answer without a length: {head}"))?;
        if body.len() >= length {
            return Ok(text.into_owned());
        }
    }
}

/// Transactions that the daemon's store has committed since its start.
pub async fn commits(address: SocketAddr) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /api/v1/overview HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let answer = read(&mut stream).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    let overview: serde_json::Value = serde_json::from_str(body)?;
    overview["health"]["store"]["commits"].as_u64().context("a number of commits")
}
