//! Numbers and times as people read them. Every one carries its unit; in JSON they are plain.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::verdict::Interval;

/// A moment: RFC 3339 in JSON, relative on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let at = chrono::DateTime::parse_from_rfc3339(&text).map_err(|error| {
            D::Error::custom(format!("expected an RFC 3339 time, found `{text}`: {error}"))
        })?;
        Ok(Time(Timestamp::from_utc(at.to_utc())))
    }
}

impl Time {
    /// How long ago, without the exact time: for sentences and terminals.
    pub fn age(&self, now: &Time) -> Span {
        Span(now.0.since(self.0))
    }

    /// `6 s ago`, with the exact time on hover.
    pub fn ago(&self, now: &Time) -> TimeTag {
        TimeTag { at: self.0, text: format!("{} ago", Span(now.0.since(self.0))) }
    }

    /// `3 h 10 min`, with the exact time on hover: where something is waited for.
    pub fn lasting_so_far(&self, now: &Time) -> TimeTag {
        TimeTag { at: self.0, text: Secs(now.0.since(self.0).as_secs_f64().floor()).to_string() }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
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
        write!(f, "{}{:.0} %", sign(self.0, 0.005), self.0.abs() * 100.0)
    }
}

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Range {
    pub low: f64,
    pub value: f64,
    pub high: f64,
}

impl From<Interval> for Range {
    fn from(Interval { low, value, high }: Interval) -> Self {
        Range { low, value, high }
    }
}

impl Range {
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Range { low: f(self.low), value: f(self.value), high: f(self.high) }
    }

    /// Of a ratio: `+9 to +15 %`, with so many decimals.
    pub fn percents(&self, decimals: usize) -> String {
        let less = self.map(|ratio| (ratio - 1.0) * 100.0);
        format!("{} to {} %", signed(less.low, decimals), signed(less.high, decimals))
    }

    /// Of a rise of a rate: `+3 to +14`, in points of percent.
    pub fn points(&self, decimals: usize) -> String {
        format!("{} to {}", signed(self.low * 100.0, decimals), signed(self.high * 100.0, decimals))
    }

    /// Of a factor: `1.5 to 1.7×`.
    pub fn times(&self) -> String {
        let decimals = if self.low < 10.0 { 2 } else { 0 };
        format!("{:.decimals$} to {:.decimals$}×", self.low, self.high)
    }
}

/// `+9`, `−0.3`, `0`.
pub fn signed(value: f64, decimals: usize) -> String {
    let least = 0.5 / 10_f64.powi(i32::try_from(decimals).unwrap_or(0));
    if value.abs() < least {
        return "0".to_owned();
    }
    format!("{}{:.decimals$}", sign(value, least), value.abs())
}

/// What stands before a change; one that rounds to nothing is neither more nor less.
fn sign(change: f64, least: f64) -> char {
    match change {
        c if c.abs() < least => '±',
        c if c < 0.0 => '−',
        _ => '+',
    }
}

/// How long a step of CI took, in seconds: `0.21 s`, `9.3 s`, `93 s`, `12 min 5 s`, `3 h 10 min`.
pub struct Secs(pub f64);

impl fmt::Display for Secs {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; not negative")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.max(0.0);
        let whole = seconds.round() as u64;
        match seconds {
            s if s < 0.000_999_5 => write!(f, "{:.2} ms", s * 1e3),
            s if s < 0.099_95 => write!(f, "{:.1} ms", s * 1e3),
            s if s < 0.999_5 => write!(f, "{:.0} ms", s * 1e3),
            s if s < 9.95 => write!(f, "{s:.1} s"),
            s if s < 119.5 => write!(f, "{whole} s"),
            s if s < 7_199.5 => write!(f, "{} min {} s", whole / 60, whole % 60),
            s if s < 172_800.0 => write!(f, "{} h {} min", whole / 3_600, whole % 3_600 / 60),
            _ => write!(f, "{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
        }
    }
}

/// A change of a duration: `+13 s`, `−2.1 s`.
pub struct SecsDelta(pub f64);

impl fmt::Display for SecsDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", sign(self.0, 5e-6), Secs(self.0.abs()))
    }
}

/// So many a second: `412`, `3.4`.
pub struct Rate(pub f64);

impl fmt::Display for Rate {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; not negative")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 9.95 { write!(f, "{:.1}", self.0.max(0.0)) } else { Count(self.0.round() as u64).fmt(f) }
    }
}

/// A part of a whole: `0 %`, `<0.1 %`, `0.4 %`, `12 %`.
pub struct Share(pub f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 * 100.0 {
            p if p <= 0.0 => f.write_str("0 %"),
            p if p < 0.1 => f.write_str("<0.1 %"),
            p if p < 9.95 => write!(f, "{p:.1} %"),
            p => write!(f, "{p:.0} %"),
        }
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
        let texts = [0.18, -0.04, -0.001].map(|p| Percent(p).to_string());
        assert_eq!(texts, ["+18 %", "−4 %", "±0 %"]);
        let range = Range { low: 0.9996, value: 1.05, high: 1.126 };
        assert_eq!((range.percents(0), range.percents(1)), ("0 to +13 %".into(), "0 to +12.6 %".into()));
        assert_eq!(range.map(|r| r - 1.1).points(0), "−10 to +3");
        assert_eq!(range.times(), "1.00 to 1.13×");
        let texts = [13.0, -2.14, 0.0].map(|s| SecsDelta(s).to_string());
        assert_eq!(texts, ["+13 s", "−2.1 s", "±0.00 ms"]);
    }

    #[test]
    fn seconds_rates_and_shares_keep_what_matters() {
        let texts =
            [0.0004, 0.0123, 0.21, 9.34, 93.2, 725.0, 11_400.0, 200_000.0].map(|s| Secs(s).to_string());
        let expected =
            ["0.40 ms", "12.3 ms", "210 ms", "9.3 s", "93 s", "12 min 5 s", "3 h 10 min", "2 d 7 h"];
        assert_eq!(texts, expected);
        assert_eq!([3.44, 1_412.4].map(|r| Rate(r).to_string()), ["3.4", "1,412"]);
        let texts = [0.0, 0.0002, 0.004, 0.123].map(|s| Share(s).to_string());
        assert_eq!(texts, ["0 %", "<0.1 %", "0.4 %", "12 %"]);
    }

    #[test]
    fn spans_use_their_largest_unit_and_never_run_backwards() {
        let at = |seconds: i64| Time(Timestamp(seconds * 1_000_000_000));
        assert_eq!(at(0).lasting(&at(119)).text, "119 s");
        assert_eq!(at(0).lasting(&at(240)).text, "4 min");
        assert_eq!(at(0).ago(&at(7_200)).text, "2 h ago");
        assert_eq!(at(0).ago(&at(200_000)).text, "2 d ago");
        assert_eq!(at(9).ago(&at(3)).text, "0 s ago");
        assert_eq!(at(0).lasting_so_far(&at(11_400)).text, "3 h 10 min");
        assert_eq!(
            at(0).ago(&at(6)).to_string(),
            "<time datetime=\"1970-01-01T00:00:00.000Z\" title=\"1970-01-01 00:00:00 UTC\">6 s ago</time>"
        );
    }
}
