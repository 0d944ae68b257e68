//! What collectors say, as data and as words fit for a page.

use std::error::Error;
use std::time::Duration;

use http::HeaderMap;
use prost::Message;

use super::transport::{Delivery, Rejected, Trouble};

/// Bytes of an answer that are read; one that OTLP allows is far smaller.
pub(super) const ANSWER_MAX: usize = 64 * 1024;

/// Characters of a collector's own words that are kept.
const WORDS_MAX: usize = 300;

/// No collector is obeyed that wants to be left alone for longer.
const AFTER_MAX: Duration = Duration::from_secs(3_600);

/// `Export{Trace,Metrics,Logs}ServiceResponse`: the same on the wire.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`, the body of OTLP errors over HTTP and the details of those over gRPC.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What the collector made of a request it took; `None` when these bytes are no OTLP answer.
pub(super) fn accepted(body: &[u8], words: &Words<'_>) -> Option<Delivery> {
    let partial = ExportResponse::decode(body).ok()?.partial_success;
    let rejected = partial.filter(|p| p.rejected != 0 || !p.error_message.is_empty()).map(|p| Rejected {
        items: u64::try_from(p.rejected).unwrap_or(0),
        message: words.clean(&p.error_message),
    });
    Some(Delivery::Accepted { rejected })
}

/// The message of an error's body.
pub(super) fn status_message(body: &[u8]) -> Option<String> {
    RpcStatus::decode(body).ok().map(|status| status.message)
}

/// The wait that the details of a gRPC status ask for (`google.rpc.RetryInfo`).
pub(super) fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.delay?;
    let seconds = Duration::from_secs(u64::try_from(delay.seconds).ok()?);
    Some(at_most_an_hour(seconds + Duration::from_nanos(u64::try_from(delay.nanos).ok()?)))
}

pub(super) fn at_most_an_hour(wait: Duration) -> Duration {
    wait.min(AFTER_MAX)
}

/// Makes a stranger's text fit to be shown: one line, short, and without our own secrets.
pub(super) struct Words<'a> {
    /// Their values are masked, in case a server quotes what it was sent.
    pub(super) headers: &'a HeaderMap,
}

impl Words<'_> {
    pub(super) fn clean(&self, text: &str) -> String {
        let visible = text.replace(|c: char| c.is_control(), " ");
        let mut line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
        for value in self.headers.values().filter_map(|value| value.to_str().ok()) {
            // `Bearer x` may come back without its first word.
            for secret in [value, value.rsplit(' ').next().unwrap_or_default()] {
                if secret.len() >= 4 {
                    line = line.replace(secret, "…");
                }
            }
        }
        match line.char_indices().nth(WORDS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// An error with what is behind it. Libraries nest them and repeat each other.
    pub(super) fn chain(&self, error: &(dyn Error + 'static)) -> String {
        let mut causes: Vec<String> = Vec::new();
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !causes.iter().any(|seen| seen.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        self.clean(&causes.join(": "))
    }
}

pub(super) fn retry(trouble: Trouble, reason: String, after: Option<Duration>) -> Delivery {
    Delivery::Retry { trouble, reason, after }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn words_are_one_short_line_without_secrets() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer hunter2"));
        let words = Words { headers: &headers };
        assert_eq!(words.clean("no such token:\r\n\t\"hunter2\"\u{1b}[31m"), "no such token: \"…\" [31m");
        let long = words.clean(&"é".repeat(1_000));
        assert_eq!(long.chars().count(), WORDS_MAX + 1);
    }

    #[test]
    fn a_partial_success_is_told_and_garbage_is_not_an_answer() {
        let words = Words { headers: &HeaderMap::new() };
        assert_eq!(accepted(b"", &words), Some(Delivery::Accepted { rejected: None }));
        let partial = PartialSuccess { rejected: 3, error_message: "too old".to_owned() };
        let body = ExportResponse { partial_success: Some(partial) }.encode_to_vec();
        let rejected = Some(Rejected { items: 3, message: "too old".to_owned() });
        assert_eq!(accepted(&body, &words), Some(Delivery::Accepted { rejected }));
        assert_eq!(accepted(b"<html>", &words), None);
    }

    #[test]
    fn retry_info_is_read_and_limited() {
        let details = |seconds, nanos| {
            let info = RetryInfo { delay: Some(ProtoDuration { seconds, nanos }) };
            let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
            let any = Any { type_url, value: info.encode_to_vec() };
            RpcStatus { message: String::new(), details: vec![any] }.encode_to_vec()
        };
        assert_eq!(retry_info(&details(2, 500_000_000)), Some(Duration::from_millis(2_500)));
        assert_eq!(retry_info(&details(i64::MAX, 0)), Some(AFTER_MAX));
        assert_eq!(retry_info(&details(-1, 0)), None);
        assert_eq!(retry_info(b"garbage"), None);
    }
}
