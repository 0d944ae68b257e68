//! Where answers come from: a running daemon, or a store that no daemon holds.

use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use url::Url;

use super::Answers;
use crate::cli::{Global, exit};
use crate::clock::Clock;
use crate::compare::Standing;
use crate::config::Env;
use crate::history::Chosen;
use crate::model::{Suite, Version};
use crate::page::Verdicts;
use crate::store::{Location, Store};

pub enum Source {
    Daemon { url: Url, timeout: Duration },
    Store { store: Store, suites: Vec<Suite> },
}

/// A daemon that does not answer, or says no: what to tell, and the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct Unanswered {
    pub words: String,
    pub code: u8,
}

impl Source {
    pub async fn store(global: &Global, env: &Env) -> anyhow::Result<Self> {
        let location = &global.location(env)?;
        if let Location::File(path) = location {
            anyhow::ensure!(
                path.exists(),
                "there is no store at {location}; name one with --state-dir or --database"
            );
        }
        let suites = global.load(env)?.suites;
        let hint = "a running daemon holds its store: leave --offline out to ask it";
        let store = Store::open(location, &Clock::system()).await.context(hint)?;
        Ok(Source::Store { store, suites })
    }

    pub async fn close(self) {
        if let Source::Store { store, .. } = self {
            store.close().await;
        }
    }

    pub async fn answers(&self) -> anyhow::Result<Answers> {
        match self {
            Source::Daemon { .. } => self.ask("/api/v1/overview", &[("fresh", "true".to_owned())]).await,
            Source::Store { store, .. } => {
                let overview = crate::page::overview(store.clone(), Clock::system(), String::new()).await?;
                // By way of what the daemon would answer.
                Ok(serde_json::from_value(serde_json::to_value(&*overview)?)?)
            }
        }
    }

    /// The verdicts that stand; or those that the stored rounds come to, of an earlier and a later version
    /// or within a window.
    pub async fn standings(
        &self,
        between: Option<&[String]>,
        window: Option<Duration>,
    ) -> anyhow::Result<Vec<Standing>> {
        let versions = match between {
            Some([earlier, later]) => Some((version(later)?, version(earlier)?)),
            _ => None,
        };
        match self {
            Source::Daemon { .. } => {
                let mut query = Vec::new();
                if let Some((later, earlier)) = &versions {
                    query.push(("version", later.to_string()));
                    query.push(("against", earlier.to_string()));
                }
                query.extend(window.map(|time| ("window", humantime::format_duration(time).to_string())));
                let verdicts: Verdicts = self.ask("/api/v1/verdicts", &query).await?;
                Ok(verdicts.verdicts)
            }
            Source::Store { store, .. } if versions.is_none() && window.is_none() => {
                Ok(Verdicts::read(store).await?.verdicts)
            }
            Source::Store { store, suites } => {
                let chosen = Chosen { versions, window };
                if let Some(mistake) = chosen.mistake(store).await? {
                    anyhow::bail!(mistake);
                }
                Ok(chosen.read(store, suites, Clock::system().now()).await?)
            }
        }
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        let Source::Daemon { url, timeout } = self else { anyhow::bail!("no daemon is asked") };
        let mut url = url.join(path).context("--daemon")?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let client = crate::cli::http_client(&url)?;
        let asked = async {
            let answer = client.get(url.clone()).timeout(*timeout).send().await?;
            anyhow::Ok((answer.status(), answer.text().await?))
        };
        let (status, text) = match asked.await {
            Ok(answer) => answer,
            Err(error) => {
                let words = format!(
                    "{url} did not answer: {error:#}\n`cachetscope serve` starts a daemon, `cachetscope demo` one \
                     for a look; --daemon names another one, and --offline reads the store of one that is stopped"
                );
                return Err(Unanswered { words, code: exit::UNREACHABLE }.into());
            }
        };
        if status == StatusCode::BAD_REQUEST {
            // The question was wrong, and not the daemon.
            let detail = serde_json::from_str(&text)
                .ok()
                .and_then(|problem: serde_json::Value| Some(problem.get("detail")?.as_str()?.to_owned()));
            anyhow::bail!(detail.unwrap_or(text));
        }
        if !status.is_success() {
            let words = format!("{url} answered {status}: {}", text.trim());
            return Err(Unanswered { words, code: exit::FAILED }.into());
        }
        serde_json::from_str(&text)
            .with_context(|| format!("{url} did not answer as a cachetscope of this version does"))
    }
}

fn version(text: &str) -> anyhow::Result<Version> {
    Version::parse(text).with_context(|| format!("--between: `{text}` is not a version"))
}
