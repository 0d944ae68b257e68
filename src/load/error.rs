//! Why an output could not be read, in words that say what to do.

use super::Tool;

/// Characters of foreign text in a message at most.
const SEEN_MAX: usize = 80;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(
        "not the output of a load tool: it begins with `{seen}`; expected the text of ab, wrk or hey, the CSV \
         of hey (`-o csv`), the JSON of oha (`--output-format json`), or a summary of k6 (`--summary-export`)"
    )]
    NotRecognised { seen: String },
    #[error("the input is empty; did the tool write to another stream, or did it not start?")]
    Empty,
    #[error("expected the output of {expected}, found that of {found}; name the right tool, or none")]
    Other { expected: Tool, found: Tool },
    #[error("found the text of oha, whose figures are rounded; run oha with `--output-format json`")]
    OhaText,
    #[error("found {outputs} outputs in one; hand them in one at a time")]
    Several { outputs: usize },
    #[error(
        "the output of {tool} ends before {missing}; was it ended? Its last line is `{last}`; let a run finish, \
         and hand in all that it prints"
    )]
    Truncated { tool: Tool, missing: String, last: String },
    #[error("{place} of the output of {tool} is `{found}`; expected {expected}")]
    Malformed { tool: Tool, place: String, found: String, expected: String },
    #[error("has {bytes} bytes; expected at most {max}: hand in the tool's summary, not its log")]
    TooLarge { bytes: usize, max: usize },
}

impl LoadError {
    pub(super) fn not_recognised(text: &str) -> Self {
        match text.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => LoadError::NotRecognised { seen: shown(line) },
            None => LoadError::Empty,
        }
    }

    pub(super) fn truncated(tool: Tool, missing: impl Into<String>, text: &str) -> Self {
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        LoadError::Truncated { tool, missing: missing.into(), last: shown(last) }
    }
}

/// Foreign text as a message may hold it: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut chars = text.trim().chars().map(|c| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    });
    let mut shown: String = chars.by_ref().take(SEEN_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
