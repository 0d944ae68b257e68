//! What decided, and every number that was used, in words.

use crate::compare::Standing;
use crate::page::deltas::{Shared, disturbed};
use crate::page::format::{Count, Range, SecsDelta, Share, signed};
use crate::verdict::{Assessment, EFFECTIVE_MIN, Judgement, Measure, Rule, UNUSABLE_MAX, Verdict};

/// The rule that decided, as a person would say it.
pub fn why(standing: &Standing) -> String {
    let Some(judgement) = standing.judgement() else {
        return format!(
            "No earlier version lives on {} in {}, so there is nothing to pair it with.",
            standing.db, standing.environment
        );
    };
    let a = &judgement.assessment;
    let rounds = Count::from(judgement.rounds_needed).of("round");
    match standing.rule {
        Rule::NoBaseline => "The version before is not asked this.".to_owned(),
        Rule::Disturbed => {
            format!("Not judged: {}, which no version can be blamed for.", disturbed(judgement.disturbance))
        }
        Rule::TooFewPairs if a.rho > 0.0 && a.effective_pairs < EFFECTIVE_MIN => format!(
            "{} are worth {:.0} independent ones, since each depends on the one before (ρ {:.2}); {EFFECTIVE_MIN:.0} \
             are needed. About {rounds} more.",
            Count::from(a.pairs).of("pair"),
            a.effective_pairs,
            a.rho
        ),
        Rule::TooFewPairs => format!(
            "{} are too few for any outcome to be certain among {}. About {rounds} more are needed.",
            Count::from(a.pairs).of("pair"),
            Count::from(standing.cells).of("cell")
        ),
        Rule::Confirmed => confirmed(standing, a),
        Rule::Confirming => format!(
            "A screening found a difference. Fresh pairs, which it did not see, will confirm or drop it: about \
             {rounds} more."
        ),
        Rule::InsideRatioFloor => match (standing.measure, a.ratio90, a.failure_rise90) {
            (Measure::Errors, _, Some(rise)) => format!(
                "The 90 % interval of the rise of failures ({} points) is too narrow for a difference that \
                 matters.",
                Range::from(rise).points(1)
            ),
            (_, Some(ratio), _) => format!(
                "The 90 % interval ({}) lies wholly within ±{:.0} %: what difference there may be does not \
                 matter.",
                Range::from(ratio).percents(1),
                standing.floor_ratio * 100.0
            ),
            _ => "The 90 % interval lies wholly within the floor.".to_owned(),
        },
        Rule::InsideDifferenceFloor => format!(
            "The 90 % interval{} lies wholly within ±{}: what difference there may be does not matter.",
            a.seconds90.map(|s| format!(" ({})", seconds(s.into()))).unwrap_or_default(),
            floor(standing)
        ),
        Rule::Undecided => {
            format!("Neither shown to differ nor shown to be the same. The next look is in about {rounds}.")
        }
    }
}

fn confirmed(standing: &Standing, a: &Assessment) -> String {
    let beyond = match standing.measure {
        Measure::Errors => String::new(),
        Measure::Latency if a.seconds.is_none() => {
            format!(" The estimate is beyond the floor of {:.0} %.", standing.floor_ratio * 100.0)
        }
        Measure::Latency => format!(
            " The estimate is beyond both floors, {:.0} % and {}.",
            standing.floor_ratio * 100.0,
            floor(standing)
        ),
    };
    format!(
        "A screening found it, fresh pairs that the screening never saw agreed, and all pairs together were \
         significant after correction for {}.{beyond}",
        Count::from(standing.cells).of("cell")
    )
}

fn floor(standing: &Standing) -> String {
    SecsDelta(standing.floor_seconds).to_string().trim_start_matches(['+', '±']).to_owned()
}

fn seconds(range: Range) -> String {
    format!("{} to {}", SecsDelta(range.low), SecsDelta(range.high))
}

/// Fewer pairs have no interval that covers 95 % (`wide`) or 90 %: that of one pair would look certain.
fn covered(wide: bool) -> usize {
    if wide { 6 } else { 5 }
}

/// A number with both measures beside each other.
pub struct Row {
    pub name: &'static str,
    /// What it is, for who does not know.
    pub meaning: String,
    pub latency: String,
    pub errors: String,
}

/// Every number of a standing.
pub struct Numbers<'a>(pub &'a Standing);

impl Numbers<'_> {
    /// Of both measures; none where there is no baseline.
    pub fn rows(&self) -> Vec<Row> {
        let standing = self.0;
        let (Some(latency), Some(errors)) = (&standing.latency, &standing.errors) else { return Vec::new() };
        let row = |name, meaning: &str, of: &dyn Fn(&Judgement) -> String| Row {
            name,
            meaning: meaning.to_owned(),
            latency: of(latency),
            errors: of(errors),
        };
        let whole = |j: &Judgement, wide: bool| {
            let a = &j.assessment;
            let ratio = if wide { a.ratio } else { a.ratio90 }.filter(|_| a.pairs >= covered(wide));
            let rise = if wide { a.failure_rise } else { a.failure_rise90 };
            match (ratio, rise) {
                (Some(r), _) => {
                    format!("{} % ({})", signed((r.value - 1.0) * 100.0, 1), Range::from(r).percents(1))
                }
                (_, Some(r)) => {
                    format!("{} points ({})", signed(r.value * 100.0, 1), Range::from(r).points(1))
                }
                _ => "—".to_owned(),
            }
        };
        let difference = |j: &Judgement, wide: bool| {
            let a = &j.assessment;
            let s = if wide { a.seconds } else { a.seconds90 }.filter(|_| a.pairs >= covered(wide));
            s.map_or("—".to_owned(), |s| format!("{} ({})", SecsDelta(s.value), seconds(s.into())))
        };
        vec![
            row("verdict", "of this measure alone", &|j| verdict(j)),
            row("change, 95 %", "estimate and interval (Hodges–Lehmann; of failures, Newcombe)", &|j| {
                whole(j, true)
            }),
            row("change, 90 %", "what “unchanged” rests on", &|j| whole(j, false)),
            row("difference, 95 %", "in time; withheld where over 10 % failed", &|j| difference(j, true)),
            row("difference, 90 %", "", &|j| difference(j, false)),
            row("pairs", "rounds in which both were asked", &|j| Count::from(j.assessment.pairs).to_string()),
            row(
                "effective pairs",
                &format!(
                    "what they are worth if each depends on the one before; {EFFECTIVE_MIN:.0} are needed"
                ),
                &|j| format!("{:.0}", j.assessment.effective_pairs),
            ),
            row("ρ", "that dependence: lag-1 autocorrelation, 0 to 0.9", &|j| {
                format!("{:.2}", j.assessment.rho)
            }),
            row("p", &format!("before correction for {}", Count::from(standing.cells).of("cell")), &|j| {
                probability(j.assessment.p)
            }),
            row("z", "positive: the later one is slower, or fails more", &|j| signed(j.assessment.z, 2)),
            row("rounds to go", "until there may be another verdict", &|j| {
                Count::from(j.rounds_needed).to_string()
            }),
        ]
    }

    /// What both measures share, by name.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let standing = self.0;
        let floors = format!("±{:.0} % and ±{}", standing.floor_ratio * 100.0, floor(standing));
        let mut facts = vec![("floors of relevance", floors)];
        let across = &standing.across;
        let times = |shared: Shared| {
            format!("{:.2}× ({}, {})", shared.ratio.value, shared.ratio.times(), shared.rounds.of("round"))
        };
        if standing.against.is_some() {
            let lost = standing.lost;
            facts.push(("cells that share α", Count::from(standing.cells).to_string()));
            facts.push((
                "lost rounds",
                format!(
                    "{} visited too far apart, {} unusable (rate limit), {} of one side only; {} second visits \
                     not counted. Above {:.0} % nothing is judged.",
                    Count(lost.apart),
                    Count(lost.unusable),
                    Count(lost.missing),
                    Count(lost.repeated),
                    UNUSABLE_MAX * 100.0
                ),
            ));
            let warm_up = standing.warm_up_ratio.map(|ratio| {
                format!("{} %, median of the first 3 rounds; not judged", signed((ratio - 1.0) * 100.0, 0))
            });
            facts.push(("warm-up", warm_up.unwrap_or("longer ago than what was read".to_owned())));
        }
        if standing.rolled_back {
            let words = "a higher version ran here before, or what it is compared with was deployed after it; the \
                         higher version is still judged against the lower";
            facts.push(("rollback", words.to_owned()));
        }
        if let Some(latency) = &standing.latency {
            facts.push(("failures", failures(&latency.assessment)));
        }
        if let (Some(to), Some(fastest)) = (across.to_fastest, across.fastest) {
            let shared = Shared::from(to);
            let is_fastest = fastest == standing.db;
            let words = if is_fastest {
                "it is the fastest".to_owned()
            } else {
                format!("{fastest}: {}", times(shared))
            };
            facts.push(("to the fastest database", words));
        }
        if let Some(to) = across.to_control.map(Shared::from) {
            let share = to.ratio.map(|ratio| (1.0 - 1.0 / ratio).max(0.0));
            let words = format!("{}; {} of its time is above it", times(to), Share(share.value));
            facts.push(("to the control request", words));
        }
        if let Some(i) = across.interaction.map(Shared::from) {
            let words = match (i.ratio.low > 1.0, i.ratio.high < 1.0) {
                (true, _) => "it got slower here than there",
                (_, true) => "it got faster here than there",
                _ => "no difference is shown",
            };
            facts.push(("change here to the others", format!("{}; {words}", times(i))));
        }
        facts
    }
}

fn verdict(judgement: &Judgement) -> String {
    let measure = Measure::Latency;
    let label = crate::page::deltas::label(judgement.verdict, measure, judgement.rule);
    let rule = match judgement.rule {
        Rule::InsideRatioFloor => "inside the floor of the ratio",
        Rule::InsideDifferenceFloor => "inside the floor of the difference",
        Rule::Undecided => "undecided",
        Rule::TooFewPairs => "too few pairs",
        Rule::Confirmed => "confirmed",
        Rule::Disturbed => disturbed(judgement.disturbance),
        Rule::Confirming | Rule::NoBaseline => return label.to_owned(),
    };
    match judgement.verdict {
        Verdict::NoBaseline => label.to_owned(),
        _ => format!("{label}: {rule}"),
    }
}

/// `2 of 60 of the later (3.3 %), none of the earlier`
fn failures(assessment: &Assessment) -> String {
    let (later, earlier) = assessment.pass_fail.failures();
    let all = assessment.pass_fail.pairs();
    #[expect(clippy::cast_precision_loss, reason = "a part in percent")]
    let part = |n: u64| match n {
        0 => "none".to_owned(),
        n => format!("{} of {} ({})", Count(n), Count(all), Share(n as f64 / all.max(1) as f64)),
    };
    format!("{} of the later, {} of the earlier", part(later), part(earlier))
}

fn probability(p: f64) -> String {
    match p {
        p if p < 0.000_1 => format!("{p:.0e}"),
        p if p < 0.1 => format!("{p:.4}"),
        p => format!("{p:.2}"),
    }
}
