//! What holds for every report: properties over generated ones, and sizes that no memory holds.

use std::io::{self, Read};

use proptest::prelude::*;

use super::{JunitError, gather, read};
use crate::model::{CASES_MAX, Case, CaseStatus, Counts, MESSAGE_MAX, NAME_MAX};

#[derive(Clone, Debug)]
enum Node {
    Suite(String, Vec<Node>),
    Case(String, CaseStatus, String),
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let text = || prop_oneof!["[a-z<>&'\"é😀 ]{0,12}", any::<String>()];
    let status = prop::sample::select(CaseStatus::ALL.to_vec());
    let case = (text(), status, text()).prop_map(|(name, status, words)| Node::Case(name, status, words));
    let node = case.prop_recursive(5, 60, 8, move |inner| {
        (text(), prop::collection::vec(inner, 0..8)).prop_map(|(name, nodes)| Node::Suite(name, nodes))
    });
    prop::collection::vec(node, 0..10)
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("&#{};", c as u32) })
        .collect()
}

fn write(nodes: &[Node], out: &mut String, counts: &mut Counts) {
    for node in nodes {
        match node {
            Node::Suite(name, inner) => {
                out.push_str(&format!("<testsuite name=\"{}\">\n", escaped(name)));
                write(inner, out, counts);
                out.push_str("</testsuite>");
            }
            Node::Case(name, status, words) => {
                counts.add(*status);
                let (name, text, words) = (escaped(name), escaped(words), words.replace("]]>", ""));
                out.push_str(&format!("<testcase classname='c' name='{name}'>"));
                out.push_str(&match status {
                    CaseStatus::Pass => format!("<system-out><![CDATA[{words}]]></system-out>"),
                    CaseStatus::Fail => format!("<failure message='{text}'><![CDATA[{words}]]></failure>"),
                    CaseStatus::Error => format!("<error>{text}</error>"),
                    CaseStatus::Skip => "<skipped/>".to_owned(),
                });
                out.push_str("</testcase>");
            }
        }
    }
}

fn all(report: impl Read) -> Result<(Vec<Case>, Option<String>), JunitError> {
    let mut cases = Vec::new();
    let summary = read(report, |case| cases.push(case))?;
    Ok((cases, summary.aborted))
}

fn counted(cases: &[Case]) -> Counts {
    let mut counts = Counts::default();
    cases.iter().for_each(|case| counts.add(case.status));
    counts
}

proptest! {
    #[test]
    fn a_report_is_read_with_exact_counts_in_any_encoding(nodes in nodes()) {
        let (mut text, mut counts) = ("<testsuites>".to_owned(), Counts::default());
        write(&nodes, &mut text, &mut counts);
        text.push_str("</testsuites>");
        let (cases, aborted) = all(text.as_bytes()).unwrap();
        prop_assert_eq!(aborted, None);
        prop_assert_eq!(counted(&cases), counts);
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        prop_assert_eq!(all(utf16.as_slice()).unwrap().0, cases);
    }

    #[test]
    fn names_come_back_as_they_were(name in "[^\\p{C}]{1,60}") {
        prop_assume!(!name.trim().is_empty());
        let text = format!("<testsuite><testcase name='{}'/></testsuite>", escaped(&name));
        prop_assert_eq!(&all(text.as_bytes()).unwrap().0[0].name, &name);
    }

    #[test]
    fn a_beginning_yields_a_beginning_and_says_so(nodes in nodes(), at in any::<prop::sample::Index>()) {
        let (mut text, mut counts) = ("<testsuites>".to_owned(), Counts::default());
        write(&nodes, &mut text, &mut counts);
        text.push_str("</testsuites>");
        let whole = all(text.as_bytes()).unwrap().0;
        let end = at.index(text.len());
        prop_assume!(end > 0);
        let (some, aborted) = all(&text.as_bytes()[..end]).unwrap();
        prop_assert!(aborted.is_some());
        prop_assert!(some.len() <= whole.len());
        for (i, (found, expected)) in some.iter().zip(&whole).enumerate() {
            prop_assert_eq!(found.title(), expected.title());
            prop_assert!(found == expected || (i + 1 == some.len() && found.status == expected.status));
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = all(bytes.as_slice());
        let _ = all([b"<testsuite><testcase ".as_slice(), &bytes].concat().as_slice());
    }
}

/// `start`, then `piece` again and again, then `end`.
fn repeated<'a>(start: &'a str, piece: &'a str, times: usize, end: &'a str) -> impl Read + 'a {
    struct Pieces<I>(I);
    impl<'a, I: Iterator<Item = &'a str>> Read for Pieces<I> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let mut filled = 0;
            while into.len() - filled > 8_192 {
                let Some(piece) = self.0.next() else { break };
                into[filled..filled + piece.len()].copy_from_slice(piece.as_bytes());
                filled += piece.len();
            }
            Ok(filled)
        }
    }
    Pieces(std::iter::once(start).chain(std::iter::repeat_n(piece, times)).chain(std::iter::once(end)))
}

/// 8 MiB of one text, attribute, comment or tag: more than any buffer here may hold.
#[test]
fn giants_are_cut_and_what_follows_them_is_read() {
    let piece = "x".repeat(4_096);
    let attribute = " a='1'".repeat(600);
    let next = "/><testcase name='next'/></testsuite>";
    let cases: [(&str, &str, String); 7] = [
        ("<testsuite><testcase name='", &piece, format!("'{next}")),
        ("<testsuite><testcase name='a' other='", &piece, format!("'{next}")),
        ("<testsuite><testcase name='a'><failure message='", &piece, format!("'/></testcase><x{next}")),
        (
            "<testsuite><testcase name='a'><failure><![CDATA[",
            &piece,
            format!("]]></failure></testcase><x{next}"),
        ),
        ("<testsuite><testcase name='a'><system-out>", &piece, format!("</system-out></testcase><x{next}")),
        ("<testsuite><!--", &piece, format!("--><testcase name='a'{next}")),
        ("<testsuite><testcase name='a'", &attribute, next.to_owned()),
    ];
    for (start, piece, end) in cases {
        let (cases, aborted) = all(repeated(start, piece, 2_048, &end)).unwrap();
        assert_eq!(aborted, None, "{start}");
        assert_eq!(cases.len(), 2, "{start}");
        assert_eq!(cases[1].name, "next");
        assert!(cases[0].name.len() <= NAME_MAX && cases[0].name.starts_with(['a', 'x']), "{start}");
        assert!(cases[0].message.as_ref().is_none_or(|m| m.len() <= MESSAGE_MAX && m.ends_with('…')));
    }
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| repeated("<testsuite>", "<testsuite>", depth - 1, "<testcase name='a'/>");
    assert_eq!(all(nested(127)).unwrap().0.len(), 1);
    assert!(matches!(all(nested(1_000_000)), Err(JunitError::TooDeep { at: 1_409 })));
    let unknown = repeated("<testsuite><testcase name='a'>", "<b>", 1_000_000, "");
    assert!(matches!(all(unknown), Err(JunitError::TooDeep { .. })));
}

#[test]
fn more_cases_than_are_listed_are_counted_and_failures_kept() {
    let mut report = "<testsuite>".to_owned();
    for i in 0..CASES_MAX + 1_000 {
        let bad = i % 10 == 0 || i > CASES_MAX;
        let inner = if bad { "<failure/>" } else { "" };
        report.push_str(&format!("<testcase name='{i}'>{inner}</testcase>"));
    }
    report.push_str("</testsuite>");
    let files = ["a", "b"].map(|name| (name.to_owned(), report.as_bytes()));
    let (tests, _) = gather(None, files).unwrap();
    assert_eq!(tests.cases.len(), CASES_MAX);
    let counts = tests.counts();
    assert_eq!((counts.total() as usize, counts.bad()), (CASES_MAX + 1_000, 5_000 + 1_000));
    assert_eq!(counted(&tests.cases).bad(), counts.bad());
    let order: Vec<usize> = tests.cases.iter().map(|case| case.name.parse().unwrap()).collect();
    assert!(order.is_sorted());
}

#[test]
fn a_reader_that_fails_is_told_with_its_position() {
    struct Fails(bool);
    impl Read for Fails {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("the disk is gone"));
            }
            into[..12].copy_from_slice(b"<testsuite> ");
            Ok(12)
        }
    }
    let error = all(Fails(false)).unwrap_err();
    assert_eq!(error.to_string(), "failed to read the report after 12 bytes: the disk is gone");
}
