//! Comparisons of versions made anew from stored rounds: of two that somebody chose, or over a window.
//!
//! The same machine judges them as judges live, round by round, so what it says of the same rounds is the
//! same. Nothing of it is kept.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::visits;
use crate::clock::Timestamp;
use crate::compare::{Ladder, Member, Standing};
use crate::model::{Deployment, Flavour, Suite, Tls, Version};
use crate::store::{DeploymentRow, Store, StoreError};
use crate::verdict::{CellRules, Judgement, Settings};

/// Versions that one message lists at most.
const LISTED_MAX: usize = 20;

/// Which versions are compared, by which rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The later and the earlier one; else each living version with the one before it.
    pub versions: Option<(Version, Version)>,
    /// Rounds no older than this; else all that a comparison keeps (7 days).
    pub window: Option<Duration>,
}

impl Chosen {
    /// What is wrong with the question itself: versions that nobody ever had.
    pub async fn mistake(&self, store: &Store) -> Result<Option<String>, StoreError> {
        let Some((later, earlier)) = &self.versions else { return Ok(None) };
        if later == earlier {
            return Ok(Some(format!("{later} would be compared with itself")));
        }
        let rows = store.deployments().await?;
        let is_unknown = |version: &&&Version| rows.iter().all(|row| row.version != ***version);
        let Some(unknown) = [earlier, later].iter().find(is_unknown).copied() else { return Ok(None) };
        let mut known: Vec<&Version> = rows.iter().map(|row| &row.version).collect();
        known.sort_unstable_by(|a, b| b.cmp(a));
        known.dedup();
        let more = known.len().saturating_sub(LISTED_MAX);
        let names: Vec<String> = known.iter().take(LISTED_MAX).map(|version| version.to_string()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let more = if more > 0 { format!(" and {more} older ones") } else { String::new() };
        Ok(Some(format!("no deployment ever had version {unknown}; known are {names}{more}")))
    }

    /// How every request of the chosen versions stands by the rounds that are stored, at `now`.
    pub async fn read(
        &self,
        store: &Store,
        suites: &[Suite],
        now: Timestamp,
    ) -> Result<Vec<Standing>, StoreError> {
        let age_max = CellRules::default().age_max;
        let since = now.minus(self.window.map_or(age_max, |window| window.min(age_max)));
        let first_seen = store.first_seen().await?;
        let rows = store.deployments().await?;
        let (rows, pairs) = match &self.versions {
            Some((later, earlier)) => pairs_of(rows, later, earlier),
            None => (rows.into_iter().filter(|row| row.retired.is_none()).collect(), Vec::new()),
        };
        let mut standings = Vec::new();
        for suite in suites {
            let members: Vec<Option<Member>> = rows
                .iter()
                .map(|row| {
                    let seen = first_seen.get(&row.key).copied().unwrap_or(since);
                    // What had warmed up before the window is warm in it.
                    let known = if seen < since { Timestamp(i64::MIN) } else { seen };
                    Member::new(&deployment_of(row)?, suite, known)
                })
                .collect();
            let builds: HashMap<i64, String> = members
                .iter()
                .zip(&rows)
                .filter_map(|(member, row)| Some((row.key, member.as_ref()?.build.clone())))
                .collect();
            let mut places = HashMap::new();
            for (at, _) in members.iter().enumerate().filter(|(_, member)| member.is_some()) {
                places.insert(at, places.len());
            }
            let pairs: Vec<(usize, usize)> =
                pairs.iter().filter_map(|(v, p)| Some((*places.get(v)?, *places.get(p)?))).collect();
            let members: Vec<Member> = members.into_iter().flatten().collect();
            if members.is_empty() {
                continue;
            }
            let rounds = visits::seen(store, &builds, &suite.name, since).await?;
            let (name, chosen) = (suite.name.clone(), self.versions.is_some());
            let judged = tokio::task::spawn_blocking(move || {
                let settings = Settings::default();
                let mut ladder = match chosen {
                    true => Ladder::of_pairs(&name, settings, members, &pairs, now),
                    false => Ladder::new(&name, settings, members, Vec::new(), now),
                };
                for seen in &rounds {
                    ladder.replay(seen);
                }
                ladder.standings(now)
            });
            standings.extend(judged.await.unwrap_or_default());
        }
        for standing in &mut standings {
            // Nothing is said of what was before it.
            standing.since = standing.since.max(since);
        }
        standings.retain(|standing| {
            // The earlier ones are there to be compared with.
            let is_later =
                self.versions.as_ref().is_none_or(|(later, _)| standing.version == later.to_string());
            // What no round asked of both is not there.
            let pairs = |j: &Option<Judgement>| j.is_some_and(|j| j.assessment.pairs > 0);
            let no_baseline = self.versions.is_none() && standing.against.is_none();
            is_later && (no_baseline || pairs(&standing.latency) || pairs(&standing.errors))
        });
        Ok(standings)
    }
}

/// As far as the store knows it. What was asked of it shows in its samples, so writes count as allowed.
fn deployment_of(row: &DeploymentRow) -> Option<Deployment> {
    Some(Deployment {
        name: row.name.clone(),
        version: row.version.clone(),
        db: row.db,
        environment: row.environment.clone(),
        url: row.url.parse().ok()?,
        token: None,
        writes: true,
        host_group: String::new(),
        tls: Tls::default(),
        resolver: None,
        keep_alive: false,
        digest: (!row.digest.is_empty()).then(|| row.digest.clone()),
        commit: None,
        origin: None,
    })
}

/// The builds of two versions on each flavour of each environment, the later ones first, and the places of
/// those that belong together. Of several builds a living one counts, else the one that was seen last.
fn pairs_of(
    rows: Vec<DeploymentRow>,
    later: &Version,
    earlier: &Version,
) -> (Vec<DeploymentRow>, Vec<(usize, usize)>) {
    let mut newest: BTreeMap<(bool, String, Flavour), DeploymentRow> = BTreeMap::new();
    for row in rows {
        let is_earlier = row.version == *earlier;
        if !is_earlier && row.version != *later {
            continue;
        }
        let age = |row: &DeploymentRow| row.retired.unwrap_or(Timestamp(i64::MAX));
        let key = (is_earlier, row.environment.clone(), row.db);
        if newest.get(&key).is_none_or(|known| age(known) < age(&row)) {
            newest.insert(key, row);
        }
    }
    let places: HashMap<(bool, String, Flavour), usize> =
        newest.keys().cloned().enumerate().map(|(at, key)| (key, at)).collect();
    let pairs = places.iter().filter(|((is_earlier, ..), _)| !is_earlier).filter_map(
        |((_, environment, db), later)| {
            let earlier = places.get(&(true, environment.clone(), *db))?;
            Some((*later, *earlier))
        },
    );
    let mut pairs: Vec<(usize, usize)> = pairs.collect();
    pairs.sort_unstable();
    (newest.into_values().collect(), pairs)
}
