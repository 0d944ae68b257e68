//! One report, element by element.

use std::io::Read;

use super::numbers;
use super::scan::{Key, Scanner, Stop, Token};
use super::suites::{Suite, Tops, sum};
use super::verdict::{Finding, message};
use super::{JunitError, text};
use crate::clock::Timestamp;
use crate::model::{Case, MESSAGE_MAX, NAME_MAX};

/// Remarks on one report at most.
pub(super) const REMARKS_MAX: usize = 20;

/// What a report says as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Of the root, or of the only suite right under it; `None` where that is empty.
    pub name: Option<String>,
    /// The earliest of all suites. A time without a zone counts as UTC.
    pub started: Option<Timestamp>,
    /// Of the root, else of the suites and test cases right under it together.
    pub seconds: Option<f64>,
    /// Test cases that were handed over.
    pub cases: u64,
    /// Where and how the report breaks off, in words; `None` for a whole one.
    pub aborted: Option<String>,
    /// What does not add up, in words; at most 20.
    pub remarks: Vec<String>,
}

/// Reads one report, and hands each test case to `take` as soon as it is complete, in the order of the
/// file. A test that is listed twice is handed over twice; [`super::gather`] knows those.
///
/// Of a report that breaks off, a test case that was open is handed over only if it had failed already.
/// Holds at most some hundred KiB, whatever the report. An error can come after test cases: then the
/// report could not be read to its end.
pub fn read(reader: impl Read, mut take: impl FnMut(Case)) -> Result<Summary, JunitError> {
    read_with_places(reader, |case, _| take(case))
}

/// Where in a report a test case is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Which suite of the file, counted as they begin.
    pub suite: u64,
    /// A hash of the names of the suites around it and of its `file` and `line`.
    pub hash: u64,
}

pub(super) fn read_with_places(
    reader: impl Read,
    take: impl FnMut(Case, Place),
) -> Result<Summary, JunitError> {
    let mut reading = Reading {
        scanner: Scanner::new(reader)?,
        take,
        within: Vec::new(),
        suites: Vec::new(),
        suites_begun: 0,
        case: None,
        capturing: false,
        tops: Tops::default(),
        disagreements: Vec::new(),
        summary: Summary::default(),
    };
    loop {
        match reading.step() {
            Ok(true) => {}
            Ok(false) => return Ok(reading.finish(None)),
            Err(Stop::Broken(words)) => return Ok(reading.finish(Some(words))),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
}

/// What an open element is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Suite,
    Case,
    /// Within a test case: tells what became of it.
    Finding,
    /// Within a test case: what it wrote, wanted only where nothing else says why it failed.
    Output,
    /// Within a finding: what the test wrote, no part of the message.
    Aside,
    Unknown,
}

struct Open {
    case: Case,
    place: Place,
    finding: Finding,
    /// The `message` and the `type` of the finding.
    headline: String,
    kind: String,
}

pub(super) struct Reading<R, F> {
    pub scanner: Scanner<R>,
    take: F,
    /// One for each open element.
    within: Vec<Element>,
    pub suites: Vec<Suite>,
    pub suites_begun: u64,
    case: Option<Open>,
    /// The text that is read now is that test case's message.
    capturing: bool,
    pub tops: Tops,
    pub disagreements: Vec<String>,
    pub summary: Summary,
}

impl<R: Read, F: FnMut(Case, Place)> Reading<R, F> {
    /// Whether there may be more.
    fn step(&mut self) -> Result<bool, Stop> {
        match self.scanner.next()? {
            Token::Open => self.open()?,
            Token::Close => self.close(),
            Token::Stray => {
                self.remark("what follows its root element is no XML, and is left out");
                return Ok(false);
            }
            Token::End => return Ok(false),
        }
        Ok(true)
    }

    fn open(&mut self) -> Result<(), Stop> {
        let name = self.scanner.name();
        let element = match (self.within.last(), name) {
            (None, b"testsuites" | b"testsuite") => Element::Suite,
            (None, _) if self.tops.roots == 0 => {
                let root = String::from_utf8_lossy(name).into_owned();
                return Err(JunitError::NotJunit { root }.into());
            }
            (Some(Element::Suite), b"testsuites" | b"testsuite") => Element::Suite,
            (Some(Element::Suite), b"testcase") => Element::Case,
            (Some(Element::Suite), b"error" | b"failure") => {
                let name = self.suites.last().map_or("", |suite| &suite.name);
                let words = format!("suite `{name}` has an error outside of its test cases");
                self.remark(&words);
                Element::Unknown
            }
            (Some(Element::Case), b"system-out" | b"system-err") => Element::Output,
            (Some(Element::Case), _) => {
                let kind = self.scanner.attribute(Key::Type).map_or(&[][..], |value| &value.raw);
                Finding::of(name, kind).map_or(Element::Unknown, |finding| self.begin_finding(finding))
            }
            (Some(Element::Finding), b"system-out" | b"system-err") => Element::Aside,
            _ => Element::Unknown,
        };
        match element {
            Element::Suite => self.begin_suite(),
            Element::Case => self.begin_case(),
            Element::Output => {
                if let Some(open) = &self.case
                    && open.finding.status().is_bad()
                    && open.case.message.is_none()
                {
                    self.capture();
                }
            }
            Element::Aside => self.scanner.keep_text = false,
            _ => {}
        }
        self.within.push(element);
        Ok(())
    }

    fn close(&mut self) {
        match self.within.pop() {
            Some(Element::Suite) => self.end_suite(),
            Some(Element::Case) => self.end_case(),
            Some(Element::Finding | Element::Output) => self.end_capture(),
            Some(Element::Aside) => self.scanner.keep_text = self.capturing,
            _ => {}
        }
    }

    fn begin_case(&mut self) {
        let raw = |key| self.scanner.attribute(key).map_or(&[][..], |value| &value.raw);
        let name = self.name_of(Key::Name).unwrap_or_else(|| "(without a name)".to_owned());
        let seconds = numbers::seconds(raw(Key::Time));
        let suite = self.suites.last();
        let (path, number) = suite.map_or((0, 0), |suite| (suite.path, suite.number));
        let place =
            Place { suite: number, hash: text::hash(&[&path.to_le_bytes(), raw(Key::File), raw(Key::Line)]) };
        let finding = Finding::of_status(raw(Key::Status));
        let (status, class) = (finding.status(), self.class());
        let case = Case { class, name, status, seconds, message: None, mark: None };
        self.case = Some(Open { case, place, finding, headline: String::new(), kind: String::new() });
    }

    fn end_case(&mut self) {
        let Some(mut open) = self.case.take() else { return };
        open.case.status = open.finding.status();
        open.case.mark = open.finding.mark();
        if open.case.message.is_none() && open.case.status.is_bad() && !open.kind.is_empty() {
            open.case.message = Some(open.kind);
        }
        if let Some(suite) = self.suites.last_mut() {
            let place = open.place.hash.to_le_bytes();
            let identity = text::hash(&[&place, open.case.class.as_bytes(), open.case.name.as_bytes()]);
            suite.repeated += u64::from(identity == suite.last);
            suite.last = identity;
            suite.cases += 1;
            suite.direct += 1;
        }
        if self.suites.len() == 1 {
            self.tops.seconds = sum(self.tops.seconds, open.case.seconds);
        }
        self.summary.cases += 1;
        (self.take)(open.case, open.place);
    }

    fn begin_finding(&mut self, finding: Finding) -> Element {
        let text_of = |key| {
            let value = self.scanner.attribute(key)?;
            let mut raw = value.raw.clone();
            text::resolve(&mut raw, 0);
            Some(text::message(&raw, MESSAGE_MAX))
        };
        if let Some(open) = &mut self.case
            && (finding > open.finding || (finding == open.finding && open.case.message.is_none()))
        {
            open.finding = finding;
            open.case.message = None;
            open.headline = text_of(Key::Message).unwrap_or_default();
            open.kind = text_of(Key::Type).unwrap_or_default();
            self.capture();
        }
        Element::Finding
    }

    /// The text of the element that is being opened becomes the message.
    fn capture(&mut self) {
        self.scanner.text.clear();
        self.scanner.keep_text = true;
        self.capturing = true;
    }

    fn end_capture(&mut self) {
        self.scanner.keep_text = false;
        if std::mem::take(&mut self.capturing)
            && let Some(open) = &mut self.case
        {
            open.case.message = message(&open.headline, &self.scanner.text, &open.case.name);
        }
    }

    fn finish(mut self, broken: Option<String>) -> Summary {
        if let Some(words) = broken {
            // Once its root is closed a report is whole, whatever follows.
            if self.scanner.depth() == 0 && self.tops.roots > 0 {
                self.remark(&format!("what follows its root element is left out: {words}"));
            } else {
                self.abort(words);
            }
        }
        if self.tops.roots == 1 && self.tops.suites == 1 && self.summary.name.is_none() {
            self.summary.name = Some(std::mem::take(&mut self.tops.name)).filter(|name| !name.is_empty());
        }
        self.summary.seconds = self.tops.root_seconds.or(self.tops.seconds);
        for words in std::mem::take(&mut self.disagreements) {
            self.remark(&words);
        }
        self.summary
    }

    fn abort(&mut self, mut words: String) {
        self.end_capture();
        if let Some(open) = &self.case {
            let title = open.case.title();
            if open.finding.status().is_bad() {
                self.end_case();
            } else {
                words = format!("{words}; test case `{title}` was not finished, and is not counted");
            }
        }
        self.summary.aborted = Some(words);
    }

    pub(super) fn name_of(&self, key: Key) -> Option<String> {
        let value = self.scanner.attribute(key)?;
        let name = text::name(&value.raw, value.length, NAME_MAX);
        Some(name).filter(|name| !name.trim().is_empty())
    }

    pub(super) fn remark(&mut self, words: &str) {
        if self.summary.remarks.len() < REMARKS_MAX {
            self.summary.remarks.push(words.to_owned());
        }
    }
}
