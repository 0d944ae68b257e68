//! The daemon's side: which runs it knows, and the taking in of those it does not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::super::exit;
use super::asking::{Answer, Stop, ask, excerpt};
use crate::client::{self, Told};
use crate::model::{Event, Secret};

/// For the events of one job, which may be thousands.
const TELL_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) struct Daemon {
    pub http: reqwest::Client,
    pub url: Url,
    pub token: Option<Secret>,
}

#[derive(Deserialize)]
struct KnownRun {
    run: String,
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

    /// Hands events over.
    pub async fn tell(&self, events: &[Event]) -> Result<Told, Stop> {
        let told = client::tell(&self.url, self.token.clone(), events, TELL_TIMEOUT).await;
        told.map_err(|error| Stop::new(exit::USAGE, error.to_string()))
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
                     --token-file ({said})",
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
