//! Where we are in CI: which run of which pipeline, from the variables that CI systems set.
//!
//! Flags go over the environment, and the environment over what `git` tells. Outside of any CI there
//! is a run all the same, of source `local`. What leaves here holds no credentials: they are taken
//! out of URLs. Deliberately absent: guesses. A source that somebody names without a pipeline and a
//! run is an error that names the flags.

mod git;
mod systems;
mod version;

use std::ffi::OsString;
use std::path::Path;

use super::Env;
use crate::clock::Timestamp;
use crate::model::{Event, TraceParent};
use git::WorkTree;
use systems::Found;
pub use version::{VersionError, version};

/// The source of what happens outside of any CI.
const LOCAL: &str = "local";

/// One run of a pipeline, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// `jenkins`, `github`, `gitlab`, `local`, or what somebody called it.
    pub source: String,
    pub pipeline: String,
    pub run: String,
    /// From 1.
    pub attempt: u32,
    /// The job within the run, where the CI has several that may do the same (GitHub, GitLab).
    pub job: Option<String>,
    pub branch: Option<String>,
    pub commit: Option<String>,
    /// URL without credentials and `.git`.
    pub repository: Option<String>,
    /// Where a person finds the run; without credentials.
    pub url: Option<String>,
    pub worker: Option<String>,
    pub traceparent: Option<TraceParent>,
    /// What a person should know: what was made up, and what was left out.
    pub notes: Vec<String>,
}

/// What flags say, as it was typed. An empty text counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub source: Option<String>,
    pub pipeline: Option<String>,
    pub run: Option<String>,
    pub attempt: Option<String>,
    pub branch: Option<String>,
    pub commit: Option<String>,
    pub repository: Option<String>,
    pub url: Option<String>,
}

/// What is missing or makes no sense, with the flags that mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ContextError(pub Vec<String>);

impl Context {
    /// The run that this process is part of. `dir` is where it works, `now` names a run outside of any
    /// CI.
    pub fn detect(env: &Env, given: &Overrides, dir: &Path, now: Timestamp) -> Result<Self, ContextError> {
        let mut problems = Vec::new();
        let mut notes = Vec::new();
        let found = systems::find(env);
        let tree = WorkTree::at(dir);
        let source = text(&given.source).map(str::to_owned);
        let is_local = found.is_none() && source.as_deref().is_none_or(|source| source == LOCAL);
        let found = match found {
            Some(found) => found,
            None if is_local => local(&tree, dir, now),
            None => Found::default(),
        };
        if is_local && text(&given.run).is_none() {
            let run = found.run.as_deref().unwrap_or_default();
            notes.push(format!("this is no CI that is known, so the run is called {run}; --run-id names it"));
        }
        let source = source.or(found.source.map(str::to_owned)).unwrap_or_else(|| LOCAL.to_owned());
        let mut needed = |given: &Option<String>,
                          found: Option<String>,
                          what: &str,
                          flag: &str,
                          hint: &str| {
            text(given).map(str::to_owned).or(found).unwrap_or_else(|| {
                problems.push(format!(
                    "the {what} is not known: source {source} sets no variable for it{hint}; name it with {flag}"
                ));
                String::new()
            })
        };
        let pipeline = needed(&given.pipeline, found.pipeline, "pipeline", "--pipeline", found.hints.0);
        let run = needed(&given.run, found.run, "run", "--run-id", found.hints.1);
        let attempt = match text(&given.attempt) {
            None => found.attempt.unwrap_or(1),
            Some(text) => text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| {
                problems.push(format!("--attempt: expected a number from 1, found `{text}`"));
                1
            }),
        };
        let repository = match (text(&given.repository), found.repository) {
            (Some(given), _) => systems::repository(given).or_else(|| {
                problems.push("--repository: expected the URL of a repository".to_owned());
                None
            }),
            (None, Some(found)) => systems::repository(&found),
            (None, None) => tree.as_ref().and_then(WorkTree::remote).and_then(|r| systems::repository(&r)),
        };
        let url = match (text(&given.url), found.url) {
            (Some(given), _) => systems::page(given).or_else(|| {
                problems.push("--run-url: expected an http(s) URL".to_owned());
                None
            }),
            (None, found) => found.as_deref().and_then(systems::page),
        };
        if !problems.is_empty() {
            return Err(ContextError(problems));
        }
        let traceparent = env.get("TRACEPARENT").and_then(|text| match text.parse() {
            Ok(parent) => Some(parent),
            // W3C Trace Context, 3.2.2.3: what cannot be parsed is as if it were not there.
            Err(_) => {
                notes.push(
                    "TRACEPARENT is left out: expected `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`"
                        .to_owned(),
                );
                None
            }
        });
        let branch = text(&given.branch).map(str::to_owned).or(found.branch);
        let commit = text(&given.commit).map(str::to_owned).or(found.commit);
        Ok(Context {
            source,
            pipeline,
            run,
            attempt,
            job: found.job,
            branch: branch.or_else(|| tree.as_ref().and_then(WorkTree::branch)),
            commit: commit.or_else(|| tree.as_ref().and_then(WorkTree::commit)),
            repository,
            url,
            worker: found.worker.or_else(host),
            traceparent,
            notes,
        })
    }

    /// An event of this run, with nothing said yet.
    pub fn event(&self) -> Event {
        Event {
            attempt: self.attempt,
            traceparent: self.traceparent,
            branch: self.branch.clone(),
            commit: self.commit.clone(),
            repository: self.repository.clone(),
            url: self.url.clone(),
            worker: self.worker.clone(),
            ..Event::new(&self.source, &self.pipeline, &self.run)
        }
    }

    /// What makes another cachetscope that is called within this run take itself for a part of it.
    pub fn variables(&self) -> Vec<(String, OsString)> {
        let mut variables = vec![
            ("CACHETSCOPE_SOURCE", self.source.clone()),
            ("CACHETSCOPE_PIPELINE", self.pipeline.clone()),
            ("CACHETSCOPE_RUN_ID", self.run.clone()),
            ("CACHETSCOPE_ATTEMPT", self.attempt.to_string()),
        ];
        let optional = [
            ("CACHETSCOPE_BRANCH", &self.branch),
            ("CACHETSCOPE_COMMIT", &self.commit),
            ("CACHETSCOPE_REPOSITORY", &self.repository),
            ("CACHETSCOPE_RUN_URL", &self.url),
        ];
        variables.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

/// What is more than white space.
fn text(given: &Option<String>) -> Option<&str> {
    given.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// A run by hand: named after the folder, this machine and the time.
fn local(tree: &Option<WorkTree>, dir: &Path, now: Timestamp) -> Found {
    let folder = tree.as_ref().map(|tree| tree.top.clone()).or_else(|| dir.canonicalize().ok());
    let name = folder.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let host = host().unwrap_or_else(|| "host".to_owned());
    Found {
        source: Some(LOCAL),
        pipeline: name,
        run: Some(format!("{host}-{}", now.0 / 1_000_000)),
        ..Found::default()
    }
}

/// The name of this machine (proc(5)).
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
