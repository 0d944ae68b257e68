//! One PostgreSQL server for all tests of this process, a database of its own for each.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::part;

/// A server that ends with this process, however it ends.
pub struct Postgres {
    dir: PathBuf,
    port: u16,
}

impl Postgres {
    /// The one for all tests; started at the first call.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::alone)
    }

    /// One for a test that stops it.
    pub fn alone() -> Self {
        const TRIES: usize = 5;
        let mut said = String::new();
        for _ in 0..TRIES {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
            let port = free.local_addr().expect("a bound socket has an address").port();
            drop(free);
            // Directly under the temporary folder: as root the script gives it to another user, who
            // must be able to enter every folder above it.
            let name = format!("cachetscope-postgres-{}-{port}", std::process::id());
            let server = Postgres { dir: std::env::temp_dir().join(name), port };
            match server.start() {
                Ok(()) => return server,
                Err(text) => said = text,
            }
            let _ = std::fs::remove_dir_all(&server.dir);
        }
        panic!("PostgreSQL did not start in {TRIES} tries: {said}");
    }

    /// As a crash would: without a word to its clients.
    pub fn stop(&self) {
        script("stop", &self.dir, &[]).unwrap_or_else(|said| panic!("PostgreSQL did not stop: {said}"));
    }

    /// With the same data, at the same port.
    pub fn start_again(&self) {
        self.start().unwrap_or_else(|said| panic!("PostgreSQL did not start again: {said}"));
    }

    fn start(&self) -> Result<(), String> {
        part("CACHETSCOPE_TEST_PG_BIN");
        script("start", &self.dir, &[self.port.to_string(), std::process::id().to_string()])
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its URL.
    pub async fn fresh_database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("the server answers");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .expect("a new database");
        connection.close().await.expect("a connection can be closed");
        self.url(&name)
    }
}

/// Runs `scripts/postgres.sh`; the error is what it said.
fn script(command: &str, dir: &Path, arguments: &[String]) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh");
    let output = Command::new(script)
        .arg(command)
        .arg(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("scripts/postgres.sh can be run");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
