//! What comparisons of versions have come to, and the visits that they rest on.

use std::collections::HashMap;
use std::time::Duration;

use super::db::{Connection, query};
use super::facts::{outcome, round_id};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::model::{ErrorType, Outcome, RoundId};

/// The comparisons of one suite, as JSON: the store does not look into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictsRow {
    pub suite: String,
    pub at: Timestamp,
    /// What the comparisons need to go on after a restart.
    pub state: String,
    /// What is shown of them.
    pub standings: String,
}

/// A sample, as far as versions are compared by it.
#[derive(Clone, Debug, PartialEq)]
pub struct VisitRow {
    pub round: RoundId,
    pub started: Timestamp,
    pub request: String,
    pub outcome: Outcome,
    /// Of the first attempt.
    pub first_error: Option<ErrorType>,
    /// Of the first attempt; `None` when it was never sent.
    pub total: Option<Duration>,
    /// Not asked, since the target would have refused it.
    pub rate_limited: bool,
}

pub(super) async fn write(connection: &mut Connection, row: &VerdictsRow) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO verdicts (suite, at_ns, state, standings) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (suite) DO UPDATE SET at_ns = excluded.at_ns, state = excluded.state, \
         standings = excluded.standings",
    )
    .bind(row.suite.as_str())
    .bind(row.at.0)
    .bind(row.state.as_str())
    .bind(row.standings.as_str())
    .execute(connection)
    .await
    .map(drop)
}

impl Store {
    /// The comparisons of every suite that ever had some, by name.
    pub async fn verdicts(&self) -> Result<Vec<VerdictsRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query("SELECT suite, at_ns, state, standings FROM verdicts ORDER BY suite")
            .fetch(&mut connection)
            .await?;
        let read = rows.iter().map(|row| {
            Ok(VerdictsRow {
                suite: row.text(0)?,
                at: Timestamp(row.integer(1)?),
                state: row.text(2)?,
                standings: row.text(3)?,
            })
        });
        Ok(read.collect::<Result<_, sqlx::Error>>()?)
    }

    /// What is shown of the comparisons of every suite.
    pub async fn standings(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query("SELECT standings FROM verdicts ORDER BY suite").fetch(&mut connection).await?;
        Ok(rows.iter().map(|row| row.text(0)).collect::<Result<_, sqlx::Error>>()?)
    }

    /// When each build was seen first.
    pub async fn first_seen(&self) -> Result<HashMap<i64, Timestamp>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query("SELECT id, first_seen_ns FROM deployments").fetch(&mut connection).await?;
        let read = rows.iter().map(|row| Ok((row.integer(0)?, Timestamp(row.integer(1)?))));
        Ok(read.collect::<Result<_, sqlx::Error>>()?)
    }

    /// Rounds that began at or after `since`, with their suite and the time they were meant for.
    pub async fn rounds(
        &self,
        since: Timestamp,
    ) -> Result<HashMap<RoundId, (String, Timestamp)>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut rounds = HashMap::new();
        query("SELECT id, suite, scheduled_ns FROM rounds WHERE started_ns >= $1")
            .bind(since.0)
            .fetch_each(&mut connection, |row| {
                rounds.insert(round_id(row.integer(0)?), (row.text(1)?, Timestamp(row.integer(2)?)));
                Ok(())
            })
            .await?;
        Ok(rounds)
    }

    /// Every sample of a build at or after `since`, oldest first.
    pub async fn each_visit(
        &self,
        deployment: i64,
        since: Timestamp,
        mut each: impl FnMut(VisitRow),
    ) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        query(
            "SELECT round_id, started_ns, request, outcome, first_error, total_ns, substr(detail, 1, 12) FROM samples \
             WHERE deployment_id = $1 AND started_ns >= $2 ORDER BY started_ns, place",
        )
        .bind(deployment)
        .bind(since.0)
        .fetch_each(&mut connection, |row| {
            let total = row.integer_or_null(5)?.and_then(|ns| u64::try_from(ns).ok());
            each(VisitRow {
                round: round_id(row.integer(0)?),
                started: Timestamp(row.integer(1)?),
                request: row.text(2)?,
                outcome: outcome(&row.text(3)?),
                first_error: row.text_or_null(4)?.and_then(|e| e.parse().ok()),
                total: total.map(Duration::from_nanos),
                rate_limited: row.text(6)? == ErrorType::RateLimited.as_str(),
            });
            Ok(())
        })
        .await
        .map_err(StoreError::from)
    }
}
