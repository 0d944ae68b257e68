//! Running deployments compared now, for `probe --once --gate` and `compare`.
//!
//! Both make rounds of their own over the deployments that are compared, through the ladder that the
//! daemon judges by, so they come to the same verdicts. The first rounds are warm-up also here: nobody
//! knows what these deployments did before, and a cache may be cold.

mod baseline;
mod checks;
mod findings;
mod late;
mod live;
mod narrow;
mod pace;
mod run;
mod session;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;

pub use baseline::{Baseline, Pairing, latest};
pub use checks::{Check, Checks};
pub use findings::{Cell, Ended, Findings, Whole};
pub use pace::rounded;
pub use run::Command;
pub use session::Session;

use crate::compare::{Ladder, Member};
use crate::model::{Deployment, Suite};
use crate::verdict::Settings;

/// Rounds of a session that are kept apart, and pairs until the first confirmation.
pub const WARM_UP_ROUNDS: u32 = 3;
pub const FIRST_PAIRS: u32 = 60;

/// Whether a verdict decides the exit code, and which ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Gate {
    /// Fails on a confirmed regression
    Lenient,
    /// Fails also where it could not be shown that nothing got slower
    Strict,
}

/// How far a session goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub time: Duration,
    pub rounds: Option<u32>,
    /// Until every cell has a clear verdict, and not only until no regression waits to be confirmed.
    pub until_clear: bool,
    /// A confirmed regression ends it, unless another one may be about to be confirmed.
    pub until_regressed: bool,
}

/// One suite with what it compares.
pub(super) struct Bench {
    /// What the first round asks.
    pub suite: Suite,
    /// What the others ask: requests that both sides of a pair are asked.
    pub narrow: Suite,
    pub ladder: Ladder,
}

/// Everything that is to be done, before the first request.
pub struct Plan {
    pub(super) benches: Vec<Bench>,
    pub pairing: Pairing,
    pub limits: Limits,
}

impl Plan {
    /// `requests` narrows what is compared; all requests where it is empty.
    pub fn new(
        suites: Vec<Suite>,
        pairing: Pairing,
        requests: &[String],
        limits: Limits,
        now: crate::clock::Timestamp,
    ) -> anyhow::Result<Self> {
        for suite in &suites {
            let writes = suite.variants.iter().any(|v| v.requests.iter().any(|request| request.writes));
            anyhow::ensure!(
                !writes,
                "suite {} changes what it asks: dozens of rounds are made to compare versions, so that takes a \
                 suite that only reads",
                suite.name
            );
        }
        let chosen: BTreeSet<&str> = requests.iter().map(String::as_str).collect();
        known(&suites, &pairing, &chosen)?;
        let is_chosen = |name: &str| chosen.is_empty() || chosen.contains(name);
        let settings = Settings::default();
        // The chance of a false verdict is that of the whole command.
        let settings = Settings { alpha: settings.alpha / suites.len().max(1) as f64, ..settings };
        let mut benches = Vec::new();
        for suite in suites {
            let members = pairing.fleet.iter().map(|deployment| {
                let mut member = Member::new(deployment, &suite, now)?;
                member.requests.retain(|(name, _)| is_chosen(name));
                Some(member)
            });
            let members: Vec<Option<Member>> = members.collect();
            let place = |at: usize| members[..at].iter().flatten().count();
            let pairs: Vec<(usize, usize)> = pairing
                .pairs
                .iter()
                .filter(|(later, earlier)| members[*later].is_some() && members[*earlier].is_some())
                .map(|(later, earlier)| (place(*later), place(*earlier)))
                .collect();
            let narrow = compared(&suite, &pairing, is_chosen);
            let members = members.iter().flatten().cloned().collect();
            let ladder = Ladder::of_pairs(&suite.name, settings, members, &pairs, now);
            benches.push(Bench { suite, narrow, ladder });
        }
        let plan = Plan { benches, pairing, limits };
        plan.fits_budgets()?;
        Ok(plan)
    }

    /// Whether any request of any pair is compared.
    pub fn compares(&self) -> bool {
        self.benches.iter().any(|bench| !bench.narrow.order.is_empty())
    }

    /// A round that a target would never allow as a whole could not be compared, however long it took.
    fn fits_budgets(&self) -> anyhow::Result<()> {
        for deployment in self.pairing.compared() {
            for bench in &self.benches {
                let Some((asked, budget)) = crate::probe::load(&bench.narrow, &deployment) else { continue };
                anyhow::ensure!(
                    asked <= budget.requests,
                    "a round of suite {} asks {asked} requests of {}, of which its budget allows {} in {}: narrow it \
                     with --gate-requests",
                    bench.suite.name,
                    deployment.name,
                    budget.requests,
                    humantime::format_duration(budget.per)
                );
            }
        }
        Ok(())
    }
}

/// The suite with those of its requests that both sides of some pair are asked.
fn compared(suite: &Suite, pairing: &Pairing, is_chosen: impl Fn(&str) -> bool) -> Suite {
    narrow::narrowed(suite, |variant, name| {
        let speaks = |deployment: &Deployment| {
            suite.variant_for(&deployment.version).is_some_and(|own| own.file == variant.file)
        };
        is_chosen(name)
            && pairing.pairs.iter().any(|(later, earlier)| {
                let (later, earlier) = (&pairing.fleet[*later], &pairing.fleet[*earlier]);
                (speaks(later) || speaks(earlier)) && narrow::common(suite, later, earlier).contains(name)
            })
    })
}

/// Each chosen request is one that some judged deployment is asked.
fn known(suites: &[Suite], pairing: &Pairing, chosen: &BTreeSet<&str>) -> anyhow::Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for suite in suites {
        let asked: BTreeSet<String> =
            pairing.judged().iter().flat_map(|deployment| narrow::asked(suite, deployment)).collect();
        names.extend(suite.order.iter().map(String::as_str).filter(|name| asked.contains(*name)));
    }
    match chosen.iter().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(unknown) => {
            let close = names
                .iter()
                .copied()
                .max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)));
            let close = close.context("no request is asked there at all")?;
            anyhow::bail!(
                "no request is called `{unknown}`; did you mean `{close}`? There are {}",
                names.join(", ")
            )
        }
    }
}
