//! When rounds happen: `cron` in UTC, or `@every 30s`.
//!
//! Six fields are seconds first, as the `cron` crate reads them; five are POSIX (`crontab(5)`),
//! where 0 and 7 are Sunday, whereas the crate's 1 is. An expression that restricts both day of
//! month and day of week is refused, since POSIX means "either" and the crate "both". Always UTC:
//! a zone with daylight saving has hours that happen twice or never.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::{Timestamp, nanos};

#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Multiples of this since the Unix epoch, so that a restart does not shift them.
    Every(Duration),
    Cron(Box<cron::Schedule>),
}

/// What is wrong with a schedule, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("`{0}` is not a duration from 1s to 366d, such as `@every 30s`")]
    BadPeriod(String),
    #[error(
        "a schedule has five fields (minute hour day month weekday) or six (second first), found {0}; or write `@every 30s`"
    )]
    FieldCount(usize),
    #[error(
        "restricts both day of month and day of week, which crontab reads as \"either\" and others as \"both\"; write two suites, or use `*` for one of them"
    )]
    BothDays,
    #[error("weekday `{0}` is not 0-7 (0 and 7 are Sunday) or a name such as Mon")]
    BadWeekday(String),
    #[error("{0}")]
    Cron(String),
    #[error("never happens: no date matches it")]
    Never,
}

impl Schedule {
    pub fn every(period: Duration) -> Self {
        Schedule { text: format!("@every {}", humantime::format_duration(period)), kind: Kind::Every(period) }
    }

    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        if let Some(period) = text.strip_prefix("@every") {
            let period = period.trim();
            let day = Duration::from_secs(86_400);
            return match humantime::parse_duration(period) {
                Ok(d) if d >= Duration::from_secs(1) && d <= 366 * day => {
                    Ok(Schedule { text: text.to_owned(), kind: Kind::Every(d) })
                }
                _ => Err(ScheduleError::BadPeriod(period.to_owned())),
            };
        }
        let expression = if text.starts_with('@') { text.to_owned() } else { to_crate_fields(text)? };
        let schedule =
            cron::Schedule::from_str(&expression).map_err(|e| ScheduleError::Cron(e.to_string()))?;
        let cron = Schedule { text: text.to_owned(), kind: Kind::Cron(Box::new(schedule)) };
        // 2001-01-01: any schedule that happens at all happens within the crate's horizon after it.
        match cron.next_after(Timestamp(978_307_200_000_000_000)) {
            Some(_) => Ok(cron),
            None => Err(ScheduleError::Never),
        }
    }

    /// The first tick strictly after `t`; `None` when there is none left.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Every(period) => {
                let period = nanos(*period);
                Some(Timestamp(t.0.div_euclid(period).checked_add(1)?.checked_mul(period)?))
            }
            Kind::Cron(schedule) => schedule.after(&t.to_utc()).next().map(Timestamp::from_utc),
        }
    }

    /// Time from the tick at `t` to the one after it: the deadline of its round.
    pub fn period_at(&self, t: Timestamp) -> Duration {
        self.next_after(t).map_or(Duration::from_secs(3_600), |next| next.since(t))
    }
}

/// The text it was written as.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Schedules are the same when they are written the same.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Schedule {}

/// Five POSIX fields become the crate's six; six are kept.
fn to_crate_fields(text: &str) -> Result<String, ScheduleError> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let unrestricted = |field: &str| field == "*" || field == "?";
    let (day, weekday) = match fields.len() {
        5 => (fields[2], fields[4]),
        6 => (fields[3], fields[5]),
        n => return Err(ScheduleError::FieldCount(n)),
    };
    if !unrestricted(day) && !unrestricted(weekday) {
        return Err(ScheduleError::BothDays);
    }
    if fields.len() == 6 {
        return Ok(text.to_owned());
    }
    let weekday = weekday.split(',').map(posix_weekdays).collect::<Result<Vec<_>, _>>()?.join(",");
    Ok(format!("0 {} {} {} {} {weekday}", fields[0], fields[1], fields[2], fields[3]))
}

/// One comma-separated part of a POSIX weekday field, as names where it holds numbers.
fn posix_weekdays(part: &str) -> Result<String, ScheduleError> {
    const NAMES: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    if !part.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(part.to_owned());
    }
    let bad = || ScheduleError::BadWeekday(part.to_owned());
    let (range, step) = part.split_once('/').unwrap_or((part, "1"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n <= 7).ok_or_else(bad);
    let (first, mut last) = (number(first)?, number(last)?);
    let step = step.parse::<usize>().ok().filter(|s| *s > 0).ok_or_else(bad)?;
    if part.contains('/') && !range.contains('-') {
        last = 6; // `2/2` means from 2 to the end
    }
    if first > last {
        return Err(bad());
    }
    let mut days: Vec<&str> = (first..=last).step_by(step).map(|n| NAMES[n]).collect();
    days.dedup();
    Ok(days.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(schedule: &str, at: &str, n: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule).unwrap();
        let mut t = Timestamp::from_utc(at.parse().unwrap());
        (0..n)
            .map(|_| {
                t = schedule.next_after(t).unwrap();
                t.to_utc().format("%a %Y-%m-%d %H:%M:%S").to_string()
            })
            .collect()
    }

    #[test]
    fn six_fields_have_seconds_first() {
        assert_eq!(
            after("*/30 * * * * *", "2026-11-23T10:00:00Z", 2),
            ["Mon 2026-11-23 10:00:30", "Mon 2026-11-23 10:01:00"]
        );
    }

    #[test]
    fn five_fields_are_posix() {
        // In crontab 5 is Friday; in the crate it is Thursday.
        assert_eq!(after("0 9 * * 5", "2026-11-23T10:00:00Z", 1), ["Fri 2026-11-27 09:00:00"]);
        assert_eq!(after("0 9 * * 7", "2026-11-23T10:00:00Z", 1), ["Sun 2026-11-29 09:00:00"]);
        assert_eq!(after("0 9 * * 0", "2026-11-23T10:00:00Z", 1), ["Sun 2026-11-29 09:00:00"]);
        assert_eq!(
            after("0 9 * * 6-7", "2026-11-23T10:00:00Z", 2),
            ["Sat 2026-11-28 09:00:00", "Sun 2026-11-29 09:00:00"]
        );
        assert_eq!(
            after("0 9 * * 1-5/2", "2026-11-23T10:00:00Z", 2),
            ["Wed 2026-11-25 09:00:00", "Fri 2026-11-27 09:00:00"]
        );
        assert_eq!(after("0 9 * * Mon", "2026-11-23T10:00:00Z", 1), ["Mon 2026-11-30 09:00:00"]);
    }

    #[test]
    fn every_is_aligned_so_that_a_restart_does_not_shift_it() {
        assert_eq!(after("@every 1m", "2026-11-23T10:00:17Z", 1), ["Mon 2026-11-23 10:01:00"]);
        assert_eq!(after("@hourly", "2026-11-23T10:00:17Z", 1), ["Mon 2026-11-23 11:00:00"]);
        let schedule = Schedule::parse("@every 30s").unwrap();
        assert_eq!(schedule.period_at(Timestamp(0)), Duration::from_secs(30));
    }

    #[test]
    fn impossible_schedules_say_what_to_write() {
        let error = |text| Schedule::parse(text).unwrap_err();
        assert_eq!(error("13 4 13 * 5"), ScheduleError::BothDays);
        assert_eq!(error("* * *"), ScheduleError::FieldCount(3));
        assert_eq!(error("@every never"), ScheduleError::BadPeriod("never".into()));
        assert_eq!(error("@every 10ms"), ScheduleError::BadPeriod("10ms".into()));
        assert_eq!(error("0 0 * * 8"), ScheduleError::BadWeekday("8".into()));
        assert_eq!(error("0 0 30 2 *"), ScheduleError::Never);
        assert!(matches!(error("61 * * * *"), ScheduleError::Cron(_)));
    }
}
