//! What is wrong with the configuration, said so that a person can mend it.
//!
//! Nothing here stops at the first error: a [`Sink`] collects what one file has, and [`Problems`]
//! shows everything at once, in the order in which one would walk through the files.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// One thing to mend, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The path as it was reached, such as `probes/fleet.yaml`; `embedded:NAME` for a shipped
    /// suite; the flag for something given on the command line.
    pub file: String,
    /// Counted from 1.
    pub line: Option<u32>,
    /// In characters, counted from 1.
    pub column: Option<u32>,
    /// What was found and what is expected; further lines explain.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        write!(f, ": {}", self.message.replace('\n', "\n    "))?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, sorted by file and line; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` when there is nothing wrong.
    pub fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort();
        problems.dedup();
        (!problems.is_empty()).then_some(Problems(problems))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let files = self.0.iter().map(|p| &p.file).collect::<BTreeSet<_>>().len();
        let plural = |n| if n == 1 { "" } else { "s" };
        let n = self.0.len();
        write!(f, "{n} problem{} in {files} place{}", plural(n), plural(files))
    }
}

/// A line and a column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub line: u32,
    pub column: u32,
}

/// What is wrong with one value; the caller knows where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub message: String,
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Fault { message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn at(self, file: &str, at: Option<At>) -> Problem {
        Problem {
            file: file.to_owned(),
            line: at.map(|at| at.line),
            column: at.map(|at| at.column),
            message: self.message,
            hint: self.hint,
        }
    }
}

/// Collects the problems and notes of one file while it is read.
///
/// Shared by reference, so that several readers of one file can report without passing it round
/// mutably; it never leaves the thread that loads.
#[derive(Debug)]
pub(super) struct Sink {
    pub file: String,
    problems: RefCell<Vec<Problem>>,
    notes: RefCell<Vec<Problem>>,
}

impl Sink {
    pub fn new(file: impl Into<String>) -> Self {
        Sink { file: file.into(), problems: RefCell::default(), notes: RefCell::default() }
    }

    pub fn report(&self, at: impl Into<Option<At>>, fault: Fault) {
        self.problems.borrow_mut().push(fault.at(&self.file, at.into()));
    }

    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Something that works but that a person may not have meant.
    pub fn note(&self, at: impl Into<Option<At>>, fault: Fault) {
        self.notes.borrow_mut().push(fault.at(&self.file, at.into()));
    }

    /// Reports the fault, and keeps the value when there is none.
    pub fn keep<T>(&self, at: impl Into<Option<At>>, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.report(at, fault)).ok()
    }

    /// The problems and the notes.
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.notes.into_inner())
    }
}

/// `a, b or c`, for "expected …".
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [word] => format!("`{word}`"),
        words => format!("one of {}", words.join(", ")),
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = found.to_ascii_lowercase();
    // Two slips in a long word, one in a short one: more is guessing.
    let slips_max = if found.chars().count() > 4 { 2 } else { 1 };
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&found, word), *word))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_at_once_in_reading_order() {
        let at = |line| Some(At { line, column: 3 });
        let problems = Problems::of(vec![
            Fault::new("late").at("b.yaml", at(9)),
            Fault::new("unknown key `verison`\nexpected one of name, version")
                .hint("did you mean `version`?")
                .at("b.yaml", at(2)),
            Fault::new("cannot be read").at("a.yaml", None),
        ]);
        assert_eq!(
            problems.unwrap().to_string(),
            "a.yaml: cannot be read\n\
             b.yaml:2:3: unknown key `verison`\n    expected one of name, version\n    \
             hint: did you mean `version`?\n\
             b.yaml:9:3: late\n\
             3 problems in 2 places"
        );
        assert_eq!(Problems::of(Vec::new()), None);
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(nearest("verison", &["name", "version"]), Some("version"));
        assert_eq!(nearest("URL", &["name", "url"]), Some("url"));
        assert_eq!(nearest("colour", &["name", "url"]), None);
        assert_eq!(nearest("x", &["db"]), None);
    }
}
