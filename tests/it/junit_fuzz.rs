//! Reports that no runner ever wrote: those of `junit/`, mutated for a while.
//!
//! `make fuzz` does it for ten minutes (CACHETSCOPE_FUZZ_SECONDS); `cargo test` for a fixed number of
//! rounds from a fixed seed, so that it says the same every time. A failure prints the seed of its
//! round, which CACHETSCOPE_TEST_SEED plays again.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use cachetscope::junit::{Gathered, JunitError, gather};
use cachetscope::model::{CASES_MAX, MESSAGE_MAX, NAME_MAX, Tests};

use crate::junit::{cases, is_beginning, reports};

const ROUNDS: u64 = 150;
/// Of one mutated report; a mutation may double it.
const BYTES_MAX: usize = 64 * 1024;

/// What the scanner looks for: a mutation that puts one of these somewhere gets further than a
/// random byte.
const PIECES: &[&[u8]] = &[
    b"<",
    b">",
    b"/>",
    b"</",
    b"\"",
    b"'",
    b"&",
    b"&amp;",
    b"&#x1F600;",
    b"&#0;",
    b"&lol;",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"]]>",
    b"<?",
    b"?>",
    b"<!DOCTYPE x [<!ENTITY a 'b'>",
    b"]>",
    b"<testsuite>",
    b"</testsuite>",
    b"<testsuites>",
    b"<testcase name='x'>",
    b"</testcase>",
    b"<failure message='no'>",
    b"</failure>",
    b"<skipped/>",
    b"<system-out>",
    b" tests=\"18446744073709551615\"",
    b" time='1e308'",
    b" timestamp='9999-12-31T23:59:59Z'",
    b"<a:b c>",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\0",
    b"\xed\xa0\x80",
    b"encoding='utf-16'",
    b"encoding='shift_jis'",
];

#[expect(clippy::disallowed_methods, reason = "tests have no configuration; this is where they read theirs")]
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, not a number")))
}

/// splitmix64 (Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(400) + 1)
    }
}

fn mutate(dice: &mut Dice, report: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = dice.below(report.len() + 1);
    match dice.below(8) {
        0 => report.truncate(at),
        1 if at < report.len() => report[at] = dice.next() as u8,
        2 => drop(report.drain(dice.range(report.len()))),
        3 => {
            let piece = report[dice.range(report.len())].to_vec();
            report.splice(at..at, piece);
        }
        4 => {
            let other = &corpus[dice.below(corpus.len())];
            let piece = other[dice.range(other.len())].to_vec();
            report.splice(at..at, piece);
        }
        5 => {
            let piece = PIECES[dice.below(PIECES.len())];
            let times = [1, 1, 1, 2, 40, 300][dice.below(6)];
            report.splice(at..at, piece.repeat(times));
        }
        6 => {
            let range = dice.range(report.len());
            report.splice(range, PIECES[dice.below(PIECES.len())].iter().copied());
        }
        _ => {
            let text = String::from_utf8_lossy(report).into_owned();
            let big = dice.below(2) == 0;
            let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            *report = text.encode_utf16().flat_map(bytes).collect();
        }
    }
    report.truncate(BYTES_MAX);
}

fn gathered(report: &[u8]) -> Result<(Tests, Gathered), JunitError> {
    gather(None, [("a.xml".to_owned(), report)])
}

/// Whatever the report is, this holds.
fn check(dice: &mut Dice, report: &[u8]) {
    let read = cases(report);
    if let Ok((all, summary)) = &read {
        assert_eq!(all.len() as u64, summary.cases);
        assert!(summary.remarks.len() <= 20);
        assert!(summary.seconds.is_none_or(|s| s.is_finite() && s >= 0.0));
        for case in all {
            assert!(!case.name.is_empty() && case.name.len() <= NAME_MAX, "{case:?}");
            assert!(case.class.len() <= NAME_MAX, "{case:?}");
            assert!(!case.title().chars().any(char::is_control), "{case:?}");
            assert!(case.message.as_ref().is_none_or(|m| !m.is_empty() && m.len() <= MESSAGE_MAX));
            assert!(case.seconds.is_none_or(|s| (0.0..=366.0 * 86_400.0).contains(&s)));
        }
        let cut = &report[..dice.below(report.len() + 1)];
        // The encoding may be told by what is cut off.
        let marked = report.starts_with(b"\xef\xbb\xbf") || !report[..report.len().min(1_024)].contains(&0);
        if let Ok((some, _)) = cases(cut)
            && marked
            && cut.len() > 1_024
        {
            is_beginning(&some, all).unwrap();
        }
    }
    match (read, gathered(report)) {
        (Ok((all, summary)), Ok((tests, of))) => {
            assert_eq!(of.reports, 1);
            assert_eq!(tests.aborted, summary.aborted.is_some());
            assert!(tests.cases.len() <= CASES_MAX);
            assert_eq!(tests.counts().total(), tests.cases.len() as u64);
            assert!(tests.cases.len() <= all.len());
            // The same file twice is the same tests.
            let files = ["a.xml", "b.xml"].map(|name| (name.to_owned(), report));
            let (twice, _) = gather(None, files).unwrap();
            let counts = |t: &Tests| t.counts().total();
            assert!(counts(&twice) >= counts(&tests) && counts(&twice) <= 2 * counts(&tests));
            assert_eq!(gathered(report).unwrap(), (tests, of), "reading again tells the same");
        }
        (Err(one), Err(other)) => assert!(other.to_string().ends_with(&one.to_string())),
        (one, other) => panic!("read alone: {one:?}; gathered: {other:?}"),
    }
}

#[test]
fn mutated_reports_neither_panic_nor_break_a_promise() {
    let corpus: Vec<Vec<u8>> = reports().iter().map(|path| fs::read(path).unwrap()).collect();
    let replayed = variable("CACHETSCOPE_TEST_SEED");
    let time = variable("CACHETSCOPE_FUZZ_SECONDS").map(Duration::from_secs);
    let started = Instant::now();
    let first = replayed.unwrap_or_else(|| time.map_or(1, |_| uuid::Uuid::new_v4().as_u64_pair().0));
    let mut rounds = 0;
    loop {
        let seed = first.wrapping_add(rounds);
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut dice = Dice(seed);
            let mut report = corpus[dice.below(corpus.len())].clone();
            for _ in 0..=dice.below(12) {
                mutate(&mut dice, &mut report, &corpus);
                check(&mut dice, &report);
            }
        }));
        assert!(done.is_ok(), "failed in round {rounds}: play it again with CACHETSCOPE_TEST_SEED={seed}");
        rounds += 1;
        let enough = time.map_or(rounds == ROUNDS, |time| started.elapsed() >= time);
        if enough || replayed.is_some() {
            break;
        }
    }
    println!("{rounds} rounds in {:.1} s, from seed {first}", started.elapsed().as_secs_f64());
}
