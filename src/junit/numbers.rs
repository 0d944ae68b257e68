//! Times as the runners of the world write them.

use chrono::{DateTime, NaiveDateTime};

use crate::clock::Timestamp;

/// Nothing takes longer than a year; what says so counted something else.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;
/// 2000-01-01. Reports that are to be reproducible carry a time near 1970.
const EARLIEST: Timestamp = Timestamp(946_684_800_000_000_000);

/// Seconds with a decimal point or comma, and with separators between thousands. A single comma is a
/// decimal one, also in `1,234`: Maven's Surefire, which separates thousands by it, writes a fraction
/// too, save once in a thousand times.
pub(super) fn seconds(raw: &[u8]) -> Option<f64> {
    let text = short(raw)?;
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = if plain && text.bytes().filter(|b| *b == b'.').count() <= 1 {
        text.parse().ok()?
    } else {
        let commas = text.bytes().filter(|b| *b == b',').count();
        let points = text.bytes().filter(|b| *b == b'.').count();
        let decimal = match (text.rfind(','), text.rfind('.')) {
            (Some(comma), Some(point)) => Some(comma.max(point)),
            (Some(comma), None) if commas == 1 => Some(comma),
            (None, Some(point)) if points == 1 => Some(point),
            _ => None,
        };
        let separator = |c: char| matches!(c, ',' | '.' | '\'' | '_' | ' ' | '\u{a0}' | '\u{202f}');
        let mut clean = String::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            if Some(at) == decimal {
                clean.push('.');
            } else if !separator(c) {
                clean.push(c);
            }
        }
        clean.parse().ok()?
    };
    (0.0..=SECONDS_MAX).contains(&value).then_some(value)
}

/// ISO 8601; without a zone it is UTC, whatever the machine's clock showed, for nothing tells which
/// zone that was.
pub(super) fn timestamp(raw: &[u8]) -> Option<Timestamp> {
    let text = short(raw)?;
    let zoned =
        || DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%FT%T%.f%z"));
    let local = || {
        NaiveDateTime::parse_from_str(text, "%FT%T%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%F %T%.f"))
            .map(|at| at.and_utc())
    };
    let at = zoned().map(|at| at.to_utc()).or_else(|_| local()).ok()?;
    Some(Timestamp::from_utc(at)).filter(|at| *at >= EARLIEST)
}

pub(super) fn count(raw: &[u8]) -> Option<u64> {
    short(raw)?.parse().ok()
}

fn short(raw: &[u8]) -> Option<&str> {
    let raw = Some(raw.trim_ascii()).filter(|raw| raw.len() <= 64)?;
    std::str::from_utf8(raw).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_in_every_notation() {
        for (text, expected) in [
            ("0.000123", Some(0.000_123)),
            ("1,234.5", Some(1_234.5)),
            ("1.234,5", Some(1_234.5)),
            ("1,234,567", Some(1_234_567.0)),
            ("1.234.567", Some(1_234_567.0)),
            ("0,25", Some(0.25)),
            ("1,234", Some(1.234)),
            ("1 234,5", Some(1_234.5)),
            (" 3 ", Some(3.0)),
            ("1e-05", Some(1e-5)),
            ("", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
            ("0.5s", None),
            ("\u{661}", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn timestamps_with_and_without_a_zone() {
        let at = |text: &str| timestamp(text.as_bytes()).map(|at| at.to_string());
        for utc in ["2026-11-24T00:09:42Z", "2026-11-24T01:09:42+01:00", "2026-11-24T01:09:42+0100"] {
            assert_eq!(at(utc).as_deref(), Some("2026-11-24T00:09:42.000Z"), "{utc}");
        }
        for bare in ["2026-11-24T00:09:42.544353", "2026-11-24 00:09:42.544"] {
            assert_eq!(at(bare).as_deref(), Some("2026-11-24T00:09:42.544Z"), "{bare}");
        }
        for nonsense in ["", "yesterday", "1970-01-01T00:00:00", "2026-13-01T00:00:00", "9999-99-99"] {
            assert_eq!(at(nonsense), None, "{nonsense}");
        }
    }
}
