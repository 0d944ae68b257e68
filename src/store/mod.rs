//! The store: facts, cumulative series and the outbox, in SQLite or PostgreSQL.
//!
//! Accepted means committed: [`Store::commit`] answers after the transaction is durable, and facts
//! and the telemetry that tells of them are in one transaction. One task writes; whatever waits
//! when it starts goes into one transaction (group commit), so that many producers share one sync
//! of the disk. Reading goes on beside it. A disk that is full or locked stops nothing: the writer
//! says so, keeps what it holds, and goes on when it can.

mod db;
mod events;
mod facts;
mod fleet;
mod lock;
mod outbox;
mod read;
mod retention;
mod series;
mod verdicts;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use db::{Pool, query};
pub use events::{EventFacts, Known, Recorded, Telemetry, event_key};
pub use facts::{Entry, Exemplar, Facts, Increment, Lane, deployment_key};
pub use fleet::DeploymentRow;
pub use outbox::{LaneStatus, Refused, Waiting};
pub use read::{FailureRow, RequestTimes, RunRow, SampleRow};
pub use retention::Retention;
pub use series::{Bucket, Series};
pub use verdicts::{VerdictsRow, VisitRow};
pub use writer::{Change, Health};

/// Facts and changes that wait for the writer at most; beyond it `submit` refuses, and counts.
const QUEUE_MAX: usize = 4_096;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to open the store {location}: {source}")]
    Open { location: String, source: sqlx::Error },
    #[error("failed to bring the store {location} to this version's schema: {source}")]
    Migrate { location: String, source: sqlx::migrate::MigrateError },
    #[error("the store {location} was written by a newer cachetscope; run that one, or name another store")]
    Newer { location: String },
    #[error("failed to use {path}: {source}; check that the folder exists and may be written to")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(
        "the store {path} is in use by another process{holder}; stop it, or name another folder with --state-dir"
    )]
    InUse { path: PathBuf, holder: String },
    /// Of a URL only the scheme: what follows may hold a password.
    #[error("`{0}` is not a store: expected a file, `sqlite:FILE` or `postgres://…`")]
    BadLocation(String),
    #[error("the queue of the store is full ({QUEUE_MAX} waiting)")]
    QueueFull,
    /// Facts are kept together or not at all, and which of their increments belong to the new runs
    /// cannot be told.
    #[error("{known} of {runs} runs handed in together are in the store already; hand in the new ones alone")]
    PartlyKnown { known: u64, runs: u64 },
    #[error("the store is closed")]
    Closed,
    #[error("the store failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    File(PathBuf),
    Postgres(String),
}

impl Location {
    /// `postgres://…`, `sqlite:FILE` or a file's path.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Location::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite://").or(text.strip_prefix("sqlite:")).unwrap_or(text);
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(StoreError::BadLocation(format!("{scheme}://…")));
        }
        // SQLite's name for a database in memory: each connection would get one of its own.
        if path.is_empty() || path == ":memory:" {
            return Err(StoreError::BadLocation(text.to_owned()));
        }
        Ok(Location::File(path.into()))
    }
}

/// Without the password of a database URL.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::File(path) => write!(f, "{}", path.display()),
            Location::Postgres(url) => match url::Url::parse(url) {
                Ok(url) => write!(f, "postgres://{}{}", url.host_str().unwrap_or("localhost"), url.path()),
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

/// As it is shown, without the password.
impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Location({self})")
    }
}

/// A handle to an open store; cheap to clone. The store stays open, and a SQLite file locked, until
/// [`Store::close`], or until what was queued is written after the last handle is gone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    id: Arc<str>,
    location: Arc<Location>,
    jobs: mpsc::Sender<writer::Job>,
    health: Arc<Health>,
    deliveries: Arc<outbox::Deliveries>,
    outbox_changed: watch::Receiver<()>,
    events_changed: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Opens the store, making file and schema where they are missing. A SQLite store is held
    /// alone: a second process gets [`StoreError::InUse`].
    pub async fn open(location: &Location, clock: &Clock) -> Result<Self, StoreError> {
        let opening = |source| StoreError::Open { location: location.to_string(), source };
        let (pool, lock) = match location {
            Location::File(path) => {
                let lock = lock::Lock::take(path)?;
                (Pool::sqlite(path).await.map_err(opening)?, Some(lock))
            }
            Location::Postgres(url) => (Pool::postgres(url).await.map_err(opening)?, None),
        };
        pool.migrate().await.map_err(|source| match source {
            sqlx::migrate::MigrateError::VersionMissing(_) => {
                StoreError::Newer { location: location.to_string() }
            }
            source => StoreError::Migrate { location: location.to_string(), source },
        })?;
        let id = identity(&pool, clock).await.map_err(opening)?;

        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let health = Arc::new(Health::default());
        let (changed, outbox_changed) = watch::channel(());
        let writer = writer::Writer {
            pool: pool.clone(),
            clock: clock.clone(),
            health: health.clone(),
            outbox_changed: changed,
            lock,
            connection: None,
            known_series: Default::default(),
        };
        tokio::spawn(writer.run(queue));
        Ok(Store {
            pool,
            id: id.into(),
            location: location.clone().into(),
            jobs,
            health,
            deliveries: Arc::default(),
            outbox_changed,
            events_changed: Arc::new(watch::Sender::new(0)),
        })
    }

    /// The UUID drawn when the store was made: `service.instance.id` of all fleet telemetry.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    /// How the writer fares.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Changes whenever something new waits in the outbox.
    pub fn outbox_changed(&self) -> watch::Receiver<()> {
        self.outbox_changed.clone()
    }

    /// Returns when the facts are durable. Runs that are there already are left as they are, with
    /// everything that came with them.
    pub async fn commit(&self, facts: Facts) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let job = writer::Job::Facts(facts, Some(done));
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Hands facts over without waiting, for a probe that must not wait for the store. When the
    /// queue is full they are dropped and counted in [`Health`].
    pub fn submit(&self, facts: Facts) -> Result<(), StoreError> {
        let runs = facts.runs.len() as u64;
        self.jobs.try_send(writer::Job::Facts(facts, None)).map_err(|error| {
            self.health.count_dropped(runs);
            match error {
                mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            }
        })
    }

    /// Puts events into the queue; the answer comes when they are durable.
    fn hand_in(&self, events: Vec<EventFacts>) -> Result<writer::Pending<Vec<Recorded>>, StoreError> {
        let (done, answer) = oneshot::channel();
        self.jobs.try_send(writer::Job::Events(events, done)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        Ok(answer)
    }

    /// Returns when everything that was handed over before is written.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.commit(Facts::default()).await
    }

    /// Applies one change; returns how many rows, or items of telemetry, it touched.
    pub async fn change(&self, change: Change) -> Result<u64, StoreError> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(writer::Job::Change(change, done)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes what waits, however long the disk refuses, then closes the files. Other handles answer
    /// [`StoreError::Closed`]. Whoever stops waiting and drops this last handle gives up what waits.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(writer::Job::Close(done)).await.is_ok() {
            // An error means that the writer is gone already, which is what was asked for.
            let _ = closed.await;
        }
    }
}

/// The store's UUID, drawn at its first opening.
async fn identity(pool: &Pool, clock: &Clock) -> Result<String, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let read = "SELECT id FROM store";
    if let Some(row) = query(read).fetch(&mut connection).await?.first() {
        return row.text(0);
    }
    let id = uuid::Uuid::new_v4().to_string();
    query(
        "INSERT INTO store (only_row, id, created_ns) VALUES (1, $1, $2) ON CONFLICT (only_row) DO NOTHING",
    )
    .bind(id)
    .bind(clock.now().0)
    .execute(&mut connection)
    .await?;
    let rows = query(read).fetch(&mut connection).await?;
    rows.first().ok_or(sqlx::Error::RowNotFound)?.text(0)
}

/// The file of the embedded store within a state folder.
pub fn default_file(state_dir: &Path) -> PathBuf {
    state_dir.join("cachetscope.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_files_or_postgres_urls() {
        let file = |text| Location::parse(text).unwrap();
        for text in ["state/x.db", "sqlite:state/x.db", "sqlite://state/x.db"] {
            assert_eq!(file(text), Location::File("state/x.db".into()));
        }
        assert_eq!(file("sqlite:///var/x.db"), Location::File("/var/x.db".into()));
        assert!(matches!(file("postgresql://h/d"), Location::Postgres(_)));
    }

    #[test]
    fn what_is_no_location_is_named_without_its_password() {
        for text in ["", "sqlite:", ":memory:", "mysql://root:hunter2@h/d"] {
            let words = Location::parse(text).unwrap_err().to_string();
            assert!(words.contains("expected a file, `sqlite:FILE` or `postgres://…`"), "{words}");
            assert!(!words.contains("hunter2"), "{words}");
        }
    }

    #[test]
    fn a_location_hides_the_password_of_its_url() {
        let location = Location::parse("postgres://me:hunter2@db.example:5433/fleet?sslkey=x").unwrap();
        assert_eq!(location.to_string(), "postgres://db.example/fleet");
        assert_eq!(format!("{location:?}"), "Location(postgres://db.example/fleet)");
    }
}
