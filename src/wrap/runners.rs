//! What test runners print when a test starts and ends.

use std::sync::LazyLock;

use regex::{Regex, bytes};

use super::tail::without_escapes;

/// The last test that had started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastTest {
    pub name: String,
    /// It had ended too: the time went by after it, or in a test that was not announced.
    pub ended: bool,
}

/// What a line says about a test.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    Started,
    Ended,
    /// The line came when the test was over, and is the only one about it.
    Both,
}

use Says::{Both, Ended, Started};

/// Where a line may say something: looked for in whole chunks, so cheap and not exact.
static HINT: LazyLock<bytes::Regex> = LazyLock::new(|| {
    pattern_of_bytes(concat!(
        r"Test '|Test Prepar|Test Finished|##teamcity\[test|=== RUN|=== CONT|--- PASS|--- FAIL|--- SKIP",
        r"|\.py::|(?m:^test )|# Subtest: |(?m:^ *(?:not )?ok \d)|\] Running |RUNS  |SLOW \["
    ))
});

/// Patterns over one line without colours; the first group is the test's name.
static LINES: LazyLock<Vec<(Regex, Says)>> = LazyLock::new(|| {
    let table = [
        // PHPUnit up to 9 with --debug.
        (r"^Test '(.+)' started$", Started),
        (r"^Test '(.+)' ended$", Ended),
        // PHPUnit from 10 on with --debug or --log-events-text; a number may come before.
        (r"Test (?:Preparation Started|Prepared) \((.+)\)$", Started),
        (r"Test Finished \((.+)\)$", Ended),
        // TeamCity's service messages: PHPUnit, Pest, Jest, pytest, Go by options or plug-ins.
        (r"##teamcity\[testStarted (?:.* )?name='((?:\|.|[^'|])*)'", Started),
        (r"##teamcity\[testFinished (?:.* )?name='((?:\|.|[^'|])*)'", Ended),
        // go test -v.
        (r"^=== (?:RUN|CONT) +(\S+)", Started),
        (r"^ *--- (?:PASS|FAIL|SKIP): (\S+)", Ended),
        // pytest -v: the name at the start, the result behind it at the end.
        (r"^(\S+\.py::\S.*?) +(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", Both),
        (
            r"^(?:\[gw\d+\] *)?(?:\[ *\d+%\] *)?(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+\.py::.*)$",
            Both,
        ),
        (r"^(?:\[gw\d+\] *)?(\S+\.py::\S.*?) *$", Started),
        // cargo test: with one thread the name at the start, with several the whole line at the end.
        (r"^test (\S+)(?: - should panic)? \.\.\. (?:ok|FAILED|ignored)", Both),
        (r"^test (\S+) has been running for over", Started),
        (r"^test (\S+)(?: - should panic)? \.\.\. ?$", Started),
        // TAP of node's test runner.
        (r"^ *# Subtest: (.+)$", Started),
        (r"^ *(?:not )?ok \d+ - (.+)$", Ended),
        // Maven Surefire, Jest and nextest.
        (r"^\[INFO\] Running (\S+)$", Started),
        (r"^ *RUNS  (.+)$", Started),
        (r"^ *SLOW \[[^\]]*\] +(.+)$", Started),
    ];
    table.into_iter().map(|(text, says)| (pattern(text), says)).collect()
});

#[expect(clippy::expect_used, reason = "constants of this file, compiled by its tests")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

#[expect(clippy::expect_used, reason = "a constant of this file, compiled by its tests")]
fn pattern_of_bytes(text: &str) -> bytes::Regex {
    bytes::Regex::new(text).expect("a valid pattern")
}

/// Bytes of a name at most.
const NAME_MAX: usize = 512;

/// What the output said about tests so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tests(Option<LastTest>);

impl Tests {
    /// Whole lines, without the newline of the last.
    pub fn saw(&mut self, lines: &[u8]) {
        let mut starts: Vec<usize> = Vec::new();
        let mut from = 0;
        while let Some(hint) = HINT.find_at(lines, from) {
            let start = lines[..hint.start()].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            starts.push(start);
            match lines[hint.end()..].iter().position(|b| *b == b'\n') {
                Some(end) => from = hint.end() + end + 1,
                None => break,
            }
        }
        // From the end: the newest start is what counts, and which tests ended after it.
        let mut ended: Vec<String> = Vec::new();
        for start in starts.into_iter().rev() {
            let line = lines[start..].split(|b| *b == b'\n').next().unwrap_or_default();
            let Some((name, says)) = read(line) else { continue };
            if says == Ended {
                ended.push(name);
                continue;
            }
            let ended = says == Both || ended.contains(&name);
            self.0 = Some(LastTest { name, ended });
            return;
        }
        if let Some(last) = &mut self.0 {
            last.ended |= ended.contains(&last.name);
        }
    }

    pub fn last(self) -> Option<LastTest> {
        self.0
    }
}

fn read(line: &[u8]) -> Option<(String, Says)> {
    let text = without_escapes(&String::from_utf8_lossy(&line[..line.len().min(4 * NAME_MAX)]));
    let text = text.trim_end_matches('\r');
    LINES.iter().find_map(|(pattern, says)| {
        let mut name = pattern.captures(text)?.get(1)?.as_str().to_owned();
        if text.starts_with("##teamcity") {
            name = unescaped(&name);
        }
        crate::model::truncate(&mut name, NAME_MAX);
        Some((name, *says))
    })
}

/// TeamCity's escapes: `|'`, `||`, `|[`, `|]`, `|n`, `|r`.
fn unescaped(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match (c, c == '|') {
            (_, true) => plain.extend(chars.next().map(|c| if matches!(c, 'n' | 'r') { ' ' } else { c })),
            (c, false) => plain.push(c),
        }
    }
    plain
}

/// What would make a runner name the test that hangs, told by the command lines of the tree.
pub(super) fn advice(commands: &[String]) -> Option<&'static str> {
    let runs = |name: &str| commands.iter().any(|command| command.contains(name));
    if runs("phpunit") {
        Some("PHPUnit prints no names; run it with --debug to see the test that hangs")
    } else if runs("pest") && runs("php") {
        Some("Pest prints a name when its test is over; run it with --teamcity to see the test that hangs")
    } else if runs("pytest") || runs("py.test") {
        Some("pytest prints no names; run it with -v to see the test that hangs")
    } else if runs("go test") {
        Some("go test prints no names; run it with -v to see the test that hangs")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str) -> Option<(String, bool)> {
        let mut tests = Tests::default();
        tests.saw(text.as_bytes());
        tests.last().map(|last| (last.name, last.ended))
    }

    #[test]
    fn each_runner_is_understood() {
        let table = [
            (
                "Test 'A::b' started\nTest 'A::b' ended\nTest 'A::c with data set #0 (1)' started\n",
                "A::c with data set #0 (1)",
                false,
            ),
            ("Test 'A::b' started\nTest 'A::b' ended\n", "A::b", true),
            ("Test Preparation Started (A::b)\nTest Prepared (A::b)\n", "A::b", false),
            ("Test Prepared (A::b)\nTest Passed (A::b)\nTest Finished (A::b)\n", "A::b", true),
            (
                "##teamcity[testStarted name='it isn|'t |[x|]' locationHint='php_qn://a' flowId='1']\n",
                "it isn't [x]",
                false,
            ),
            ("##teamcity[testStarted name='a']\n##teamcity[testFinished name='a' duration='1']", "a", true),
            ("=== RUN   TestA\n=== PAUSE TestA\n=== RUN   TestB\n--- PASS: TestA (0.00s)\n", "TestB", false),
            (
                "tests/test_a.py::test_x[a b] PASSED     [ 50%]\ntests/test_a.py::test_y ",
                "tests/test_a.py::test_y",
                false,
            ),
            ("tests/test_a.py::test_x[a b] PASSED     [ 50%]\n", "tests/test_a.py::test_x[a b]", true),
            ("[gw0] [ 50%] PASSED tests/test_a.py::test_x\n", "tests/test_a.py::test_x", true),
            ("test a::b ... ok\ntest a::c ... ", "a::c", false),
            ("test a::b has been running for over 60 seconds\n", "a::b", false),
            ("TAP version 13\n# Subtest: adds\nok 1 - adds\n# Subtest: hangs\n", "hangs", false),
            ("    # Subtest: adds\n    ok 1 - adds\n", "adds", true),
            ("[INFO] Running com.example.FooTest\n", "com.example.FooTest", false),
            ("\u{1b}[7m RUNS \u{1b}[27m src/a.test.js\n RUNS  src/b.test.js\n", "src/b.test.js", false),
            ("        SLOW [> 60.000s] crate tests::slow\n", "crate tests::slow", false),
        ];
        for (text, name, ended) in table {
            assert_eq!(last(text), Some((name.to_owned(), ended)), "{text}");
        }
    }

    #[test]
    fn dots_and_prose_name_no_test() {
        for text in ["....F..", "The test 'x' was fun", "a file.py: fine", "tests ok", "testing a ... ok"] {
            assert_eq!(last(text), None, "{text}");
        }
    }

    #[test]
    fn a_silent_runner_is_advised() {
        assert!(advice(&["php /usr/bin/phpunit tests".into()]).unwrap().contains("--debug"));
        assert_eq!(advice(&["sleep 5".into()]), None);
    }
}
