//! Copies the command's output to ours, byte by byte what it wrote, and notes when it spoke.
//!
//! One thread for each stream: blocking reads and writes are the fastest way, and a reader of ours
//! that takes nothing holds the command up as it would without us.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::start::Stream;
use super::tail::Tail;

const CHUNK: usize = 64 * 1024;
/// How long what the command left behind may keep the pipes open after its end.
const LEFTOVERS: Duration = Duration::from_millis(1_500);
/// What is in a pipe when the command ends is less than this.
const PIPE_MAX: u64 = 1024 * 1024;

/// The threads' side and the observer's side of the copying.
pub(super) struct Relay {
    began: Instant,
    /// Nanoseconds after `began`.
    spoke: AtomicU64,
    bytes: AtomicU64,
    lanes: Vec<Lane>,
    tail: Mutex<Tail>,
}

/// The state of one stream.
#[derive(Default)]
struct Lane {
    /// Between the end of a read and the end of the write that belongs to it.
    delivering: AtomicBool,
    /// Chunks that were read.
    reads: AtomicU64,
    done: AtomicBool,
}

impl Relay {
    pub fn start(streams: Vec<Stream>) -> std::io::Result<Arc<Self>> {
        let relay = Arc::new(Relay {
            began: Instant::now(),
            spoke: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            lanes: streams.iter().map(|_| Lane::default()).collect(),
            tail: Mutex::new(Tail::new(streams.len())),
        });
        for (i, stream) in streams.into_iter().enumerate() {
            let relay = Arc::clone(&relay);
            std::thread::Builder::new().name("relay".into()).spawn(move || relay.copy(i, stream))?;
        }
        Ok(relay)
    }

    fn copy(&self, i: usize, stream: Stream) {
        let Stream { mut from, mut to } = stream;
        let lane = &self.lanes[i];
        let mut chunk = vec![0; CHUNK];
        loop {
            let n = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            lane.delivering.store(true, Ordering::SeqCst);
            lane.reads.fetch_add(1, Ordering::SeqCst);
            self.bytes.fetch_add(n as u64, Ordering::Relaxed);
            let sent = deliver(&mut to, &chunk[..n]);
            self.tail().saw(i, &chunk[..n]);
            let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.spoke.fetch_max(now, Ordering::SeqCst);
            lane.delivering.store(false, Ordering::SeqCst);
            if sent.is_err() {
                // Nobody reads us any more. The pipe's end goes, and the command gets SIGPIPE.
                break;
            }
        }
        lane.done.store(true, Ordering::SeqCst);
    }

    pub fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When something was last printed; now, while our reader has not taken it.
    pub fn spoke(&self) -> Instant {
        if self.lanes.iter().any(|lane| lane.delivering.load(Ordering::SeqCst)) {
            return Instant::now();
        }
        self.began + Duration::from_nanos(self.spoke.load(Ordering::SeqCst))
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until all that the command wrote is through, for `at_most` if that is given; to be
    /// called when it has ended. False if something else still holds a pipe open: that is not waited
    /// for.
    pub async fn drained(&self, at_most: Option<Duration>) -> bool {
        let (since, before) = (Instant::now(), self.bytes());
        let mut seen: Vec<Option<u64>> = vec![None; self.lanes.len()];
        let mut idle = vec![false; self.lanes.len()];
        loop {
            if self.lanes.iter().all(|lane| lane.done.load(Ordering::SeqCst)) {
                return true;
            }
            for ((lane, seen), idle) in self.lanes.iter().zip(&mut seen).zip(&mut idle) {
                // Not delivering, twice with nothing read in between: the pipe was empty.
                let delivering = lane.delivering.load(Ordering::SeqCst);
                let reads = (!delivering).then(|| lane.reads.load(Ordering::SeqCst));
                *idle |= lane.done.load(Ordering::SeqCst) || (reads.is_some() && *seen == reads);
                *seen = reads;
            }
            let through = idle.iter().all(|idle| *idle) || self.bytes() - before > PIPE_MAX;
            let late = at_most.is_some_and(|at_most| since.elapsed() >= at_most);
            if late || (through && since.elapsed() >= LEFTOVERS) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Writes all of it, also to a stream that somebody has set to non-blocking.
fn deliver(to: &mut impl Write, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, no thread of the runtime")]
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_full_for_now_gets_all_of_it() {
        struct Full(Vec<u8>, u32);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.1 += 1;
                if self.1 % 2 == 1 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.0.push(bytes[0]);
                Ok(1)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut full = Full(Vec::new(), 0);
        deliver(&mut full, b"abc").unwrap();
        assert_eq!(full.0, b"abc");
    }
}
