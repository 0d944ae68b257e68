//! What each CI system calls its things, by its own documentation of predefined variables.

use url::Url;

use super::Env;

/// What a CI system tells about the run; each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub source: Option<&'static str>,
    pub pipeline: Option<String>,
    pub run: Option<String>,
    pub attempt: Option<u32>,
    pub job: Option<String>,
    pub branch: Option<String>,
    pub commit: Option<String>,
    pub repository: Option<String>,
    pub url: Option<String>,
    pub worker: Option<String>,
    /// Which variables were looked for, for pipeline and run.
    pub hints: (&'static str, &'static str),
}

/// The CI system that runs this process, if it is one that is known.
pub(super) fn find(env: &Env) -> Option<Found> {
    if env.get("GITHUB_ACTIONS").is_some() {
        Some(github(env))
    } else if env.get("GITLAB_CI").is_some() {
        Some(gitlab(env))
    } else if env.get("JENKINS_URL").or(env.get("BUILD_TAG")).or(env.get("JENKINS_HOME")).is_some() {
        Some(jenkins(env))
    } else {
        None
    }
}

/// Jenkins with its git plugin. Every branch of a multi-branch pipeline is a job of its own and
/// counts its own builds, so the job's full name is the pipeline.
fn jenkins(env: &Env) -> Found {
    let own = |name: &str| env.get(name).map(str::to_owned);
    // Of a pull request, BRANCH_NAME is `PR-12` and CHANGE_BRANCH what it wants to merge.
    let branch = own("CHANGE_BRANCH").or(own("BRANCH_NAME")).or_else(|| own("GIT_BRANCH"));
    let branch = branch.map(|branch| {
        let plain = branch.strip_prefix("refs/heads/").or_else(|| {
            let remote = branch.strip_prefix("refs/remotes/").unwrap_or(&branch);
            remote.strip_prefix("origin/")
        });
        plain.unwrap_or(&branch).to_owned()
    });
    Found {
        source: Some("jenkins"),
        pipeline: own("JOB_NAME"),
        run: own("BUILD_NUMBER"),
        branch: branch.filter(|branch| branch != "detached"),
        commit: own("GIT_COMMIT"),
        repository: own("GIT_URL").or(own("GIT_URL_1")),
        url: own("BUILD_URL"),
        worker: own("NODE_NAME"),
        hints: (" (JOB_NAME)", " (BUILD_NUMBER)"),
        ..Found::default()
    }
}

/// GitHub Actions. A run that is started again keeps its id and counts its attempts.
fn github(env: &Env) -> Found {
    let own = |name: &str| env.get(name).map(str::to_owned);
    let repository = env.get("GITHUB_REPOSITORY");
    let pipeline = repository.zip(env.get("GITHUB_WORKFLOW"));
    let home = repository.map(|name| {
        let server = env.get("GITHUB_SERVER_URL").unwrap_or("https://github.com");
        format!("{}/{name}", server.trim_end_matches('/'))
    });
    let attempt: Option<u32> = env.get("GITHUB_RUN_ATTEMPT").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    let url = home.as_deref().zip(env.get("GITHUB_RUN_ID")).map(|(home, run)| {
        let again = attempt.filter(|n| *n > 1).map(|n| format!("/attempts/{n}")).unwrap_or_default();
        format!("{home}/actions/runs/{run}{again}")
    });
    Found {
        source: Some("github"),
        pipeline: pipeline.map(|(repository, workflow)| format!("{repository}/{workflow}")),
        run: own("GITHUB_RUN_ID"),
        attempt,
        job: own("GITHUB_JOB"),
        // Of a pull request, GITHUB_REF_NAME is `12/merge` and GITHUB_HEAD_REF what it wants to merge.
        branch: own("GITHUB_HEAD_REF").or(own("GITHUB_REF_NAME")),
        commit: own("GITHUB_SHA"),
        repository: home,
        url,
        worker: own("RUNNER_NAME"),
        hints: (" (GITHUB_REPOSITORY, GITHUB_WORKFLOW)", " (GITHUB_RUN_ID)"),
    }
}

/// GitLab CI. A job that is started again is another job of the same pipeline, so the job's id is
/// what tells its attempts apart.
fn gitlab(env: &Env) -> Found {
    let own = |name: &str| env.get(name).map(str::to_owned);
    let job = own("CI_JOB_NAME").zip(env.get("CI_JOB_ID")).map(|(name, id)| format!("{name}#{id}"));
    Found {
        source: Some("gitlab"),
        pipeline: own("CI_PROJECT_PATH"),
        run: own("CI_PIPELINE_ID").or(own("CI_JOB_ID")),
        job: job.or(own("CI_JOB_NAME")),
        branch: own("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME").or(own("CI_COMMIT_REF_NAME")),
        commit: own("CI_COMMIT_SHA"),
        repository: own("CI_PROJECT_URL"),
        url: own("CI_JOB_URL").or(own("CI_PIPELINE_URL")),
        worker: own("CI_RUNNER_DESCRIPTION"),
        hints: (" (CI_PROJECT_PATH)", " (CI_PIPELINE_ID)"),
        ..Found::default()
    }
}

/// An http(s) URL without credentials; `None` for anything else.
pub(super) fn page(text: &str) -> Option<String> {
    let mut url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    // Both can only fail for URLs without a host, which these schemes have.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url.into())
}

/// The page of a repository, whatever it is cloned by: without credentials, `.git` and what follows a
/// path. `None` for a folder of this machine.
pub(super) fn repository(text: &str) -> Option<String> {
    let text = text.trim();
    let mut url = match text.split_once("://") {
        Some(("http" | "https", _)) => Url::parse(&page(text)?).ok()?,
        Some(("ssh" | "git" | "git+ssh", rest)) => {
            let host = rest.split_once('@').map_or(rest, |(_, host)| host);
            let (host, path) = host.split_once('/')?;
            Url::parse(&format!("https://{}/{path}", host.split(':').next()?)).ok()?
        }
        Some(_) => return None,
        // As scp has it: [user@]host:path
        None => {
            let (host, path) =
                text.split_once(':').filter(|(host, _)| !host.contains('/') && host.len() > 1)?;
            let host = host.rsplit('@').next()?;
            Url::parse(&format!("https://{host}/{}", path.trim_start_matches('/'))).ok()?
        }
    };
    url.set_query(None);
    url.set_fragment(None);
    let plain = url.as_str().trim_end_matches('/');
    Some(plain.strip_suffix(".git").unwrap_or(plain).to_owned())
}
