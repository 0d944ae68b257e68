//! What disturbs a measurement and no version can have caused: the state of this host itself.
//!
//! Two things are looked at, again and again: how long a null request to a responder of our own takes
//! over loopback, and for which part of the time everything that runs here waited for memory or for the
//! disk (the kernel's pressure stall information). CPU pressure is not asked: on a host that also runs the
//! deployments it is ordinary, and what it does to response times is what the null request shows.
//!
//! One bad look says nothing: most of the last five must have been bad.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::verdict::Disturbance;

const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOKS: usize = 5;
/// Null requests of one look, of which the median counts.
const REQUESTS: usize = 7;
/// Some fifty times what it takes on a quiet host, and as long as the fastest real requests take.
const NULL_MAX: Duration = Duration::from_millis(10);
const NULL_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
/// Of the last ten seconds, in percent, in which no task at all could go on.
const STALLED_MAX: f64 = 20.0;

/// Starts to look at this host; it ends when the last receiver is dropped.
pub fn watch_host() -> watch::Receiver<Option<Disturbance>> {
    let (telling, told) = watch::channel(None);
    tokio::spawn(run(telling));
    told
}

async fn run(telling: watch::Sender<Option<Disturbance>>) {
    let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await else {
        tracing::warn!("no port is free on loopback; how disturbed this host is stays unknown");
        return;
    };
    let Ok(address) = listener.local_addr() else { return };
    tokio::select! {
        () = respond(listener) => {}
        () = look(address, &telling) => {}
        () = telling.closed() => {}
    }
}

async fn respond(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut asked = [0; 256];
        // A stranger who says nothing must not keep the next one waiting.
        let answered = async {
            // Whatever was asked, and however much of it came.
            let _ = stream.read(&mut asked).await?;
            stream.write_all(ANSWER).await
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), answered).await;
    }
}

async fn look(address: SocketAddr, telling: &watch::Sender<Option<Disturbance>>) {
    let mut looks = VecDeque::with_capacity(LOOKS);
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let mut times = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            times.push(null_request(address).await);
        }
        times.sort_unstable();
        let found = judge(times[REQUESTS / 2], pressure().await);
        if looks.len() == LOOKS {
            looks.pop_front();
        }
        looks.push_back(found);
        let standing = standing(&looks);
        let changed = telling.send_if_modified(|known| std::mem::replace(known, standing) != standing);
        match standing {
            Some(disturbance) if changed => {
                tracing::warn!(?disturbance, null_request = ?times[REQUESTS / 2], "this host is disturbed: no verdicts for now");
            }
            None if changed => tracing::info!("this host is quiet again"),
            _ => {}
        }
    }
}

/// A request that does nothing: what is left is this host.
async fn null_request(address: SocketAddr) -> Duration {
    let began = Instant::now();
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(REQUEST).await?;
        let mut answer = Vec::with_capacity(ANSWER.len());
        stream.read_to_end(&mut answer).await
    };
    // Where there is no connection to be had, as without a file descriptor, the host is not quiet.
    match tokio::time::timeout(NULL_TIMEOUT, asked).await {
        Ok(Ok(_)) => began.elapsed(),
        _ => NULL_TIMEOUT,
    }
}

/// The parts of the last ten seconds in which everything waited for memory, and for the disk; 0 where the
/// kernel does not tell.
async fn pressure() -> [f64; 2] {
    let mut found = [0.0; 2];
    for (of, what) in found.iter_mut().zip(["memory", "io"]) {
        if let Ok(text) = tokio::fs::read_to_string(format!("/proc/pressure/{what}")).await {
            *of = full_of(&text).unwrap_or(0.0);
        }
    }
    found
}

/// `full avg10=1.53 avg60=…` (Linux, Documentation/accounting/psi.rst)
fn full_of(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("full "))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
}

fn judge(null_request: Duration, stalled: [f64; 2]) -> Option<Disturbance> {
    if null_request > NULL_MAX {
        return Some(Disturbance::Loopback);
    }
    stalled.iter().any(|part| *part > STALLED_MAX).then_some(Disturbance::HostPressure)
}

/// What most of the looks found.
fn standing(looks: &VecDeque<Option<Disturbance>>) -> Option<Disturbance> {
    let bad: Vec<Disturbance> = looks.iter().copied().flatten().collect();
    if bad.len() * 2 > LOOKS { bad.last().copied() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_as_the_kernel_writes_it() {
        let text = "some avg10=93.17 avg60=92.45 avg300=91.21 total=1115762782\n\
                    full avg10=1.53 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(full_of(text), Some(1.53));
        assert_eq!(full_of("some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"), None, "an old kernel's cpu");
        assert_eq!(full_of("full avg10=much"), None);
    }

    #[test]
    fn one_bad_look_says_nothing_and_three_of_five_do() {
        let (quiet, bad) = (None, Some(Disturbance::HostPressure));
        let of = |looks: &[Option<Disturbance>]| standing(&looks.iter().copied().collect());
        assert_eq!(of(&[bad, bad]), None, "just started");
        assert_eq!(of(&[bad, quiet, bad, quiet, quiet]), None);
        assert_eq!(of(&[bad, quiet, bad, quiet, Some(Disturbance::Loopback)]), Some(Disturbance::Loopback));
        assert_eq!(judge(Duration::from_micros(150), [0.0, 19.0]), None);
        assert_eq!(judge(Duration::from_micros(150), [0.0, 21.0]), bad);
        assert_eq!(judge(Duration::from_millis(11), [0.0; 2]), Some(Disturbance::Loopback));
    }

    #[tokio::test]
    async fn the_responder_answers_one_after_the_other() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let responder = tokio::spawn(respond(listener));
        for _ in 0..3 {
            assert!(null_request(address).await < NULL_TIMEOUT, "it was answered, not given up");
        }
        responder.abort();
        let _ = responder.await;
        assert_eq!(null_request(address).await, NULL_TIMEOUT, "a refusal is not quick, it is no answer");
    }
}
