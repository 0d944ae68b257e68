//! The rounds that are stored, as comparisons take them.

use std::collections::{BTreeMap, HashMap};

use crate::clock::Timestamp;
use crate::compare::{Seen, Visited, visit_of};
use crate::model::Deployment;
use crate::store::{DeploymentRow, Store, StoreError};

/// The rounds of a suite since then, oldest first, with the visits to these builds.
pub async fn seen(
    store: &Store,
    builds: &HashMap<i64, String>,
    suite: &str,
    since: Timestamp,
) -> Result<Vec<Seen>, StoreError> {
    let rounds = store.rounds(since).await?;
    let mut seen: BTreeMap<(Timestamp, _), Seen> = BTreeMap::new();
    for (key, build) in builds {
        let each = |row: crate::store::VisitRow| {
            let Some((of, scheduled)) = rounds.get(&row.round) else { return };
            let first = row.total.map(|total| (row.first_error, total));
            let visit = visit_of(row.started, row.outcome, first, row.rate_limited);
            let (true, Some(visit)) = (of == suite, visit) else { return };
            let entry = seen.entry((*scheduled, row.round)).or_insert_with(|| Seen {
                round: row.round,
                scheduled: *scheduled,
                visits: Vec::new(),
            });
            entry.visits.push(Visited { build: build.clone(), request: row.request, visit });
        };
        store.each_visit(*key, since, each).await?;
    }
    Ok(seen.into_values().collect())
}

/// Whether the build that this deployment ran right before is of a version above its own.
pub fn rolled_back(deployment: &Deployment, builds: &[DeploymentRow]) -> bool {
    let own = builds.iter().filter(|row| {
        row.name == deployment.name && row.environment == deployment.environment && row.db == deployment.db
    });
    let before = own.filter(|row| row.retired.is_some()).max_by_key(|row| row.retired);
    before.is_some_and(|row| row.version.is_above(&deployment.version))
}
