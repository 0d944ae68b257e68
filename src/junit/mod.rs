//! JUnit XML in: what the test runners of the world write, read as a stream.
//!
//! There is no standard, only what Ant wrote first and everyone varied since (the nearest to a schema
//! is that of Maven Surefire, `surefire-test-report.xsd`). So elements and attributes that are unknown
//! are passed over, numbers that are none are absent, and the counts are those of the test cases,
//! never those that the file claims. A file that is cut off or stops being XML yields what it held up
//! to there, and says so; the test case that was open then has not passed.
//!
//! Memory does not depend on the file: see [`read`] and [`gather`] for the limits. Time is linear.
//! Deliberately absent: the properties and the output of tests, which no question is asked about, and
//! reports of other forms (TAP, TRX, NUnit), whose runners write JUnit XML too.

mod gather;
mod markup;
mod numbers;
#[cfg(test)]
mod properties;
mod read;
mod scan;
mod source;
mod suites;
mod text;
mod verdict;

use std::io;

pub use gather::{Gathered, gather};
pub use read::{Summary, read};

/// Why a report says nothing at all. One that says something is read as far as it goes.
#[derive(Debug, thiserror::Error)]
pub enum JunitError {
    #[error(
        "the report is empty; expected JUnit XML: was the run ended before it wrote anything, or does the \
         runner write elsewhere?"
    )]
    Empty,
    #[error("found `{}` at byte {at}; expected JUnit XML, which begins with `<`", .found.escape_debug())]
    NotXml { found: String, at: u64 },
    #[error("found XML with the root `<{}>`; expected `<testsuites>` or `<testsuite>`, as JUnit XML has", .root.escape_debug())]
    NotJunit { root: String },
    #[error(
        "elements are nested more than {} deep at byte {at}; no runner writes such reports",
        scan::DEPTH_MAX
    )]
    TooDeep { at: u64 },
    #[error("failed to read the report after {at} bytes: {error}")]
    Unreadable { at: u64, error: io::Error },
    #[error("{file}: {error}")]
    File { file: String, error: Box<JunitError> },
    #[error("there is no report; expected at least one")]
    None,
}
