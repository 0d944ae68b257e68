//! Asks each deployment once which version it is, apart from the rounds.
//!
//! It is asked when it joins the fleet and at the start of the daemon; without an answer again after
//! an hour. Cachet 2 asks a server on the internet for its answer, so it may be slow, or a 500. No
//! token is sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Rounds;
use crate::http::{Call, Client, HeaderMap, HeaderName, HeaderValue};
use crate::model::{Deployment, Method, Redirects, TraceParent, Version};
use crate::store::{Change, Store, deployment_key};

const TIMEOUT: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// Deployments that are asked at once.
const ASKED_AT_ONCE: usize = 8;
/// How long to wait for a moment without a round under way.
const QUIET_WITHIN: Duration = Duration::from_secs(10);
const BODY_MAX: usize = 64 * 1024;
/// Characters of a reported version at most.
const VERSION_MAX: usize = 100;

/// A build, by its row, and the event that told of it: the same build deployed again is asked again.
type Asked = (i64, Option<TraceParent>);

pub(super) struct Reported {
    pub store: Store,
    pub client: Client,
    pub rounds: Rounds,
    pub deployments: watch::Receiver<Vec<Arc<Deployment>>>,
}

impl Reported {
    /// Until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        // When to ask again; `None` for those that answered.
        let mut asked: HashMap<Asked, Option<Instant>> = HashMap::new();
        loop {
            let fleet = self.deployments.borrow_and_update().clone();
            let id = |d: &Deployment| (deployment_key(d), d.origin);
            let ids: Vec<Asked> = fleet.iter().map(|d| id(d)).collect();
            asked.retain(|known, _| ids.contains(known));
            let now = Instant::now();
            let due = fleet.iter().filter(|d| match asked.get(&id(d)) {
                None => true,
                Some(again) => again.is_some_and(|again| again <= now),
            });
            let due: Vec<Arc<Deployment>> = due.cloned().collect();
            let answers = futures_util::stream::iter(due)
                .map(async |d| (id(&d), self.ask_and_keep(&d).await))
                .buffer_unordered(ASKED_AT_ONCE)
                .collect::<Vec<_>>();
            tokio::select! {
                () = stop.cancelled() => return,
                answers = answers => {
                    let again = |answered: bool| (!answered).then(|| Instant::now() + AGAIN_AFTER);
                    asked.extend(answers.into_iter().map(|(id, answered)| (id, again(answered))));
                }
            }
            let next = asked.values().flatten().min().copied();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.deployments.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + AGAIN_AFTER)) => {}
            }
        }
    }

    /// Whether there was an answer.
    async fn ask_and_keep(&self, deployment: &Deployment) -> bool {
        let asked = Instant::now();
        while !self.rounds.is_idle() && asked.elapsed() < QUIET_WITHIN {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let Some(version) = ask(&self.client, deployment).await else {
            tracing::debug!(deployment = deployment.name, "the deployment did not say its version");
            return false;
        };
        if let Some(words) = crate::history::mismatch(&deployment.version, &version) {
            tracing::warn!(deployment = deployment.name, "the deployment {words}");
        }
        let change = Change::Reported { key: deployment_key(deployment), version };
        match self.store.change(change).await {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, "failed to keep a reported version");
                false
            }
        }
    }
}

/// `/api/version` of Cachet 3, `/api/v1/version` of those before, and the other one where that does
/// not exist.
async fn ask(client: &Client, deployment: &Deployment) -> Option<String> {
    let (two, three) = ("api/v1/version", "api/version");
    let is_three = Version::parse("3.0.0-0").is_some_and(|three| deployment.version >= three);
    for path in if is_three { [three, two] } else { [two, three] } {
        let mut url = deployment.url.clone();
        url.set_path(&format!("{}/{path}", deployment.url.path().trim_end_matches('/')));
        let accept = (HeaderName::from_static("accept"), HeaderValue::from_static("application/json"));
        let call = Call {
            method: Method::Get,
            url: &url,
            headers: HeaderMap::from_iter([accept]),
            body: Bytes::new(),
            timeout: TIMEOUT,
            body_max: BODY_MAX,
            redirects: Redirects::Keep,
        };
        let exchange = client.session(deployment).send(call).await;
        match exchange.status {
            Some(200) if exchange.error.is_none() => return version_in(&exchange.body),
            Some(404) => {}
            _ => return None,
        }
    }
    None
}

/// Cachet 2 says `{"data": "2.4.0-dev"}`, Cachet 3 `{"data": {"version": "3.x-dev"}}`.
fn version_in(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let data = answer.get("data")?;
    let text = data.as_str().or_else(|| data.get("version")?.as_str())?.trim();
    let text: String = text.chars().filter(|c| !c.is_control()).take(VERSION_MAX).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn both_generations_are_understood_and_nothing_else() {
        let of = |body: &str| version_in(body.as_bytes());
        assert_eq!(of(r#"{"meta":{"on_latest":true},"data":"2.4.0-dev"}"#).as_deref(), Some("2.4.0-dev"));
        assert_eq!(of(r#"{"data":{"version":" 3.x-dev\n"}}"#).as_deref(), Some("3.x-dev"));
        for body in ["", "<html>", "{}", r#"{"data":7}"#, r#"{"data":""}"#, r#"{"data":{"version":[]}}"#] {
            assert_eq!(of(body), None, "{body}");
        }
        assert_eq!(of(&format!(r#"{{"data":"{}"}}"#, "9".repeat(999))).unwrap().len(), 100);
    }
}
