//! Reading the cumulative series, and marking their first and last point.

use super::db::{Connection, query};
use super::{Exemplar, Store, StoreError};
use crate::clock::Timestamp;
use crate::model::{SpanId, TraceId};

/// A cumulative counter or histogram as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub key: i64,
    pub metric: String,
    /// As it was given in [`super::Increment::attributes`].
    pub attributes: String,
    pub started: Timestamp,
    pub count: u64,
    pub sum: f64,
    /// Counts per bucket (not cumulative over buckets), those above zero only.
    pub buckets: Vec<Bucket>,
    /// Whether its first point was put into the outbox.
    pub opened: bool,
    /// Whether its deployment is retired, so that the series ends.
    pub retired: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    pub index: usize,
    pub count: u64,
    pub exemplar: Option<Exemplar>,
}

pub(super) async fn mark(
    connection: &mut Connection,
    opened: &[i64],
    closed: &[i64],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    for key in opened {
        query("UPDATE series SET opened_ns = $1 WHERE id = $2")
            .bind(at.0)
            .bind(*key)
            .execute(connection)
            .await?;
    }
    for key in closed {
        query("UPDATE series SET closed_ns = $1 WHERE id = $2")
            .bind(at.0)
            .bind(*key)
            .execute(connection)
            .await?;
    }
    Ok((opened.len() + closed.len()) as u64)
}

impl Store {
    /// Every series that has not ended: those of one metric follow each other.
    pub async fn series(&self) -> Result<Vec<Series>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        // Both within one snapshot of the database, so that count and buckets agree.
        query("BEGIN").execute(&mut connection).await?;
        let result = read(&mut connection).await;
        connection.rollback().await;
        Ok(result?)
    }

    /// Counters of these metrics as they stand: metric, attributes, count. Their histograms' buckets
    /// are left alone, so this is cheap where [`Store::series`] is not.
    pub async fn counters(&self, metrics: &[&str]) -> Result<Vec<(String, String, u64)>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut counters = Vec::new();
        for metric in metrics {
            let rows = query(
                "SELECT attributes, count FROM series WHERE metric = $1 AND closed_ns IS NULL ORDER BY id",
            )
            .bind(*metric)
            .fetch(&mut connection)
            .await?;
            for row in rows {
                counters.push(((*metric).to_owned(), row.text(0)?, unsigned(row.integer(1)?)));
            }
        }
        Ok(counters)
    }
}

async fn read(connection: &mut Connection) -> Result<Vec<Series>, sqlx::Error> {
    let rows = query(
        "SELECT s.id, s.metric, s.attributes, s.started_ns, s.count, s.sum, s.opened_ns, d.retired_ns \
         FROM series s LEFT JOIN deployments d ON d.id = s.deployment_id \
         WHERE s.closed_ns IS NULL ORDER BY s.metric, s.id",
    )
    .fetch(connection)
    .await?;
    let mut series = Vec::with_capacity(rows.len());
    for row in rows {
        series.push(Series {
            key: row.integer(0)?,
            metric: row.text(1)?,
            attributes: row.text(2)?,
            started: Timestamp(row.integer(3)?),
            count: unsigned(row.integer(4)?),
            sum: row.real(5)?,
            buckets: Vec::new(),
            opened: row.integer_or_null(6)?.is_some(),
            retired: row.integer_or_null(7)?.is_some(),
        });
    }
    let position: std::collections::HashMap<i64, usize> =
        series.iter().enumerate().map(|(i, s)| (s.key, i)).collect();
    let rows = query(
        "SELECT b.series_id, b.bucket, b.count, b.exemplar_value, b.exemplar_ns, b.exemplar_trace, b.exemplar_span \
         FROM buckets b JOIN series s ON s.id = b.series_id WHERE s.closed_ns IS NULL ORDER BY b.series_id, b.bucket",
    )
    .fetch(connection)
    .await?;
    for row in rows {
        let Some(owner) = position.get(&row.integer(0)?) else { continue };
        let trace = row.bytes_or_null(5)?.and_then(|b| TraceId::from_slice(&b));
        let span = row.bytes_or_null(6)?.and_then(|b| SpanId::from_slice(&b));
        let exemplar = match (row.real_or_null(3)?, row.integer_or_null(4)?, trace, span) {
            (Some(value), Some(at), Some(trace), Some(span)) => {
                Some(Exemplar { value, at: Timestamp(at), trace, span })
            }
            _ => None,
        };
        let index = usize::try_from(row.integer(1)?).unwrap_or(0);
        series[*owner].buckets.push(Bucket { index, count: unsigned(row.integer(2)?), exemplar });
    }
    Ok(series)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
