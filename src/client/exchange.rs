//! Requests to the daemon: batches of events, split where one is too large or wrong, sent again where
//! the daemon asks for patience and there is time.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use url::Url;

use super::answer::{Answer, clean, judge};
use super::spool::{Name, Spool};
use super::{CONNECT_MAX, ClientError};
use crate::clock::Timestamp;
use crate::exporter::backoff;
use crate::http::{causes, ordinary, roots_for};
use crate::model::Secret;

/// Events in one request at most.
const BATCH_MAX: usize = 20;
/// Bytes of their JSON at most, unless a single one is larger.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 1 << 20;
/// How often one request is made, where the daemon answers that it cannot now.
const TRIES_MAX: u32 = 5;

/// What an event is known by while it is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Its file in the spool.
    Kept(Name),
    /// Its place among those of the call; it is in no spool.
    Place(usize),
}

/// One event on its way.
pub(super) struct Item {
    pub key: Key,
    pub body: Vec<u8>,
}

/// What has been done so far; also true when it is broken off.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Events that the daemon has committed.
    pub taken: u64,
    /// What it will never take, with its words.
    pub refused: Vec<(Key, String)>,
    /// Why the rest was not sent.
    pub stopped: Option<String>,
    pub notes: Vec<String>,
}

impl Progress {
    pub fn refusal(&self, name: &Name) -> Option<String> {
        let found =
            self.refused.iter().find(|(refused, _)| matches!(refused, Key::Kept(kept) if kept == name));
        found.map(|(_, words)| words.clone())
    }
}

pub(super) struct Exchange {
    http: reqwest::Client,
    url: Url,
    token: Option<Secret>,
    authorization: Option<HeaderValue>,
    /// The daemon's address, as it is shown.
    pub place: String,
}

impl Exchange {
    pub fn new(daemon: &Url, token: Option<Secret>) -> Result<Self, ClientError> {
        let place = daemon.as_str().trim_end_matches('/').to_owned();
        if !daemon.username().is_empty() || daemon.password().is_some() {
            return Err(ClientError::Credentials);
        }
        // A daemon behind a proxy may have a path of its own.
        let url = format!("{place}/api/v1/events").parse::<Url>();
        let url = url.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none());
        let url = url.ok_or_else(|| ClientError::NoAddress { url: place.clone() })?;
        let authorization = token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))?;
            value.set_sensitive(true);
            Ok::<_, http::header::InvalidHeaderValue>(value)
        });
        let authorization = authorization.transpose().map_err(|_| ClientError::Token)?;
        let http = http_client(&url, &place)?;
        Ok(Exchange { http, url, token, authorization, place })
    }

    /// Sends one batch, in parts where need be. What is taken or refused for good leaves the spool at
    /// once. False when there is no use in going on.
    pub async fn carry(
        &self,
        batch: Vec<Item>,
        spool: Option<(&Spool, Timestamp)>,
        until: Instant,
        progress: &mut Progress,
    ) -> bool {
        let mut parts = VecDeque::from([batch]);
        while let Some(mut part) = parts.pop_front() {
            let mut refuse = |item: &Item, words: String| {
                if let (Some((spool, now)), Key::Kept(name)) = (spool, &item.key) {
                    spool.set_aside(name, &words, now);
                }
                progress.refused.push((item.key.clone(), words));
            };
            match self.patiently(&part, until).await {
                Answer::Taken { refused, differing } => {
                    if !differing.is_empty() {
                        progress.notes.push(format!(
                            "{} knew {} of these already, with another content; what was told first stays",
                            self.place,
                            differing.len()
                        ));
                    }
                    for (place, item) in part.iter().enumerate() {
                        if let Some((_, words)) = refused.iter().find(|(index, _)| *index == place) {
                            refuse(item, words.clone());
                            continue;
                        }
                        if let (Some((spool, _)), Key::Kept(name)) = (spool, &item.key) {
                            spool.remove(name);
                        }
                    }
                    let out =
                        refused.iter().map(|(index, _)| index).collect::<std::collections::BTreeSet<_>>();
                    progress.taken += (part.len() - out.len()) as u64;
                }
                Answer::Wrong { reason } | Answer::TooLarge { reason } => match part.as_slice() {
                    [one] => refuse(one, reason),
                    _ => {
                        let rest = part.split_off(part.len() / 2);
                        parts.push_front(rest);
                        parts.push_front(part);
                    }
                },
                Answer::Later { reason, .. } => {
                    progress.stopped = Some(reason);
                    return false;
                }
            }
        }
        true
    }

    /// Sends events that are in no spool, in their order, until the deadline.
    pub async fn carry_all(&self, bodies: Vec<Vec<u8>>, until: Instant, progress: &mut Progress) {
        let items = bodies.into_iter().enumerate();
        for batch in batches(items.map(|(place, body)| Item { key: Key::Place(place), body })) {
            let sent = tokio::time::timeout_at(until.into(), self.carry(batch, None, until, progress)).await;
            match sent {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    progress.stopped = Some(format!("{} did not answer in time", self.place));
                    return;
                }
            }
        }
    }

    /// One request, made again while the daemon has too much to do and there is time.
    async fn patiently(&self, part: &[Item], until: Instant) -> Answer {
        let body = join(part);
        // Clients that were turned away together must not come back together.
        let seed = u64::from(std::process::id());
        let mut tries = 0;
        loop {
            let answer = match &body {
                Ok(body) => self.once(body.clone(), part.len()).await,
                Err(problem) => {
                    let reason = format!("could not compress what goes to {}: {problem}", self.place);
                    Answer::Later { reason, after: None, again: false }
                }
            };
            let Answer::Later { after, again: true, .. } = &answer else { return answer };
            let pause = after.unwrap_or(Duration::ZERO).saturating_add(backoff::delay(seed, tries + 2));
            tries += 1;
            if tries >= TRIES_MAX || Instant::now() + pause >= until {
                return answer;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, body: Vec<u8>, sent: usize) -> Answer {
        let secret = self.token.as_ref().map(Secret::reveal);
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "gzip");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let mut response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => {
                let again = !error.is_connect() && !error.is_timeout();
                let reason = format!("no answer from {}: {}", self.place, clean(&causes(error), secret));
                return Answer::Later { reason, after: None, again };
            }
        };
        let mut answer = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.len() + chunk.len() <= ANSWER_MAX => {
                    answer.extend_from_slice(&chunk)
                }
                Ok(Some(_)) | Ok(None) => break,
                Err(error) => {
                    let cause = clean(&causes(error), secret);
                    let reason =
                        format!("{} answered {} and broke off: {cause}", self.place, response.status());
                    return Answer::Later { reason, after: None, again: true };
                }
            }
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        judge(&self.place, response.status(), after, &answer, sent, secret)
    }
}

/// `{"events":[…]}`, gzipped.
fn join(part: &[Item]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"{\"events\":[")?;
    for (place, item) in part.iter().enumerate() {
        if place > 0 {
            gzip.write_all(b",")?;
        }
        gzip.write_all(&item.body)?;
    }
    gzip.write_all(b"]}")?;
    gzip.finish()
}

/// Items by requests, read only as they are needed.
pub(super) fn batches(items: impl Iterator<Item = Item>) -> impl Iterator<Item = Vec<Item>> {
    let mut items = items.peekable();
    std::iter::from_fn(move || {
        let first = items.next()?;
        let mut bytes = first.body.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Some(next) = items.next_if(|next| bytes + next.body.len() <= BATCH_BYTES_MAX)
        {
            bytes += next.body.len();
            batch.push(next);
        }
        Some(batch)
    })
}

fn http_client(url: &Url, place: &str) -> Result<reqwest::Client, ClientError> {
    let roots = roots_for(url);
    if roots.is_empty() && url.scheme() == "https" {
        return Err(ClientError::NoRoots { place: place.to_owned() });
    }
    let builder = ordinary(roots).map_err(|error| ClientError::Http(error.to_string()))?;
    builder.connect_timeout(CONNECT_MAX).build().map_err(|error| ClientError::Http(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Item {
        Item { key: Key::Place(0), body: vec![b'x'; bytes] }
    }

    #[test]
    fn batches_hold_twenty_events_or_four_mebibytes_and_a_larger_one_goes_alone() {
        let sizes =
            |items: Vec<Item>| -> Vec<usize> { batches(items.into_iter()).map(|b| b.len()).collect() };
        assert_eq!(sizes((0..45).map(|_| item(10)).collect()), [20, 20, 5]);
        assert_eq!(sizes(vec![item(1), item(5 << 20), item(2 << 20), item(2 << 20), item(1)]), [1, 1, 2, 1]);
        assert_eq!(sizes(vec![]), [0; 0]);
    }

    #[test]
    fn an_address_is_an_http_url_without_credentials() {
        let new = |url: &str, token: Option<&str>| {
            let url = url.parse().unwrap();
            Exchange::new(&url, token.map(Secret::new)).map(|e| (e.place, e.url.to_string()))
        };
        let behind = new("http://127.0.0.1:1/scope/", None).unwrap();
        assert_eq!(behind.0, "http://127.0.0.1:1/scope");
        assert_eq!(behind.1, "http://127.0.0.1:1/scope/api/v1/events");
        let errors = [
            new("ftp://127.0.0.1", None),
            new("http://me:pw@127.0.0.1", None),
            new("http://127.0.0.1", Some("two\nlines")),
        ];
        let errors: Vec<String> = errors.into_iter().map(|error| error.unwrap_err().to_string()).collect();
        insta::assert_snapshot!(errors.join("\n"), @r"
        ftp://127.0.0.1 is no address of a daemon: expected one such as http://127.0.0.1:8787
        the address of the daemon holds credentials; hand a token over in a file instead (--token-file)
        the token holds characters that no HTTP header can hold; expected one line of plain text
        ");
    }
}
