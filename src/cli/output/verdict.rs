//! Verdicts and their numbers in words, the same in every output: never a colour alone.

use comfy_table::Color;

use crate::compare::Standing;
use crate::verdict::{Interval, Measure, Rule, Verdict};

/// Ratios that a whisker spans, as logarithms on both sides of 1.
const SPAN: f64 = 1.5;
/// Columns of a whisker; odd, so that 1 has a column of its own.
pub const WHISKER: usize = 21;
/// The scale above whiskers.
pub const SCALE: &str = "0.67      1      1.50";

pub fn symbol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Regressed => "▲",
        Verdict::Improved => "▼",
        Verdict::Unchanged => "=",
        Verdict::Inconclusive => "?",
        Verdict::Insufficient => "…",
        Verdict::NoBaseline => "–",
        Verdict::Invalid => "!",
    }
}

pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NoBaseline => "no baseline",
        verdict => verdict.as_str(),
    }
}

/// `regressed (errors)`, `inconclusive (confirming)`, `regressed`.
pub fn words(standing: &Standing) -> String {
    let more = match (standing.measure, standing.rule) {
        (Measure::Errors, _) => " (errors)",
        (_, Rule::Confirming) => " (confirming)",
        _ => "",
    };
    format!("{}{more}", word(standing.verdict))
}

pub fn shade(verdict: Verdict) -> Option<Color> {
    match verdict {
        Verdict::Regressed => Some(Color::Red),
        Verdict::Improved => Some(Color::Green),
        Verdict::Invalid => Some(Color::Yellow),
        _ => None,
    }
}

/// `1.52 (1.47 to 1.58)`: how many times the earlier one's time.
pub fn ratio(standing: &Standing) -> Option<String> {
    let ratio = standing.latency?.assessment.ratio?;
    Some(format!("{:.2} ({:.2} to {:.2})", ratio.value, ratio.low, ratio.high))
}

/// `+6.2 ms (+5.6 to +6.9)`, or in points of the failure rate where the verdict is of errors.
pub fn difference(standing: &Standing) -> Option<String> {
    if standing.measure == Measure::Errors {
        let Interval { low, value, high } = standing.errors?.assessment.failure_rise?.map(|rate| 1e2 * rate);
        return Some(format!("{value:+.0} % failures ({low:+.0} to {high:+.0})"));
    }
    let seconds = standing.latency?.assessment.seconds?;
    let Interval { low, value, high } = seconds.map(|s| 1e3 * s);
    Some(format!("{value:+.1} ms ({low:+.1} to {high:+.1})"))
}

/// `p = 2e-11`, of the measure that the verdict is of.
pub fn p(standing: &Standing) -> Option<String> {
    let p = standing.judgement()?.assessment.p;
    Some(if p >= 0.001 { format!("p = {p:.3}") } else { format!("p = {p:.0e}") })
}

pub fn pairs(standing: &Standing) -> usize {
    standing.judgement().map_or(0, |judgement| judgement.assessment.pairs)
}

/// Why there is no clear verdict, and what would bring one.
pub fn why(standing: &Standing) -> String {
    let needed = standing.judgement().map_or(0, |judgement| judgement.rounds_needed);
    let lost = standing.lost;
    match standing.rule {
        Rule::NoBaseline => "nothing to compare with".to_owned(),
        Rule::TooFewPairs if lost.missing + lost.unusable + lost.apart > 0 => format!(
            "{needed} more pairs needed; of the rounds so far {} found one side not asked, {} rate limited, {} too far \
             apart",
            lost.missing, lost.unusable, lost.apart
        ),
        Rule::TooFewPairs => format!("{needed} more pairs needed"),
        Rule::Disturbed => "more than 20 % of its rounds could not be used".to_owned(),
        Rule::Confirming => format!("a difference waits to be confirmed by {needed} more pairs"),
        Rule::Undecided => {
            format!("neither shown to differ nor to be the same; looked at again after {needed} more pairs")
        }
        Rule::Confirmed => "confirmed on fresh pairs".to_owned(),
        Rule::InsideRatioFloor if standing.measure == Measure::Errors => "fails as often".to_owned(),
        Rule::InsideRatioFloor => format!("within {:.0} %", 1e2 * standing.floor_ratio),
        Rule::InsideDifferenceFloor => format!("within {} ms", 1e3 * standing.floor_seconds),
    }
}

/// An interval on the scale of [`SCALE`], with a mark at 1; what lies beyond it ends in an arrow.
pub fn whisker(interval: Option<Interval>) -> String {
    let middle = WHISKER / 2;
    let mut drawn = [' '; WHISKER];
    drawn[middle] = '┊';
    if let Some(interval) = interval {
        let place = |ratio: f64| (ratio.ln() / SPAN.ln() * middle as f64).round() + middle as f64;
        let last = (WHISKER - 1) as f64;
        let on = |place: f64| place.clamp(0.0, last) as usize;
        let (low, value, high) = (place(interval.low), place(interval.value), place(interval.high));
        drawn[on(low)..=on(high)].fill('━');
        drawn[on(value)] = '●';
        if low < 0.0 {
            drawn[0] = '◂';
        }
        if high > last {
            drawn[WHISKER - 1] = '▸';
        }
    }
    drawn.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiskers_narrow_around_the_estimate_and_point_beyond_the_scale() {
        let of = |low, value, high| whisker(Some(Interval { low, value, high }));
        assert_eq!(SCALE.chars().count(), WHISKER);
        assert_eq!(
            [
                whisker(None),
                of(0.9, 1.0, 1.1),
                of(0.99, 1.0, 1.01),
                of(1.2, 1.25, 1.3),
                of(1.4, 1.6, 1.9),
                of(0.1, 0.2, 3.0)
            ],
            [
                "          ┊          ",
                "       ━━━●━━        ",
                "          ●          ",
                "          ┊   ━●     ",
                "          ┊       ━━▸",
                "◂━━━━━━━━━━━━━━━━━━━▸",
            ]
        );
    }
}
