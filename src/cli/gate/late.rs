//! Cells of which the pairs of a first confirmation are worth too little, since each depends on the one
//! before, as on a busy host: how slow they ever are, they are `insufficient` yet, and must not pass so.

use std::collections::BTreeMap;

use super::FIRST_PAIRS;
use crate::compare::Standing;
use crate::verdict::Verdict;

/// By suite, request and deployment; with the pairs at which its next look is, once there are enough.
#[derive(Default)]
pub struct Late(BTreeMap<(String, String, String), Option<usize>>);

impl Late {
    /// Whether any of these has to be waited for.
    pub fn waits(&mut self, standings: &[Standing]) -> bool {
        let mut any = false;
        for standing in standings {
            let Some(judgement) = standing.judgement() else { continue };
            let key = (standing.suite.clone(), standing.request.clone(), standing.deployment.clone());
            any |= self.wait(key, standing.verdict, judgement.assessment.pairs, judgement.rounds_needed);
        }
        any
    }

    /// Who has few pairs is not late: there may never be more.
    fn wait(
        &mut self,
        key: (String, String, String),
        verdict: Verdict,
        pairs: usize,
        rounds_needed: usize,
    ) -> bool {
        match verdict {
            Verdict::Insufficient if pairs >= FIRST_PAIRS as usize => {
                self.0.insert(key, None);
                true
            }
            // There are enough by now, but verdicts are given at looks only.
            Verdict::Inconclusive => match self.0.get_mut(&key) {
                Some(look) => pairs < *look.get_or_insert(pairs + rounds_needed),
                None => false,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_is_waited_for_until_its_next_look() {
        let mut late = Late::default();
        let mut wait = |request: &str, verdict, pairs, rounds_needed| {
            late.wait(("s".to_owned(), request.to_owned(), "d".to_owned()), verdict, pairs, rounds_needed)
        };
        assert!(!wait("never", Verdict::Insufficient, 0, 20), "there may never be more");
        assert!(!wait("prompt", Verdict::Inconclusive, 60, 20));
        assert!(wait("late", Verdict::Insufficient, 60, 28));
        assert!(wait("late", Verdict::Inconclusive, 90, 30));
        assert!(wait("late", Verdict::Inconclusive, 119, 1));
        assert!(!wait("late", Verdict::Inconclusive, 120, 40), "that was its look");
        assert!(!wait("late", Verdict::Regressed, 120, 0));
    }
}
