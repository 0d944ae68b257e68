//! Suites: what they say of themselves, held against what is in them, and the classes they lend to
//! test cases that name none.

use std::io::Read;

use super::read::{Place, REMARKS_MAX, Reading};
use super::scan::Key;
use super::{numbers, text};
use crate::model::{Case, NAME_MAX, truncate};

pub(super) struct Suite {
    pub name: String,
    pub path: u64,
    pub number: u64,
    pub declared: Option<u64>,
    /// It has a timestamp.
    pub dated: bool,
    /// Test cases and suites right within it.
    pub direct: u64,
    /// Test cases anywhere within it.
    pub cases: u64,
    /// Of those, repetitions of the one before, which some runners do not count.
    pub repeated: u64,
    pub last: u64,
    /// How many disagreements there were when it began.
    pub disagreements: usize,
}

/// What is right under the roots.
#[derive(Default)]
pub(super) struct Tops {
    pub roots: u64,
    pub suites: u64,
    /// Of the last of those suites.
    pub name: String,
    pub seconds: Option<f64>,
    pub root_seconds: Option<f64>,
}

impl<R: Read, F: FnMut(Case, Place)> Reading<R, F> {
    pub(super) fn begin_suite(&mut self) {
        let name = self.name_of(Key::Name).unwrap_or_default();
        let number = |key| self.scanner.attribute(key).map(|value| value.raw.as_slice());
        let declared = number(Key::Tests).and_then(numbers::count);
        let seconds = number(Key::Time).and_then(numbers::seconds);
        let started = number(Key::Timestamp).and_then(numbers::timestamp);
        self.summary.started = self.summary.started.into_iter().chain(started).min();
        // The name of `<testsuites>` is left out: the same suite may stand without it in another file.
        let inner = self.scanner.name() == b"testsuite";
        let outer = self.suites.last().map_or(0, |suite| suite.path);
        let path = if inner { text::hash(&[&outer.to_le_bytes(), name.as_bytes()]) } else { outer };
        if let Some(outer) = self.suites.last_mut() {
            outer.direct += 1;
        }
        match self.suites.len() {
            0 => {
                self.tops.roots += 1;
                self.summary.name = Some(name.clone()).filter(|name| !name.is_empty());
                self.tops.root_seconds = sum(self.tops.root_seconds, seconds);
                if self.tops.roots == 2 {
                    self.remark("several reports follow each other in one file; all are read");
                    self.summary.name = None;
                }
            }
            1 => {
                self.tops.suites += 1;
                self.tops.name.clone_from(&name);
                self.tops.seconds = sum(self.tops.seconds, seconds);
            }
            _ => {}
        }
        self.suites_begun += 1;
        self.suites.push(Suite {
            name,
            path,
            number: self.suites_begun,
            declared,
            dated: started.is_some(),
            direct: 0,
            cases: 0,
            repeated: 0,
            last: 0,
            disagreements: self.disagreements.len(),
        });
    }

    pub(super) fn end_suite(&mut self) {
        let Some(suite) = self.suites.pop() else { return };
        if let Some(outer) = self.suites.last_mut() {
            outer.cases += suite.cases;
            outer.repeated += suite.repeated;
        }
        let counted = [suite.cases, suite.cases - suite.repeated, suite.direct];
        if let Some(declared) = suite.declared.filter(|declared| !counted.contains(declared)) {
            // What is wrong within is part of this.
            self.disagreements.truncate(suite.disagreements);
            if self.disagreements.len() < REMARKS_MAX {
                let (name, cases) = (&suite.name, suite.cases);
                self.disagreements
                    .push(format!("suite `{name}` claims {declared} tests and lists {cases}; those count"));
            }
        }
    }

    /// Of `classname`, `class`, `file` and the suite around it the first that there is.
    pub(super) fn class(&self) -> String {
        match self.name_of(Key::Classname) {
            Some(class) if class == "test" => self.described().unwrap_or(class),
            Some(class) => class,
            None => self
                .name_of(Key::Class)
                .or_else(|| self.name_of(Key::File))
                .or_else(|| self.named_suites().next_back().map(str::to_owned))
                .unwrap_or_default(),
        }
    }

    /// Node's test runner writes `test` as the class of every test; what tells them apart is the
    /// `describe` blocks around them, its suites. They have no timestamp, unlike those of pytest, which
    /// means a `test.py`.
    fn described(&self) -> Option<String> {
        if self.suites.iter().any(|suite| suite.dated) {
            return None;
        }
        let mut path = self.named_suites().collect::<Vec<_>>().join(" > ");
        truncate(&mut path, NAME_MAX);
        Some(path).filter(|path| !path.is_empty()).or_else(|| self.name_of(Key::File))
    }

    fn named_suites(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.suites.iter().map(|suite| suite.name.as_str()).filter(|name| !name.is_empty())
    }
}

pub(super) fn sum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(|a, b| a + b)
}
