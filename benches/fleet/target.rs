//! What is probed: a small static answer on many loopback addresses, in a process of its own.
//!
//! An address for each deployment, as a fleet has them; with a single one, the ports of a minute's
//! fresh connections would run out. It answers as one Cachet's `/api/ping` does and closes.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\
    Connection: close\r\n\r\n{\"data\":\"Pong!\"}";
const HEAD_BYTES_MAX: usize = 4 * 1024;

/// The address of the n-th deployment: 127.77.0.1, 127.77.0.2, …
pub fn address(n: u16, port: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    (Ipv4Addr::new(127, 77, high, low), port).into()
}

/// Listens for `count` deployments on one port, which it prints, and answers until it is killed.
pub async fn serve(count: u16) -> anyhow::Result<()> {
    let first = TcpListener::bind(address(1, 0)).await?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    for n in 2..=count {
        listeners.push(TcpListener::bind(address(n, port)).await?);
    }
    println!("{port}");
    let all = listeners.into_iter().map(|listener| async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        }
    });
    futures_util::future::join_all(all).await;
    Ok(())
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
    }
    stream.write_all(ANSWER).await?;
    stream.shutdown().await
}
