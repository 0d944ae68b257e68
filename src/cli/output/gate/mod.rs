//! How a comparison of running deployments is shown: all four formats say the same.

mod json;
mod junit;
mod markdown;
mod table;

use super::{Delivery, Format};
use crate::cli::gate::{Cell, Check, Ended, Findings, Gate, Whole};
use crate::cli::output::verdict;
use crate::model::Deployment;
use crate::verdict::Verdict;

/// Everything that a comparison has to say.
pub struct Report<'a> {
    pub findings: &'a Findings,
    pub gate: Option<Gate>,
    pub delivery: &'a Delivery,
    pub exit_code: u8,
}

impl Report<'_> {
    pub fn render(&self, format: Format, color: bool) -> String {
        match format {
            Format::Table => table::render(self, color),
            Format::Json => json::render(self),
            Format::Junit => junit::render(self),
            Format::Markdown => markdown::render(self),
        }
    }

    fn symbol(&self) -> &'static str {
        match self.findings.whole() {
            Whole::Regressed => verdict::symbol(Verdict::Regressed),
            Whole::Passed if self.findings.until_clear => verdict::symbol(Verdict::Unchanged),
            Whole::Passed => "●",
            Whole::Undecided => verdict::symbol(Verdict::Inconclusive),
            Whole::NoBaseline => verdict::symbol(Verdict::NoBaseline),
        }
    }

    /// The answer, in one sentence without a full stop.
    fn headline(&self) -> String {
        let findings = self.findings;
        match findings.whole() {
            Whole::Regressed => {
                let all: Vec<&Cell> = findings.of(Verdict::Regressed).collect();
                let named = |cell: &&Cell| {
                    let standing = &cell.standing;
                    let how = match standing.measure {
                        crate::verdict::Measure::Latency => "got slower",
                        crate::verdict::Measure::Errors => "fails more often",
                    };
                    format!("{} {how} on {}", standing.request, standing.db)
                };
                match all.as_slice() {
                    [one] => named(one),
                    several => format!("{} regressed", plural(several.len(), "request")),
                }
            }
            Whole::Passed if findings.until_clear && findings.count(Verdict::Improved) > 0 => {
                format!("nothing got slower, {} improved", findings.count(Verdict::Improved))
            }
            Whole::Passed if findings.until_clear => "nothing got slower or faster".to_owned(),
            Whole::Passed => "no regression confirmed".to_owned(),
            Whole::Undecided => "undecided".to_owned(),
            Whole::NoBaseline => "nothing to compare with".to_owned(),
        }
    }

    /// Why it ended before everything was settled; empty where it did not.
    fn early(&self) -> String {
        let findings = self.findings;
        match &findings.ended {
            Ended::Settled | Ended::Regressed | Ended::NothingToCompare => String::new(),
            Ended::TimeUp => "the time was up".to_owned(),
            Ended::RoundsUp => "no more rounds were allowed".to_owned(),
            Ended::Stopped => "it was told to stop".to_owned(),
            Ended::Unreachable(name) => format!("{name} was unreachable, round after round"),
            Ended::Limited(name) => format!("{name} allows no more requests for longer than there is time"),
        }
    }

    /// What a gate that lets pass what it could not judge says aloud.
    pub fn warning(&self) -> Option<String> {
        let early = self.early();
        let because = if early.is_empty() { early } else { format!(": {early}") };
        let found = match self.findings.whole() {
            Whole::Undecided => "nothing was decided",
            Whole::NoBaseline => "nothing was compared",
            Whole::Regressed | Whole::Passed => return None,
        };
        self.gate.map(|_| format!("warning: {found}{because}"))
    }

    /// `12 comparisons: 1 regressed, 11 unchanged`, worst first.
    fn counts(&self) -> String {
        let order = [
            Verdict::Regressed,
            Verdict::Inconclusive,
            Verdict::Insufficient,
            Verdict::Invalid,
            Verdict::Improved,
            Verdict::Unchanged,
        ];
        let count = |of: &Verdict| {
            let n =
                self.findings.cells.iter().filter(|c| c.is_compared() && c.standing.verdict == *of).count();
            (n > 0).then(|| format!("{n} {}", verdict::word(*of)))
        };
        let counts: Vec<String> = order.iter().filter_map(count).collect();
        format!("{}: {}", plural(self.findings.compared(), "comparison"), counts.join(", "))
    }

    /// `63 rounds in 3m 4s`.
    fn effort(&self) -> String {
        let took = crate::cli::gate::rounded(self.findings.took);
        format!("{} in {took}", plural(self.findings.rounds as usize, "round"))
    }

    /// Each pair as the two deployments, and each judged one that has none.
    fn pairs(&self) -> impl Iterator<Item = (&Deployment, Option<&Deployment>)> {
        let pairing = &self.findings.pairing;
        pairing.judged().iter().enumerate().map(|(at, judged)| {
            let earlier = pairing.pairs.iter().find(|(later, _)| *later == at);
            (judged.as_ref(), earlier.map(|(_, earlier)| pairing.fleet[*earlier].as_ref()))
        })
    }

    /// Whether a cell has to say on which deployment it is.
    fn is_of_several(&self) -> bool {
        self.findings.pairing.judged > 1
    }

    /// Requests that did not always pass: deployment, whether it is judged, request, how it went.
    fn remarks(&self) -> impl Iterator<Item = (&Deployment, bool, &str, &Check)> {
        let pairing = &self.findings.pairing;
        let remarkable = self.findings.checks.all().filter(|(.., check)| check.is_remarkable());
        remarkable
            .map(|(at, _, request, check)| (pairing.fleet[at].as_ref(), at < pairing.judged, request, check))
    }

    /// New requests of a deployment that is compared: those that its baseline is not asked.
    fn new_requests(&self) -> Vec<&str> {
        let alone = |cell: &&Cell| {
            let paired = |deployment: &str| {
                self.pairs().any(|(judged, earlier)| judged.name == deployment && earlier.is_some())
            };
            !cell.is_compared() && paired(&cell.standing.deployment)
        };
        let mut names: Vec<&str> =
            self.findings.cells.iter().filter(alone).map(|cell| cell.standing.request.as_str()).collect();
        names.dedup();
        names
    }
}

/// `failed in 5 of 63`, `not asked 3 times`, by what weighs most.
fn went(check: &Check) -> String {
    let of = |n: u64, what: &str| format!("{what} in {n} of {}", check.asked);
    if check.unreachable > 0 {
        of(check.unreachable, "unreachable")
    } else if check.failed > 0 {
        of(check.failed, "failed")
    } else if check.degraded > 0 {
        of(check.degraded, "degraded")
    } else {
        format!(
            "not asked, or rate limited, {}",
            plural(usize::try_from(check.withheld).unwrap_or(0), "time")
        )
    }
}

/// `12.0 → 18.2 ms`.
fn medians(cell: &Cell) -> Option<String> {
    let (later, earlier) = cell.medians?;
    Some(format!("{:.1} → {:.1} ms", 1e3 * earlier, 1e3 * later))
}

fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
