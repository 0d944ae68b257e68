//! OTLP/gRPC (OTLP specification 1.x, 'OTLP/gRPC').
//!
//! The outbox holds encoded requests, so the codec passes bytes through where generated clients
//! would decode and encode again.

use std::error::Error as _;
use std::sync::{Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::answer::{ANSWER_MAX, Words, accepted, retry, retry_info};
use super::settings::{Compression, Target};
use super::transport::{Delivery, TransportError, Trouble, roots};
use crate::otlp::Signal;

/// One HTTP/2 connection, made when it is first needed and again when it broke.
pub(super) struct GrpcChannel {
    endpoint: Endpoint,
    channel: Mutex<Channel>,
}

impl GrpcChannel {
    pub(super) fn new(target: &Target, place: &str) -> Result<Self, TransportError> {
        let failed = |error: tonic::transport::Error| TransportError::Client {
            endpoint: place.to_owned(),
            problem: Words { headers: &target.headers }.chain(&error),
        };
        let mut endpoint = Endpoint::from_shared(target.endpoint.to_string())
            .and_then(|e| e.user_agent(concat!("cachetscope/", env!("CARGO_PKG_VERSION"))))
            .map_err(failed)?;
        if target.endpoint.scheme() == "https" {
            let tls = ClientTlsConfig::new().trust_anchors(roots(target, place)?.roots);
            endpoint = endpoint.tls_config(tls).map_err(failed)?;
        }
        let channel = Mutex::new(endpoint.connect_lazy());
        Ok(GrpcChannel { endpoint, channel })
    }

    /// Leaves the connection: one that hangs would take every later request with it.
    pub(super) fn reset(&self) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = self.endpoint.connect_lazy();
    }

    pub(super) async fn send(&self, signal: Signal, target: &Target, place: &str, body: Bytes) -> Delivery {
        let words = Words { headers: &target.headers };
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut grpc = Grpc::new(channel)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(ANSWER_MAX);
        if target.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        if let Err(error) = grpc.ready().await {
            let reason = format!("no answer from {place}: {}", words.chain(&error));
            return retry(Trouble::Unreachable, reason, None);
        }
        let mut request = Request::new(body);
        *request.metadata_mut() = MetadataMap::from_headers(target.headers.clone());
        match grpc.unary(request, method(signal), Raw).await {
            Ok(response) => accepted(response.get_ref(), &words).unwrap_or_else(|| {
                let bytes = response.get_ref().len();
                let reason = format!(
                    "{place} answered OK with {bytes} bytes that are no OTLP answer; is it a collector?"
                );
                retry(Trouble::NotACollector, reason, None)
            }),
            Err(status) => judge(place, &words, &status),
        }
    }
}

fn method(signal: Signal) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    })
}

/// What a status means. INVALID_ARGUMENT is final; any other may be mended by someone and is
/// retried, also those that the OTLP specification calls permanent.
fn judge(place: &str, words: &Words<'_>, status: &Status) -> Delivery {
    // A status with a source was made here, for want of one from the server.
    if let Some(source) = status.source() {
        let cause = words.chain(source);
        // The first bytes of an HTTP/1.1 answer, read as the length of a frame.
        if cause.contains("frame with invalid size") {
            let reason = format!("{place} does not speak HTTP/2 ({cause}); is it an endpoint for HTTP?");
            return retry(Trouble::NotACollector, reason, None);
        }
        return retry(Trouble::Unreachable, format!("no answer from {place}: {cause}"), None);
    }
    let content_type = status.metadata().get("content-type").and_then(|value| value.to_str().ok());
    let is_grpc = content_type.is_none_or(|kind| kind.starts_with("application/grpc"));
    let said = words.clean(status.message());
    let colon = if said.is_empty() { "" } else { ": " };
    let reason = format!("{place} answered {}{colon}{said}", code_name(status.code()));
    let trouble = match status.code() {
        _ if !is_grpc => Trouble::NotACollector,
        Code::InvalidArgument => return Delivery::Refused { reason },
        // The words of gRPC for Go and C++, and for Java. No pause would make the request smaller.
        Code::ResourceExhausted
            if said.contains("larger than max") || said.contains("exceeds maximum size") =>
        {
            return Delivery::TooLarge { reason };
        }
        Code::Unauthenticated | Code::PermissionDenied => Trouble::Unauthorised,
        Code::Unimplemented | Code::NotFound => Trouble::NotACollector,
        Code::ResourceExhausted
        | Code::Unavailable
        | Code::Aborted
        | Code::Cancelled
        | Code::DeadlineExceeded => Trouble::Overloaded,
        _ => Trouble::Failing,
    };
    retry(trouble, reason, retry_info(status.details()))
}

/// The code as the gRPC documentation writes it: `RESOURCE_EXHAUSTED`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

/// Bytes in, bytes out.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.len());
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn judged(code: Code, message: &str) -> Delivery {
        judge("http://c:4317 (gRPC)", &Words { headers: &HeaderMap::new() }, &Status::new(code, message))
    }

    #[test]
    fn only_invalid_argument_is_final() {
        for code in (1..17).map(Code::from).filter(|code| *code != Code::InvalidArgument) {
            assert!(matches!(judged(code, ""), Delivery::Retry { .. }), "{code:?}");
        }
        assert!(matches!(judged(Code::InvalidArgument, ""), Delivery::Refused { .. }));
    }

    #[test]
    fn exhaustion_by_size_asks_for_smaller_requests_and_any_other_for_patience() {
        let size = "grpc: received message larger than max (5000000 vs. 4194304)";
        assert!(matches!(judged(Code::ResourceExhausted, size), Delivery::TooLarge { .. }));
        let Delivery::Retry { trouble, reason, .. } = judged(Code::ResourceExhausted, "busy") else {
            panic!()
        };
        assert_eq!(trouble, Trouble::Overloaded);
        assert_eq!(reason, "http://c:4317 (gRPC) answered RESOURCE_EXHAUSTED: busy");
    }
}
