//! Reports as each runner writes them, read to the last test case.
//!
//! `junit/` holds one for each dialect: of PHPUnit 9, pytest, node and libtest as they were written,
//! of the others by their documentation. `tests/real/junit.rs` runs real runners.

use std::fs;
use std::path::{Path, PathBuf};

use cachetscope::junit::{JunitError, Summary, gather, read};
use cachetscope::model::{Case, Tests};

pub fn reports() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/junit");
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn report(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/junit").join(name)).unwrap()
}

pub fn cases(report: &[u8]) -> Result<(Vec<Case>, Summary), JunitError> {
    let mut cases = Vec::new();
    let summary = read(report, |case| cases.push(case))?;
    Ok((cases, summary))
}

/// As a person would note it down.
fn told(tests: &Tests) -> String {
    let counts = tests.counts();
    let mut text = format!(
        "{}: {} pass, {} fail, {} error, {} skip\n",
        tests.suite, counts.pass, counts.fail, counts.error, counts.skip
    );
    for case in &tests.cases {
        let mark = case.mark.map(|mark| format!(" ({})", mark.as_str())).unwrap_or_default();
        let time = case.seconds.map(|seconds| format!(" {seconds} s")).unwrap_or_default();
        text.push_str(&format!("{}{mark}  {}{time}\n", case.status.as_str(), case.title()));
        for line in case.message.iter().flat_map(|message| message.lines()).take(2) {
            text.push_str(&format!("    | {line}\n"));
        }
    }
    tests.remarks.iter().for_each(|remark| text.push_str(&format!("remark: {remark}\n")));
    text
}

#[test]
fn each_dialect_is_read_as_its_runner_means_it() {
    for path in reports() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (tests, gathered) =
            gather(None, [(format!("{name}.xml"), fs::File::open(&path).unwrap())]).unwrap();
        assert!(!tests.aborted, "{name}");
        let when = gathered.started.map_or("no time".to_owned(), |at| at.to_string());
        let seconds = gathered.seconds.map(|s| format!(", {s} s")).unwrap_or_default();
        insta::assert_snapshot!(format!("junit_{name}"), format!("{when}{seconds}\n{}", told(&tests)));
    }
}

#[test]
fn several_files_of_one_run_are_one_test_run() {
    let files = ["go-junit-report.xml", "gotestsum.xml", "go-junit-report.xml", "jest.xml"];
    let (tests, gathered) =
        gather(Some("all"), files.map(|name| (name.to_owned(), std::io::Cursor::new(report(name))))).unwrap();
    assert_eq!(gathered.reports, 4);
    assert_eq!(gathered.started.unwrap().to_string(), "2026-11-24T00:02:02.000Z");
    // 4 of go-junit-report, though it is there twice; 3 of gotestsum, one of them run twice; 4 of Jest,
    // two of them of the same name in different files.
    assert_eq!(tests.counts().total(), 11);
    assert_eq!(tests.cases.len(), 11);
    assert_eq!(tests.suite, "all");
}

#[test]
fn a_file_that_says_nothing_is_a_remark_beside_others_and_an_error_alone() {
    let files: [(&str, &[u8]); 4] = [
        ("a.xml", b"<testsuite><testcase name='t'/></testsuite>"),
        ("b.xml", b""),
        ("c.xml", b"<html/>"),
        ("d.xml", b"PASS"),
    ];
    let (tests, gathered) = gather(None, files.map(|(name, bytes)| (name.to_owned(), bytes))).unwrap();
    assert_eq!((gathered.reports, gathered.unread, tests.counts().pass, tests.aborted), (1, 3, 1, true));
    insta::assert_snapshot!(tests.remarks.join("\n"), @r"
    b.xml: the report is empty; expected JUnit XML: was the run ended before it wrote anything, or does the runner write elsewhere?
    c.xml: found XML with the root `<html>`; expected `<testsuites>` or `<testsuite>`, as JUnit XML has
    d.xml: found `PASS` at byte 0; expected JUnit XML, which begins with `<`
    ");
    let error = gather(None, [("b.xml".to_owned(), &b" \n"[..])]).unwrap_err();
    assert!(error.to_string().starts_with("b.xml: the report is empty"), "{error}");
    let none: [(String, &[u8]); 0] = [];
    assert!(matches!(gather(None, none), Err(JunitError::None)));
}

#[test]
fn where_a_report_is_cut_off_is_told() {
    let whole = "<testsuite name='s'><testcase name='a'/><testcase name='b'><failure>no</failure></testcase></testsuite>";
    let at = |end: &str| {
        let cut = &whole[..whole.find(end).unwrap() + end.len()];
        let (cases, summary) = cases(cut.as_bytes()).unwrap();
        let names: Vec<_> = cases.iter().map(|c| format!("{} {}", c.status.as_str(), c.name)).collect();
        format!("{}; {}", names.join(", "), summary.aborted.unwrap())
    };
    let told =
        ["<tests", "name='a", "<testcase name='b'>", "<failure>n", "</failure>", "</testcase>"].map(at);
    insta::assert_snapshot!(told.join("\n"), @r"
    ; it ends at byte 6, before its first element
    ; it ends at byte 37, inside an attribute of `<testcase>`
    pass a; it ends at byte 59, inside `<testcase>`; test case `s::b` was not finished, and is not counted
    pass a, fail b; it ends at byte 69, inside `<failure>`
    pass a, fail b; it ends at byte 80, inside `<testcase>`
    pass a, fail b; it ends at byte 91, inside `<testsuite>`
    ");
}

#[test]
fn every_beginning_of_a_report_yields_a_beginning_of_its_cases() {
    for path in reports() {
        let whole = fs::read(&path).unwrap();
        let (all, _) = cases(&whole).unwrap();
        for end in (0..whole.len()).step_by(3) {
            let Ok((some, summary)) = cases(&whole[..end]) else {
                assert!(whole[..end].trim_ascii().is_empty(), "{} up to {end}", path.display());
                continue;
            };
            if let Err(words) = is_beginning(&some, &all) {
                panic!("{} up to {end}: {words}", path.display());
            }
            assert!(summary.aborted.is_some() || some.len() == all.len(), "{} up to {end}", path.display());
        }
    }
}

/// The last of them may have been open: then it had failed already.
pub fn is_beginning(some: &[Case], all: &[Case]) -> Result<(), String> {
    for (i, (found, expected)) in some.iter().zip(all).enumerate() {
        let open = i + 1 == some.len() && found.status.is_bad() && found.title() == expected.title();
        if found != expected && !open {
            return Err(format!("case {i} is {found:?}; expected {expected:?}"));
        }
    }
    if some.len() > all.len() { Err(format!("{} cases of {}", some.len(), all.len())) } else { Ok(()) }
}
