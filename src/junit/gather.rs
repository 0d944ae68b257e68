//! Several reports of one run, as one test run.

use std::collections::HashMap;
use std::io::Read;

use super::read::{Place, read_with_places};
use super::{JunitError, text};
use crate::clock::Timestamp;
use crate::model::{CASES_MAX, Case, CaseStatus, Counts, Mark, Tests, truncate};

/// Tests that are recognised when they come again; about 10 MB.
const KNOWN_MAX: usize = 220_000;
/// Bytes of all messages together; beyond it each is cut to [`SHORT_MESSAGE`].
const MESSAGES_MAX: usize = 8 * 1024 * 1024;
const SHORT_MESSAGE: usize = 200;
/// Remarks on all reports at most.
const REMARKS_MAX: usize = 100;

/// What several reports say as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// The earliest of all reports.
    pub started: Option<Timestamp>,
    /// Of all reports that tell, together: the time spent on tests, more than passed on a clock where
    /// they ran beside each other.
    pub seconds: Option<f64>,
    /// Reports that were read, and those that could not be.
    pub reports: u64,
    pub unread: u64,
}

/// Reads the reports of one run (each with the name of its file, for remarks) in their order. A report
/// that cannot be read is a remark; it is an error only if none can, or there is none.
///
/// A test that comes again is one test: the same class, name, file, line and suites around it, within
/// one suite or in another file. Within one suite, one that failed and then passed passed when its
/// runner ran it again ([`Mark::Rerun`]); else the worst result counts. Two suites of one file that are
/// called the same are two suites.
///
/// The suite is called `suite`, else what all reports call theirs, else `tests`. An absolute path is
/// cut to its last part, so that the place of a workspace is no part of a test's identity.
///
/// Holds at most 50,000 cases, 8 MiB of messages and 220,000 identities; beyond them the failures are
/// kept first, messages are cut to 200 bytes, and repetitions are not recognised any more.
pub fn gather<R: Read>(
    suite: Option<&str>,
    reports: impl IntoIterator<Item = (String, R)>,
) -> Result<(Tests, Gathered), JunitError> {
    let mut gathering = Gathering::default();
    let mut gathered = Gathered::default();
    let mut names: Vec<Option<String>> = Vec::new();
    let mut first_error = None;
    for (number, (file, report)) in (0_u32..).zip(reports) {
        match read_with_places(report, |case, place| gathering.take(number, case, place)) {
            Ok(summary) => {
                gathered.reports += 1;
                gathered.started = gathered.started.into_iter().chain(summary.started).min();
                gathered.seconds = gathered.seconds.into_iter().chain(summary.seconds).reduce(|a, b| a + b);
                if let Some(words) = summary.aborted {
                    gathering.aborted = true;
                    gathering.remark(format!("{file}: the report is cut off: {words}"));
                }
                summary.remarks.into_iter().for_each(|words| gathering.remark(format!("{file}: {words}")));
                if !names.contains(&summary.name) && names.len() < 2 {
                    names.push(summary.name);
                }
            }
            Err(error) => {
                gathered.unread += 1;
                // Another kind of file lies beside the reports; but an empty one was to be a report.
                gathering.aborted |=
                    !matches!(error, JunitError::NotJunit { .. } | JunitError::NotXml { .. });
                gathering.remark(format!("{file}: {error}"));
                first_error.get_or_insert(JunitError::File { file, error: Box::new(error) });
            }
        }
    }
    if gathered.reports == 0 {
        return Err(first_error.unwrap_or(JunitError::None));
    }
    let common = match names.as_slice() {
        [Some(name)] => name.as_str(),
        _ => "tests",
    };
    let suite = suite.unwrap_or_else(|| without_folders(common)).to_owned();
    Ok((gathering.finish(suite), gathered))
}

fn without_folders(name: &str) -> &str {
    let drive = name.as_bytes().get(1..3).is_some_and(|start| start == b":\\" || start == b":/");
    if !name.starts_with('/') && !drive {
        return name;
    }
    name.rsplit(['/', '\\']).find(|part| !part.trim().is_empty()).unwrap_or("tests")
}

/// Where a test was seen last, and what became of it.
struct Seen {
    report: u32,
    suite: u64,
    /// Its place among the slots, unless it is counted only.
    slot: Option<u32>,
    status: CaseStatus,
}

#[derive(Default)]
struct Gathering {
    /// In the order they ran. A case that made room for a failure leaves its slot empty, so that the
    /// places of the others stay; at most twice [`CASES_MAX`].
    slots: Vec<Option<Case>>,
    listed: usize,
    /// No slot at or after it holds a case that may make room.
    searched: Option<usize>,
    counts: Counts,
    known: HashMap<u64, Seen>,
    forgetful: bool,
    message_bytes: usize,
    aborted: bool,
    remarks: Vec<String>,
    more_remarks: u64,
}

impl Gathering {
    fn take(&mut self, report: u32, mut case: Case, place: Place) {
        self.shorten(&mut case);
        let key = text::hash(&[&place.hash.to_le_bytes(), case.class.as_bytes(), case.name.as_bytes()]);
        let again = self.known.get(&key).and_then(|seen| {
            let same_suite = seen.report == report && seen.suite == place.suite;
            (same_suite || seen.report != report).then_some((seen.slot, seen.status, same_suite))
        });
        if let Some((slot, before, same_suite)) = again {
            return self.merge(key, slot, before, same_suite, case);
        }
        self.counts.add(case.status);
        let status = case.status;
        let slot = self.list(case);
        let seen = Seen { report, suite: place.suite, slot, status };
        if self.known.len() < KNOWN_MAX || self.known.contains_key(&key) {
            self.known.insert(key, seen);
        } else if !std::mem::replace(&mut self.forgetful, true) {
            self.remark(format!(
                "there are more than {KNOWN_MAX} tests; of those beyond, one that is listed twice counts twice"
            ));
        }
    }

    /// The test came before, and was `before` then.
    fn merge(&mut self, key: u64, slot: Option<u32>, before: CaseStatus, same_suite: bool, mut case: Case) {
        let rerun = same_suite && before.is_bad() && case.status == CaseStatus::Pass;
        if rerun {
            case.mark = Some(Mark::Rerun);
        } else if badness(case.status) <= badness(before) {
            return;
        }
        move_one(&mut self.counts, before, case.status);
        let status = case.status;
        let held = slot.and_then(|slot| self.slots.get_mut(slot as usize)).and_then(Option::as_mut);
        let slot = match held {
            Some(held) => {
                if rerun {
                    case.message = held.message.take();
                }
                *held = case;
                slot
            }
            None => self.list(case),
        };
        if let Some(seen) = self.known.get_mut(&key) {
            (seen.slot, seen.status) = (slot, status);
        }
    }

    /// Keeps a case unless [`CASES_MAX`] are kept; a failure then takes the place of the last one that
    /// is none.
    fn list(&mut self, case: Case) -> Option<u32> {
        if self.listed == CASES_MAX {
            let kept = |slot: &Option<Case>| slot.as_ref().is_some_and(|case| !case.status.is_bad());
            let before = self.searched.unwrap_or(self.slots.len());
            let place = case.status.is_bad().then(|| self.slots[..before].iter().rposition(kept));
            if let Some(found) = place {
                self.searched = Some(found.unwrap_or(0));
            }
            self.slots[place.flatten()?] = None;
        } else {
            self.listed += 1;
        }
        self.slots.push(Some(case));
        u32::try_from(self.slots.len() - 1).ok()
    }

    fn shorten(&mut self, case: &mut Case) {
        if let Some(message) = &mut case.message {
            if self.message_bytes > MESSAGES_MAX {
                truncate(message, SHORT_MESSAGE);
                message.shrink_to_fit();
            }
            self.message_bytes += message.len();
        }
    }

    fn remark(&mut self, words: String) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(words);
        } else {
            self.more_remarks += 1;
        }
    }

    fn finish(mut self, suite: String) -> Tests {
        if self.more_remarks > 0 {
            self.remarks.push(format!("and {} more remarks", self.more_remarks));
        }
        Tests {
            suite,
            part_of: None,
            cases: self.slots.into_iter().flatten().collect(),
            counts: Some(self.counts),
            aborted: self.aborted,
            remarks: self.remarks,
        }
    }
}

fn move_one(counts: &mut Counts, from: CaseStatus, to: CaseStatus) {
    let count = match from {
        CaseStatus::Pass => &mut counts.pass,
        CaseStatus::Fail => &mut counts.fail,
        CaseStatus::Error => &mut counts.error,
        CaseStatus::Skip => &mut counts.skip,
    };
    *count = count.saturating_sub(1);
    counts.add(to);
}

fn badness(status: CaseStatus) -> u8 {
    match status {
        CaseStatus::Pass => 0,
        CaseStatus::Skip => 1,
        CaseStatus::Fail => 2,
        CaseStatus::Error => 3,
    }
}
