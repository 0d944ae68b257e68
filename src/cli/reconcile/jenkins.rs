//! Reads a Jenkins server's JSON API: jobs through folders and branches, and their builds page by
//! page.
//!
//! Addresses are built from the one that was given, never taken from answers: what Jenkins believes
//! its own address to be may be elsewhere, and the token goes along.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::super::exit;
use super::asking::{Answer, Stop, ask, excerpt};
use super::builds::{Build, FIELDS, Job};
use crate::clock::Timestamp;
use crate::model::Secret;

/// Folders within folders at most.
const DEPTH_MAX: usize = 12;
/// Jobs that are looked at.
pub(super) const JOBS_MAX: usize = 2_000;
/// Names within one folder.
const CHILDREN_MAX: usize = 5_000;
/// Builds of one answer.
const PAGE: usize = 100;
/// Builds of one job that are looked at.
const BUILDS_MAX: usize = 10_000;

pub(super) struct Jenkins {
    pub http: reqwest::Client,
    pub url: Url,
    pub user: Option<String>,
    pub token: Option<Secret>,
}

/// A folder, or a job that has one job for each branch. A plain job has no `jobs`.
#[derive(Deserialize)]
struct Container {
    #[serde(default, rename = "_class")]
    class: String,
    jobs: Option<Vec<Child>>,
}

#[derive(Deserialize)]
struct Child {
    name: String,
    jobs: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default, rename = "allBuilds")]
    builds: Vec<Build>,
}

/// What was found, and what was left out because of a limit.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub items: Vec<T>,
    pub left_out: Vec<String>,
}

impl<T> Found<T> {
    fn nothing() -> Self {
        Found { items: Vec::new(), left_out: Vec::new() }
    }
}

impl Jenkins {
    /// As it is shown.
    pub fn place(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// All jobs that have builds; or these, and those within them.
    pub async fn jobs(&self, wanted: &[String]) -> Result<Found<Job>, Stop> {
        let mut found = Found::nothing();
        let mut open: Vec<Vec<String>> = Vec::new();
        if wanted.is_empty() {
            open.push(Vec::new());
        }
        for name in wanted {
            open.push(name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
        while let Some(path) = open.pop() {
            let tree = format!("_class,jobs[name,jobs[name]{{0,1}}]{{0,{}}}", CHILDREN_MAX + 1);
            let container: Container = self.get(&path, &[("tree", &tree)]).await?;
            let Some(children) = container.jobs else {
                if path.is_empty() {
                    let place = self.place();
                    return Err(Stop::new(exit::USAGE, format!("{place} lists no jobs: is that a Jenkins?")));
                }
                let is_branch = self.is_branch(&path).await?;
                found.items.push(Job { path, is_branch });
                continue;
            };
            if children.len() > CHILDREN_MAX {
                found.left_out.push(format!("`{}` holds more than {CHILDREN_MAX} jobs", path.join("/")));
            }
            let branches = is_of_branches(&container.class);
            for child in children.into_iter().take(CHILDREN_MAX) {
                let mut path = path.clone();
                path.push(child.name);
                match child.jobs {
                    Some(_) if path.len() >= DEPTH_MAX => {
                        let name = path.join("/");
                        found.left_out.push(format!("`{name}` lies {DEPTH_MAX} folders deep"));
                    }
                    Some(_) => open.push(path),
                    None => found.items.push(Job { path, is_branch: branches }),
                }
            }
            // Twice the limit, so that what is kept does not depend on the order of the folders.
            if found.items.len() + open.len() > JOBS_MAX * 2 {
                break;
            }
        }
        found.items.sort();
        found.items.dedup();
        if found.items.len() + open.len() > JOBS_MAX {
            found.left_out.push(format!("there are more than {JOBS_MAX} jobs; name some with --job"));
            found.items.truncate(JOBS_MAX);
        }
        Ok(found)
    }

    /// Whether what is above a job has a job for each branch.
    async fn is_branch(&self, path: &[String]) -> Result<bool, Stop> {
        let above = &path[..path.len() - 1];
        if above.is_empty() {
            return Ok(false);
        }
        let container: Container = self.get(above, &[("tree", "_class")]).await?;
        Ok(is_of_branches(&container.class))
    }

    /// Builds that began at or after `since`, newest first.
    pub async fn builds(&self, job: &Job, since: Timestamp) -> Result<Found<Build>, Stop> {
        let mut found: Found<Build> = Found::nothing();
        let mut from = 0;
        loop {
            let tree = format!("allBuilds[{FIELDS}]{{{from},{}}}", from + PAGE);
            let page: Page = self.get(&job.path, &[("tree", &tree)]).await?;
            let full = page.builds.len() >= PAGE;
            let old = page.builds.last().is_some_and(|build| build.began() < since);
            for build in page.builds.into_iter().filter(|build| build.began() >= since) {
                // A build that began meanwhile moves the others to the next page.
                if found.items.last().is_none_or(|last| build.number < last.number) {
                    found.items.push(build);
                }
            }
            if !full || old {
                return Ok(found);
            }
            from += PAGE;
            if from >= BUILDS_MAX {
                let name = job.name();
                found
                    .left_out
                    .push(format!("`{name}` has more than {BUILDS_MAX} builds since then; ask with --since"));
                return Ok(found);
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &[String], query: &[(&str, &str)]) -> Result<T, Stop> {
        let place = self.place();
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            for name in path {
                // What is encoded in a name is encoded once more: `feature%2Fx` is its name.
                segments.push("job").push(name);
            }
            segments.push("api").push("json");
        }
        url.query_pairs_mut().extend_pairs(query);
        let mut request = self.http.get(url);
        if let (Some(user), Some(token)) = (&self.user, &self.token) {
            request = request.basic_auth(user, Some(token.reveal()));
        }
        let answer = ask(request, &place, exit::UNREACHABLE).await?;
        if !answer.status.is_success() {
            return Err(self.refusal(&place, path, &answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            let what = if answer.is_html {
                "HTML, not JSON".to_owned()
            } else {
                format!("no JSON that is known ({error})")
            };
            let hint = if answer.is_jenkins {
                "its API does not answer as that of Jenkins 2 does"
            } else {
                "is that the address of a Jenkins, with its path, such as https://ci.example/jenkins?"
            };
            Stop::new(exit::USAGE, format!("{place} answered with {what}: {hint}"))
        })
    }

    fn refusal(&self, place: &str, path: &[String], answer: &Answer) -> Stop {
        let code = answer.status.as_u16();
        let job = path.join("/");
        let words = match code {
            401 if self.token.is_none() => format!(
                "{place} answered 401: it wants to know who asks; give --user, and an API token of that user in \
                 CACHETSCOPE_JENKINS_TOKEN or with --jenkins-token-file"
            ),
            401 => format!(
                "{place} answered 401: it does not know user `{}` with the token of CACHETSCOPE_JENKINS_TOKEN or \
                 --jenkins-token-file; it is an API token that is asked for (your name, Security, API Token)",
                self.user.as_deref().unwrap_or_default()
            ),
            403 => format!(
                "{place} answered 403: the user may not read it; Overall/Read and Job/Read are needed"
            ),
            404 if path.is_empty() => format!(
                "{place} answered 404: is that the address of a Jenkins, with its path, such as \
                 https://ci.example/jenkins?"
            ),
            404 => format!(
                "{place} has no job `{}`, or the user may not see it; write it as JOB_NAME has it, such as \
                 folder/job/branch",
                percent_decode_str(&job).decode_utf8_lossy()
            ),
            300..=399 => {
                let to = answer.location.as_deref().unwrap_or("elsewhere");
                let to = to.split(['?', '#']).next().unwrap_or(to);
                format!("{place} answered {code} and sends to {to}: give the address that answers itself")
            }
            _ => format!("{place} answered {code}: {}", excerpt(&answer.body, self.token.as_ref())),
        };
        Stop::new(if code >= 500 { exit::UNREACHABLE } else { exit::USAGE }, words)
    }
}

/// By its class: a multi-branch pipeline's jobs are its branches. The jobs of an organisation folder
/// are such pipelines.
fn is_of_branches(class: &str) -> bool {
    class.contains("MultiBranch")
}
