//! One PostgreSQL server for all tests of this process, a database of its own for each.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::part;

/// A server that ends with this process, however it ends.
pub struct Postgres {
    port: u16,
}

impl Postgres {
    /// Starts the server at the first call.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            const TRIES: usize = 5;
            let mut said = String::new();
            for _ in 0..TRIES {
                match start() {
                    Ok(port) => return Postgres { port },
                    Err(text) => said = text,
                }
            }
            panic!("PostgreSQL did not start in {TRIES} tries: {said}");
        })
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

/// The port, or what the script said.
fn start() -> Result<u16, String> {
    part("CACHETSCOPE_TEST_PG_BIN");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    let port = free.local_addr().expect("a bound socket has an address").port();
    drop(free);
    let pid = std::process::id();
    // Directly under the temporary folder: as root the script gives it to another user, who must
    // be able to enter every folder above it.
    let dir = std::env::temp_dir().join(format!("cachetscope-postgres-{pid}-{port}"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh");
    let output = Command::new(script)
        .arg("start")
        .arg(&dir)
        .args([port.to_string(), pid.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("scripts/postgres.sh can be run");
    if output.status.success() {
        return Ok(port);
    }
    let _ = std::fs::remove_dir_all(&dir);
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
