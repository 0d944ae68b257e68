//! How long the texts of an event may be, and how many there are in a list. What is part of an
//! identity, or is compared, is refused when it is too long: cut, it would be another's. What only
//! people read is cut. So all that an event sends is bounded, and one record of it fits into one
//! request to the collector.

use super::tests::Tests;
use super::{Event, Evidence};

/// Bytes of a name: source, pipeline, run, step, branch, suite, plan, and so on.
pub const NAME_MAX: usize = 512;
/// Bytes of a URL.
pub const URL_MAX: usize = 4 * 1024;
/// Steps of a deployment, quantiles and statuses of a load run, each.
pub const LIST_MAX: usize = 1_000;
/// Test cases that one event lists. Of a longer list the failures are kept first; the counts always
/// speak of all.
pub const CASES_MAX: usize = 50_000;
/// Bytes of a test case's message.
pub const MESSAGE_MAX: usize = 8 * 1024;
/// Remarks of a test run or a load run, and bytes of each.
const REMARKS_MAX: usize = 200;
const REMARK_MAX: usize = 2 * 1024;
/// Bytes of the reason for which a command was ended.
const REASON_MAX: usize = 16 * 1024;
/// Last lines of its output, and bytes of each.
const LINES_MAX: usize = 100;
const LINE_MAX: usize = 2 * 1024;
/// Its processes; bytes of a command line, of a state and of what is waited for.
const PROCESSES_MAX: usize = 100;
const COMMAND_MAX: usize = 1024;
const STATE_MAX: usize = 64;
const WAITS_MAX: usize = 512;
/// Open files of a process, and bytes of each.
const OPEN_MAX: usize = 64;
const FILE_MAX: usize = 1024;

impl Event {
    /// Cuts what people read, and the list of cases, down to the limits.
    pub fn trim(&mut self) {
        for text in [&mut self.name, &mut self.worker].into_iter().flatten() {
            truncate(text, NAME_MAX);
        }
        if let Some(tests) = &mut self.tests {
            tests.trim();
        }
        if let Some(load) = &mut self.load {
            cut(&mut load.remarks, REMARKS_MAX, REMARK_MAX);
        }
        if let Some(evidence) = &mut self.evidence {
            evidence.trim();
        }
    }
}

impl Tests {
    fn trim(&mut self) {
        if self.cases.len() > CASES_MAX {
            self.counts = Some(self.counts());
            let all = std::mem::take(&mut self.cases);
            let bad = all.iter().filter(|case| case.status.is_bad()).count().min(CASES_MAX);
            let (mut bad_left, mut good_left) = (bad, CASES_MAX - bad);
            self.cases = all
                .into_iter()
                .filter(|case| {
                    let left = if case.status.is_bad() { &mut bad_left } else { &mut good_left };
                    let kept = *left > 0;
                    *left -= usize::from(kept);
                    kept
                })
                .collect();
        }
        for case in &mut self.cases {
            truncate(&mut case.name, NAME_MAX);
            truncate(&mut case.class, NAME_MAX);
            if let Some(message) = &mut case.message {
                truncate(message, MESSAGE_MAX);
            }
        }
        cut(&mut self.remarks, REMARKS_MAX, REMARK_MAX);
    }
}

impl Evidence {
    fn trim(&mut self) {
        truncate(&mut self.reason, REASON_MAX);
        if let Some(test) = &mut self.last_test {
            truncate(test, NAME_MAX);
        }
        // The last lines are the ones that tell.
        let first = self.last_output.len().saturating_sub(LINES_MAX);
        self.last_output.drain(..first);
        cut(&mut self.last_output, LINES_MAX, LINE_MAX);
        self.processes.truncate(PROCESSES_MAX);
        for process in &mut self.processes {
            truncate(&mut process.command, COMMAND_MAX);
            truncate(&mut process.state, STATE_MAX);
            if let Some(text) = &mut process.waits_for {
                truncate(text, WAITS_MAX);
            }
            cut(&mut process.open, OPEN_MAX, FILE_MAX);
        }
    }
}

fn cut(list: &mut Vec<String>, entries: usize, bytes: usize) {
    list.truncate(entries);
    list.iter_mut().for_each(|text| truncate(text, bytes));
}

/// Cuts a text to at most so many bytes, between characters, and says so at its end.
pub fn truncate(text: &mut String, max: usize) {
    const CUT: &str = "…";
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - CUT.len()));
        text.push_str(CUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Case, CaseStatus, Load, Process};

    #[test]
    fn of_a_long_list_the_failures_are_kept_and_all_are_counted() {
        let case = |n: usize, status| Case {
            class: String::new(),
            name: n.to_string(),
            status,
            seconds: None,
            message: None,
            mark: None,
        };
        let mut event = Event::new("s", "p", "1");
        let status = |n| if n % 50_000 == 49_999 { CaseStatus::Fail } else { CaseStatus::Pass };
        let cases: Vec<Case> = (0..100_000).map(|n| case(n, status(n))).collect();
        event.tests = Some(Tests { suite: "s".to_owned(), cases, ..Tests::default() });
        event.trim();
        let tests = event.tests.unwrap();
        assert_eq!((tests.cases.len(), tests.unlisted()), (CASES_MAX, 50_000));
        assert_eq!(tests.cases.iter().filter(|case| case.status.is_bad()).count(), 2);
        assert_eq!((tests.counts().total(), tests.counts().bad()), (100_000, 2));
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        let mut text = "é".repeat(10);
        truncate(&mut text, 11);
        assert_eq!(text, "éééé…");
    }

    #[test]
    fn every_text_that_is_not_refused_is_cut() {
        let long = || "x".repeat(1 << 20);
        let list = || vec!["x".repeat(20_000); 2_000];
        let mut event = Event::new("s", "p", "1");
        (event.name, event.worker) = (Some(long()), Some(long()));
        event.tests = Some(Tests { suite: "s".to_owned(), remarks: list(), ..Tests::default() });
        event.load = Some(Load { remarks: list(), ..Load::default() });
        let process = Process {
            command: long(),
            state: long(),
            waits_for: Some(long()),
            open: list(),
            ..Process::default()
        };
        let mut last_output = list();
        last_output.push("the end".to_owned());
        event.evidence = Some(Evidence {
            reason: long(),
            last_test: Some(long()),
            last_output,
            processes: vec![process; 101],
        });
        event.trim();
        let evidence = event.evidence.as_ref().unwrap();
        assert_eq!(evidence.last_output.last().map(String::as_str), Some("the end"));
        let process = &evidence.processes[0];
        assert_eq!(process.open.len(), OPEN_MAX);
        let length = |text: &Option<String>| text.as_ref().map(String::len);
        assert_eq!((length(&event.name), length(&event.worker)), (Some(NAME_MAX), Some(NAME_MAX)));
        assert_eq!(
            (length(&evidence.last_test), length(&process.waits_for)),
            (Some(NAME_MAX), Some(WAITS_MAX))
        );
        assert_eq!((process.command.len(), process.state.len()), (COMMAND_MAX, STATE_MAX));
        assert_eq!((evidence.reason.len(), evidence.processes.len()), (REASON_MAX, PROCESSES_MAX));
        for remarks in [&event.tests.as_ref().unwrap().remarks, &event.load.as_ref().unwrap().remarks] {
            assert_eq!((remarks.len(), remarks[0].len()), (REMARKS_MAX, REMARK_MAX));
        }
    }
}
