//! What a test run found.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A run of one suite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// What the suite is called from run to run: with the name of a case, that case's identity.
    pub suite: String,
    /// What this is a part of, where one run of a suite is told in several events (shards, or case by
    /// case): those of one run and suite that say the same here are one run of tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    /// Each case in the order it ran; a name that comes twice is one case, and its worst result counts
    /// when runs are compared. At most 50,000; of more, name the failures here and count all
    /// in `counts`.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// Of all cases, also of those that are not listed; counted from `cases` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The run was ended before it was done, or its report is cut off: what is here is not all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// Where the report was cut off, or what of it could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// One test case; one of a data provider's sets is a case of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Class, file or module; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    pub name: String,
    pub status: CaseStatus,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why it did not pass; cut at 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the status alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// `test.case.result.status`: the conventions know pass and fail, the rest is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseStatus {
    Pass,
    /// An assertion did not hold.
    Fail,
    /// It could not be carried through: an exception, a crash.
    Error,
    Skip,
}

impl CaseStatus {
    pub const ALL: [CaseStatus; 4] =
        [CaseStatus::Pass, CaseStatus::Fail, CaseStatus::Error, CaseStatus::Skip];

    pub fn as_str(self) -> &'static str {
        match self {
            CaseStatus::Pass => "pass",
            CaseStatus::Fail => "fail",
            CaseStatus::Error => "error",
            CaseStatus::Skip => "skip",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        CaseStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Failed, in either way.
    pub fn is_bad(self) -> bool {
        matches!(self, CaseStatus::Fail | CaseStatus::Error)
    }
}

/// What the status of a case alone does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It passed, but its runner doubts it (PHPUnit: no assertion, output, global state).
    Risky,
    /// It passed with a warning.
    Warning,
    /// It is skipped because it is not written yet (PHPUnit).
    Incomplete,
    /// It failed and then passed when its runner ran it again: flaky by its own account.
    Rerun,
}

impl Mark {
    pub const ALL: [Mark; 4] = [Mark::Risky, Mark::Warning, Mark::Incomplete, Mark::Rerun];

    pub fn as_str(self) -> &'static str {
        match self {
            Mark::Risky => "risky",
            Mark::Warning => "warning",
            Mark::Incomplete => "incomplete",
            Mark::Rerun => "rerun",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        Mark::ALL.into_iter().find(|mark| mark.as_str() == text)
    }
}

/// How many cases of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    #[serde(default)]
    pub pass: u64,
    #[serde(default)]
    pub fail: u64,
    #[serde(default)]
    pub error: u64,
    #[serde(default)]
    pub skip: u64,
}

impl Counts {
    pub fn add(&mut self, status: CaseStatus) {
        let count = match status {
            CaseStatus::Pass => &mut self.pass,
            CaseStatus::Fail => &mut self.fail,
            CaseStatus::Error => &mut self.error,
            CaseStatus::Skip => &mut self.skip,
        };
        *count = count.saturating_add(1);
    }

    /// Adds those of another part.
    pub fn join(&mut self, other: &Counts) {
        for (own, more) in [
            (&mut self.pass, other.pass),
            (&mut self.fail, other.fail),
            (&mut self.error, other.error),
            (&mut self.skip, other.skip),
        ] {
            *own = own.saturating_add(more);
        }
    }

    pub fn get(&self, status: CaseStatus) -> u64 {
        match status {
            CaseStatus::Pass => self.pass,
            CaseStatus::Fail => self.fail,
            CaseStatus::Error => self.error,
            CaseStatus::Skip => self.skip,
        }
    }

    pub fn total(&self) -> u64 {
        CaseStatus::ALL.iter().fold(0, |sum, status| sum.saturating_add(self.get(*status)))
    }

    /// Failed, in either way.
    pub fn bad(&self) -> u64 {
        self.fail.saturating_add(self.error)
    }
}

impl Case {
    /// Class and name, as people and runners write it.
    pub fn title(&self) -> String {
        if self.class.is_empty() { self.name.clone() } else { format!("{}::{}", self.class, self.name) }
    }
}

impl Tests {
    /// Of all cases, also of those that are not listed.
    pub fn counts(&self) -> Counts {
        self.counts.unwrap_or_else(|| {
            let mut counts = Counts::default();
            self.cases.iter().for_each(|case| counts.add(case.status));
            counts
        })
    }

    /// Cases that are counted and not listed.
    pub fn unlisted(&self) -> u64 {
        self.counts().total().saturating_sub(self.cases.len() as u64)
    }
}
