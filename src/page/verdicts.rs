//! What comparisons of versions have come to, as the store has it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::format::Time;
use super::problem::{Document, Problem};
use crate::compare::{Standing, read_standings};
use crate::history::Chosen;
use crate::model::Version;
use crate::otlp::names;
use crate::store::{Store, StoreError};
use crate::verdict::{Settings, Tally};

/// Every request of every living deployment against the version before.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Verdicts {
    /// When the newest of them were written; null before the first round.
    pub at: Option<Time>,
    /// By suite; the latest version first within it.
    pub verdicts: Vec<Standing>,
    pub own: OwnComparisons,
}

/// Comparisons of deployments with themselves, in which any verdict is false: how much the others can be
/// trusted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OwnComparisons {
    /// Those that are over: each of 240 pairs of consecutive rounds, over all requests of a deployment.
    pub comparisons: u64,
    pub false_verdicts: u64,
    /// Between which chances the truth lies with 95 % (Wilson 1927).
    pub low: f64,
    pub high: f64,
}

impl From<Tally> for OwnComparisons {
    fn from(tally: Tally) -> Self {
        let (low, high) = tally.interval();
        let Tally { comparisons, false_verdicts } = tally;
        OwnComparisons { comparisons, false_verdicts, low, high }
    }
}

impl OwnComparisons {
    /// Surely more false verdicts than a comparison may have.
    pub fn is_alarming(&self) -> bool {
        self.comparisons > 0 && self.low > Settings::default().alpha
    }
}

impl Default for OwnComparisons {
    fn default() -> Self {
        Tally::default().into()
    }
}

impl Verdicts {
    pub async fn read(store: &Store) -> Result<Self, StoreError> {
        let rows = store.verdicts().await?;
        let (all, wrong) = (names::AA_COMPARISONS.name, names::AA_FALSE_VERDICTS.name);
        let mut tally = Tally::default();
        for (metric, _, count) in store.counters(&[all, wrong]).await? {
            *(if metric == all { &mut tally.comparisons } else { &mut tally.false_verdicts }) += count;
        }
        Ok(Verdicts {
            at: rows.iter().map(|row| Time(row.at)).max(),
            verdicts: rows.iter().flat_map(|row| read_standings(&row.standings)).collect(),
            own: tally.into(),
        })
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VerdictsQuery {
    suite: Option<String>,
    environment: Option<String>,
    version: Option<String>,
    deployment: Option<String>,
    /// `db.system.name`
    db: Option<String>,
    request: Option<String>,
    /// Such as `regressed`
    verdict: Option<String>,
    /// Compare `version` with this one, by the rounds that visited both, whichever came in between
    against: Option<String>,
    /// Judge by the rounds within this time, such as `6h`, instead of all since the later deployment
    window: Option<String>,
}

impl VerdictsQuery {
    /// What has to be compared anew; `None` where the verdicts that stand are asked for.
    fn chosen(&self) -> Result<Option<Chosen>, Problem> {
        let version = |text: &str| {
            Version::parse(text).ok_or_else(|| Problem::BadRequest(format!("`{text}` is not a version")))
        };
        let versions = match (&self.version, &self.against) {
            (Some(later), Some(earlier)) => Some((version(later)?, version(earlier)?)),
            (None, Some(_)) => {
                return Err(Problem::BadRequest("`against` needs `version`: the later one".to_owned()));
            }
            _ => None,
        };
        let duration = |text: &String| {
            humantime::parse_duration(text)
                .map_err(|_| Problem::BadRequest(format!("`{text}` is not a duration such as `6h` or `2d`")))
        };
        let window = self.window.as_ref().map(duration).transpose()?;
        let is_chosen = versions.is_some() || window.is_some();
        Ok(is_chosen.then_some(Chosen { versions, window }))
    }
}

impl VerdictsQuery {
    fn admits(&self, standing: &Standing) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        is(&self.suite, &standing.suite)
            && is(&self.environment, &standing.environment)
            && is(&self.version, &standing.version)
            && is(&self.deployment, &standing.deployment)
            && is(&self.db, standing.db.as_str())
            && is(&self.request, &standing.request)
            && is(&self.verdict, standing.verdict.as_str())
    }
}

/// Every request of every living deployment against the version before, with every number that led to its
/// verdict.
#[utoipa::path(get, path = "/api/v1/verdicts", params(VerdictsQuery), responses(
    (status = 200, body = Verdicts),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn verdicts(
    State(app): State<Arc<App>>,
    query: Result<Query<VerdictsQuery>, QueryRejection>,
) -> Result<Json<Verdicts>, Problem> {
    let Query(query) = query.map_err(|e| Problem::BadRequest(e.body_text()))?;
    let mut verdicts = Verdicts::read(&app.store).await?;
    if let Some(chosen) = query.chosen()? {
        if let Some(mistake) = chosen.mistake(&app.store).await? {
            return Err(Problem::BadRequest(mistake));
        }
        let _one_at_a_time = app.comparing.lock().await;
        let (suites, now) = (app.suites.borrow().clone(), app.clock.now());
        verdicts.verdicts = chosen.read(&app.store, &suites, now).await?;
        verdicts.at = Some(Time(now));
    }
    verdicts.verdicts.retain(|standing| query.admits(standing));
    Ok(Json(verdicts))
}
