//! One cell's place in the schedule of looks.

use serde::{Deserialize, Serialize};

use super::differences::{Dependence, Lag1};
use super::judge::{Assessment, Direction, Measure, Rule, Verdict};
use super::pairs::Window;
use super::watch::{CellKey, Settings};
use crate::model::RoundId;

/// What a screening found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub direction: Direction,
    /// The last round that the screening saw; fresh pairs come after it.
    since: Option<RoundId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    pub key: CellKey,
    /// Pairs since the later deployment's warm-up, also those that have left the window.
    pub pairs: u64,
    pub last: Option<RoundId>,
    next_screening: u64,
    next_confirmation: u64,
    /// How many confirmations are past, whether or not there was anything to confirm.
    confirmations: i32,
    pub candidate: Option<Candidate>,
    pub confirmed: Option<Direction>,
    pub verdict: Verdict,
    pub rule: Rule,
    /// Of latencies, what the last look found about dependence.
    pub lag1: Option<Lag1>,
    /// Of errors, pairs at the last look in which just one side failed.
    pub discordant: u64,
}

impl Track {
    pub fn new(key: CellKey, settings: &Settings) -> Self {
        let first = settings.first_look.max(1);
        Track {
            key,
            pairs: 0,
            last: None,
            next_screening: first,
            next_confirmation: 3 * first,
            confirmations: 0,
            candidate: None,
            confirmed: None,
            verdict: Verdict::Insufficient,
            rule: Rule::TooFewPairs,
            lag1: None,
            discordant: 0,
        }
    }

    pub fn is_due(&self) -> bool {
        self.pairs >= self.next_screening || self.pairs >= self.next_confirmation
    }

    /// Pairs until the cell is looked at again: confirmed, if it is a candidate.
    pub fn pairs_to_look(&self) -> u64 {
        let confirmation = self.next_confirmation.saturating_sub(self.pairs);
        let screening = self.next_screening.saturating_sub(self.pairs);
        if self.candidate.is_some() { confirmation } else { screening.min(confirmation) }
    }

    /// Whether any outcome of this cell could be significant at all. One that cannot costs the others
    /// nothing (Tarone 1990).
    pub fn counts(&self, settings: &Settings) -> bool {
        let attainable = |pairs: i32| 0.5_f64.powi(pairs - 1) <= settings.alpha;
        let discordant = i32::try_from(self.discordant).unwrap_or(i32::MAX);
        self.key.measure == Measure::Latency || attainable(discordant)
    }

    /// Holds the looks that are due, in a family of so many cells.
    pub fn look(
        &mut self,
        whole: &Assessment,
        window: &Window,
        dependence: Dependence,
        settings: &Settings,
        cells: usize,
    ) {
        if self.pairs >= self.next_confirmation {
            while self.next_confirmation <= self.pairs {
                self.confirmations += 1;
                self.next_confirmation = self.next_confirmation.saturating_mul(2);
            }
            let alpha = settings.alpha * share(self.confirmations);
            if let Some(candidate) = self.candidate.take() {
                let fresh = Assessment::with(self.key.measure, window.after(candidate.since), dependence);
                let agrees = |found: &Assessment, p: f64| {
                    found.p <= p && Direction::of(found.z) == candidate.direction
                };
                if agrees(&fresh, settings.fresh_p) && agrees(whole, alpha / cells.max(1) as f64) {
                    self.confirmed = Some(candidate.direction);
                }
            }
        }
        if self.pairs >= self.next_screening {
            while self.next_screening <= self.pairs {
                self.next_screening = self.next_screening.saturating_mul(2);
            }
            let direction = Direction::of(whole.z);
            let found = is_found(whole, settings) && self.confirmed != Some(direction);
            // Who is a candidate already stays it: the pairs since then are fresh.
            if found && self.candidate.is_none_or(|c| c.direction != direction) {
                self.candidate = Some(Candidate { direction, since: self.last });
            }
        }
    }
}

/// The part of α that the k-th confirmation may spend: 0.45, 0.45, 0.05, 0.025, … By the third, with 240
/// pairs, whatever passes the floor of relevance is far beyond any level, so it needs little.
fn share(k: i32) -> f64 {
    if k <= 2 { 0.45 } else { 0.1 * 0.5_f64.powi(k - 2) }
}

/// Whether a screening makes a cell a candidate.
fn is_found(whole: &Assessment, settings: &Settings) -> bool {
    let large = whole.ratio.is_none_or(|r| r.value.ln().abs() >= settings.screen_ratio.ln_1p());
    whole.p <= settings.screen_p && large
}
