//! What comparisons of the fleet's versions came to: by the ladder that the daemon uses, over the rounds
//! that the fleet has; and made-up ones for what such a fleet does not come to.

use std::time::Duration;

use cachetscope::compare::{Ladder, Member, Standing};
use cachetscope::model::Flavour;
use cachetscope::store::{Facts, VerdictsRow};
use cachetscope::verdict::{CellRules, Settings};

use crate::page_fleet::{Fleet, REQUESTS, SUITE};

pub async fn judged(fleet: &Fleet) -> Vec<Standing> {
    let now = fleet.clock.now();
    let members = fleet.deployments.iter().map(|d| Member {
        build: d.key(),
        name: d.name.clone(),
        version: d.version.clone(),
        db: d.db,
        environment: d.environment.clone(),
        since: now.minus(Duration::from_secs(3_600)),
        requests: REQUESTS.map(|name| (name.to_owned(), CellRules::default())).to_vec(),
        control: Some("ping".into()),
        rolled_back: false,
    });
    let mut ladder = Ladder::new(SUITE, Settings::default(), members.collect(), Vec::new(), now);
    let rounds = fleet.seen.lock().unwrap().clone();
    for seen in rounds {
        ladder.take(&seen, None, seen.scheduled);
    }
    let standings = ladder.standings(now);
    store(fleet, &standings).await;
    standings
}

pub async fn store(fleet: &Fleet, standings: &[Standing]) {
    let row = VerdictsRow {
        suite: SUITE.into(),
        at: fleet.clock.now(),
        state: "[]".into(),
        standings: serde_json::to_string(standings).unwrap(),
    };
    fleet.store.commit(Facts { verdicts: vec![row], ..Facts::default() }).await.unwrap();
}

/// Thirty requests on five databases, and names that somebody had to type.
pub async fn crowded(fleet: &Fleet) {
    let mut standings = judged(fleet).await;
    let latest: Vec<Standing> = standings.iter().filter(|s| s.version.starts_with('3')).cloned().collect();
    for db in [Flavour::Mysql, Flavour::SqlServer] {
        let name = format!("cachet-3.x-{db}");
        let on = |s: &Standing| Standing { db, deployment: name.clone(), ..s.clone() };
        standings.extend(latest.iter().filter(|s| s.db == Flavour::Sqlite).map(on));
    }
    let shown: Vec<Standing> = standings.iter().filter(|s| s.version.starts_with('3')).cloned().collect();
    for n in 0..22 {
        let request = format!("component-{n}-with-a-name-that-{}", "goes-on-".repeat(n % 4));
        let like = shown.iter().filter(|s| s.request == REQUESTS[n % REQUESTS.len()]);
        standings.extend(like.map(|s| Standing { request: request.clone(), ..s.clone() }));
    }
    store(fleet, &standings).await;
}
