//! Bodies of requests, within their limits: of one body, of all at once, of time.
//!
//! What is under way is paid for out of one budget before it is held, so many large requests at once
//! wait for each other, and at last are told to come again, instead of filling the memory.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::problem::Problem;

/// Bytes of a body, decompressed.
pub(super) const BODY_MAX: usize = 32 << 20;
/// Bytes of all bodies that are under way, as sent and decompressed.
const UNDER_WAY_MAX: usize = 64 << 20;
const UNIT: usize = 1 << 10;
/// How long a request waits for others to be done.
const BUDGET_WAIT: Duration = Duration::from_secs(2);
/// How long a body may take in all.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// What is read on of a body that was refused, so that its sender gets to read why.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// What all bodies together may weigh.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub fn new() -> Self {
        Budget(Arc::new(Semaphore::new(UNDER_WAY_MAX / UNIT)))
    }

    pub fn weigh(&self) -> Weight {
        Weight { budget: self.clone(), paid: 0, permit: None }
    }
}

/// What one request has paid for, until it is dropped.
pub(super) struct Weight {
    budget: Budget,
    paid: usize,
    permit: Option<OwnedSemaphorePermit>,
}

fn too_many() -> Problem {
    Problem::Busy("too much is being taken in at once; send it again".into(), 1)
}

impl Weight {
    fn missing(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).saturating_sub(self.paid)).unwrap_or(u32::MAX)
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        self.paid += permit.num_permits();
        match &mut self.permit {
            Some(paid) => paid.merge(permit),
            None => self.permit = Some(permit),
        }
    }

    /// Pays for this many bytes in all; waits a moment for others.
    pub async fn cover(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = self.missing(bytes);
        if missing > 0 {
            let permit = timeout(BUDGET_WAIT, self.budget.0.clone().acquire_many_owned(missing)).await;
            self.add(permit.map_err(|_| too_many())?.map_err(|_| too_many())?);
        }
        Ok(())
    }

    /// The same without waiting, from a thread that may block.
    fn try_cover(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = self.missing(bytes);
        if missing > 0 {
            let permit = self.budget.0.clone().try_acquire_many_owned(missing);
            self.add(permit.map_err(|_| too_many())?);
        }
        Ok(())
    }
}

/// The media type of a body, in small letters and without parameters; empty when absent.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether the body is gzip; any other encoding is refused.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(false) };
    match value.to_str().unwrap_or("?").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        _ => Err(Problem::MediaType("this content-encoding is not known; expected gzip or none".into())),
    }
}

pub(super) fn too_large() -> Problem {
    Problem::TooLarge(format!(
        "the body is larger than {BODY_MAX} bytes, decompressed; send several requests, and a large test run as JUnit XML to /api/v1/events/junit"
    ))
}

/// A body as it came.
pub(super) struct Sent {
    bytes: Vec<u8>,
    gzip: bool,
    weight: Weight,
}

impl Sent {
    pub async fn read(budget: &Budget, headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let gzip = is_gzip(headers)?;
        let length: Option<usize> =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut stream = body.into_data_stream();
        if length.is_some_and(|length| length > BODY_MAX) {
            drain(stream).await;
            return Err(too_large());
        }
        let mut weight = budget.weigh();
        weight.cover(length.unwrap_or(0)).await?;
        let mut bytes = Vec::with_capacity(length.unwrap_or(0));
        let deadline = Instant::now() + BODY_WITHIN;
        while let Some(chunk) = timeout_at(deadline, stream.next()).await.map_err(|_| Problem::Slow)? {
            let chunk: Bytes = chunk.map_err(|_| Problem::BadRequest("the body broke off".into()))?;
            if bytes.len() + chunk.len() > BODY_MAX {
                drain(stream).await;
                return Err(too_large());
            }
            weight.cover(bytes.len() + chunk.len()).await?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(Sent { bytes, gzip, weight })
    }

    /// Whether what is in it may be much to read.
    pub fn is_heavy(&self) -> bool {
        const HEAVY: usize = 256 << 10;
        // Gzip makes texts like these 10 to 30 times smaller.
        self.bytes.len() > if self.gzip { HEAVY / 32 } else { HEAVY }
    }

    /// As text; may take a while when it is heavy.
    pub fn into_text(self) -> Result<(String, Weight), Problem> {
        let Sent { mut bytes, gzip, mut weight } = self;
        if gzip {
            bytes = inflate(&bytes, &mut weight)?;
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Problem::BadRequest(format!("the body is not UTF-8: the first broken byte is at offset {at}"))
        })?;
        Ok((text, weight))
    }
}

/// Stops at the limit, whatever the stream would grow to.
fn inflate(bytes: &[u8], weight: &mut Weight) -> Result<Vec<u8>, Problem> {
    let mut decoder = MultiGzDecoder::new(bytes);
    let mut inflated = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        match decoder.read(&mut part) {
            Ok(0) => return Ok(inflated),
            Ok(n) if inflated.len() + n > BODY_MAX => return Err(too_large()),
            Ok(n) => {
                weight.try_cover(bytes.len() + inflated.len() + n)?;
                inflated.extend_from_slice(&part[..n]);
            }
            Err(error) => {
                return Err(Problem::BadRequest(format!("the body is no whole gzip stream: {error}")));
            }
        }
    }
}

/// Reads on for a while: a connection that is closed with unread data may lose the answer too.
pub(super) async fn drain(mut stream: axum::body::BodyDataStream) {
    let mut left = DRAIN_BYTES;
    let reading = async {
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // The sender that takes longer is not waited for.
    let _ = timeout(DRAIN_WITHIN, reading).await;
}
