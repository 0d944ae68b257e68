//! How one request on one deployment stands: what every surface shows of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::model::Flavour;
use crate::verdict::{Factor, Judgement, Lost, Measure, Rule, Verdict};

/// One request on one living deployment, against the version before it on the same flavour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    pub suite: String,
    pub request: String,
    /// The later of the two, by its name.
    pub deployment: String,
    pub version: String,
    #[schema(value_type = String, example = "mysql")]
    pub db: Flavour,
    pub environment: String,
    /// What it is compared with; null where nothing is, and the verdict is `no_baseline`.
    pub against: Option<Against>,
    /// The order of versions is not that of deployments: this one ran a higher version before, or what it
    /// is compared with was deployed after it. The comparison stays that of the higher with the lower.
    #[serde(default)]
    pub rolled_back: bool,
    /// Of both measures together: a rise of failures weighs more than any time.
    #[schema(value_type = String, example = "regressed")]
    pub verdict: Verdict,
    /// Which of them it is of.
    #[schema(value_type = String, example = "latency")]
    pub measure: Measure,
    #[schema(value_type = String, example = "confirmed")]
    pub rule: Rule,
    /// Since when it stands; nanoseconds since 1970.
    #[schema(value_type = i64)]
    pub since: Timestamp,
    /// Null where there is no baseline.
    #[schema(value_type = Option<Object>)]
    pub latency: Option<Judgement>,
    #[schema(value_type = Option<Object>)]
    pub errors: Option<Judgement>,
    /// How many cells share the chance of a false verdict.
    pub cells: usize,
    /// The floors of relevance: ratio less 1, and seconds.
    pub floor_ratio: f64,
    pub floor_seconds: f64,
    /// Two visits further apart are no pair.
    #[serde(default = "usual_gap")]
    pub pair_gap_seconds: f64,
    /// Median ratio of the first rounds after the deployment, which are not judged.
    pub warm_up_ratio: Option<f64>,
    /// Rounds that became no pair, and why.
    #[schema(value_type = Object)]
    pub lost: Lost,
    /// What the database has to do with it.
    pub across: Across,
}

fn usual_gap() -> f64 {
    crate::model::PAIR_GAP_MAX.as_secs_f64()
}

/// A deployment of the version before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Against {
    pub deployment: String,
    pub version: String,
}

/// One request of one version beside the same on other databases, and beside the control request. All are
/// ratios over shared rounds with a 95 % interval; null where nothing can be compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Across {
    /// To the fastest flavour of the same version and environment; exactly 1 for that one itself.
    #[schema(value_type = Option<Object>)]
    pub to_fastest: Option<Factor>,
    #[schema(value_type = Option<String>, example = "sqlite")]
    pub fastest: Option<Flavour>,
    /// To the request that its suite declares as touching no database.
    #[schema(value_type = Option<Object>)]
    pub to_control: Option<Factor>,
    /// This change against that on the other flavours: above 1 it is worse here.
    #[schema(value_type = Option<Object>)]
    pub interaction: Option<Factor>,
}

impl Standing {
    /// The judgement that the verdict is of.
    pub fn judgement(&self) -> Option<&Judgement> {
        match self.measure {
            Measure::Latency => self.latency.as_ref(),
            Measure::Errors => self.errors.as_ref(),
        }
    }

    /// In a sentence, for a log.
    pub fn words(&self) -> String {
        let mut words = format!("{} on {}: {}", self.request, self.deployment, self.verdict);
        if self.measure == Measure::Errors {
            words.push_str(" (errors)");
        }
        let Some(against) = &self.against else { return words };
        let signed = |part: f64| format!("{:+.1} %", 100.0 * part);
        // Of two rates: what 2 % and 12 % differ by.
        let points = |part: f64| format!("{:+.1} points", 100.0 * part);
        let ratio = self.latency.and_then(|latency| latency.assessment.ratio);
        let rise = self.errors.and_then(|errors| errors.assessment.failure_rise);
        match (self.measure, ratio, rise) {
            (Measure::Latency, Some(r), _) => words.push_str(&format!(
                ": {} against {} ({} to {}",
                signed(r.value - 1.0),
                against.version,
                signed(r.low - 1.0),
                signed(r.high - 1.0)
            )),
            (Measure::Errors, _, Some(rise)) => words.push_str(&format!(
                ": failure rate {} against {} ({} to {}",
                points(rise.value),
                against.version,
                points(rise.low),
                points(rise.high)
            )),
            _ => return words,
        }
        let pairs = self.judgement().map_or(0, |judgement| judgement.assessment.pairs);
        words.push_str(&format!(", {pairs} pairs)"));
        words
    }
}

/// Those that are stored as JSON; what a newer program wrote is left to it.
pub fn read(json: &str) -> Vec<Standing> {
    serde_json::from_str(json).unwrap_or_default()
}
