//! Where a test's store lives: a SQLite file or a PostgreSQL database of its own.

use std::path::PathBuf;

use cachetscope::clock::Clock;
use cachetscope::store::{Change, Lane, Location, Store, StoreError};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use super::facts::START;
use super::postgres::Postgres;

/// Outlives the stores opened in it.
pub struct Home {
    pub location: Location,
    pub clock: Clock,
    _dir: Option<tempfile::TempDir>,
}

impl Home {
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let location = Location::File(dir.path().join("store.db"));
        Home { location, clock: Clock::manual(START), _dir: Some(dir) }
    }

    pub async fn postgres() -> Self {
        Self::postgres_at(Postgres::shared().fresh_database().await)
    }

    pub fn postgres_at(url: String) -> Self {
        Home { location: Location::Postgres(url), clock: Clock::manual(START), _dir: None }
    }

    /// A store in a file that somebody else looks after.
    pub fn file(path: PathBuf) -> Self {
        Home { location: Location::File(path), clock: Clock::manual(START), _dir: None }
    }

    pub async fn open(&self) -> Store {
        self.try_open().await.expect("the store opens")
    }

    pub async fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(&self.location, &self.clock).await
    }

    /// Closes the only handle and opens the store again.
    pub async fn reopen(&self, store: Store) -> Store {
        store.close().await;
        self.open().await
    }

    pub async fn sqlite_connection(&self) -> SqliteConnection {
        let Location::File(path) = &self.location else { panic!("this store is no file") };
        let url = format!("sqlite:{}", path.display());
        SqliteConnection::connect(&url).await.expect("the file opens")
    }

    pub async fn postgres_connection(&self) -> PgConnection {
        let Location::Postgres(url) = &self.location else { panic!("this store is a file") };
        PgConnection::connect(url).await.expect("the server answers")
    }

    /// One statement past the store.
    pub async fn execute(&self, sql: &str) {
        match &self.location {
            Location::File(_) => {
                let mut connection = self.sqlite_connection().await;
                sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
                connection.close().await.expect("a connection can be closed");
            }
            Location::Postgres(_) => {
                let mut connection = self.postgres_connection().await;
                sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
                connection.close().await.expect("a connection can be closed");
            }
        }
    }

    /// What a query of 64-bit integers says, read past the store: for what it offers no words for.
    pub async fn numbers(&self, sql: &str) -> Vec<Vec<Option<i64>>> {
        macro_rules! fetch {
            ($connection:expr) => {{
                let mut connection = $connection;
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect(sql);
                let numbers = |row| (0..Row::len(row)).map(|column| Row::get(row, column)).collect();
                let numbers = rows.iter().map(numbers).collect();
                connection.close().await.expect("a connection can be closed");
                numbers
            }};
        }
        match &self.location {
            Location::File(_) => fetch!(self.sqlite_connection().await),
            Location::Postgres(_) => fetch!(self.postgres_connection().await),
        }
    }

    /// One number that a query says.
    pub async fn number(&self, sql: &str) -> i64 {
        self.numbers(sql).await[0][0].expect("a number")
    }
}

/// The bodies of everything that waits in a lane, in order; what was read is marked as delivered.
pub async fn drain(store: &Store, lane: Lane) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    loop {
        let waiting = store.outbox_next(lane, 1 << 20).await.expect("the outbox can be read");
        if waiting.is_empty() {
            return bodies;
        }
        let ids = waiting.iter().map(|w| w.id).collect();
        bodies.extend(waiting.into_iter().map(|w| w.body));
        store.change(Change::Delivered(ids)).await.expect("rows can be marked as delivered");
    }
}

/// The bodies of what waits in a lane, left where it is; at most 256 rows.
pub async fn waiting(store: &Store, lane: Lane) -> Vec<Vec<u8>> {
    let rows = store.outbox_next(lane, usize::MAX).await.expect("the outbox can be read");
    rows.into_iter().map(|w| w.body).collect()
}
