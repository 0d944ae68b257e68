//! One request on one database, against the version before: what a cell shows.

use std::cmp::Reverse;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words;
use crate::compare::Standing;
use crate::model::Flavour;
use crate::page::format::{Count, Percent, Range, SecsDelta, Time, signed};
use crate::verdict::{Disturbance, Factor, Measure, Rule, Verdict};

/// One request on one deployment against the same on the version before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    pub suite: String,
    pub request: String,
    pub deployment: String,
    #[schema(value_type = String, example = "mysql")]
    pub db: Flavour,
    pub environment: String,
    /// Null where there is no baseline.
    pub against_deployment: Option<String>,
    pub against_version: Option<String>,
    #[schema(value_type = String, example = "regressed")]
    pub verdict: Verdict,
    #[schema(value_type = String, example = "latency")]
    pub measure: Measure,
    #[schema(value_type = String, example = "confirmed")]
    pub rule: Rule,
    #[schema(value_type = Option<String>, example = "host_pressure")]
    pub disturbance: Option<Disturbance>,
    /// Since when the verdict stands.
    pub since: Time,
    /// Later over earlier, with its 95 % interval; null of failures, and before the first pair.
    pub ratio: Option<Range>,
    /// The same in seconds; null where failures forbid it.
    pub seconds: Option<Range>,
    /// Of failures: rate of the later less that of the earlier, with its 95 % interval.
    pub failure_rise: Option<Range>,
    pub pairs: Count,
    /// Rounds until there can be another verdict.
    pub rounds_needed: Count,
    /// Deployments on this database that the cell stands for: it shows the worst.
    pub deployments: Count,
    #[schema(value_type = Option<String>, example = "sqlite")]
    pub fastest_db: Option<Flavour>,
    /// Time to that on the fastest database.
    pub to_fastest: Option<Shared>,
    /// Time to that of the request that is declared to touch no database.
    pub to_control: Option<Shared>,
    /// The change here to that on the other databases.
    pub interaction: Option<Shared>,
}

/// A ratio over rounds that both sides share, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Shared {
    pub ratio: Range,
    pub rounds: Count,
}

impl From<Factor> for Shared {
    fn from(factor: Factor) -> Self {
        Shared { ratio: factor.ratio.into(), rounds: factor.rounds.into() }
    }
}

impl Delta {
    pub fn of(standing: &Standing) -> Self {
        let judgement = standing.judgement();
        let numbers = judgement.map(|j| &j.assessment);
        let across = &standing.across;
        Delta {
            suite: standing.suite.clone(),
            request: standing.request.clone(),
            deployment: standing.deployment.clone(),
            db: standing.db,
            environment: standing.environment.clone(),
            against_deployment: standing.against.as_ref().map(|a| a.deployment.clone()),
            against_version: standing.against.as_ref().map(|a| a.version.clone()),
            verdict: standing.verdict,
            measure: standing.measure,
            rule: standing.rule,
            disturbance: judgement.and_then(|j| j.disturbance),
            since: Time(standing.since),
            ratio: numbers.and_then(|n| n.ratio).map(Range::from),
            seconds: numbers.and_then(|n| n.seconds).map(Range::from),
            failure_rise: numbers.and_then(|n| n.failure_rise).map(Range::from),
            pairs: numbers.map_or(0, |n| n.pairs).into(),
            rounds_needed: judgement.map_or(0, |j| j.rounds_needed).into(),
            deployments: Count(1),
            fastest_db: across.fastest,
            to_fastest: across.to_fastest.map(Shared::from),
            to_control: across.to_control.map(Shared::from),
            interaction: across.interaction.map(Shared::from),
        }
    }

    /// The worst of several; `None` of none.
    pub fn worst(deltas: Vec<Delta>) -> Option<Delta> {
        let deployments = deltas.len().into();
        // Of equals the first: its place must not change from round to round.
        let worst = deltas.into_iter().min_by_key(|d| Reverse(words::severity(d.verdict, d.measure)))?;
        Some(Delta { deployments, ..worst })
    }

    pub fn symbol(&self) -> &'static str {
        words::symbol(self.verdict)
    }

    pub fn label(&self) -> &'static str {
        words::label(self.verdict, self.measure, self.rule)
    }

    pub fn is_regressed(&self) -> bool {
        self.verdict == Verdict::Regressed
    }

    pub fn is_judged(&self) -> bool {
        self.verdict != Verdict::NoBaseline
    }

    /// Where every number of it is.
    pub fn path(&self) -> String {
        path(&self.deployment, &self.request, &self.suite)
    }

    /// `+12 %`, where the verdict rests on it; too few pairs are not quoted.
    pub fn change(&self) -> Option<String> {
        if matches!(self.verdict, Verdict::Insufficient | Verdict::NoBaseline | Verdict::Invalid) {
            return None;
        }
        match self.measure {
            Measure::Latency => self.ratio.map(|r| Percent(r.value - 1.0).to_string()),
            Measure::Errors => self.failure_rise.map(|r| format!("{} points", signed(r.value * 100.0, 0))),
        }
    }

    /// The interval, the milliseconds and the number of pairs; or what is missing.
    pub fn detail(&self) -> String {
        let pairs = self.pairs.of("pair");
        match self.verdict {
            Verdict::NoBaseline => String::new(),
            Verdict::Insufficient => format!("{} missing, {pairs} so far", self.rounds_needed.of("round")),
            Verdict::Invalid => format!("{}, {pairs}", words::disturbed(self.disturbance)),
            _ => match (self.ratio, self.failure_rise) {
                (_, Some(rise)) => format!("failures {} points, {pairs}", rise.points(0)),
                (Some(ratio), None) => match self.seconds {
                    Some(s) => format!("{}, {}, {pairs}", ratio.percents(0), SecsDelta(s.value)),
                    None => format!("{}, {pairs}", ratio.percents(0)),
                },
                (None, None) => pairs,
            },
        }
    }
}

/// What stands for itself in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The page of one cell. The names may hold anything.
pub fn path(deployment: &str, request: &str, suite: &str) -> String {
    let escape = |text| utf8_percent_encode(text, PLAIN);
    format!("/deployments/{}/compare/{}?suite={}", escape(deployment), escape(request), escape(suite))
}

/// Where a deployment's requests are.
pub fn deployment_path(deployment: &str) -> String {
    format!("/deployments/{}#requests", utf8_percent_encode(deployment, PLAIN))
}
