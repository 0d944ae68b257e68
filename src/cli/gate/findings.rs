//! What a session came to: every cell, the whole, and the exit code.

use std::time::Duration;

use super::super::exit;
use super::{Check, Checks, Gate, Pairing};
use crate::compare::Standing;
use crate::verdict::{Rule, Verdict};

/// Why no more rounds were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every cell has the verdict that was waited for.
    Settled,
    /// A regression is confirmed, and nothing else waits to be.
    Regressed,
    TimeUp,
    RoundsUp,
    /// Somebody stopped it.
    Stopped,
    /// This deployment could not be reached, round after round.
    Unreachable(String),
    /// This deployment asks to be left alone for longer than there is time.
    Limited(String),
    /// No two deployments are asked the same.
    NothingToCompare,
}

impl Ended {
    pub fn as_str(&self) -> &'static str {
        match self {
            Ended::Settled => "settled",
            Ended::Regressed => "regressed",
            Ended::TimeUp => "time_up",
            Ended::RoundsUp => "rounds_up",
            Ended::Stopped => "stopped",
            Ended::Unreachable(_) => "unreachable",
            Ended::Limited(_) => "rate_limited",
            Ended::NothingToCompare => "nothing_to_compare",
        }
    }
}

/// The word for everything together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    Regressed,
    /// No regression was confirmed where one would have been; strict: none can be there.
    Passed,
    Undecided,
    NoBaseline,
}

impl Whole {
    pub fn as_str(self) -> &'static str {
        match self {
            Whole::Regressed => "regressed",
            Whole::Passed => "passed",
            Whole::Undecided => "undecided",
            Whole::NoBaseline => "no_baseline",
        }
    }
}

/// One request of one judged deployment, with what its checks said of both sides.
#[derive(Clone, Debug)]
pub struct Cell {
    pub standing: Standing,
    /// Median seconds of the later and of the earlier one, of the rounds that were judged.
    pub medians: Option<(f64, f64)>,
}

impl Cell {
    pub fn is_compared(&self) -> bool {
        self.standing.against.is_some()
    }

    /// Whether its verdict answers the question.
    pub fn is_clear(&self) -> bool {
        is_clear(&self.standing)
    }
}

pub(super) fn is_clear(standing: &Standing) -> bool {
    let clear = [Verdict::Improved, Verdict::Unchanged, Verdict::Regressed, Verdict::NoBaseline];
    // Times that are clear may still hide failures that wait to be confirmed.
    let waits = |rule: Rule| rule == Rule::Confirming;
    let errors = standing.errors.is_some_and(|errors| waits(errors.rule));
    clear.contains(&standing.verdict) && !waits(standing.rule) && !errors
}

/// What a session came to.
#[derive(Clone, Debug)]
pub struct Findings {
    pub ended: Ended,
    pub pairing: Pairing,
    pub suites: Vec<String>,
    /// By deployment, suite and request in the order of asking.
    pub cells: Vec<Cell>,
    pub checks: Checks,
    pub rounds: u32,
    pub took: Duration,
    /// Whether it was to go on until every cell is clear.
    pub until_clear: bool,
}

impl Findings {
    pub fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.standing.verdict == verdict)
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        self.of(verdict).count()
    }

    /// Cells that have something to be compared with.
    pub fn compared(&self) -> usize {
        self.cells.iter().filter(|cell| cell.is_compared()).count()
    }

    pub fn whole(&self) -> Whole {
        let judged = |cell: &&Cell| {
            !matches!(cell.standing.verdict, Verdict::Insufficient | Verdict::Invalid | Verdict::NoBaseline)
        };
        if self.count(Verdict::Regressed) > 0 {
            Whole::Regressed
        } else if self.compared() == 0 {
            Whole::NoBaseline
        } else if self.until_clear {
            if self.cells.iter().all(Cell::is_clear) { Whole::Passed } else { Whole::Undecided }
        } else if self.ended == Ended::Settled && self.cells.iter().any(|cell| judged(&cell)) {
            Whole::Passed
        } else {
            Whole::Undecided
        }
    }

    /// How the requests of judged deployments went: what fails on a baseline alone is what the newer
    /// version mends.
    pub fn judged_checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.all().filter(|(at, ..)| *at < self.pairing.judged).map(|(.., check)| check)
    }

    /// Without what became of the telemetry.
    pub fn exit_code(&self, gate: Option<Gate>, degraded_fails: bool) -> u8 {
        let unreachable = matches!(self.ended, Ended::Unreachable(_));
        if unreachable || self.checks.all().any(|(.., check)| check.is_unreachable()) {
            return exit::UNREACHABLE;
        }
        let fails = |check: &Check| check.is_failing() || (degraded_fails && check.is_degraded());
        if self.judged_checks().any(fails) {
            return exit::FAILED;
        }
        let undecided = || match gate {
            Some(Gate::Strict) => exit::UNDECIDED,
            // Whoever stopped it has not seen it pass.
            Some(Gate::Lenient) if self.ended == Ended::Stopped => exit::UNDECIDED,
            _ => exit::OK,
        };
        match self.whole() {
            Whole::Regressed if gate.is_some() => exit::REGRESSED,
            Whole::Regressed | Whole::Passed => exit::OK,
            Whole::Undecided | Whole::NoBaseline => undecided(),
        }
    }
}
