//! Times and results in the many ways in which CI systems write them.

use chrono::DateTime;

use crate::clock::Timestamp;
use crate::model::CiResult;

/// RFC 3339, or seconds or milliseconds since 1970 (Jenkins: `currentBuild.startTimeInMillis`).
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "expected a time such as 2026-11-23T04:05:06Z, or seconds or milliseconds since 1970, found `{text}`"
        )
    };
    if let Ok(number) = text.parse::<i64>() {
        // Seconds reach this number in the year 5138, milliseconds did in 1973.
        let factor = if number < 100_000_000_000 { 1_000_000_000 } else { 1_000_000 };
        return number.checked_mul(factor).filter(|nanos| *nanos > 0).map(Timestamp).ok_or_else(wrong);
    }
    let at = DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?;
    at.timestamp_nanos_opt().map(Timestamp).ok_or_else(wrong)
}

/// `93`, `1.5` or `1m 33s`: seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let plain = text.trim();
    let seconds = plain.parse().or_else(|_| humantime::parse_duration(plain).map(|time| time.as_secs_f64()));
    match seconds {
        Ok(seconds) if (0.0..=3.2e7).contains(&seconds) => Ok(seconds),
        _ => Err(format!("expected a time such as 93, 1.5 or `1m 33s`, of a year at most, found `{text}`")),
    }
}

/// By the name of the conventions, or by that of Jenkins, GitHub or GitLab.
pub(super) fn result(text: &str) -> Result<CiResult, String> {
    let word = text.trim().to_ascii_lowercase();
    Ok(match word.as_str() {
        "failed" | "unstable" => CiResult::Failure,
        "aborted" | "cancelled" | "canceled" => CiResult::Cancellation,
        "not_built" | "skipped" => CiResult::Skip,
        "timed_out" => CiResult::Timeout,
        _ => CiResult::from_text(&word).ok_or_else(|| {
            let known: Vec<_> = CiResult::ALL.iter().map(|result| result.as_str()).collect();
            format!(
                "expected one of {}, or the word of Jenkins, GitHub or GitLab for it, found `{text}`",
                known.join(", ")
            )
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_ci_systems_write_them() {
        let at = Timestamp(1_795_000_000_000_000_000);
        for text in ["1795000000", "1795000000000", "2026-11-18T11:06:40Z", "2026-11-18T12:06:40+01:00"] {
            assert_eq!(moment(text), Ok(at), "{text}");
        }
        for text in ["", "yesterday", "-5", "2026-11-18", "9300000000000000000"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_numbers_or_words() {
        assert_eq!((seconds("93"), seconds("1m 33s"), seconds("0.25")), (Ok(93.0), Ok(93.0), Ok(0.25)));
        for text in ["", "-1", "NaN", "inf", "2y", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn results_go_by_many_names() {
        for (text, expected) in [
            ("SUCCESS", CiResult::Success),
            ("UNSTABLE", CiResult::Failure),
            ("failed", CiResult::Failure),
            ("ABORTED", CiResult::Cancellation),
            ("cancelled", CiResult::Cancellation),
            ("canceled", CiResult::Cancellation),
            ("NOT_BUILT", CiResult::Skip),
            ("timeout", CiResult::Timeout),
        ] {
            assert_eq!(result(text), Ok(expected), "{text}");
        }
        assert!(result("fine").unwrap_err().contains("success, failure, error"));
    }
}
