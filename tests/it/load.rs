//! Outputs of load tools, recorded: each figure, each remark, and what becomes of them when they are
//! cut off, changed or made up. Where the outputs come from is in `load/README.md`.

use cachetscope::load::{BYTES_MAX, CLOSED_LOOP, LoadError, SUMMARY_MAX, Tool, read};
use cachetscope::model::Load;
use proptest::prelude::*;

macro_rules! outputs {
    ($($file:literal)*) => { &[$(($file, include_str!(concat!("load/", $file)))),*] };
}

/// Whole outputs.
const OUTPUTS: &[(&str, &str)] = outputs![
    "ab.txt" "ab-close.txt" "ab-keepalive.txt" "ab-limit.txt" "ab-one.txt" "ab-vary.txt"
    "wrk.txt" "wrk-close.txt" "wrk-limit.txt" "wrk2-documented.txt"
    "hey.txt" "hey-close.txt" "hey-limit.txt" "hey-refused.txt" "hey.csv"
    "oha.json" "oha-limit.json" "oha-deadline.json" "oha-refused.json"
    "k6-export-documented.json" "k6-handle-summary-documented.json"
];

fn text(file: &str) -> &'static str {
    OUTPUTS.iter().find(|(name, _)| *name == file).unwrap().1
}

fn load(file: &str) -> Load {
    read(None, text(file).as_bytes()).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn refused(text: &str) -> String {
    read(None, text.as_bytes()).unwrap_err().to_string()
}

/// The quantiles as `50=2ms`, in milliseconds.
fn quantiles(load: &Load) -> String {
    let one = |q: &cachetscope::model::Quantile| {
        let round = |x: f64| (x * 1e6).round() / 1e6;
        format!("{}={}ms", round(q.quantile * 100.0), round(q.seconds * 1e3))
    };
    load.latency.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn remarked(load: &Load, words: &str) -> bool {
    load.remarks.iter().any(|remark| remark.contains(words))
}

#[test]
fn every_output_is_recognised_and_read() {
    for (file, text) in OUTPUTS {
        let tool: Tool = Tool::ALL.into_iter().find(|tool| file.starts_with(tool.as_str())).unwrap();
        let load = load(file);
        assert_eq!(read(Some(tool), text.as_bytes()).as_ref(), Ok(&load), "{file}");
        assert!(load.tool.starts_with(tool.as_str()), "{file}: {}", load.tool);
        assert_eq!(load.plan, "");
        let closed = load.remarks.iter().any(|remark| remark == CLOSED_LOOP);
        assert_eq!(closed, !["wrk2", "k6"].contains(&load.tool.as_str()), "{file}: {:?}", load.remarks);
        for other in Tool::ALL.into_iter().filter(|other| *other != tool) {
            let error = read(Some(other), text.as_bytes()).unwrap_err();
            assert_eq!(error, LoadError::Other { expected: other, found: tool }, "{file}");
        }
    }
}

#[test]
fn recorded_outputs_give_what_they_say() {
    let mut all = String::new();
    for (file, _) in OUTPUTS {
        let load = load(file);
        all.push_str(&format!(
            "{file}\n  {} requests, {} errors, {} s, {:.2}/s of {:?}, {:?} at once, mean {:?}\n  {}\n  {:?}\n",
            load.requests,
            load.errors,
            load.seconds,
            load.throughput,
            load.offered,
            load.concurrency,
            load.latency_mean_seconds,
            quantiles(&load),
            load.statuses,
        ));
        for remark in load.remarks.iter().filter(|remark| *remark != CLOSED_LOOP) {
            all.push_str(&format!("  - {remark}\n"));
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn answers_of_another_length_are_no_errors_and_answers_without_a_body_are() {
    let vary = load("ab-vary.txt");
    assert_eq!((vary.requests, vary.errors), (200, 0));
    assert!(remarked(&vary, "177 answers of another length") && remarked(&vary, "run it with -l"));
    let closed = load("ab-close.txt");
    assert_eq!((closed.requests, closed.errors), (200, 28));
    assert!(remarked(&closed, "28 answers came without a body"));
}

#[test]
fn answers_429_are_named_where_statuses_are_told_and_suspected_where_not() {
    let hey = load("hey-limit.txt");
    assert_eq!((hey.rate_limited(), hey.errors, hey.requests), (100, 100, 200));
    for file in ["hey-limit.txt", "oha-limit.json", "hey.csv"] {
        assert!(remarked(&load(file), "Cachet 3 allows 300 requests a minute"), "{file}");
    }
    for file in ["ab-limit.txt", "wrk-limit.txt"] {
        let load = load(file);
        assert!(load.errors > 0 && load.statuses.is_empty(), "{file}");
        assert!(remarked(&load, "does not tell their statuses"), "{file}: {:?}", load.remarks);
    }
}

#[test]
fn requests_that_got_no_answer_are_no_throughput() {
    let load = load("hey-refused.txt");
    assert_eq!((load.requests, load.errors, load.throughput), (0, 20, 0.0));
    assert_eq!((load.latency.len(), load.latency_mean_seconds), (0, None));
    assert_eq!(load.error_ratio(), 1.0);
}

#[test]
fn what_k6_dropped_was_offered() {
    let load = load("k6-handle-summary-documented.json");
    assert_eq!((load.throughput, load.offered), (160.0, Some(200.0)));
    assert_eq!(self::load("k6-export-documented.json").offered, None);
    assert_eq!(self::load("k6-export-documented.json").errors, 40);
}

/// Of every output, however much of its end is missing: an error, or the very same result.
#[test]
fn an_output_that_is_cut_anywhere_is_refused_or_complete() {
    for (file, text) in OUTPUTS {
        let whole = load(file);
        let mut complete = 0;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            match read(None, &text.as_bytes()[..end]) {
                // Its rows are all there is, and its remarks say so.
                Ok(part) if *file == "hey.csv" => {
                    assert_eq!(part.requests, text[..end].lines().count() as u64 - 1);
                    assert!(remarked(&part, "has no end mark"));
                }
                Ok(part) => {
                    complete += 1;
                    assert_eq!(part, whole, "{file} cut at {end}: `{}`", &text[..end]);
                }
                Err(error) => assert!(error.to_string().len() < 500, "{error}"),
            }
        }
        assert!(complete < text.len() / 2, "{file}: {complete} of {} cuts went unseen", text.len());
    }
}

#[test]
fn errors_say_what_was_found_and_what_to_do() {
    let ab = text("ab.txt");
    let cut = |text: &'static str, at: &str| &text[..text.find(at).unwrap()];
    let reset = include_str!("load/ab-reset.txt");
    let both = format!("{ab}{}", text("wrk.txt"));
    let cases: &[(&str, &str)] = &[
        ("nothing", ""),
        ("not a tool's", "<html>\nno"),
        ("ab, ended", cut(ab, "Requests per second")),
        ("ab, ended within its table", cut(ab, " 100%")),
        ("ab, connection reset", reset),
        ("wrk, ended", cut(text("wrk.txt"), "Requests/sec")),
        ("hey, ended", cut(text("hey-close.txt"), "Error distribution")),
        ("oha, ended", cut(text("oha.json"), "errorDistribution")),
        ("k6, ended", cut(text("k6-export-documented.json"), "vus_max")),
        ("two in one", &both),
        ("oha's text", "Summary:\n  Success rate:\t100.00%\n  Total:\t0.0123 sec\n"),
        ("decimal comma", &ab.replacen("Time taken for tests:   0.", "Time taken for tests:   0,", 1)),
        ("negative", &ab.replace("Complete requests:      200", "Complete requests:      -200")),
        (
            "too many",
            &ab.replace("Complete requests:      200", "Complete requests:      99999999999999999999"),
        ),
        ("other than its rate", &ab.replace("Complete requests:      200", "Complete requests:      20")),
        ("not a number", &text("wrk.txt").replace("Requests/sec:", "Requests/sec: nan ")),
        ("NaN in JSON", "{\"summary\": {\"successRate\": NaN, \"total\": 1}}"),
        ("overflow in JSON", "{\"summary\": {\"successRate\": 1, \"total\": 1e999}}"),
        ("null in JSON", "{\"summary\": {\"successRate\": 1, \"total\": null}}"),
        ("k6 without HTTP", "{\"metrics\": {\"iterations\": {\"count\": 1, \"rate\": 1}}}"),
        ("k6's samples", "{\"type\":\"Metric\",\"metric\":\"http_reqs\"}\n{\"type\":\"Point\"}"),
    ];
    let told: Vec<String> = cases.iter().map(|(name, text)| format!("{name}: {}", refused(text))).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn colours_line_ends_and_utf_16_do_not_matter() {
    for (file, text) in OUTPUTS {
        let whole = load(file);
        let crlf = text.replace('\n', "\r\n");
        let coloured = text
            .replace("Summary:", "\x1b[1;32mSummary:\x1b[0m")
            .replace("requests", "\x1b[1mrequests\x1b[m");
        let utf16 = |bytes: fn(u16) -> [u8; 2]| {
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect::<Vec<u8>>()
        };
        let forms = [
            crlf.into_bytes(),
            coloured.into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        ];
        for (i, form) in forms.iter().enumerate() {
            // JSON is never coloured.
            if i != 1 || !file.ends_with(".json") {
                assert_eq!(read(None, form).as_ref(), Ok(&whole), "{file}, form {i}");
            }
        }
    }
    let latin1 =
        [b"This is ApacheBench\xe9\n", text("ab.txt").split_once('\n').unwrap().1.as_bytes()].concat();
    assert_eq!(read(None, &latin1), Ok(load("ab.txt")));
}

#[test]
fn a_log_is_refused_by_its_size() {
    let log = vec![b'x'; BYTES_MAX + 1];
    assert_eq!(read(None, &log), Err(LoadError::TooLarge { bytes: log.len(), max: BYTES_MAX }));
    let json = format!("{{\"metrics\": [{}0]}}", "0,".repeat(4 << 20));
    assert!(matches!(read(None, json.as_bytes()), Err(LoadError::TooLarge { .. })));
    let summary = format!("{}{}", text("ab.txt"), "\n".repeat(SUMMARY_MAX));
    assert!(matches!(read(None, summary.as_bytes()), Err(LoadError::TooLarge { .. })));
    let (head, rows) = text("hey.csv").split_once('\n').unwrap();
    let csv = format!("{head}\n{}", rows.repeat(SUMMARY_MAX / rows.len() + 1));
    assert_eq!(read(None, csv.as_bytes()).unwrap().requests, csv.lines().count() as u64 - 1);
    let deep = format!("{{\"metrics\": {}", "[".repeat(100_000));
    assert!(read(None, deep.as_bytes()).is_err());
}

#[test]
fn names_of_tools_are_read_as_they_are_written() {
    for tool in Tool::ALL {
        assert_eq!(tool.to_string().parse(), Ok(tool));
    }
    assert_eq!(
        "jmeter".parse::<Tool>(),
        Err("expected one of ab, wrk, hey, oha, k6, found `jmeter`".to_owned())
    );
}

/// Whatever was read can be kept as an event.
fn assert_sound(load: &Load) {
    let numbers = [Some(load.seconds), Some(load.throughput), load.offered, load.latency_mean_seconds];
    let seconds = load.latency.iter().flat_map(|q| [q.quantile, q.seconds]);
    for number in numbers.into_iter().flatten().chain(seconds) {
        assert!((0.0..=1e12).contains(&number), "{load:?}");
    }
    assert!(load.latency.is_sorted_by(|a, b| a.quantile < b.quantile && a.seconds <= b.seconds), "{load:?}");
    assert!(load.latency.iter().all(|q| q.quantile <= 1.0), "{load:?}");
    assert!(load.remarks.iter().all(|remark| remark.len() < 500), "{load:?}");
}

fn any_output() -> impl Strategy<Value = (&'static str, &'static str)> {
    proptest::sample::select(OUTPUTS)
}

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(None, &bytes).is_err());
        for tool in Tool::ALL {
            prop_assert!(read(Some(tool), &bytes).is_err());
        }
    }

    #[test]
    fn changed_bytes_give_an_error_or_a_sound_result(
        (_, text) in any_output(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(load) = read(None, &bytes) {
            assert_sound(&load);
        }
    }

    /// Figures in the place of others: the shape stays, so that the reading gets far.
    #[test]
    fn changed_figures_give_an_error_or_a_sound_result(
        (_, text) in any_output(),
        at in any::<prop::sample::Index>(),
        figure in "(-?[0-9]{1,30}(\\.[0-9]{0,5})?|NaN|nan|inf|-inf|1e999|null|0|)",
    ) {
        let figures: Vec<_> = regex::Regex::new(r"[0-9]+(\.[0-9]+)?").unwrap().find_iter(text).collect();
        let place = figures[at.index(figures.len())].range();
        let changed = format!("{}{figure}{}", &text[..place.start], &text[place.end..]);
        if let Ok(load) = read(None, changed.as_bytes()) {
            assert_sound(&load);
        }
    }
}
