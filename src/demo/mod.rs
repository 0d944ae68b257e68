//! A fleet to look at: stand-in Cachet deployments in this process, for `demo` and for tests.
//!
//! They are no Cachet and say so (`Server: cachetscope-stand-in`, environment `demo`); they answer
//! with the shapes of real ones over real loopback connections. Nine of them: 2.4.1 and two builds
//! of 3.x, each on SQLite, MariaDB and PostgreSQL. What there is to find:
//!
//! - The list of components takes half as long again on MariaDB in the newest build, and nowhere else.
//! - 2.4.1 on PostgreSQL is in trouble for 40 s from the start, and once in every five minutes
//!   after that: `incidents` fail with 500, `metrics` take 700 ms longer.
//!
//! The same seed gives the same latencies and the same moments of trouble. Whoever runs the demo decides
//! what is asked of the fleet, and when. What CI tells of it is in [`ci`].

mod api;
pub mod ci;
mod data;
mod standin;
mod v2;
mod v3;
mod weather;

use std::io;
use std::time::Duration;

pub use data::Resource;
pub use standin::{Fault, Generation, Kind, Seen, StandIn};
pub use weather::{Trouble, Weather};

use crate::clock::Clock;
use crate::model::{Deployment, Flavour, Tls, Version};

/// `deployment.environment.name` of every stand-in.
pub const ENVIRONMENT: &str = "demo";

const OLDEST: &str = "2.4.1";
const PREVIOUS: &str = "3.0.0-dev.202508181200";
const NEWEST: &str = "3.0.0-dev.202608221030";
/// The names of deployments go by these, since the two builds of 3.x share a number.
const VERSIONS: [(&str, &str); 3] = [("2.4", OLDEST), ("3.0-202508", PREVIOUS), ("3.0-202608", NEWEST)];
const FLAVOURS: [Flavour; 3] = [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql];

/// A stand-in could not listen.
#[derive(Debug, thiserror::Error)]
#[error("start the stand-in `{name}` on a loopback port: {source}")]
pub struct StartError {
    pub name: String,
    pub source: io::Error,
}

/// Running stand-ins, and the deployments that they are; they run until it is dropped.
#[derive(Debug)]
pub struct Fleet {
    stand_ins: Vec<StandIn>,
    deployments: Vec<Deployment>,
}

impl Fleet {
    pub fn deployments(&self) -> &[Deployment] {
        &self.deployments
    }

    /// In the order of the deployments.
    pub fn stand_ins(&self) -> &[StandIn] {
        &self.stand_ins
    }

    /// Waits until the last connection has ended.
    pub async fn shutdown(self) {
        for stand_in in self.stand_ins {
            stand_in.shutdown().await;
        }
    }
}

/// Starts the nine stand-ins described above. Names are like `cachet-3.0-202608-mariadb`; they
/// share one host group, as they share a machine, and writes are allowed.
pub async fn start_fleet(seed: u64, clock: &Clock) -> Result<Fleet, StartError> {
    let mut fleet = Fleet { stand_ins: Vec::new(), deployments: Vec::new() };
    for (short, version) in VERSIONS {
        for flavour in FLAVOURS {
            let name = format!("cachet-{short}-{flavour}");
            let version = Version::parse(version).expect("the versions above are semantic");
            let kind = Kind {
                weather: weather(&version, flavour, seed),
                // A real one allows 300; here verdicts are to come within minutes.
                requests_per_minute_max: Some(60_000),
                clock: clock.clone(),
                ..Kind::new(version.clone(), flavour)
            };
            let stand_in =
                StandIn::start(kind).await.map_err(|source| StartError { name: name.clone(), source })?;
            let mut deployment = deployment(name, version, flavour, &stand_in);
            ci::complete(&mut deployment);
            fleet.deployments.push(deployment);
            fleet.stand_ins.push(stand_in);
        }
    }
    Ok(fleet)
}

fn weather(version: &Version, flavour: Flavour, seed: u64) -> Weather {
    let usual = Weather::usual(seed);
    match (version.as_str(), flavour) {
        (NEWEST, Flavour::Mariadb) => usual.with_slower(Resource::Components, 1.5),
        (OLDEST, Flavour::Postgresql) => usual
            .with_trouble(Resource::Incidents, Trouble::ServerError)
            .with_trouble(Resource::Metrics, Trouble::Slow(Duration::from_millis(700))),
        _ => usual,
    }
}

fn deployment(name: String, version: Version, db: Flavour, stand_in: &StandIn) -> Deployment {
    let url = stand_in.url();
    Deployment {
        name,
        version,
        db,
        environment: ENVIRONMENT.to_owned(),
        host_group: url.host_str().unwrap_or_default().to_owned(),
        url,
        token: Some(stand_in.token()),
        writes: true,
        tls: Tls::default(),
        resolver: None,
        keep_alive: false,
        digest: None,
        commit: None,
        origin: None,
    }
}
