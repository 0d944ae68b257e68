//! Reading the cumulative series, and marking their first and last point.

use super::db::{Connection, Row, for_keys, query};
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
    closed: &[(i64, u64)],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    for statement in for_keys("UPDATE totals SET opened_ns = ? WHERE series_id", &[at.0.into()], opened) {
        statement.execute(connection).await?;
    }
    let mut touched = opened.len() as u64;
    for (key, count) in closed {
        touched += query("UPDATE totals SET closed_ns = $1 WHERE series_id = $2 AND count = $3")
            .bind(at.0)
            .bind(*key)
            .bind(i64::try_from(*count).unwrap_or(i64::MAX))
            .execute(connection)
            .await?;
    }
    Ok(touched)
}

impl Store {
    /// Every series that has not ended: those of one metric follow each other.
    pub async fn series(&self) -> Result<Vec<Series>, StoreError> {
        let mut all = Vec::new();
        self.each_series(|series| all.push(series)).await?;
        Ok(all)
    }

    /// The same one by one, so that no more than one of them is held.
    pub async fn each_series(&self, mut each: impl FnMut(Series)) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut current: Option<Series> = None;
        // One statement sees one state of the database, so that count and buckets agree; and none
        // leaves a transaction open when the caller goes away.
        query(
            "SELECT s.id, s.metric, s.attributes, s.started_ns, t.count, t.sum, t.opened_ns, d.retired_ns, \
             b.bucket, b.count, b.exemplar_value, b.exemplar_ns, b.exemplar_trace, b.exemplar_span \
             FROM series s JOIN totals t ON t.series_id = s.id \
             LEFT JOIN deployments d ON d.id = t.deployment_id \
             LEFT JOIN buckets b ON b.series_id = s.id \
             WHERE t.closed_ns IS NULL ORDER BY s.metric, s.id, b.bucket",
        )
        .fetch_each(&mut connection, |row| {
            let key = row.integer(0)?;
            if current.as_ref().is_none_or(|series| series.key != key) {
                let next = Series {
                    key,
                    metric: row.text(1)?,
                    attributes: row.text(2)?,
                    started: Timestamp(row.integer(3)?),
                    count: unsigned(row.integer(4)?),
                    sum: row.real(5)?,
                    buckets: Vec::new(),
                    opened: row.integer_or_null(6)?.is_some(),
                    retired: row.integer_or_null(7)?.is_some(),
                };
                if let Some(whole) = current.replace(next) {
                    each(whole);
                }
            }
            if let (Some(series), Some(index)) = (&mut current, row.integer_or_null(8)?) {
                series.buckets.push(bucket(index, &row)?);
            }
            Ok(())
        })
        .await?;
        if let Some(whole) = current {
            each(whole);
        }
        Ok(())
    }

    /// Counters of these metrics as they stand: metric, attributes, count. Their histograms' buckets
    /// are left alone, so this is cheap where [`Store::series`] is not.
    pub async fn counters(&self, metrics: &[&str]) -> Result<Vec<(String, String, u64)>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut counters = Vec::new();
        for metric in metrics {
            let rows = query(
                "SELECT s.attributes, t.count FROM series s JOIN totals t ON t.series_id = s.id \
                 WHERE s.metric = $1 AND t.closed_ns IS NULL ORDER BY s.id",
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

fn bucket(index: i64, row: &Row) -> Result<Bucket, sqlx::Error> {
    let trace = row.bytes_or_null(12)?.and_then(|b| TraceId::from_slice(&b));
    let span = row.bytes_or_null(13)?.and_then(|b| SpanId::from_slice(&b));
    let exemplar = match (row.real_or_null(10)?, row.integer_or_null(11)?, trace, span) {
        (Some(value), Some(at), Some(trace), Some(span)) => {
            Some(Exemplar { value, at: Timestamp(at), trace, span })
        }
        _ => None,
    };
    Ok(Bucket { index: usize::try_from(index).unwrap_or(0), count: unsigned(row.integer(9)?), exemplar })
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
