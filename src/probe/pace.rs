//! How soon rounds may follow each other, so that no target is asked more than it allows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Budget, Deployment, Suite};

/// The part of a budget that rounds of all kinds may use; the rest is for retries and for people.
const SHARE: f64 = 0.9;
/// What a target is taken to allow where its suite does not tell: a Cachet's own limit.
const BUDGET: Budget = Budget { requests: 300, per: Duration::from_secs(60) };

/// What a round of a suite asks of a deployment, wake-up included, and what that one allows; `None` where
/// the suite has nothing to ask.
pub fn load(suite: &Suite, deployment: &Deployment) -> Option<(u32, Budget)> {
    let variant = suite.variant_for(&deployment.version)?;
    let asked = variant.requests_for(deployment).count();
    // The wake-up is a request too.
    let all = u32::try_from(asked + usize::from(variant.wake_up.is_some())).unwrap_or(u32::MAX);
    (asked > 0).then(|| (all, variant.budget.unwrap_or(BUDGET)))
}

/// How long after the start of a round besides the schedule the next may start, so that no deployment is
/// asked more than it allows by all suites together; `None` where their schedules leave nothing, or what is
/// allowed is less than one round.
///
/// Each of `suites` comes with the period of its schedule.
pub fn interval(
    suite: &Suite,
    fleet: &[Arc<Deployment>],
    suites: &HashMap<&str, (&Suite, Duration)>,
) -> Option<Duration> {
    let mut longest = Duration::ZERO;
    for deployment in fleet {
        let Some((asked, budget)) = load(suite, deployment) else { continue };
        let scheduled: f64 = suites
            .values()
            .filter_map(|(other, period)| {
                Some(f64::from(load(other, deployment)?.0) / period.as_secs_f64().max(1e-3))
            })
            .sum();
        let free = SHARE * f64::from(budget.requests) / budget.per.as_secs_f64() - scheduled;
        if free <= 0.0 || asked > budget.requests {
            return None;
        }
        longest = longest.max(Duration::try_from_secs_f64(f64::from(asked) / free).ok()?);
    }
    Some(longest)
}
