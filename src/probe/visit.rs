//! One deployment within one round: its state, and the visit that asks one request of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::budget::Budgets;
use super::check::{self, Judgement};
use super::escape::{json_escape, percent_escape};
use super::mask::Mask;
use crate::clock::{Clock, Timestamp};
use crate::http::{Call, Client, Exchange, Session};
use crate::model::{
    Attempt, Deployment, ErrorType, Method, Outcome, Redirects, Request, Round, RoundId, Run, Sample, SpanId,
    Template, TraceId, Variant,
};

/// Between an attempt and the next: long enough for a worker to restart, short beside a round.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The detail of a sample that was not asked, since the deployment has no such thing.
pub const NOTHING_THERE: &str = "nothing there to read";
/// The wake-up's answer is not looked at, so little of it is read.
const WAKE_UP_BODY_MAX: usize = 64 * 1024;

/// What keeps a request from being asked.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    pub budgets: &'a Budgets,
    pub deadline: Option<Instant>,
    pub stopped: &'a CancellationToken,
}

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
    /// The worst of the samples so far, without those that had nothing to ask for.
    outcome: Option<Outcome>,
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
            outcome: None,
            started: None,
            ended: round.started,
            stopped: None,
        }
    }

    /// The unrecorded request that spares the first visit the cost of cold caches.
    pub async fn wake_up(&mut self, limits: Limits<'_>) {
        if let Some(path) = self.variant.wake_up.clone() {
            self.knock(&path, limits).await;
        }
    }

    /// Asks for a path without keeping a sample; the status of the answer.
    async fn knock(&mut self, path: &Template, limits: Limits<'_>) -> Option<u16> {
        let url = self.url(path).ok()?;
        let first = self.variant.requests.first()?.clone();
        let left = limits.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) || limits.stopped.is_cancelled() {
            return None;
        }
        let name = &self.deployment.name;
        limits.budgets.take(name, self.variant.budget, self.clock.now()).ok()?;
        // No credentials: it only has to reach the application.
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
        let call = Call {
            method: Method::Get,
            url: &url,
            headers,
            body: bytes::Bytes::new(),
            timeout: left.map_or(first.timeout, |left| left.min(first.timeout)),
            body_max: WAKE_UP_BODY_MAX,
            redirects: Redirects::Keep,
        };
        let exchange = self.session.send(call).await;
        if let Some(status) = exchange.status {
            limits.budgets.learn(name, status, &exchange.headers, self.clock.now());
        }
        exchange.status
    }

    /// Asks one request, with its retries, and keeps the sample.
    pub async fn ask(&mut self, request: &Arc<Request>, limits: Limits<'_>) {
        let now = self.clock.now();
        self.started.get_or_insert(now);
        let sample = match self.obstacle(request, limits) {
            Some(Obstacle::NothingThere) => {
                self.samples.push(self.skipped(request, NOTHING_THERE.to_owned()));
                return;
            }
            Some(Obstacle::Because(detail)) => self.skipped(request, detail),
            None => self.attempt(request, limits.budgets).await,
        };
        if self.stopped.is_none() {
            let error = sample.last().and_then(|a| a.error);
            if sample.outcome == Outcome::Unreachable {
                self.stopped = Some(format!("after `{}` was unreachable", request.name));
            } else if error == Some(ErrorType::RateLimited) {
                self.stopped = Some(format!("rate_limited: after `{}` was answered 429", request.name));
            }
        }
        self.outcome = self.outcome.max(Some(sample.outcome));
        self.samples.push(sample);
        self.ended = self.clock.now();
    }

    fn skipped(&self, request: &Arc<Request>, detail: String) -> Sample {
        self.sample(request, Outcome::Skipped, Vec::new(), detail)
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
            outcome: self.outcome.unwrap_or(Outcome::Skipped),
            samples: self.samples,
        })
    }

    /// Why the request is not even sent. Clean-up is: an object left behind is worse than one more
    /// failure.
    fn obstacle(&self, request: &Request, limits: Limits<'_>) -> Option<Obstacle> {
        if !request.always {
            if let Some(reason) = &self.stopped {
                return Some(Obstacle::Because(reason.clone()));
            }
            if limits.stopped.is_cancelled() {
                return Some(Obstacle::Because("the probe was told to stop before".to_owned()));
            }
            if limits.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Some(Obstacle::Because("the round's deadline passed before".to_owned()));
            }
        }
        let places = request.path.places().chain(request.headers.iter().flat_map(|(_, v)| v.places()));
        let missing = places
            .chain(request.body.iter().flat_map(|b| b.places()))
            .find(|name| !self.values.contains_key(*name))?;
        if missing == "token" {
            let detail = "it needs a token, and the fleet gives this deployment none";
            return Some(Obstacle::Because(detail.to_owned()));
        }
        if self.is_absent(missing) {
            return Some(Obstacle::NothingThere);
        }
        Some(Obstacle::Because(format!("it needs `{missing}`, which no earlier answer yielded")))
    }

    /// Whether the answer that may hold this value was right, and held none.
    fn is_absent(&self, value: &str) -> bool {
        let asked = self.samples.iter().find(|sample| {
            sample.request.captures.iter().any(|capture| capture.optional && capture.name == value)
        });
        asked.is_some_and(|sample| matches!(sample.outcome, Outcome::Pass | Outcome::Degraded))
    }

    async fn attempt(&mut self, request: &Arc<Request>, budgets: &Budgets) -> Sample {
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut failed: Option<Judgement> = None;
        loop {
            let number = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
            let (name, budget, now) = (&self.deployment.name, self.variant.budget, self.clock.now());
            if request.always {
                budgets.take_anyway(name, budget, now);
            } else if let Err(reason) = budgets.take(name, budget, now) {
                // A retry that may not be made leaves the failure as it was.
                return match failed {
                    Some(Judgement { outcome, detail, .. }) => {
                        self.sample(request, outcome, attempts, format!("{detail}; not retried: {reason}"))
                    }
                    None => self.skipped(request, reason),
                };
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
            let mut judgement = check::judge(request, &exchange, &self.mask);
            // Also when something else about the answer is wrong: what was made has to be cleaned up.
            let is_answer = judgement.outcome == Outcome::Pass || exchange.status.is_some_and(is_success);
            let missing = if is_answer { self.capture(request, &exchange) } else { None };
            if let (Outcome::Pass, Some(missing)) = (judgement.outcome, missing) {
                judgement = missing;
            }
            if judgement.outcome == Outcome::Pass
                && let Some(limit) = request.degraded_after.filter(|limit| exchange.phases.total() > *limit)
            {
                judgement.outcome = Outcome::Degraded;
                judgement.detail = format!("took {:.1?}, degraded after {limit:?}", exchange.phases.total());
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
            let bad = matches!(judgement.outcome, Outcome::Fail | Outcome::Unreachable);
            // A hanging target costs one timeout, not one for each retry.
            let worth_retrying = bad && judgement.error != Some(ErrorType::Timeout);
            if !worth_retrying || request.writes || number >= request.retries {
                return self.sample(request, judgement.outcome, attempts, judgement.detail);
            }
            failed = Some(judgement);
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

    fn render(&self, template: &Template, escape: impl Fn(&str) -> String) -> Result<String, String> {
        template.render(&self.values, escape).map_err(|name| format!("`{name}` has no value"))
    }

    /// The deployment's URL with the rendered path behind its own.
    fn url(&self, path: &Template) -> Result<Url, String> {
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

    /// Keeps what later requests need; says what is missing.
    fn capture(&mut self, request: &Request, exchange: &Exchange) -> Option<Judgement> {
        if request.captures.is_empty() {
            return None;
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
        (!missing.is_empty()).then(|| Judgement {
            outcome: Outcome::Fail,
            error: Some(ErrorType::Capture),
            detail: missing.join("; "),
        })
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Why a request is not sent.
enum Obstacle {
    /// An optional value is absent: an empty Cachet is a healthy one.
    NothingThere,
    Because(String),
}

/// Whether a deployment answers the path that wakes it, for who waits for it to come up. What stands
/// in front of it says 502 to 504 while it does not, and so does a Cachet in maintenance.
pub async fn answers(
    client: &Client,
    clock: &Clock,
    deployment: &Arc<Deployment>,
    variant: &Arc<Variant>,
) -> bool {
    let now = clock.now();
    let id = RoundId::new("wait", "", now);
    let round = Round { id, suite: String::new(), scheduled: now, started: now, extra: false };
    let mut visitor = Visitor::new(&round, deployment, variant, client, clock);
    let gets = variant.requests.iter().filter(|request| request.method == Method::Get);
    let mut paths = variant.wake_up.iter().chain(gets.map(|request| &request.path));
    // A suite that only writes has no question that changes nothing.
    let Some(path) = paths.find(|path| visitor.url(path).is_ok()) else { return true };
    let limits = Limits { budgets: &Budgets::default(), deadline: None, stopped: &CancellationToken::new() };
    visitor.knock(path, limits).await.is_some_and(|status| !(502..=504).contains(&status))
}
