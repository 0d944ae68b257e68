//! One running Cachet, and what is needed to talk to it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::event::TraceParent;
use super::version::Version;

/// The database system behind a deployment, by its OpenTelemetry `db.system.name` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    Sqlite,
    Mysql,
    Mariadb,
    Postgresql,
    SqlServer,
}

impl Flavour {
    pub const ALL: [Flavour; 5] =
        [Flavour::Sqlite, Flavour::Mysql, Flavour::Mariadb, Flavour::Postgresql, Flavour::SqlServer];

    /// The value of `db.system.name` (OpenTelemetry semantic conventions 1.44).
    pub fn as_str(self) -> &'static str {
        match self {
            Flavour::Sqlite => "sqlite",
            Flavour::Mysql => "mysql",
            Flavour::Mariadb => "mariadb",
            Flavour::Postgresql => "postgresql",
            Flavour::SqlServer => "microsoft.sql_server",
        }
    }
}

/// Reads the conventional value, or a name people use for it (`postgres`, `pgsql`, `sqlsrv`).
impl FromStr for Flavour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite3" => Flavour::Sqlite,
            "mysql" => Flavour::Mysql,
            "mariadb" => Flavour::Mariadb,
            "postgresql" | "postgres" | "pgsql" => Flavour::Postgresql,
            "microsoft.sql_server" | "sqlsrv" | "mssql" => Flavour::SqlServer,
            _ => {
                let known: Vec<_> = Flavour::ALL.iter().map(|f| f.as_str()).collect();
                return Err(format!("unknown database `{text}`; expected one of {}", known.join(", ")));
            }
        })
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Flavour {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Flavour {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A value that must never be shown: no `Display`, no `Serialize`, and a `Debug` that hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Surrounding white space is dropped: secret files usually end in a newline.
    pub fn new(value: &str) -> Self {
        Secret(value.trim().to_owned())
    }

    /// The value, to be put on the wire or masked out of a text, and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How a deployment's certificate is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of certificate authorities to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// Accept any certificate. Only by explicit choice, and shown wherever the deployment is.
    pub insecure: bool,
}

/// One running Cachet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Unique within the fleet.
    pub name: String,
    pub version: Version,
    pub db: Flavour,
    /// `deployment.environment.name`; `production` unless said otherwise.
    pub environment: String,
    /// Scheme, host, port and the path Cachet is served under; no credentials, query or fragment.
    pub url: Url,
    pub token: Option<Secret>,
    /// Whether requests that change something may run here.
    pub writes: bool,
    /// Deployments of one group share a machine and are visited one at a time; the host by default.
    pub host_group: String,
    pub tls: Tls,
    /// A DNS server to ask instead of the system's resolver.
    pub resolver: Option<SocketAddr>,
    /// Reuse one connection for the requests of a run; otherwise each one opens its own, as a new
    /// visitor would.
    pub keep_alive: bool,
    /// Image digest, when CI told us: the same version with another digest is another build.
    pub digest: Option<String>,
    /// Commit it was built from, when CI told us.
    pub commit: Option<String>,
    /// The span of the event that told of this deployment: its runs link to it.
    pub origin: Option<TraceParent>,
}

impl Deployment {
    /// The text that identifies a deployment's series and runs: all that a metric point about it
    /// is labelled with, and the build.
    pub fn key(&self) -> String {
        let digest = self.digest.as_deref().unwrap_or("");
        format!("{}|{}|{}|{}|{digest}", self.name, self.version, self.db, self.environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_hides_itself() {
        let secret = Secret::new("hunter2\n");
        assert_eq!(secret.reveal(), "hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn flavours_are_read_by_convention_and_by_habit() {
        assert_eq!("pgsql".parse(), Ok(Flavour::Postgresql));
        for flavour in Flavour::ALL {
            assert_eq!(flavour.as_str().parse(), Ok(flavour));
        }
        assert!("oracle".parse::<Flavour>().unwrap_err().contains("mariadb"));
    }
}
