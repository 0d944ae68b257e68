//! Builds as Jenkins tells of them, and as events. Pure.

use std::time::Duration;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::model::{CiResult, Event};

/// What is asked of each build.
pub(super) const FIELDS: &str =
    "number,url,result,timestamp,duration,building,actions[lastBuiltRevision[SHA1,branch[name]]]";

/// A job, by the names that lead to it: folders, then the job, then its branch where it has several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Job {
    pub path: Vec<String>,
    /// Whether the last name is that of a branch.
    pub is_branch: bool,
}

impl Job {
    /// As `JOB_NAME` has it: in the name of a branch, `/` is `%2F`.
    pub fn name(&self) -> String {
        self.path.join("/")
    }

    /// The branch it builds, where that is its name.
    fn branch(&self) -> Option<String> {
        let name = self.path.last().filter(|_| self.is_branch)?;
        Some(percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned())
    }
}

/// One build; what is not known may be missing.
#[derive(Debug, Deserialize)]
pub(super) struct Build {
    pub number: u64,
    #[serde(default)]
    pub url: Option<String>,
    /// Absent while it runs.
    #[serde(default)]
    pub result: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub timestamp: i64,
    /// Milliseconds.
    #[serde(default)]
    pub duration: i64,
    #[serde(default)]
    pub building: bool,
    /// Of plug-ins; those that are not asked for are empty or null.
    #[serde(default)]
    pub actions: Vec<Option<Action>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Action {
    #[serde(default, rename = "lastBuiltRevision")]
    revision: Option<Revision>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Revision {
    #[serde(default, rename = "SHA1")]
    commit: Option<String>,
    #[serde(default)]
    branch: Vec<Branch>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Branch {
    #[serde(default)]
    name: Option<String>,
}

impl Build {
    pub fn began(&self) -> Timestamp {
        Timestamp(self.timestamp.saturating_mul(1_000_000))
    }

    pub fn runs(&self) -> bool {
        self.building || self.result.is_none()
    }

    /// The event of the run as a whole; `None` while it runs.
    pub fn event(&self, job: &Job) -> Option<Event> {
        if self.runs() {
            return None;
        }
        let mut event = Event::new("jenkins", &job.name(), &self.number.to_string());
        let duration = Duration::from_millis(u64::try_from(self.duration).unwrap_or(0));
        event.started = Some(self.began());
        event.finished = Some(self.began().plus(duration));
        event.result = Some(match self.result.as_deref() {
            Some("SUCCESS") => CiResult::Success,
            // Tests failed, or a person called it so: it is no success.
            Some("UNSTABLE" | "FAILURE") => CiResult::Failure,
            Some("ABORTED") => CiResult::Cancellation,
            Some("NOT_BUILT") => CiResult::Skip,
            _ => CiResult::Error,
        });
        event.url = self.url.clone().filter(|url| is_link(url));
        let revision = self.revision();
        event.commit =
            revision.and_then(|revision| revision.commit.clone()).filter(|commit| !commit.is_empty());
        let named = || revision?.branch.first()?.name.as_deref().and_then(plain_branch);
        event.branch = job.branch().or_else(named);
        Some(event)
    }

    /// What was checked out. A build that checked out several (shared libraries do) tells not which
    /// of them it is about.
    fn revision(&self) -> Option<&Revision> {
        let mut all = self.actions.iter().flatten().filter_map(|action| action.revision.as_ref());
        let first = all.next()?;
        all.all(|other| other.commit == first.commit).then_some(first)
    }
}

/// `refs/remotes/origin/main` → `main`; nothing for a commit that is on no branch.
fn plain_branch(name: &str) -> Option<String> {
    let name = name.strip_prefix("refs/heads/").unwrap_or(name);
    let name = name.strip_prefix("refs/remotes/").unwrap_or(name);
    let name = name.strip_prefix("origin/").unwrap_or(name);
    (!name.is_empty() && name != "detached" && name != "HEAD").then(|| name.to_owned())
}

/// What may be shown as a link: an address without credentials.
fn is_link(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(json: &str) -> Build {
        serde_json::from_str(json).unwrap()
    }

    fn job(path: &[&str], is_branch: bool) -> Job {
        Job { path: path.iter().map(ToString::to_string).collect(), is_branch }
    }

    #[test]
    fn a_build_becomes_a_run() {
        let build = build(
            r#"{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowRun","number":17,"result":"SUCCESS",
                "timestamp":1795406706123,"duration":61500,"building":false,"url":"https://ci.example/job/a/17/",
                "actions":[{},null,{"_class":"hudson.plugins.git.util.BuildData","lastBuiltRevision":
                {"SHA1":"0af7651916cd43dd8448eb211c80319c0af76519","branch":[{"name":"refs/remotes/origin/main"}]}}]}"#,
        );
        let event = build.event(&job(&["team", "a"], false)).unwrap();
        assert_eq!(event.identity(), ["jenkins", "team/a", "17", ""]);
        assert_eq!((event.attempt, event.result), (1, Some(CiResult::Success)));
        assert_eq!(event.finished.unwrap().since(event.started.unwrap()), Duration::from_millis(61_500));
        assert_eq!(event.branch.as_deref(), Some("main"));
        assert_eq!(event.commit.as_deref(), Some("0af7651916cd43dd8448eb211c80319c0af76519"));
        assert_eq!(event.check(Timestamp(1_795_406_800_000_000_000)), []);
    }

    #[test]
    fn results_are_read_by_what_they_mean() {
        for (said, meant) in [
            ("SUCCESS", CiResult::Success),
            ("UNSTABLE", CiResult::Failure),
            ("FAILURE", CiResult::Failure),
            ("ABORTED", CiResult::Cancellation),
            ("NOT_BUILT", CiResult::Skip),
            ("SOMETHING_NEW", CiResult::Error),
        ] {
            let build = build(&format!(r#"{{"number":1,"result":"{said}","timestamp":1795406706123}}"#));
            assert_eq!(build.event(&job(&["a"], false)).unwrap().result, Some(meant), "{said}");
        }
        assert!(build(r#"{"number":1,"result":null,"building":true}"#).event(&job(&["a"], false)).is_none());
        // The verdict may be known before the end.
        assert!(
            build(r#"{"number":1,"result":"FAILURE","building":true}"#).event(&job(&["a"], false)).is_none()
        );
    }

    #[test]
    fn a_branch_job_is_named_as_in_job_name_and_its_branch_as_people_write_it() {
        let build =
            build(r#"{"number":1,"result":"SUCCESS","timestamp":1795406706123,"url":"javascript:x"}"#);
        let event = build.event(&job(&["multi", "feature%2Fx"], true)).unwrap();
        assert_eq!(
            (event.pipeline.as_str(), event.branch.as_deref()),
            ("multi/feature%2Fx", Some("feature/x"))
        );
        assert_eq!(event.url, None);
    }

    #[test]
    fn of_several_checkouts_none_is_taken_for_the_one() {
        let two = r#"{"number":1,"result":"SUCCESS","actions":[{"lastBuiltRevision":{"SHA1":"a"}},
                      {"lastBuiltRevision":{"SHA1":"b","branch":[{"name":"origin/main"}]}}]}"#;
        let event = build(two).event(&job(&["a"], false)).unwrap();
        assert_eq!((event.commit, event.branch), (None, None));
    }
}
