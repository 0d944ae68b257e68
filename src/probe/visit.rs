//! One deployment within one round: its state, and the visit that asks one request of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;
use url::Url;

use super::budget::Budgets;
use super::check::{self, Judgement};
use super::mask::Mask;
use crate::clock::{Clock, Timestamp};
use crate::http::{Call, Client, Exchange, Session};
use crate::model::{
    Attempt, Deployment, ErrorType, Method, Outcome, Redirects, Request, Round, Run, Sample, SpanId, TraceId,
    Variant,
};

/// Between an attempt and the next: long enough for a worker to restart, short beside a round.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The wake-up's answer is not looked at, so little of it is read.
const WAKE_UP_BODY_MAX: usize = 64 * 1024;

/// A deployment while a round visits it.
pub(super) struct Visitor {
    pub deployment: Arc<Deployment>,
    pub variant: Arc<Variant>,
    trace: TraceId,
    session: Session,
    clock: Clock,
    /// What templates may use: `round`, `token`, declared variables, captures.
    values: HashMap<String, String>,
    mask: Mask,
    samples: Vec<Sample>,
    started: Option<Timestamp>,
    ended: Timestamp,
    /// Why nothing more is asked in this round.
    stopped: Option<String>,
}

impl Visitor {
    pub fn new(
        round: &Round,
        deployment: &Arc<Deployment>,
        variant: &Arc<Variant>,
        client: &Client,
        clock: &Clock,
    ) -> Self {
        let mut values = HashMap::from([("round".to_owned(), round.id.to_string())]);
        let mut mask = Mask::default();
        let secrets = variant.env.iter().map(|(name, secret)| (name.as_str(), secret));
        for (name, secret) in secrets.chain(deployment.token.iter().map(|token| ("token", token))) {
            mask.hide_secret(secret.reveal());
            values.insert(name.to_owned(), secret.reveal().to_owned());
        }
        Visitor {
            deployment: deployment.clone(),
            variant: variant.clone(),
            trace: round.id.trace(&deployment.key()),
            session: client.session(deployment),
            clock: clock.clone(),
            values,
            mask,
            samples: Vec::new(),
            started: None,
            ended: round.started,
            stopped: None,
        }
    }

    /// The unrecorded request that spares the first visit the cost of cold caches.
    pub async fn wake_up(&mut self, budgets: &Budgets) {
        let Some(path) = self.variant.wake_up.clone() else { return };
        let Ok(url) = self.url(&path) else { return };
        let Some(first) = self.variant.requests.first().cloned() else { return };
        let now = self.clock.now();
        if budgets.take(&self.deployment.name, self.variant.budget, now).is_err() {
            return;
        }
        // No credentials: it only has to reach the application.
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
        let call = Call {
            method: Method::Get,
            url: &url,
            headers,
            body: bytes::Bytes::new(),
            timeout: first.timeout,
            body_max: WAKE_UP_BODY_MAX,
            redirects: Redirects::Keep,
        };
        let exchange = self.session.send(call).await;
        if let Some(status) = exchange.status {
            budgets.learn(&self.deployment.name, status, &exchange.headers, self.clock.now());
        }
    }

    /// Asks one request, with its retries, and keeps the sample.
    pub async fn ask(&mut self, request: &Arc<Request>, budgets: &Budgets, deadline: Option<Instant>) {
        let now = self.clock.now();
        self.started.get_or_insert(now);
        let sample = match self.obstacle(request, deadline) {
            Some(detail) => Sample {
                request: request.clone(),
                outcome: Outcome::Skipped,
                attempts: Vec::new(),
                detail: self.mask.apply(&detail),
            },
            None => self.attempt(request, budgets).await,
        };
        if self.stopped.is_none() {
            let error = sample.last().and_then(|a| a.error);
            if sample.outcome == Outcome::Unreachable {
                self.stopped = Some(format!("skipped after `{}` was unreachable", request.name));
            } else if error == Some(ErrorType::RateLimited) {
                self.stopped =
                    Some(format!("rate_limited: skipped after `{}` was answered 429", request.name));
            }
        }
        self.samples.push(sample);
        self.ended = self.clock.now();
    }

    /// What was seen, once the round is over; `None` when nothing was to be asked.
    pub fn into_run(self, round: &Arc<Round>) -> Option<Run> {
        let started = self.started?;
        Some(Run {
            round: round.clone(),
            deployment: self.deployment,
            trace: self.trace,
            started,
            duration: self.ended.since(started),
            outcome: Run::outcome_of(&self.samples),
            samples: self.samples,
        })
    }

    /// Why the request is not even sent. Clean-up is: an object left behind is worse than one more
    /// failure.
    fn obstacle(&self, request: &Request, deadline: Option<Instant>) -> Option<String> {
        if !request.always {
            if let Some(reason) = &self.stopped {
                return Some(reason.clone());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Some("skipped: the round's deadline passed before".to_owned());
            }
        }
        let places = request.path.places().chain(request.headers.iter().flat_map(|(_, v)| v.places()));
        let missing = places
            .chain(request.body.iter().flat_map(|b| b.places()))
            .find(|name| !self.values.contains_key(*name))?;
        Some(match missing {
            "token" => "skipped: it needs a token, and the fleet gives this deployment none".to_owned(),
            name => format!("skipped: it needs `{name}`, which no earlier answer yielded"),
        })
    }

    async fn attempt(&mut self, request: &Arc<Request>, budgets: &Budgets) -> Sample {
        let mut attempts: Vec<Attempt> = Vec::new();
        loop {
            let number = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
            if let Err(reason) = budgets.take(&self.deployment.name, self.variant.budget, self.clock.now()) {
                // A retry that may not be made leaves the failure as it was.
                if let Some(last) = attempts.last() {
                    let outcome = if last.status.is_some() { Outcome::Fail } else { Outcome::Unreachable };
                    return self.sample(request, outcome, attempts, format!("not retried: {reason}"));
                }
                return self.sample(request, Outcome::Skipped, attempts, reason);
            }
            let started = self.clock.now();
            let span = self.trace.attempt_span(&request.name, number);
            let exchange = match self.send(request, span).await {
                Ok(exchange) => exchange,
                Err(detail) => {
                    return self.sample(request, Outcome::Fail, attempts, detail);
                }
            };
            if let Some(status) = exchange.status {
                budgets.learn(&self.deployment.name, status, &exchange.headers, self.clock.now());
            }
            let mut judgement = check::judge(request, &exchange);
            if judgement.outcome == Outcome::Pass {
                judgement = self.capture(request, &exchange);
            }
            if judgement.outcome == Outcome::Pass
                && let Some(limit) = request.degraded_after.filter(|limit| exchange.phases.total() > *limit)
            {
                judgement.outcome = Outcome::Degraded;
                judgement.detail =
                    format!("time: degraded after {limit:?}, took {:.1?}", exchange.phases.total());
            }
            attempts.push(Attempt {
                started,
                phases: exchange.phases,
                span,
                status: exchange.status,
                error: judgement.error,
                protocol: exchange.protocol,
                body_bytes: exchange.body_bytes,
                peer: exchange.peer,
                redirects: exchange.redirects,
                tls_days_left: exchange.tls_days_left,
            });
            let failed = matches!(judgement.outcome, Outcome::Fail | Outcome::Unreachable);
            // A hanging target costs one timeout, not one for each retry.
            let worth_retrying = failed && judgement.error != Some(ErrorType::Timeout);
            if !worth_retrying || request.writes || number >= request.retries {
                return self.sample(request, judgement.outcome, attempts, judgement.detail);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn sample(
        &self,
        request: &Arc<Request>,
        outcome: Outcome,
        attempts: Vec<Attempt>,
        detail: String,
    ) -> Sample {
        Sample { request: request.clone(), outcome, attempts, detail: self.mask.apply(&detail) }
    }

    async fn send(&mut self, request: &Request, span: SpanId) -> Result<Exchange, String> {
        let url = self.url(&request.path)?;
        let headers = self.headers(request, span)?;
        let body = match &request.body {
            Some(body) => self.render(body, json_escape)?,
            None => String::new(),
        };
        let call = Call {
            method: request.method,
            url: &url,
            headers,
            body: body.into(),
            timeout: request.timeout,
            body_max: request.max_body,
            redirects: request.redirects,
        };
        Ok(self.session.send(call).await)
    }

    fn render(
        &self,
        template: &crate::model::Template,
        escape: impl Fn(&str) -> String,
    ) -> Result<String, String> {
        template.render(&self.values, escape).map_err(|name| format!("`{name}` has no value"))
    }

    /// The deployment's URL with the rendered path behind its own.
    fn url(&self, path: &crate::model::Template) -> Result<Url, String> {
        let path = self.render(path, percent_escape)?;
        let base = self.deployment.url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{path}")).map_err(|error| format!("url: {error}"))
    }

    fn headers(&self, request: &Request, span: SpanId) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 1);
        for (name, value) in &request.headers {
            let value = self.render(value, str::to_owned)?;
            let bad = |_| format!("header {name}: its value holds characters that HTTP does not allow");
            let mut value = HeaderValue::from_str(&value).map_err(bad)?;
            value.set_sensitive(request.authenticated);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| format!("header {name}: {e}"))?;
            headers.insert(name, value);
        }
        // W3C Trace Context; always sampled, since every attempt becomes a span.
        if let Ok(traceparent) = HeaderValue::from_str(&format!("00-{}-{span}-01", self.trace)) {
            headers.insert("traceparent", traceparent);
        }
        if request.body.is_some() && !headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(headers)
    }

    /// Keeps what later requests need.
    fn capture(&mut self, request: &Request, exchange: &Exchange) -> Judgement {
        let pass = Judgement { outcome: Outcome::Pass, error: None, detail: String::new() };
        if request.captures.is_empty() {
            return pass;
        }
        let json = check::parse(exchange);
        let mut missing = Vec::new();
        for capture in &request.captures {
            let value = json.as_ref().ok().and_then(|json| check::capture(json, &capture.query));
            match value {
                Some(value) => {
                    self.mask.hide_capture(&value);
                    self.values.insert(capture.name.clone(), value);
                }
                None if capture.optional => {}
                None => missing.push(format!("capture {}: {} matched no value", capture.name, capture.path)),
            }
        }
        if missing.is_empty() {
            return pass;
        }
        Judgement { outcome: Outcome::Fail, error: Some(ErrorType::Capture), detail: missing.join("; ") }
    }
}

/// Whether a deployment answers a request at all, whatever the answer; for who waits for it to come
/// up.
pub async fn answers(client: &Client, deployment: &Deployment, request: &Request) -> bool {
    let values = HashMap::from([("round".to_owned(), "wait".to_owned())]);
    let Ok(path) = request.path.render(&values, percent_escape) else { return false };
    let base = deployment.url.as_str().trim_end_matches('/');
    let Ok(url) = Url::parse(&format!("{base}{path}")) else { return false };
    let call = Call {
        method: Method::Get,
        url: &url,
        headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]),
        body: bytes::Bytes::new(),
        timeout: request.timeout,
        body_max: WAKE_UP_BODY_MAX,
        redirects: Redirects::Keep,
    };
    client.session(deployment).send(call).await.status.is_some()
}

/// Everything but the unreserved characters of RFC 3986 §2.3, so that a value stays one segment.
fn percent_escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What stands between the quotes of a JSON string.
fn json_escape(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_a_target_cannot_leave_their_place() {
        assert_eq!(percent_escape("../a?b#c é"), "..%2Fa%3Fb%23c%20%C3%A9");
        assert_eq!(json_escape("a\"b\\\n"), "a\\\"b\\\\\\n");
    }
}
