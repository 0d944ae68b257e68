//! One request and its answer on one open stream, through hyper's HTTP/1 state machine.
//!
//! The connection and the request are polled by the same task, so an exchange spawns nothing, and
//! dropping it (at a timeout) drops all of it.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::client::conn::http1::{Builder, Connection};
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, Request, Version};
use hyper_util::rt::TokioIo;

use super::Failure;
use super::connect::Stream;
use super::stopwatch::{Stopwatch, Timed};
use crate::model::{ErrorType, Phase};

/// Bytes read ahead of the parser, so a head of up to this size is sure to be taken, and one of
/// twice this size sure to be refused: hyper looks at the limit between two reads.
const BUFFER_MAX: usize = 64 * 1024;

/// What came of the answer so far; it outlives an exchange that is cut off by a timeout.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub status: Option<u16>,
    pub protocol: Option<&'static str>,
    pub headers: HeaderMap,
    /// The body as it came, up to the cap.
    pub wire: Vec<u8>,
    /// Bytes of the body that came.
    pub wire_bytes: u64,
    /// The body went on beyond the cap.
    pub capped: bool,
    pub peer: Option<SocketAddr>,
    pub tls_days_left: Option<i64>,
}

/// Sends the request and reads the answer, at most `body_max` bytes of its body. Tells whether the
/// stream can carry another request, which is asked only when it is to be kept.
pub(super) async fn speak(
    stream: &mut Stream,
    watch: &mut Stopwatch,
    request: Request<Full<Bytes>>,
    body_max: usize,
    keep: bool,
    answer: &mut Answer,
) -> Result<bool, Failure> {
    match converse(stream, watch, request, body_max, keep, answer).await {
        Ok(reusable) => {
            watch.end(Phase::Receive);
            Ok(reusable)
        }
        Err(error) => Err(failure(&error, watch, answer)),
    }
}

async fn converse(
    stream: &mut Stream,
    watch: &mut Stopwatch,
    request: Request<Full<Bytes>>,
    body_max: usize,
    keep: bool,
    answer: &mut Answer,
) -> hyper::Result<bool> {
    let io = TokioIo::new(Timed { stream, watch });
    let (mut sender, connection) = Builder::new().max_buf_size(BUFFER_MAX).handshake(io).await?;
    let mut driven = Driven { connection, finished: false };

    let mut response = pin!(sender.send_request(request));
    let (head, mut body) = driven.until(|cx| response.as_mut().poll(cx)).await?.into_parts();
    answer.status = Some(head.status.as_u16());
    answer.protocol = Some(if head.version == Version::HTTP_10 { "1.0" } else { "1.1" });
    answer.headers = head.headers;

    while let Some(frame) = driven.until(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame?.into_data() else { continue };
        answer.wire_bytes += data.len() as u64;
        let room = body_max - answer.wire.len();
        answer.wire.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            answer.capped = true;
            return Ok(false);
        }
    }
    if !keep {
        return Ok(false);
    }
    driven.settle().await;
    Ok(!driven.finished && sender.is_ready() && driven.connection.into_parts().read_buf.is_empty())
}

/// hyper's connection, moved on by whoever waits for something from it.
struct Driven<'a> {
    connection: Connection<TokioIo<Timed<'a, Stream>>, Full<Bytes>>,
    finished: bool,
}

impl Driven<'_> {
    /// Waits for what the connection delivers; its errors come that way too.
    async fn until<T>(&mut self, mut delivered: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        poll_fn(|cx| {
            if let Poll::Ready(value) = delivered(cx) {
                return Poll::Ready(value);
            }
            self.advance(cx);
            delivered(cx)
        })
        .await
    }

    /// Lets the connection see that an exchange is over.
    async fn settle(&mut self) {
        poll_fn(|cx| {
            self.advance(cx);
            Poll::Ready(())
        })
        .await;
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        if !self.finished {
            self.finished = Pin::new(&mut self.connection).poll(cx).is_ready();
        }
    }
}

fn failure(error: &hyper::Error, watch: &Stopwatch, answer: &Answer) -> Failure {
    let peer = answer.peer.map_or_else(|| "the peer".to_owned(), |p| p.to_string());
    let progress = progress(watch, answer);
    let io_kind = error.source().and_then(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
    let (kind, detail) = match io_kind {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            (ErrorType::Protocol, format!("the answer of {peer} broke the rules of HTTP {progress}"))
        }
        Some(io::ErrorKind::UnexpectedEof) => {
            (ErrorType::Reset, format!("{peer} closed the connection {progress}"))
        }
        Some(io::ErrorKind::TimedOut) => (ErrorType::Timeout, format!("{peer} went silent {progress}")),
        Some(_) => (ErrorType::Reset, format!("{peer} reset the connection {progress}")),
        None if error.is_parse_too_large() => {
            let limit = BUFFER_MAX / 1024;
            (
                ErrorType::Protocol,
                format!("the headers of {peer} are larger than {limit} KiB, or more than 100"),
            )
        }
        None if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
            (ErrorType::Reset, format!("{peer} closed the connection {progress}"))
        }
        // hyper's own words name the rule that was broken, and never quote what came.
        None => (ErrorType::Protocol, format!("{peer} did not answer in HTTP: {error}")),
    };
    Failure { kind, detail }
}

/// How far an exchange had come.
pub(super) fn progress(watch: &Stopwatch, answer: &Answer) -> String {
    if !watch.has_ended(Phase::Wait) {
        return "before it answered".to_owned();
    }
    if answer.status.is_none() {
        return "within the headers".to_owned();
    }
    let declared = answer.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    match declared {
        Some(length) => format!("after {} of {length} body bytes", answer.wire_bytes),
        None => format!("after {} body bytes", answer.wire_bytes),
    }
}
