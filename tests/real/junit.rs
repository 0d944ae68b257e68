//! Reports that real runners write here and now, held against what the same run prints for people.
//!
//! The tests that they run are in `junit/`: they pass, fail, end in errors, are skipped, and come in
//! sets of data.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cachetscope::junit::gather;
use cachetscope::model::{CaseStatus, Mark, Tests};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use crate::parts::part;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/junit")
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

fn read(report: &[u8]) -> Tests {
    let (tests, gathered) = gather(None, [("junit.xml".to_owned(), report)]).unwrap();
    assert_eq!(gathered.reports, 1);
    assert!(!tests.aborted, "{:?}", tests.remarks);
    assert_eq!(tests.counts().total(), tests.cases.len() as u64);
    tests
}

/// Pass, fail, error, skip.
fn counts(tests: &Tests) -> [u64; 4] {
    CaseStatus::ALL.map(|status| tests.counts().get(status))
}

fn marked(tests: &Tests, mark: Mark) -> u64 {
    tests.cases.iter().filter(|case| case.mark == Some(mark)).count() as u64
}

fn message<'a>(tests: &'a Tests, title: &str) -> &'a str {
    let case = tests.cases.iter().find(|case| case.title() == title);
    let case = case.unwrap_or_else(|| panic!("no case {title} in {:#?}", tests.cases));
    case.message.as_deref().unwrap_or_default()
}

/// The number that follows or precedes `word`, as the runner prints it; 0 where it prints none.
fn after(text: &str, word: &str) -> u64 {
    let Some((_, rest)) = text.split_once(word) else { return 0 };
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {word} in {text}"))
}

fn before(line: &str, word: &str) -> u64 {
    let parts = line.split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>();
    let found = parts.windows(2).find(|pair| pair[1] == word);
    found.map_or(0, |pair| pair[0].parse().unwrap_or_else(|_| panic!("no number before {word} in {line}")))
}

#[test]
fn phpunit() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("junit.xml");
    let (output, printed) = run(Command::new(part("CACHETSCOPE_TEST_PHPUNIT"))
        .args(["--no-configuration", "--do-not-cache-result", "--log-junit"])
        .arg(&log)
        .arg(sources().join("MathTest.php")));
    assert_eq!(output.status.code(), Some(2), "{printed}");
    let line = printed.lines().find(|line| line.starts_with("Tests:")).unwrap();
    let tests = read(&std::fs::read(&log).unwrap());
    assert_eq!(counts(&tests), [6, 2, 1, 2], "{printed}");
    assert_eq!(tests.counts().total(), after(line, "Tests:"));
    assert_eq!(tests.counts().fail, after(line, "Failures:"));
    assert_eq!(tests.counts().error, after(line, "Errors:"));
    assert_eq!(tests.counts().skip, after(line, "Skipped:") + after(line, "Incomplete:"));
    assert_eq!(marked(&tests, Mark::Risky), after(line, "Risky:"));
    assert_eq!(marked(&tests, Mark::Warning), after(line, "Warnings:"));
    assert_eq!(tests.suite, "MathTest");
    assert!(
        message(&tests, r#"MathTest::testSum with data set "wrong "named"""#)
            .starts_with("Failed asserting that 3 is identical to 4.")
    );
    assert!(message(&tests, "MathTest::testThrows").starts_with("RuntimeException: boom & bust"));
    assert_eq!(tests.remarks, [] as [&str; 0]);
}

#[test]
fn pytest() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("junit.xml");
    std::fs::copy(sources().join("test_math.py"), dir.path().join("test_math.py")).unwrap();
    let (output, printed) = run(Command::new(part("CACHETSCOPE_TEST_PYTEST"))
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--color=no", "--junit-xml"])
        .arg(&log)
        .arg("test_math.py")
        .env("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        .current_dir(dir.path()));
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let line = printed.lines().last().unwrap();
    let tests = read(&std::fs::read(&log).unwrap());
    // test_teardown passed and then ended in an error, which is also what pytest says: twice. So it
    // does of test_both, which failed before that.
    assert_eq!(counts(&tests), [5, 4, 3, 2], "{printed}");
    assert_eq!(tests.counts().pass + 1, before(line, "passed") + before(line, "xpassed"));
    assert_eq!(tests.counts().fail + 1, before(line, "failed"));
    assert_eq!(tests.counts().error, before(line, "errors"));
    assert_eq!(tests.counts().skip, before(line, "skipped") + before(line, "xfailed"));
    assert!(message(&tests, "test_math::test_fails").starts_with("AssertionError: sum <is> wrong"));
    assert!(
        message(&tests, "test_math::test_setup").starts_with(r#"failed on setup with "OSError: no setup""#)
    );
    assert_eq!(tests.remarks, [] as [&str; 0]);
}

#[test]
fn node() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("junit.xml");
    let (output, printed) = run(Command::new(part("CACHETSCOPE_TEST_NODE"))
        .args(["--test", "--test-reporter=junit"])
        .arg(format!("--test-reporter-destination={}", log.display()))
        .args(["--test-reporter=tap", "--test-reporter-destination=stdout"])
        .arg(sources().join("math.test.mjs"))
        .env_remove("NODE_OPTIONS"));
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let tests = read(&std::fs::read(&log).unwrap());
    assert_eq!(counts(&tests), [4, 4, 0, 3], "{printed}");
    assert_eq!(tests.counts().total(), after(&printed, "\n# tests"));
    assert_eq!(tests.counts().pass, after(&printed, "\n# pass"));
    assert_eq!(tests.counts().bad(), after(&printed, "\n# fail"));
    assert_eq!(tests.counts().skip, after(&printed, "\n# skipped") + after(&printed, "\n# todo"));
    assert_eq!(marked(&tests, Mark::Incomplete), after(&printed, "\n# todo"));
    // Two tests of one name in blocks of one name.
    let same = tests.cases.iter().filter(|case| case.name == "same").map(|case| case.title());
    assert_eq!(same.collect::<Vec<_>>(), ["outer > x::same", "outer > y > x::same"]);
}

#[test]
fn libtest() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("math");
    let (built, _) = run(Command::new("rustc")
        .args(["--test", "--edition=2024", "-o"])
        .arg(&program)
        .arg(sources().join("math.rs")));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // The format is of nightly only; so the compiler is told to be one.
    let mut command = Command::new(&program);
    command.args(["-Z", "unstable-options", "--format", "junit"]).env("RUSTC_BOOTSTRAP", "1");
    let (output, report) = run(&mut command);
    assert_eq!(output.status.code(), Some(101), "{report}");
    let (_, printed) = run(&mut Command::new(&program));
    let line = printed.lines().find(|line| line.starts_with("test result:")).unwrap();
    let tests = read(report.as_bytes());
    assert_eq!(counts(&tests), [3, 2, 0, 0], "{report}");
    assert_eq!(tests.counts().pass, before(line, "passed"));
    assert_eq!(tests.counts().fail, before(line, "failed"));
    // It leaves ignored tests out of the report, though it counts them.
    assert_eq!(before(line, "ignored"), 1);
    assert_eq!(tests.remarks, ["junit.xml: suite `test` claims 6 tests and lists 5; those count"]);
}

/// What `cargo nextest` writes its reports with.
#[test]
fn nextest() {
    let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
    failed
        .set_message("1 is not 2")
        .set_type("test failure with exit code 101")
        .set_description("at \u{1}a <b>");
    let mut again = TestRerun::new(NonSuccessKind::Failure);
    again.set_message("1 is still not 2").set_system_out("]]> </testcase>");
    failed.add_rerun(again);
    let mut flaky = TestCaseStatus::success();
    let mut first = TestRerun::new(NonSuccessKind::Error);
    first.set_message("the port is in use");
    flaky.add_rerun(first);
    let mut error = TestCaseStatus::non_success(NonSuccessKind::Error);
    error.set_message("aborted by signal 6");

    let mut suite = TestSuite::new("store::it");
    for (name, status) in [
        ("passes", TestCaseStatus::success()),
        ("fails", failed),
        ("flaky", flaky),
        ("crashes", error),
        ("ignored", TestCaseStatus::skipped()),
    ] {
        let mut case = TestCase::new(name, status);
        case.set_classname("store::it").set_time(Duration::from_millis(1_500));
        suite.add_test_case(case);
    }
    let mut report = Report::new("nextest-run");
    report.set_time(Duration::from_secs(8)).add_test_suite(suite);

    let tests = read(report.to_string().unwrap().as_bytes());
    assert_eq!(counts(&tests), [2, 1, 1, 1]);
    assert_eq!(counts(&tests).iter().sum::<u64>(), report.tests as u64);
    assert_eq!(tests.suite, "nextest-run");
    assert_eq!(marked(&tests, Mark::Rerun), 1);
    assert_eq!(message(&tests, "store::it::flaky"), "the port is in use");
    assert_eq!(message(&tests, "store::it::fails"), "1 is not 2\nat a <b>");
    assert!(tests.cases.iter().all(|case| case.seconds == Some(1.5)));
    assert_eq!(tests.remarks, [] as [&str; 0]);
}
