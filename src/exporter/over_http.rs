//! OTLP/HTTP with protobuf (OTLP specification 1.x, 'OTLP/HTTP').

use std::io::Write;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response};

use super::answer::{ANSWER_MAX, Words, accepted, at_most_an_hour, retry, status_message};
use super::settings::{Compression, Target};
use super::transport::{Delivery, TransportError, Trouble, roots};
use crate::clock::{Clock, Timestamp};
use crate::http::ordinary;

const PROTOBUF: &str = "application/x-protobuf";

/// The collector closes connections that are idle for a minute; we do it first, since a request on
/// a connection that is just being closed would be a needless failure.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A larger body is compressed on a thread of its own, for it would hold up others on this one
/// (a megabyte takes about 10 ms).
const COMPRESSED_IN_PLACE_MAX: usize = 32 * 1024;

pub(super) fn client(target: &Target, place: &str) -> Result<Client, TransportError> {
    let failed = |problem: String| TransportError::Client { endpoint: place.to_owned(), problem };
    let builder = ordinary(roots(target, place)?).map_err(|error| failed(error.to_string()))?;
    builder.pool_idle_timeout(IDLE_MAX).build().map_err(|error| failed(error.to_string()))
}

pub(super) async fn send(
    client: &Client,
    target: &Target,
    place: &str,
    clock: &Clock,
    body: Bytes,
) -> Delivery {
    let words = Words { headers: &target.headers };
    let mut request =
        client.post(target.endpoint.clone()).headers(target.headers.clone()).header(CONTENT_TYPE, PROTOBUF);
    request = match target.compression {
        Compression::None => request.body(body),
        Compression::Gzip => match gzip(body).await {
            Ok(compressed) => request.header(CONTENT_ENCODING, "gzip").body(compressed),
            Err(problem) => {
                let reason = format!("could not compress what goes to {place}: {problem}");
                return retry(Trouble::Unreachable, reason, None);
            }
        },
    };
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return no_answer(place, &words, error),
    };
    let mut body = BytesMut::new();
    let complete = read(&mut response, &mut body).await;
    let status = response.status();
    match complete {
        // Whether it was accepted, or what is bad about it, remains unknown. Any other status says
        // enough, and servers do break off when they answer before they have read everything.
        Err(error) if status.is_success() || status == StatusCode::BAD_REQUEST => {
            let cause = words.chain(&error.without_url());
            retry(Trouble::Unreachable, format!("{place} answered {status} and broke off: {cause}"), None)
        }
        _ => judge(place, &words, clock.now(), status, response.headers(), &body),
    }
}

fn no_answer(place: &str, words: &Words<'_>, error: reqwest::Error) -> Delivery {
    // The URL may carry a key in its query.
    let cause = words.chain(&error.without_url());
    // What hyper says when it meets HTTP/2 and when it meets something else.
    if cause.contains("unexpected message from connection") || cause.contains("invalid HTTP") {
        let reason = format!("{place} does not speak HTTP/1.1 ({cause}); is it an endpoint for gRPC?");
        return retry(Trouble::NotACollector, reason, None);
    }
    retry(Trouble::Unreachable, format!("no answer from {place}: {cause}"), None)
}

/// The body as far as it may matter.
async fn read(response: &mut Response, body: &mut BytesMut) -> Result<(), reqwest::Error> {
    while body.len() <= ANSWER_MAX
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

/// What an answer means. 400 is final and 413 asks for smaller requests; any other failure may be
/// mended by someone and is retried, also those that the OTLP specification calls permanent (415
/// and 405 come from a wrong endpoint, 422 from gateways).
fn judge(
    place: &str,
    words: &Words<'_>,
    now: Timestamp,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Delivery {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_protobuf = kind.starts_with(PROTOBUF) || kind.starts_with("application/protobuf");
    if status.is_success() {
        let plausible = is_protobuf || (kind.is_empty() && body.is_empty());
        let delivery = if plausible && body.len() <= ANSWER_MAX { accepted(body, words) } else { None };
        return delivery.unwrap_or_else(|| {
            let what = description(kind, body);
            let reason = format!(
                "{place} answered {status} with {what} instead of an OTLP answer; is it a collector?"
            );
            retry(Trouble::NotACollector, reason, None)
        });
    }
    if status.is_redirection() {
        let to = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
        let to = words.clean(to.split(['?', '#']).next().unwrap_or_default());
        let reason = format!(
            "{place} answered {status} and redirects to {to}, which is not followed; set the endpoint to the right URL"
        );
        return retry(Trouble::NotACollector, reason, None);
    }

    let said = if is_protobuf {
        status_message(body).unwrap_or_else(|| description(kind, body))
    } else if kind.starts_with("text/html") {
        description(kind, body)
    } else {
        String::from_utf8_lossy(body).into_owned()
    };
    let said = words.clean(&said);
    let colon = if said.is_empty() { "" } else { ": " };
    let reason = format!("{place} answered {status}{colon}{said}");
    let trouble = match status.as_u16() {
        // Go's receivers cut a body that is too large off, and call what is left malformed.
        400 if said.contains("request body too large") => return Delivery::TooLarge { reason },
        // Something before the collector, or a plain request to a TLS port: says nothing about the data.
        400 if kind.starts_with("text/html") || said.contains("HTTP request to an HTTPS server") => {
            Trouble::NotACollector
        }
        400 => return Delivery::Refused { reason },
        413 => return Delivery::TooLarge { reason },
        401 | 403 | 407 => Trouble::Unauthorised,
        404 | 405 | 406 | 410 | 415 => Trouble::NotACollector,
        408 | 425 | 429 | 502..=504 => Trouble::Overloaded,
        _ => Trouble::Failing,
    };
    retry(trouble, reason, headers.get(RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?, now)))
}

/// Seconds, or a date (RFC 9110, 10.2.3). Of the three forms of a date only the one that may be
/// generated is read.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = DateTime::parse_from_rfc2822(value).ok()?;
        Timestamp::from_utc(date.to_utc()).since(now)
    };
    Some(at_most_an_hour(wait))
}

fn description(kind: &str, body: &[u8]) -> String {
    match kind.split(';').next().unwrap_or_default().trim() {
        "text/html" => "an HTML page".to_owned(),
        _ if body.len() > ANSWER_MAX => format!("more than {} KiB", ANSWER_MAX / 1024),
        "" => format!("{} bytes of no stated type", body.len()),
        kind => format!("{} bytes of `{}`", body.len(), kind.escape_default()),
    }
}

async fn gzip(body: Bytes) -> Result<Vec<u8>, String> {
    if body.len() <= COMPRESSED_IN_PLACE_MAX {
        return compress(&body).map_err(|error| error.to_string());
    }
    match tokio::task::spawn_blocking(move || compress(&body)).await {
        Ok(compressed) => compressed.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// At level 1: traces are so repetitive that higher levels save little and cost a lot.
fn compress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Delivery {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, http::HeaderValue::from_static(value));
        }
        let secrets = HeaderMap::new();
        let status = StatusCode::from_u16(status).unwrap();
        judge("http://c/v1/traces", &Words { headers: &secrets }, Timestamp(0), status, &map, body)
    }

    fn trouble(delivery: Delivery) -> Trouble {
        match delivery {
            Delivery::Retry { trouble, .. } => trouble,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_400_is_final_and_only_when_it_is_about_the_data() {
        for code in (300..600).filter(|code| ![400, 413].contains(code)) {
            assert!(matches!(judged(code, &[], b""), Delivery::Retry { .. }), "{code}");
        }
        assert!(matches!(judged(400, &[], b""), Delivery::Refused { .. }));
        assert!(matches!(judged(413, &[], b""), Delivery::TooLarge { .. }));
        let plain = [("content-type", "text/plain")];
        assert!(matches!(judged(400, &plain, b"http: request body too large"), Delivery::TooLarge { .. }));
        let tls = b"Client sent an HTTP request to an HTTPS server.";
        assert_eq!(trouble(judged(400, &plain, tls)), Trouble::NotACollector);
        assert_eq!(trouble(judged(400, &[("content-type", "text/html")], b"")), Trouble::NotACollector);
    }

    #[test]
    fn each_trouble_is_told_apart() {
        let of = |code| trouble(judged(code, &[], b""));
        assert_eq!([401, 403].map(of), [Trouble::Unauthorised; 2]);
        assert_eq!([404, 405, 415, 307].map(of), [Trouble::NotACollector; 4]);
        assert_eq!([408, 429, 503].map(of), [Trouble::Overloaded; 3]);
        assert_eq!([422, 500, 501].map(of), [Trouble::Failing; 3]);
    }

    #[test]
    fn success_needs_an_otlp_answer() {
        let protobuf = [("content-type", "application/x-protobuf")];
        let accepted = Delivery::Accepted { rejected: None };
        assert_eq!(judged(200, &protobuf, b""), accepted);
        assert_eq!(judged(204, &[], b""), accepted);
        assert_eq!(trouble(judged(200, &protobuf, b"<garbage>")), Trouble::NotACollector);
        assert_eq!(trouble(judged(200, &[("content-type", "text/html")], b"")), Trouble::NotACollector);
        assert_eq!(trouble(judged(200, &[], b"ok")), Trouble::NotACollector);
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_limited() {
        let now = Timestamp::from_utc("2026-11-23T10:00:00Z".parse().unwrap());
        let seconds = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Mon, 23 Nov 2026 10:00:30 GMT"), Some(30));
        assert_eq!(seconds("Mon, 23 Nov 2026 09:00:00 GMT"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(3_600));
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds(""), None);
    }
}
