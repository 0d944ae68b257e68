//! Text as tools print it: made plain, and its numbers read strictly.
//!
//! A number is digits with at most one point. `NaN`, `inf`, signs, exponents and decimal commas are
//! refused, since the tools print none of them where figures are to be had.

use std::borrow::Cow;

use super::error::{LoadError, shown};
use super::{Load, Tool};
use crate::model::Quantile;

/// Nothing takes longer than a year, as everywhere for events.
pub const SECONDS_MAX: f64 = 366.0 * 86_400.0;
/// Requests per second at most, as everywhere for events.
pub const RATE_MAX: f64 = 1e12;

/// As UTF-8 (also from UTF-16 with a byte order mark, which PowerShell writes), without colours and
/// carriage returns. What is no text becomes U+FFFD and is refused where it matters.
pub fn clean(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| read(*pair));
        Cow::Owned(char::decode_utf16(units.skip(1)).map(|c| c.unwrap_or('\u{fffd}')).collect::<String>())
    };
    let text: Cow<'_, str> = match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        _ => String::from_utf8_lossy(bytes),
    };
    if !text.contains(['\x1b', '\r']) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // CSI: parameters, then one final byte (ECMA-48, 5.4).
            '\x1b' if chars.next_if_eq(&'[').is_some() => {
                while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {}
            }
            '\x1b' => {}
            // Alone it overwrites a line of progress.
            '\r' if chars.peek() != Some(&'\n') => plain.push('\n'),
            '\r' => {}
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Where something stands: what errors are told with.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub tool: Tool,
    /// Counted from 0.
    pub line: usize,
    pub field: &'a str,
}

impl Place<'_> {
    pub fn wrong(&self, found: &str, expected: impl Into<String>) -> LoadError {
        LoadError::Malformed {
            tool: self.tool,
            place: format!("line {} ({})", self.line + 1, self.field),
            found: shown(found),
            expected: expected.into(),
        }
    }

    pub fn count(&self, text: &str) -> Result<u64, LoadError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let count = text.parse().ok().filter(|_| digits);
        count.ok_or_else(|| self.wrong(text, "a whole number below 2⁶⁴"))
    }

    pub fn number(&self, text: &str, max: f64) -> Result<f64, LoadError> {
        if text.contains(',') {
            return Err(self.wrong(text, "a decimal point; run the tool with LC_ALL=C"));
        }
        let plain = text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number = text.parse().ok().filter(|number| plain && (0.0..=max).contains(number));
        number.ok_or_else(|| self.wrong(text, format!("a number from 0 to {max}")))
    }

    pub fn seconds(&self, text: &str) -> Result<f64, LoadError> {
        self.number(text, SECONDS_MAX)
    }

    /// A share in percent, as a quantile.
    pub fn quantile(&self, text: &str) -> Result<f64, LoadError> {
        // A plain division by 100 makes 0.9990000000000001 of 99.9.
        Ok((self.number(text, 100.0)? * 1e6).round() / 1e8)
    }

    /// Fills what may be there only once.
    pub fn set<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), LoadError> {
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.wrong("there twice", "one output; hand them in one at a time")),
        }
    }

    /// Takes a quantile in, one of at most a hundred.
    pub fn push(&self, latency: &mut Vec<Quantile>, quantile: f64, seconds: f64) -> Result<(), LoadError> {
        if latency.len() >= 100 {
            return Err(self.wrong("one of more than a hundred", "at most a hundred"));
        }
        latency.push(Quantile { quantile, seconds });
        Ok(())
    }
}

/// Whether requests, seconds and requests per second, as printed, can be of one run: a figure that
/// was cut off in its middle is not. `seconds_off` and `rate_off` are what rounding may have moved
/// them by, and `counted` are the requests that the tool's own rate is made from.
pub fn agree(counted: u64, seconds: f64, seconds_off: f64, rate: f64, rate_off: f64) -> bool {
    let low = (seconds - seconds_off).max(0.0) * (rate - rate_off).max(0.0);
    let high = (seconds + seconds_off) * (rate + rate_off);
    // Half a request for what floating point does to large numbers.
    (low - 0.5..=high + 0.5).contains(&(counted as f64))
}

/// An empty result of this tool.
pub fn blank(tool: &str) -> Load {
    Load { tool: tool.to_owned(), ..Load::default() }
}
