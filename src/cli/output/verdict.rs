//! Verdicts and their numbers in words, the same in every output: never a colour alone.

use comfy_table::Color;

use crate::compare::Standing;
use crate::page::deltas::label;
pub use crate::page::deltas::{symbol, word};
use crate::verdict::{Interval, Measure, Rule, Verdict};

/// Fewer pairs have no interval that covers 95 %: that of one pair would look certain.
const INTERVAL_MIN: usize = 6;
/// Ratios that a whisker spans, as logarithms on both sides of 1.
const SPAN: f64 = 1.5;
/// Columns of a whisker; odd, so that 1 has a column of its own.
pub const WHISKER: usize = 21;
/// The scale above whiskers.
pub const SCALE: &str = "0.67      1      1.50";

/// `regressed (errors)`, `inconclusive (confirming)`, `regressed`.
pub fn words(standing: &Standing) -> &'static str {
    label(standing.verdict, standing.measure, standing.rule)
}

pub fn shade(verdict: Verdict) -> Option<Color> {
    match verdict {
        Verdict::Regressed => Some(Color::Red),
        Verdict::Improved => Some(Color::Green),
        Verdict::Invalid => Some(Color::Yellow),
        _ => None,
    }
}

/// `1.52 (1.47 to 1.58)`: how many times the earlier one's time. Not told where the verdict is of failures, or
/// so many of them count as time-outs that it says nothing about time.
pub fn ratio(standing: &Standing) -> Option<String> {
    let Interval { low, value, high } = told_ratio(standing)?;
    Some(format!("{value:.2} ({low:.2} to {high:.2})"))
}

pub fn told_ratio(standing: &Standing) -> Option<Interval> {
    let assessment = standing.latency.filter(|_| standing.measure == Measure::Latency)?.assessment;
    assessment.ratio.filter(|_| assessment.seconds.is_some() && assessment.pairs >= INTERVAL_MIN)
}

/// `+6.2 ms (+5.6 to +6.9)`, or how often both failed where the verdict is of errors.
pub fn difference(standing: &Standing) -> Option<String> {
    if standing.measure == Measure::Errors {
        let pass_fail = standing.errors?.assessment.pass_fail;
        let (later, earlier) = pass_fail.failures();
        return Some(format!("failed {later} of {0}, before {earlier} of {0}", pass_fail.pairs()));
    }
    let assessment = standing.latency?.assessment;
    let seconds = assessment.seconds.filter(|_| assessment.pairs >= INTERVAL_MIN)?;
    let told = |seconds: f64| match format!("{:+.1}", 1e3 * seconds).as_str() {
        "-0.0" | "+0.0" => "0.0".to_owned(),
        text => text.to_owned(),
    };
    Some(format!("{} ms ({} to {})", told(seconds.value), told(seconds.low), told(seconds.high)))
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
            format!("neither shown to differ nor to be the same; looked at again in {needed} pairs")
        }
        Rule::Confirmed => "confirmed on fresh pairs".to_owned(),
        Rule::InsideRatioFloor if standing.measure == Measure::Errors => "fails as often".to_owned(),
        Rule::InsideRatioFloor => format!("within {:.0} %", 1e2 * standing.floor_ratio),
        Rule::InsideDifferenceFloor => format!("within {} ms", 1e3 * standing.floor_seconds),
    }
}

/// The same in few words.
pub fn brief(standing: &Standing) -> String {
    let needed = standing.judgement().map_or(0, |judgement| judgement.rounds_needed);
    match standing.rule {
        Rule::TooFewPairs => format!("{needed} more pairs needed"),
        Rule::Disturbed => "too many rounds lost".to_owned(),
        Rule::Confirming => format!("confirmed or not in {needed} pairs"),
        Rule::Undecided => format!("next look in {needed} pairs"),
        _ => why(standing),
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
                of(1.15, 1.2, 1.3),
                of(1.4, 1.6, 1.9),
                of(0.1, 0.2, 3.0)
            ],
            [
                "          ┊          ",
                "       ━━━●━━        ",
                "          ●          ",
                "          ┊  ━●━━    ",
                "          ┊       ━━▸",
                "◂━━━━━━━━━━━━━━━━━━━▸",
            ]
        );
    }
}
