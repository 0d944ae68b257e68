//! When something was that is recorded afterwards: as flags say, else as the thing itself tells, else
//! until now.

use std::time::Duration;

use clap::Args;

use super::moment;
use crate::clock::Timestamp;

/// How far a report's clock may be ahead before its time is taken for that of another zone.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// When it was; two of them are enough.
#[derive(Debug, Args)]
pub(super) struct TimeArgs {
    /// When it began: RFC 3339, or seconds or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = moment::moment)]
    pub started: Option<Timestamp>,
    /// When it ended [default: as its files tell, else now]
    #[arg(long, value_name = "TIME", value_parser = moment::moment)]
    pub finished: Option<Timestamp>,
    /// How long it took
    #[arg(long, value_name = "TIME", value_parser = moment::seconds)]
    pub seconds: Option<f64>,
}

impl TimeArgs {
    /// Beginning and end. `content` is what the thing itself tells about its beginning and length;
    /// `end` stands in for an end that nobody tells.
    pub fn span(
        &self,
        content: (Option<Timestamp>, Option<f64>),
        end: Timestamp,
        now: Timestamp,
    ) -> anyhow::Result<(Option<Timestamp>, Timestamp)> {
        anyhow::ensure!(
            self.started.is_none() || self.finished.is_none() || self.seconds.is_none(),
            "--started, --finished and --seconds are one too many: give two of them"
        );
        let length = self.seconds.or(content.1).map(Duration::from_secs_f64);
        let (started, finished) = match (self.started, self.finished) {
            (Some(started), Some(finished)) => (Some(started), finished),
            (Some(started), None) => (Some(started), length.map_or(end, |length| started.plus(length))),
            (None, Some(finished)) => (length.map(|length| finished.minus(length)), finished),
            (None, None) => match content.0 {
                // Reports seldom say in which zone they tell the time.
                Some(started) if started.plus(length.unwrap_or_default()) <= now.plus(AHEAD_MAX) => {
                    (Some(started), started.plus(length.unwrap_or_default()))
                }
                _ => (length.map(|length| end.minus(length)), end),
            },
        };
        anyhow::ensure!(
            started.is_none_or(|started| started <= finished),
            "the end ({finished}) is before the beginning ({}); check --started and --finished",
            started.unwrap_or_default()
        );
        Ok((started, finished))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_000_000_000);
    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(NOW.0 + seconds * SECOND)
    }

    /// Flags, what the content tells, and an end a minute ago; all in seconds from now.
    fn span(
        flags: (Option<i64>, Option<i64>, Option<f64>),
        content: (Option<i64>, Option<f64>),
    ) -> Result<(Option<i64>, i64), String> {
        let time = TimeArgs { started: flags.0.map(at), finished: flags.1.map(at), seconds: flags.2 };
        let (started, finished) =
            time.span((content.0.map(at), content.1), at(-60), NOW).map_err(|error| error.to_string())?;
        let seconds = |at: Timestamp| (at.0 - NOW.0) / SECOND;
        Ok((started.map(seconds), seconds(finished)))
    }

    #[test]
    fn flags_go_over_the_content_and_the_content_over_the_file() {
        assert_eq!(span((None, None, None), (None, None)), Ok((None, -60)));
        assert_eq!(span((None, None, None), (None, Some(10.0))), Ok((Some(-70), -60)));
        assert_eq!(span((None, None, None), (Some(-500), Some(10.0))), Ok((Some(-500), -490)));
        assert_eq!(span((None, None, Some(20.0)), (None, Some(10.0))), Ok((Some(-80), -60)));
        assert_eq!(span((Some(-300), None, None), (None, Some(10.0))), Ok((Some(-300), -290)));
        assert_eq!(span((Some(-300), None, None), (None, None)), Ok((Some(-300), -60)));
        assert_eq!(span((None, Some(-5), None), (Some(-500), Some(10.0))), Ok((Some(-15), -5)));
        assert_eq!(span((Some(-9), Some(-5), None), (Some(-500), Some(10.0))), Ok((Some(-9), -5)));
    }

    #[test]
    fn a_report_from_another_zone_does_not_end_in_the_future() {
        assert_eq!(span((None, None, None), (Some(7_200), Some(10.0))), Ok((Some(-70), -60)));
    }

    #[test]
    fn contradictions_name_the_flags() {
        assert!(span((Some(0), Some(0), Some(1.0)), (None, None)).unwrap_err().contains("give two of them"));
        assert!(span((Some(0), None, None), (None, None)).unwrap_err().contains("--started and --finished"));
    }
}
