//! Where the time of a call goes: instants at the seams between phases, and their differences.
//!
//! Phases are never added up from separate measurements: each one ends where the next begins, so
//! that their sum is the elapsed time to the nanosecond. What is still running when a call ends
//! gets the rest. The seams between send, wait and receive are seen by [`Timed`], at the socket (or
//! at the plain side of TLS), where bytes really move.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::model::{Phase, Phases};

/// The phases of one call; of several exchanges when it was redirected or tried again.
#[derive(Debug)]
pub(super) struct Stopwatch {
    /// What earlier exchanges of the same call took.
    past: Phases,
    began: Instant,
    /// When each phase of the running exchange ended; once one is missing, so are the later ones.
    ended: [Option<Instant>; 6],
}

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch { past: Phases::default(), began: Instant::now(), ended: [None; 6] }
    }

    /// This phase, and whatever ran before it, ended now.
    pub fn end(&mut self, phase: Phase) {
        let now = Instant::now();
        for ended in &mut self.ended[..=phase as usize] {
            ended.get_or_insert(now);
        }
    }

    /// This phase does not happen: it takes no time at all.
    pub fn skip(&mut self, phase: Phase) {
        let before = (phase as usize).checked_sub(1).and_then(|before| self.ended[before]);
        self.ended[phase as usize].get_or_insert(before.unwrap_or(self.began));
    }

    pub fn has_ended(&self, phase: Phase) -> bool {
        self.ended[phase as usize].is_some()
    }

    /// The phase that runs; the last one when all have ended.
    pub fn running(&self) -> Phase {
        Phase::ALL.into_iter().find(|p| !self.has_ended(*p)).unwrap_or(Phase::Receive)
    }

    /// Begins another exchange where the last one ended, without a gap.
    pub fn begin_next(&mut self) {
        self.end(Phase::Receive);
        let last = self.ended[Phase::Receive as usize].unwrap_or(self.began);
        *self = Stopwatch { past: self.phases(last), began: last, ended: [None; 6] };
    }

    /// All that was measured until `now`, or until the answer was complete.
    pub fn phases(&self, now: Instant) -> Phases {
        let mut phases = self.past;
        let mut from = self.began;
        for (total, ended) in phases.0.iter_mut().zip(self.ended) {
            let to = ended.unwrap_or(now);
            let spent = to.saturating_duration_since(from).as_nanos();
            *total = total.saturating_add(u64::try_from(spent).unwrap_or(u64::MAX));
            from = from.max(to);
        }
        phases
    }

    /// More was written before an answer came: sending has not ended after all.
    fn keep_sending(&mut self) {
        if !self.has_ended(Phase::Wait) {
            self.ended[Phase::Send as usize] = None;
        }
    }
}

/// A stream that tells the stopwatch when the request was handed over and when the answer began.
pub(super) struct Timed<'a, S> {
    pub stream: &'a mut S,
    pub watch: &'a mut Stopwatch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before && !self.watch.has_ended(Phase::Wait) {
            self.watch.end(Phase::Wait);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.watch.keep_sending();
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    /// hyper flushes when its own buffer is empty, and TLS is done when its records are with the
    /// kernel, so a finished flush is the moment the last byte was handed over.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
        if !self.watch.has_ended(Phase::Send) {
            self.watch.end(Phase::Send);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.keep_sending();
        Pin::new(&mut *self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(began: Instant, millis: [Option<u64>; 6]) -> Stopwatch {
        let ended = millis.map(|m| m.map(|m| began + Duration::from_millis(m)));
        Stopwatch { past: Phases::default(), began, ended }
    }

    #[test]
    fn phases_follow_each_other_without_a_gap() {
        let began = Instant::now();
        let watch = at(began, [Some(1), Some(3), Some(3), Some(4), Some(9), Some(20)]);
        let much_later = began + Duration::from_secs(1);
        assert_eq!(watch.phases(much_later).0.map(|n| n / 1_000_000), [1, 2, 0, 1, 5, 11]);
        assert_eq!(watch.phases(much_later).total(), Duration::from_millis(20));
    }

    #[test]
    fn the_running_phase_gets_the_rest() {
        let began = Instant::now();
        let watch = at(began, [Some(1), Some(3), None, None, None, None]);
        assert_eq!(watch.running(), Phase::Tls);
        let phases = watch.phases(began + Duration::from_millis(50));
        assert_eq!(phases.0.map(|n| n / 1_000_000), [1, 2, 47, 0, 0, 0]);
    }

    #[test]
    fn a_second_exchange_adds_to_the_first() {
        let began = Instant::now();
        let mut watch = at(began, [Some(1), Some(2), Some(2), Some(3), Some(5), Some(9)]);
        watch.begin_next();
        assert_eq!(watch.running(), Phase::Dns);
        let phases = watch.phases(began + Duration::from_millis(29));
        assert_eq!(phases.0.map(|n| n / 1_000_000), [21, 1, 0, 1, 2, 4]);
    }

    #[tokio::test]
    async fn sending_ends_with_the_last_flush_before_the_answer() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut here, mut there) = tokio::io::duplex(64);
        let mut watch = Stopwatch::start();
        watch.end(Phase::Tls);
        let mut timed = Timed { stream: &mut here, watch: &mut watch };
        timed.write_all(b"one").await.unwrap();
        assert_eq!(timed.watch.running(), Phase::Send);
        timed.flush().await.unwrap();
        assert_eq!(timed.watch.running(), Phase::Wait);
        timed.write_all(b"two").await.unwrap();
        assert_eq!(timed.watch.running(), Phase::Send);
        timed.flush().await.unwrap();
        there.write_all(b"answer").await.unwrap();
        timed.read_u8().await.unwrap();
        assert_eq!(timed.watch.running(), Phase::Receive);
        timed.write_all(b"three").await.unwrap();
        assert_eq!(timed.watch.running(), Phase::Receive);
    }
}
