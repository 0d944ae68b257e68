//! How a comparison of running deployments is shown: all four formats say the same.

mod json;
mod junit;
mod markdown;
mod table;

use super::{Delivery, Format};
use crate::cli::gate::{Cell, Check, Ended, Findings, Gate, Whole};
use crate::cli::output::verdict;
use crate::model::Deployment;
use crate::verdict::{Measure, Verdict};

/// Everything that a comparison has to say.
pub struct Report<'a> {
    pub findings: &'a Findings,
    pub gate: Option<Gate>,
    pub delivery: &'a Delivery,
    pub exit_code: u8,
}

impl Report<'_> {
    /// `width`: columns of the terminal that it is for.
    pub fn render(&self, format: Format, color: bool, width: Option<usize>) -> String {
        match format {
            Format::Table => table::render(self, color, width),
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
                let named: Vec<String> = all.iter().take(NAMED_MAX).map(|cell| blamed(cell)).collect();
                let more = all.len().saturating_sub(NAMED_MAX);
                let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                format!("{}{more}", named.join(", "))
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

    /// `12 comparisons in 63 rounds (3m 4s): 1 regressed, 11 unchanged`, worst first; without a comparison
    /// only how much was done.
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
        let findings = self.findings;
        let took = crate::cli::gate::rounded(findings.took);
        let effort = format!("{} ({took})", plural(findings.rounds as usize, "round"));
        match findings.compared() {
            0 => effort,
            n => format!("{} in {effort}: {}", plural(n, "comparison"), counts.join(", ")),
        }
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

    /// Requests that did not always pass. Those that were only left out, as a whole round is where a target
    /// allows no more, are told of together.
    fn remarks(&self) -> Vec<Remark<'_>> {
        let pairing = &self.findings.pairing;
        let mut remarks: Vec<(Vec<&str>, Remark<'_>)> = Vec::new();
        for (at, _, request, check) in self.findings.checks.all().filter(|(.., check)| check.is_remarkable())
        {
            let deployment = pairing.fleet[at].as_ref();
            let alike = remarks.iter_mut().find(|(_, other)| {
                let same = other.deployment.name == deployment.name && other.check.withheld == check.withheld;
                same && other.check.is_only_withheld() && check.is_only_withheld()
            });
            match alike {
                Some((names, _)) => names.push(request),
                None => {
                    let judged = at < pairing.judged;
                    remarks
                        .push((vec![request], Remark { deployment, judged, requests: String::new(), check }));
                }
            }
        }
        let mut remarks: Vec<Remark<'_>> = remarks
            .into_iter()
            .map(|(names, mut remark)| {
                remark.requests = match names.len() {
                    ..=NAMED_MAX => names.join(", "),
                    n => format!("{n} requests"),
                };
                remark
            })
            .collect();
        remarks.sort_by_key(|remark| !(remark.check.is_unreachable() || remark.check.is_failing()));
        remarks
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

/// Something about the checks that a person should look at.
struct Remark<'a> {
    deployment: &'a Deployment,
    judged: bool,
    /// The request, or how many there are to which the same happened.
    requests: String,
    check: &'a Check,
}

/// Names in one headline or remark at most.
const NAMED_MAX: usize = 3;

/// `components got slower on mariadb (× 1.51)`.
fn blamed(cell: &Cell) -> String {
    let standing = &cell.standing;
    let (request, db) = (&standing.request, standing.db);
    match (standing.measure, verdict::told_ratio(standing)) {
        (Measure::Errors, _) => format!("{request} fails more often on {db}"),
        (Measure::Latency, Some(ratio)) => format!("{request} got slower on {db} (× {:.2})", ratio.value),
        (Measure::Latency, None) => format!("{request} got slower on {db}"),
    }
}

/// `failed in 5 of 63 rounds: expected …`, by what weighs most.
fn went(check: &Check) -> String {
    let count = |n: u64, noun: &str| plural(usize::try_from(n).unwrap_or(usize::MAX), noun);
    let of =
        |n: u64, what: &str| format!("{what} in {n} of {}: {}", count(check.asked, "round"), check.detail);
    if check.unreachable > 0 {
        of(check.unreachable, "unreachable")
    } else if check.failed > 0 {
        of(check.failed, "failed")
    } else if check.degraded > 0 {
        of(check.degraded, "degraded")
    } else if check.asked > 0 {
        let rounds = count(check.withheld, "round");
        format!("left out in {rounds}, asked in {}: {}", check.asked, check.reason)
    } else {
        format!("never asked: {}", check.reason)
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

#[cfg(test)]
mod tests;
