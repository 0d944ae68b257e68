//! What the elements within a test case say about it. Of several the worst counts, once.

use super::text;
use crate::model::{CaseStatus, MESSAGE_MAX, Mark, truncate};

/// From the best to the worst. That something is yet to be done outdoes a failure, for then a failure
/// is what everyone expects (TAP's `TODO`, as node's test runner reports it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    #[default]
    Passed,
    Warned,
    Risky,
    /// It failed, and passed when it was run again (Maven Surefire, nextest).
    Flaky,
    Skipped,
    Incomplete,
    /// It failed again when it was run again.
    FailedAgain,
    Failed,
    Errored,
    Todo,
}

impl Finding {
    /// What an element within a test case tells, by its `type`; `None` for one that tells nothing.
    pub fn of(element: &[u8], kind: &[u8]) -> Option<Self> {
        let found = match element {
            b"failure" => Finding::Failed,
            b"error" => Finding::Errored,
            b"skipped" | b"skip" | b"ignored" | b"disabled" => Finding::Skipped,
            b"warning" => Finding::Warned,
            b"risky" | b"useless" => Finding::Risky,
            b"incomplete" => Finding::Incomplete,
            b"flakyFailure" | b"flakyError" => Finding::Flaky,
            b"rerunFailure" | b"rerunError" => Finding::FailedAgain,
            _ => return None,
        };
        let says = |word: &str| kind.windows(word.len()).any(|part| part == word.as_bytes());
        // PHPUnit names the exception that it ended a test with.
        Some(match found {
            Finding::Skipped if kind == b"todo" => Finding::Todo,
            Finding::Failed | Finding::Errored | Finding::Skipped if says("IncompleteTest") => {
                Finding::Incomplete
            }
            Finding::Failed | Finding::Errored if says("RiskyTest") => Finding::Risky,
            Finding::Failed | Finding::Errored if says("SkippedTest") => Finding::Skipped,
            found => found,
        })
    }

    /// What the `status` of the test case itself tells (GoogleTest, CTest).
    pub fn of_status(status: &[u8]) -> Self {
        match status {
            b"notrun" | b"disabled" | b"skipped" | b"ignored" => Finding::Skipped,
            _ => Finding::Passed,
        }
    }

    pub fn status(self) -> CaseStatus {
        match self {
            Finding::Passed | Finding::Warned | Finding::Risky | Finding::Flaky => CaseStatus::Pass,
            Finding::Skipped | Finding::Incomplete | Finding::Todo => CaseStatus::Skip,
            Finding::Failed | Finding::FailedAgain => CaseStatus::Fail,
            Finding::Errored => CaseStatus::Error,
        }
    }

    pub fn mark(self) -> Option<Mark> {
        match self {
            Finding::Warned => Some(Mark::Warning),
            Finding::Risky => Some(Mark::Risky),
            Finding::Flaky => Some(Mark::Rerun),
            Finding::Incomplete | Finding::Todo => Some(Mark::Incomplete),
            _ => None,
        }
    }
}

/// Why a test case did not pass: the element's `message` and its text, each unless the other says the
/// same; `None` when both are empty.
pub(super) fn message(headline: &str, raw: &[u8], case: &str) -> Option<String> {
    let text = text::message(raw, MESSAGE_MAX);
    // PHPUnit begins with the title of the test, which everyone knows.
    let text = match text.split_once('\n') {
        Some((first, rest)) if is_title(first, case) => rest.trim_start(),
        _ => &text,
    };
    let mut all = if text.starts_with(headline) {
        text.to_owned()
    } else if text.is_empty() {
        headline.to_owned()
    } else {
        format!("{headline}\n{text}")
    };
    truncate(&mut all, MESSAGE_MAX);
    Some(all).filter(|all| !all.is_empty())
}

/// `Some\Class::name`, with the arguments of a data set after it, or the bare name.
fn is_title(line: &str, case: &str) -> bool {
    let after_class = |(class, rest): (&str, &str)| !class.contains(' ') && rest.starts_with(case);
    line == case || line.split_once("::").is_some_and(after_class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_left_out_of_a_message_and_nothing_is_told_twice() {
        let case = "testSum with data set #0";
        let raw = b"A\\B::testSum with data set #0 (1, 2)\nFailed asserting\n";
        assert_eq!(message("", raw, case).as_deref(), Some("Failed asserting"));
        assert_eq!(message("", b"it works\nFailed", "it works").as_deref(), Some("Failed"));
        assert_eq!(message("", b"A::b\nboom", "c").as_deref(), Some("A::b\nboom"));
        assert_eq!(message("boom", b"boom\n at x", "c").as_deref(), Some("boom\n at x"));
        assert_eq!(message("boom", b" at x", "c").as_deref(), Some("boom\nat x"));
        assert_eq!(message("boom", b"", "c").as_deref(), Some("boom"));
        assert_eq!(message("", b" \n", "c"), None);
    }

    #[test]
    fn exceptions_of_phpunit_are_known_by_their_type() {
        for (element, kind, expected) in [
            ("error", "PHPUnit\\Framework\\RiskyTestError", Finding::Risky),
            ("error", "PHPUnit\\Framework\\IncompleteTestError", Finding::Incomplete),
            ("error", "PHPUnit\\Framework\\SkippedTestError", Finding::Skipped),
            ("error", "RuntimeException", Finding::Errored),
            ("skipped", "pytest.xfail", Finding::Skipped),
            ("skipped", "todo", Finding::Todo),
        ] {
            assert_eq!(Finding::of(element.as_bytes(), kind.as_bytes()), Some(expected), "{kind}");
        }
        assert_eq!(Finding::of(b"system-out", b""), None);
    }
}
