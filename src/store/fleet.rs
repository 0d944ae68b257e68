//! Deployments as the store knows them: every build that was ever seen, and which of them live.

use super::db::{Connection, insert_many, query};
use super::{Store, StoreError, deployment_key};
use crate::clock::Timestamp;
use crate::model::{Deployment, Flavour, Version};

/// A build of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRow {
    pub key: i64,
    pub name: String,
    pub version: Version,
    pub db: Flavour,
    pub environment: String,
    pub digest: String,
    pub url: String,
    /// What it said its version is when it was asked; empty until it answered.
    pub reported: String,
    pub retired: Option<Timestamp>,
}

impl From<&Deployment> for DeploymentRow {
    fn from(d: &Deployment) -> Self {
        DeploymentRow {
            key: deployment_key(d),
            name: d.name.clone(),
            version: d.version.clone(),
            db: d.db,
            environment: d.environment.clone(),
            digest: d.digest.clone().unwrap_or_default(),
            url: d.url.to_string(),
            reported: String::new(),
            retired: None,
        }
    }
}

pub(super) async fn replace(
    connection: &mut Connection,
    deployments: &[DeploymentRow],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    query("UPDATE deployments SET retired_ns = $1 WHERE retired_ns IS NULL")
        .bind(at.0)
        .execute(connection)
        .await?;
    let rows = deployments.iter().map(|d| {
        vec![
            d.key.into(),
            d.name.clone().into(),
            d.version.as_str().into(),
            d.version.order_text().into(),
            d.db.as_str().into(),
            d.environment.clone().into(),
            d.digest.clone().into(),
            d.url.clone().into(),
            at.0.into(),
        ]
    });
    for statement in insert_many(
        "INSERT INTO deployments (id, name, version, version_order, db, environment, digest, url, first_seen_ns)",
        rows,
        "ON CONFLICT (id) DO UPDATE SET retired_ns = NULL, url = excluded.url, version_order = excluded.version_order",
    ) {
        statement.execute(connection).await?;
    }
    Ok(deployments.len() as u64)
}

/// Keeps what a deployment says of its version.
pub(super) async fn report(connection: &mut Connection, key: i64, version: &str) -> Result<u64, sqlx::Error> {
    query("UPDATE deployments SET reported = $1 WHERE id = $2 AND reported <> $1")
        .bind(version)
        .bind(key)
        .execute(connection)
        .await
}

impl Store {
    /// Every build that was ever seen, the living first, newest version first.
    pub async fn deployments(&self) -> Result<Vec<DeploymentRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query(
            "SELECT id, name, version, version_order, db, environment, digest, url, reported, retired_ns FROM deployments",
        )
        .fetch(&mut connection)
        .await?;
        let mut deployments = Vec::with_capacity(rows.len());
        for row in rows {
            // Both are written only from parsed values; a row that does not parse was written by
            // a newer program, and is left out rather than guessed at.
            let version = Version::from_stored(&row.text(2)?, &row.text(3)?);
            let (Some(version), Ok(db)) = (version, row.text(4)?.parse()) else { continue };
            deployments.push(DeploymentRow {
                key: row.integer(0)?,
                name: row.text(1)?,
                version,
                db,
                environment: row.text(5)?,
                digest: row.text(6)?,
                url: row.text(7)?,
                reported: row.text(8)?,
                retired: row.integer_or_null(9)?.map(Timestamp),
            });
        }
        deployments.sort_by(|a, b| {
            let order = |d: &DeploymentRow| (d.retired.is_some(), std::cmp::Reverse(d.version.clone()), d.db);
            order(a).cmp(&order(b)).then_with(|| a.name.cmp(&b.name))
        });
        Ok(deployments)
    }
}
