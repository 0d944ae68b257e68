//! Results of load tools: what `ab`, `wrk`, `hey`, `oha` and `k6` print, read into one form.
//!
//! Pure: bytes in, [`Load`] out. An output is read whole or refused: whatever a tool prints last must
//! be there, and counts that it prints twice must agree, so a run that was ended midway is never taken
//! for a slower one. What the figures leave out is said in the remarks. Deliberately absent: running
//! the tools, and k6's raw samples (`--out json`), which are no summary.

mod ab;
mod error;
mod hey;
mod hey_csv;
mod json;
mod k6;
mod oha;
mod text;
mod wrk;

use std::fmt;
use std::str::FromStr;

pub use error::LoadError;

use crate::model::Load;

/// Bytes of an output at most; of hey's CSV, the only one that has a row for each request.
pub const BYTES_MAX: usize = 64 << 20;
/// Bytes of a summary at most, which has some KiB, and where the first line of any output must be.
pub const SUMMARY_MAX: usize = 4 << 20;

/// What a closed loop does not see (Tene, "How NOT to Measure Latency", 2015).
pub const CLOSED_LOOP: &str = "closed loop: the next request waits for an answer, so a stall hides the \
                               requests that it kept from being sent, and the high quantiles are too good";

/// A load tool whose output can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// ApacheBench: its text.
    Ab,
    /// wrk and wrk2: their text.
    Wrk,
    /// hey: its text or `-o csv`.
    Hey,
    /// oha: `--output-format json`, formerly `--json` or `-j`.
    Oha,
    /// k6: the file of `--summary-export`, or the data of `handleSummary` as JSON.
    K6,
}

impl Tool {
    pub const ALL: [Tool; 5] = [Tool::Ab, Tool::Wrk, Tool::Hey, Tool::Oha, Tool::K6];

    pub fn as_str(self) -> &'static str {
        match self {
            Tool::Ab => "ab",
            Tool::Wrk => "wrk",
            Tool::Hey => "hey",
            Tool::Oha => "oha",
            Tool::K6 => "k6",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Tool::ALL.into_iter().find(|tool| tool.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Tool::ALL.iter().map(|tool| tool.as_str()).collect();
            format!("expected one of {}, found `{text}`", all.join(", "))
        })
    }
}

/// Reads the output of one run. Without `tool` it is recognised from the text. `plan` is left empty
/// for the caller. Answers of status 400 and above count as errors where a tool tells statuses, else
/// those that the tool itself counts.
pub fn read(tool: Option<Tool>, text: &[u8]) -> Result<Load, LoadError> {
    if text.len() > BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: text.len(), max: BYTES_MAX });
    }
    let text = text::clean(text);
    let form = recognise(&text)?;
    match tool {
        Some(tool) if tool != form.tool() => Err(LoadError::Other { expected: tool, found: form.tool() }),
        _ => match form {
            Form::Ab => ab::read(&text),
            Form::Wrk => wrk::read(&text),
            Form::Hey => hey::read(&text),
            Form::HeyCsv => hey_csv::read(&text),
            Form::Oha => oha::read(&json::parse(Tool::Oha, &text)?),
            Form::K6 => k6::read(&json::parse(Tool::K6, &text)?),
        },
    }
}

/// What an output is, by how it begins.
#[derive(Clone, Copy, Debug)]
enum Form {
    Ab,
    Wrk,
    Hey,
    HeyCsv,
    Oha,
    K6,
}

impl Form {
    fn tool(self) -> Tool {
        match self {
            Form::Ab => Tool::Ab,
            Form::Wrk => Tool::Wrk,
            Form::Hey | Form::HeyCsv => Tool::Hey,
            Form::Oha => Tool::Oha,
            Form::K6 => Tool::K6,
        }
    }
}

fn recognise(whole: &str) -> Result<Form, LoadError> {
    let text = &whole[..whole.floor_char_boundary(SUMMARY_MAX)];
    let too_large = || LoadError::TooLarge { bytes: whole.len(), max: SUMMARY_MAX };
    let small = text.len() == whole.len();
    if text.trim_start().starts_with('{') {
        return if small { json::recognise(text) } else { Err(too_large()) };
    }
    let head = |line: &str| match line.trim_end() {
        line if line.starts_with("This is ApacheBench") => Some(Form::Ab),
        line if line.starts_with("Running ") && line.contains(" test @ ") => Some(Form::Wrk),
        "Summary:" => Some(Form::Hey),
        line if line.starts_with(hey_csv::HEAD) => Some(Form::HeyCsv),
        _ => None,
    };
    let mut heads = text.lines().filter_map(head);
    let form = heads.next().ok_or_else(|| LoadError::not_recognised(text))?;
    if !small && !matches!(form, Form::HeyCsv) {
        return Err(too_large());
    }
    if text.lines().any(|line| line.trim_start().starts_with("Success rate:")) {
        return Err(LoadError::OhaText);
    }
    match heads.count() {
        0 => Ok(form),
        more => Err(LoadError::Several { outputs: more + 1 }),
    }
}

/// What holds for every tool: rising quantiles, and the target's own limit named.
fn finish(tool: Tool, mut load: Load) -> Result<Load, LoadError> {
    load.latency.sort_by(|a, b| a.quantile.total_cmp(&b.quantile));
    for pair in load.latency.windows(2) {
        if pair[1].seconds < pair[0].seconds || pair[1].quantile == pair[0].quantile {
            return Err(LoadError::Malformed {
                tool,
                place: format!("the quantile {}", pair[1].quantile),
                found: format!("{} s", pair[1].seconds),
                expected: format!("once, and at least the {} s of the one before", pair[0].seconds),
            });
        }
    }
    let limited = load.rate_limited();
    if limited > 0 {
        load.remarks.push(format!(
            "{limited} answers were 429: the target's own rate limit was measured, not its speed ({CACHET_LIMIT})"
        ));
    }
    Ok(load)
}

/// For tools that tell only that answers were bad, not how.
fn untold_statuses(tool: &str, bad: u64, what: &str) -> String {
    format!(
        "{tool} counts {bad} answers {what} and does not tell their statuses; where they are 429s, the \
         target's own rate limit was measured ({CACHET_LIMIT})"
    )
}

const CACHET_LIMIT: &str = "Cachet 3 allows 300 requests a minute by default";

/// Answers of status 400 and above.
fn bad_statuses(statuses: &std::collections::BTreeMap<u16, u64>) -> u64 {
    statuses.range(400..).fold(0, |sum, (_, count)| sum.saturating_add(*count))
}
