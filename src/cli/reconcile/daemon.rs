//! The daemon's side: which runs it knows, and the taking in of those it does not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::super::exit;
use super::asking::{Answer, Stop, ask, excerpt};
use crate::model::{Event, Secret};

/// Events of one request.
pub(super) const BATCH: usize = 100;
/// How often a batch is sent while the daemon asks for patience, and how long it may ask for.
const TRIES_MAX: u32 = 5;
const PATIENCE_MAX: Duration = Duration::from_secs(10);

pub(super) struct Daemon {
    pub http: reqwest::Client,
    pub url: Url,
    pub token: Option<Secret>,
}

#[derive(Deserialize)]
struct KnownRun {
    run: String,
}

/// What became of a batch, in the shape of the events API.
#[derive(Deserialize)]
struct Taken {
    accepted: u64,
    duplicates: u64,
    #[serde(default)]
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    index: usize,
    #[serde(default)]
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    field: String,
    #[serde(default)]
    message: String,
}

impl Daemon {
    /// As it is shown.
    pub fn place(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// The numbers of the runs that are known as a whole.
    pub async fn known(&self, pipeline: &str) -> Result<BTreeSet<String>, Stop> {
        let mut url = self.address("/api/v1/events/runs")?;
        url.query_pairs_mut().append_pair("source", "jenkins").append_pair("pipeline", pipeline);
        let answer = ask(self.with_token(self.http.get(url)), &self.place(), exit::UNDELIVERED).await?;
        if !answer.status.is_success() {
            return Err(self.refusal(&answer));
        }
        let runs: Vec<KnownRun> = serde_json::from_slice(&answer.body).map_err(|_| self.strange())?;
        Ok(runs.into_iter().map(|known| known.run).collect())
    }

    /// Hands events over; returns those that were refused for good, by place, with the reason.
    pub async fn tell(&self, events: &[Event]) -> Result<Vec<(usize, String)>, Stop> {
        let url = self.address("/api/v1/events")?;
        let body = serde_json::to_string(events)
            .map_err(|error| Stop::new(exit::FAILED, format!("failed to write events as JSON: {error}")))?;
        let mut tries = 0;
        loop {
            let request =
                self.http.post(url.clone()).header("content-type", "application/json").body(body.clone());
            let answer = ask(self.with_token(request), &self.place(), exit::UNDELIVERED).await?;
            let code = answer.status.as_u16();
            tries += 1;
            if matches!(code, 429 | 503) && tries < TRIES_MAX {
                let wait = Duration::from_secs(answer.retry_after.unwrap_or(1)).min(PATIENCE_MAX);
                tokio::time::sleep(wait).await;
                continue;
            }
            if !answer.status.is_success() && code != 422 {
                return Err(self.refusal(&answer));
            }
            let taken: Taken = serde_json::from_slice(&answer.body).map_err(|_| self.strange())?;
            let told = taken.accepted + taken.duplicates + taken.refused.len() as u64;
            if told != events.len() as u64 {
                let words = format!("{} tells of {told} events, {} were sent", self.place(), events.len());
                return Err(Stop::new(exit::UNDELIVERED, words));
            }
            let words = |refused: Refused| {
                let problems = refused.problems.into_iter().map(|p| format!("`{}` {}", p.field, p.message));
                (refused.index, problems.collect::<Vec<_>>().join("; "))
            };
            return Ok(taken.refused.into_iter().map(words).collect());
        }
    }

    /// A daemon behind a proxy may have a path of its own.
    fn address(&self, path: &str) -> Result<Url, Stop> {
        let place = self.place();
        format!("{place}{path}")
            .parse()
            .map_err(|_| Stop::new(exit::USAGE, format!("--daemon {place} is no address")))
    }

    fn with_token(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    fn refusal(&self, answer: &Answer) -> Stop {
        let place = self.place();
        let said = excerpt(&answer.body, self.token.as_ref());
        match answer.status.as_u16() {
            401 | 403 => Stop::new(
                exit::USAGE,
                format!(
                    "the daemon at {place} answered {}: give one of its tokens in CACHETSCOPE_TOKEN or with \
                     --daemon-token-file ({said})",
                    answer.status.as_u16()
                ),
            ),
            404 => Stop::new(
                exit::USAGE,
                format!("{place} takes no events: is that the daemon, and of this version?"),
            ),
            code => Stop::new(exit::UNDELIVERED, format!("the daemon at {place} answered {code}: {said}")),
        }
    }

    fn strange(&self) -> Stop {
        let words = format!("{} did not answer as a cachetscope of this version does", self.place());
        Stop::new(exit::USAGE, words)
    }
}
