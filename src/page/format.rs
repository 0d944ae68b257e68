//! Numbers and times as people read them. Every one carries its unit; in JSON they are plain.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A moment: RFC 3339 in JSON, relative on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl Time {
    /// `6 s ago`, with the exact time on hover.
    pub fn ago(&self, now: &Time) -> TimeTag {
        TimeTag { at: self.0, text: format!("{} ago", Span(now.0.since(self.0))) }
    }

    /// `for 4 min`, with the exact time on hover.
    pub fn lasting(&self, now: &Time) -> TimeTag {
        TimeTag { at: self.0, text: Span(now.0.since(self.0)).to_string() }
    }
}

/// A `<time>` element.
pub struct TimeTag {
    at: Timestamp,
    text: String,
}

impl HtmlSafe for TimeTag {}
impl fmt::Display for TimeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.at.to_utc().format("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "<time datetime=\"{}\" title=\"{exact}\">{}</time>", self.at, self.text)
    }
}

/// A stretch of wall-clock time in its largest unit.
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            s @ 0..120 => write!(f, "{s} s"),
            s @ 120..7_200 => write!(f, "{} min", s / 60),
            s @ 7_200..172_800 => write!(f, "{} h", s / 3_600),
            s => write!(f, "{} d", s / 86_400),
        }
    }
}

/// A measured duration in nanoseconds; in milliseconds on the page, since that is what these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Ns(pub u64);

impl Ns {
    #[expect(clippy::cast_precision_loss, reason = "for display; exact below 104 days")]
    fn ms(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.ms();
        match self.0 {
            0..999_500 => write!(f, "{ms:.2} ms"),
            999_500..99_950_000 => write!(f, "{ms:.1} ms"),
            99_950_000..9_999_500_000 => write!(f, "{} ms", Count((ms).round() as u64)),
            _ => write!(f, "{:.1} s", ms / 1e3),
        }
    }
}

/// Bytes, in powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "for display, to three digits")]
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let decimals = usize::from(value < 99.95);
        write!(f, "{value:.decimals$} {}", UNITS[unit])
    }
}

/// A number of things, with thousands set apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Count(pub u64);

impl Count {
    /// `1 round`, `2 rounds`.
    pub fn of(&self, thing: &str) -> String {
        format!("{self} {thing}{}", if self.0 == 1 { "" } else { "s" })
    }

    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl From<usize> for Count {
    fn from(n: usize) -> Self {
        Count(n as u64)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A change as a part of what it was: `+18 %`, `−4 %`.
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0.0 { '−' } else { '+' };
        write!(f, "{sign}{:.0} %", self.0.abs() * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits_or_so() {
        let texts =
            [0, 210_000, 9_960_000, 15_940_000, 99_940_000, 99_960_000, 1_234_400_000, 12_340_000_000]
                .map(|ns| Ns(ns).to_string());
        let expected =
            ["0.00 ms", "0.21 ms", "10.0 ms", "15.9 ms", "99.9 ms", "100 ms", "1,234 ms", "12.3 s"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn counts_and_bytes_are_readable() {
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
        assert_eq!((Count(1).of("round"), Count(0).of("round")), ("1 round".into(), "0 rounds".into()));
        let texts = [0, 1023, 1024, 1536, 150 << 10, 5 << 30].map(|b| Bytes(b).to_string());
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "150 KiB", "5.0 GiB"]);
    }

    #[test]
    fn a_change_has_its_sign() {
        assert_eq!([0.18, -0.04].map(|p| Percent(p).to_string()), ["+18 %", "−4 %"]);
    }

    #[test]
    fn spans_use_their_largest_unit_and_never_run_backwards() {
        let at = |seconds: i64| Time(Timestamp(seconds * 1_000_000_000));
        assert_eq!(at(0).lasting(&at(119)).text, "119 s");
        assert_eq!(at(0).lasting(&at(240)).text, "4 min");
        assert_eq!(at(0).ago(&at(7_200)).text, "2 h ago");
        assert_eq!(at(0).ago(&at(200_000)).text, "2 d ago");
        assert_eq!(at(9).ago(&at(3)).text, "0 s ago");
        assert_eq!(
            at(0).ago(&at(6)).to_string(),
            "<time datetime=\"1970-01-01T00:00:00.000Z\" title=\"1970-01-01 00:00:00 UTC\">6 s ago</time>"
        );
    }
}
