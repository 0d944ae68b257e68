//! The last lines of the output, and the last test in it.
//!
//! It keeps up with the copying: of a chunk only the lines that can remain are looked at one by one.

use std::collections::VecDeque;

use super::runners::{LastTest, Tests};

const LINES_MAX: usize = 50;
/// Bytes of one line; what a line has beyond them is dropped.
const LINE_MAX: usize = 2 * 1024;
const TOTAL_MAX: usize = 64 * 1024;

/// What is remembered of both streams together.
pub(super) struct Tail {
    lines: VecDeque<Vec<u8>>,
    /// For each stream, the line that has no end yet.
    open: Vec<Vec<u8>>,
    tests: Tests,
    /// Whether the last byte of all ended a line.
    line_ended: bool,
}

impl Tail {
    pub fn new(streams: usize) -> Self {
        let (lines, tests) = (VecDeque::new(), Tests::default());
        Tail { lines, open: vec![Vec::new(); streams], tests, line_ended: true }
    }

    pub fn saw(&mut self, stream: usize, chunk: &[u8]) {
        self.line_ended = chunk.last().is_none_or(|byte| *byte == b'\n');
        let Some(first) = chunk.iter().position(|byte| *byte == b'\n') else {
            append(&mut self.open[stream], chunk);
            return;
        };
        let mut line = std::mem::take(&mut self.open[stream]);
        append(&mut line, &chunk[..first]);
        self.tests.saw(&line);
        self.keep(line);
        let rest = &chunk[first + 1..];
        let Some(last) = rest.iter().rposition(|byte| *byte == b'\n') else {
            append(&mut self.open[stream], rest);
            return;
        };
        let whole = &rest[..last];
        self.tests.saw(whole);
        let mut newest: Vec<&[u8]> = whole.rsplit(|byte| *byte == b'\n').take(LINES_MAX).collect();
        newest.reverse();
        for line in newest {
            self.keep(line[..line.len().min(LINE_MAX)].to_vec());
        }
        append(&mut self.open[stream], &rest[last + 1..]);
    }

    fn keep(&mut self, line: Vec<u8>) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn line_ended(&self) -> bool {
        self.line_ended
    }

    /// The last lines as text, without colours and control characters, oldest first. A line that has
    /// no end yet comes last; of one that was drawn over (`\r`) what was drawn last is left.
    pub fn lines(&self) -> Vec<String> {
        let open = self.open.iter().filter(|line| !line.is_empty());
        let mut total = 0;
        let all: Vec<&Vec<u8>> = self.lines.iter().chain(open).collect();
        let mut newest: Vec<String> = all
            .into_iter()
            .rev()
            .take(LINES_MAX)
            .map(|line| readable(line))
            .take_while(|line| {
                total += line.len();
                total <= TOTAL_MAX
            })
            .collect();
        newest.reverse();
        newest
    }

    /// The last test that had started, as far as the output tells.
    pub fn last_test(&self) -> Option<LastTest> {
        let mut tests = self.tests.clone();
        self.open.iter().for_each(|line| tests.saw(line));
        tests.last()
    }
}

fn append(line: &mut Vec<u8>, more: &[u8]) {
    let room = LINE_MAX.saturating_sub(line.len());
    line.extend_from_slice(&more[..more.len().min(room)]);
}

/// Text that no terminal takes for a command.
fn readable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let drawn = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
    let text = String::from_utf8_lossy(drawn);
    let plain = without_escapes(&text).replace('\t', "    ");
    plain.chars().filter(|c| !c.is_control()).collect()
}

/// Without the escape sequences of terminals (ECMA-48: CSI and OSC).
pub(super) fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
            Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&str]) -> Vec<String> {
        let mut tail = Tail::new(1);
        chunks.iter().for_each(|chunk| tail.saw(0, chunk.as_bytes()));
        tail.lines()
    }

    #[test]
    fn lines_are_whole_wherever_the_chunks_end() {
        assert_eq!(lines(&["one\ntw", "o", "\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn only_the_newest_lines_remain_and_each_has_a_limit() {
        let many: String = (0..500).map(|i| format!("{i}\n")).collect();
        let kept = lines(&[&many]);
        assert_eq!(kept.len(), LINES_MAX);
        assert_eq!((kept[0].as_str(), kept[LINES_MAX - 1].as_str()), ("450", "499"));
        let long = "x".repeat(10 * LINE_MAX) + "\n";
        assert_eq!(lines(&[&long])[0].len(), LINE_MAX);
        assert_eq!(lines(&[&long.repeat(LINES_MAX)]).iter().map(String::len).sum::<usize>(), TOTAL_MAX);
    }

    #[test]
    fn what_would_move_a_terminal_is_taken_out() {
        assert_eq!(lines(&["\u{1b}[31mred\u{1b}[0m\u{7} 10%\r 20%\r\n"]), [" 20%"]);
        assert_eq!(lines(&["\u{1b}]0;title\u{7}a\u{8}b\n"]), ["ab"]);
        assert_eq!(lines(&["\u{1b}[31mred\u{1b}[0m\n"]), ["red"]);
    }

    #[test]
    fn a_test_is_recognised_over_the_edge_of_a_chunk_and_without_a_line_end() {
        let mut tail = Tail::new(2);
        tail.saw(0, b"=== RUN   TestOne\n=== RU");
        tail.saw(1, b"noise\n");
        tail.saw(0, b"N   TestTwo\n");
        assert_eq!(tail.last_test().unwrap().name, "TestTwo");
        tail.saw(0, b"tests/test_a.py::test_hang ");
        assert_eq!(tail.last_test().unwrap().name, "tests/test_a.py::test_hang");
        assert!(!tail.line_ended());
    }
}
