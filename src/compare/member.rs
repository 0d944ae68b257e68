//! Who takes part, and what a round saw of them.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Deployment, ErrorType, Flavour, Outcome, RoundId, Run, Suite, Version};
use crate::verdict::{Answer, CellRules, Visit};

/// A living deployment, as one suite sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// [`Deployment::key`]: the same deployment with another digest is another build.
    pub build: String,
    pub name: String,
    pub version: Version,
    pub db: Flavour,
    pub environment: String,
    /// Since when this build is known: what is older is not its own.
    pub since: Timestamp,
    /// What it is asked, by name.
    pub requests: Vec<(String, CellRules)>,
    /// The request that touches no database, where its suite declares one.
    pub control: Option<String>,
    /// The version that this deployment ran right before is above its own.
    pub rolled_back: bool,
}

impl Member {
    /// `None` where the suite has nothing to ask this deployment.
    pub fn new(deployment: &Deployment, suite: &Suite, since: Timestamp) -> Option<Self> {
        let variant = suite.variant_for(&deployment.version)?;
        let rules = |timeout, floors| CellRules {
            timeout,
            floors,
            pair_gap_max: variant.pair_gap_max,
            ..CellRules::default()
        };
        let requests: Vec<_> = variant
            .requests_for(deployment)
            .map(|request| (request.name.clone(), rules(request.timeout, request.floors)))
            .collect();
        let control = variant.requests_for(deployment).find(|request| request.control);
        (!requests.is_empty()).then(|| Member {
            build: deployment.key(),
            name: deployment.name.clone(),
            version: deployment.version.clone(),
            db: deployment.db,
            environment: deployment.environment.clone(),
            since,
            requests,
            control: control.map(|request| request.name.clone()),
            rolled_back: false,
        })
    }

    pub fn rules(&self, request: &str) -> Option<&CellRules> {
        self.requests.iter().find(|(name, _)| name == request).map(|(_, rules)| rules)
    }

    fn is_beside(&self, other: &Member) -> bool {
        self.db == other.db && self.environment == other.environment
    }
}

/// The one that `member` is compared with: of the greatest version below its own on the same flavour in
/// the same environment, the first by name. It need not be of the version right below: where that one
/// does not live on this flavour, the next one stands for it. Two builds of one version are no
/// predecessors of each other, nor are two branches that stand at one place.
pub fn predecessor<'a>(member: &Member, members: &'a [Member]) -> Option<&'a Member> {
    let below =
        members.iter().filter(|other| other.is_beside(member) && member.version.is_above(&other.version));
    below.max_by(|a, b| a.version.cmp(&b.version).then_with(|| b.name.cmp(&a.name)))
}

/// One recorded visit to one deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Visited {
    /// [`Deployment::key`].
    pub build: String,
    pub request: String,
    pub visit: Visit,
}

/// What a round saw, of all deployments.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub round: RoundId,
    pub scheduled: Timestamp,
    /// In the order of each deployment's own requests.
    pub visits: Vec<Visited>,
}

impl Seen {
    /// `None` of no runs.
    pub fn of(runs: &[Run]) -> Option<Self> {
        let round = &runs.first()?.round;
        let visits = runs.iter().flat_map(|run| {
            let build = run.deployment.key();
            run.samples.iter().filter_map(move |sample| {
                let first = sample.first();
                let started = first.map_or(run.started, |attempt| attempt.started);
                let limited = sample.detail.starts_with(ErrorType::RateLimited.as_str());
                let times = first.map(|attempt| (attempt.error, attempt.phases.total()));
                let visit = visit_of(started, sample.outcome, times, limited)?;
                Some(Visited { build: build.clone(), request: sample.request.name.clone(), visit })
            })
        });
        Some(Seen { round: round.id, scheduled: round.scheduled, visits: visits.collect() })
    }
}

/// What a sample says about its version, by the error and the time of its *first* attempt, since a retry
/// meets warm caches; `None` where it was not asked because of the deployment itself. `limited`: it was
/// not asked because the target would have refused it.
pub fn visit_of(
    started: Timestamp,
    outcome: Outcome,
    first: Option<(Option<ErrorType>, Duration)>,
    limited: bool,
) -> Option<Visit> {
    let answer = match first {
        None if limited => Answer::Unusable,
        None => return None,
        Some((Some(ErrorType::RateLimited), _)) => Answer::Unusable,
        Some((Some(_), _)) => Answer::Failed,
        Some((None, total)) => match outcome {
            Outcome::Pass | Outcome::Degraded => Answer::Passed(total),
            Outcome::Fail | Outcome::Unreachable => Answer::Failed,
            Outcome::Skipped => return None,
        },
    };
    Some(Visit { started, answer })
}
