//! The symbol and the word of each verdict: the same on page, dashboards and terminals. Colour only ever
//! repeats them.

use crate::verdict::{Disturbance, Measure, Rule, Verdict};

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

/// The verdict, as a sentence has it.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NoBaseline => "no baseline",
        verdict => verdict.as_str(),
    }
}

/// The verdict with what must be known to read it.
pub fn label(verdict: Verdict, measure: Measure, rule: Rule) -> &'static str {
    match (verdict, measure, rule) {
        (Verdict::Regressed, Measure::Errors, _) => "regressed (errors)",
        (Verdict::Improved, Measure::Errors, _) => "improved (errors)",
        (Verdict::Inconclusive, _, Rule::Confirming) => "inconclusive (confirming)",
        (verdict, ..) => word(verdict),
    }
}

/// What made a comparison invalid, in a few words.
pub fn disturbed(disturbance: Option<Disturbance>) -> &'static str {
    match disturbance {
        Some(Disturbance::Loopback) => "this host's own loopback was slow",
        Some(Disturbance::HostPressure) => "this host was short of memory or IO",
        Some(Disturbance::UnusablePairs) => "too many rounds could not be used",
        None => "the measurement was disturbed",
    }
}

/// The worst has the highest: what needs someone, what may yet, what is settled.
pub fn severity(verdict: Verdict, measure: Measure) -> (u8, bool) {
    let place = match verdict {
        Verdict::Regressed => 6,
        Verdict::Invalid => 5,
        Verdict::Inconclusive => 4,
        Verdict::Insufficient => 3,
        Verdict::Improved => 2,
        Verdict::Unchanged => 1,
        Verdict::NoBaseline => 0,
    };
    (place, measure == Measure::Errors)
}
