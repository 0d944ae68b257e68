//! Who is compared with whom: deployments that are judged, each with the one it is judged against.

use std::str::FromStr;
use std::sync::Arc;

use crate::model::{Deployment, Version};

/// Names that one message lists at most.
const LISTED_MAX: usize = 20;

/// Against which version deployments are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The greatest below their own.
    Previous,
    /// This one, as it was typed.
    Version(String),
}

impl FromStr for Baseline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("expected `previous`, or a version".to_owned()),
            "previous" => Ok(Baseline::Previous),
            version => Ok(Baseline::Version(version.to_owned())),
        }
    }
}

/// Deployments, and which of them are compared.
#[derive(Clone, Debug, Default)]
pub struct Pairing {
    /// Those that are judged come first.
    pub fleet: Vec<Arc<Deployment>>,
    /// How many are judged.
    pub judged: usize,
    /// A judged one and the one it is judged against, by their places in the fleet.
    pub pairs: Vec<(usize, usize)>,
}

impl Pairing {
    pub fn judged(&self) -> &[Arc<Deployment>] {
        &self.fleet[..self.judged]
    }

    /// Judged deployments for which nothing to compare with was found.
    pub fn alone(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        let paired = |at: usize| self.pairs.iter().any(|(later, _)| *later == at);
        self.judged().iter().enumerate().filter(move |(at, _)| !paired(*at)).map(|(_, deployment)| deployment)
    }

    /// Those that take part in a comparison, in the order of the fleet.
    pub fn compared(&self) -> Vec<Arc<Deployment>> {
        let takes_part =
            |at: usize| self.pairs.iter().any(|(later, earlier)| [*later, *earlier].contains(&at));
        let all = self.fleet.iter().enumerate();
        all.filter(|(at, _)| takes_part(*at)).map(|(_, deployment)| deployment.clone()).collect()
    }
}

impl Baseline {
    /// Finds for each judged deployment what it is judged against: on the same flavour, in the same
    /// environment, the first by name of several. An error where nobody could be meant.
    pub fn pair(&self, judged: Vec<Arc<Deployment>>, known: &[Arc<Deployment>]) -> Result<Pairing, String> {
        if known.is_empty() {
            return Err("there is nothing to compare with: a baseline is one of the deployments that \
                        probes/fleet.yaml lists"
                .to_owned());
        }
        if let Baseline::Version(text) = self
            && !known.iter().any(|deployment| is_version(deployment, text))
        {
            let meant = strsim::jaro_winkler(text, "previous") > 0.8;
            let hint = if meant { " (did you mean `previous`?)" } else { "" };
            return Err(format!("no deployment has version {text}{hint}; there are {}", listed(known)));
        }
        let mut pairing = Pairing { judged: judged.len(), fleet: judged, pairs: Vec::new() };
        for later in 0..pairing.judged {
            let Some(found) = self.find(&pairing.fleet[later], known) else { continue };
            let place = pairing.fleet.iter().position(|deployment| deployment.name == found.name);
            let earlier = place.unwrap_or_else(|| {
                pairing.fleet.push(found.clone());
                pairing.fleet.len() - 1
            });
            pairing.pairs.push((later, earlier));
        }
        Ok(pairing)
    }

    fn find<'a>(&self, judged: &Deployment, known: &'a [Arc<Deployment>]) -> Option<&'a Arc<Deployment>> {
        let beside = known.iter().filter(|other| {
            other.db == judged.db && other.environment == judged.environment && other.name != judged.name
        });
        let fits = |other: &&Arc<Deployment>| match self {
            Baseline::Previous => other.version < judged.version,
            Baseline::Version(text) => is_version(other, text) && other.version != judged.version,
        };
        let order = |a: &Arc<Deployment>, b: &Arc<Deployment>| {
            a.version.cmp(&b.version).then_with(|| b.name.cmp(&a.name))
        };
        beside.filter(fits).max_by(|a, b| order(a, b))
    }

    /// Why a judged deployment has no baseline, with what there is.
    pub fn missing(&self, alone: &Deployment, known: &[Arc<Deployment>]) -> String {
        let wanted = match self {
            Baseline::Previous => format!("no version below {}", alone.version),
            Baseline::Version(text) => format!("no deployment of version {text}"),
        };
        let others: Vec<_> = known.iter().filter(|other| other.name != alone.name).cloned().collect();
        format!(
            "{} has no baseline: there is {wanted} on {} in environment {}; there are {}",
            alone.name,
            alone.db,
            alone.environment,
            listed(&others)
        )
    }
}

/// Those of the highest version of each environment: what a gate judges unless deployments are named,
/// since what was released long ago cannot be held back any more.
pub fn latest(fleet: &[Arc<Deployment>]) -> Vec<Arc<Deployment>> {
    let is_latest = |deployment: &&Arc<Deployment>| {
        let beside = fleet.iter().filter(|other| other.environment == deployment.environment);
        beside.map(|other| &other.version).max() == Some(&deployment.version)
    };
    fleet.iter().filter(is_latest).cloned().collect()
}

fn is_version(deployment: &Deployment, text: &str) -> bool {
    let parsed = Version::parse(text);
    deployment.version.as_str() == text || parsed.is_some_and(|version| deployment.version == version)
}

fn listed(fleet: &[Arc<Deployment>]) -> String {
    if fleet.is_empty() {
        return "no others".to_owned();
    }
    let of = |d: &Arc<Deployment>| format!("{} ({} on {}, {})", d.name, d.version, d.db, d.environment);
    let names: Vec<String> = fleet.iter().take(LISTED_MAX).map(of).collect();
    let more = fleet.len().saturating_sub(LISTED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Flavour;

    fn deployment(name: &str, version: &str, db: Flavour) -> Arc<Deployment> {
        let mut deployment = crate::otlp::fixture::deployment("http://127.0.0.1:1");
        let one = Arc::make_mut(&mut deployment);
        (one.name, one.db) = (name.to_owned(), db);
        one.version = Version::parse(version).unwrap();
        one.environment = "production".to_owned();
        deployment
    }

    fn fleet() -> Vec<Arc<Deployment>> {
        use Flavour::{Mysql, Sqlite};
        vec![
            deployment("old-mysql", "2.4.1", Mysql),
            deployment("mid-mysql-b", "3.0.0-dev.1", Mysql),
            deployment("mid-mysql-a", "3.0.0-dev.1", Mysql),
            deployment("new-mysql", "3.0.0", Mysql),
            deployment("new-sqlite", "v3.0.0", Sqlite),
        ]
    }

    fn names(pairing: &Pairing) -> Vec<(&str, &str)> {
        let name = |at: usize| pairing.fleet[at].name.as_str();
        pairing.pairs.iter().map(|(later, earlier)| (name(*later), name(*earlier))).collect()
    }

    #[test]
    fn the_previous_version_is_the_greatest_below_on_the_same_flavour() {
        let fleet = fleet();
        let pairing = Baseline::Previous.pair(latest(&fleet), &fleet).unwrap();
        assert_eq!(names(&pairing), [("new-mysql", "mid-mysql-a")]);
        assert_eq!(pairing.alone().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["new-sqlite"]);
        assert_eq!(pairing.fleet.len(), 3);
        let why = Baseline::Previous.missing(pairing.alone().next().unwrap(), &fleet);
        assert!(why.contains("no version below 3.0.0 on sqlite in environment production"), "{why}");
        // A baseline may be judged itself.
        let pairing = Baseline::Previous.pair(fleet.clone(), &fleet).unwrap();
        assert_eq!(
            names(&pairing),
            [("mid-mysql-b", "old-mysql"), ("mid-mysql-a", "old-mysql"), ("new-mysql", "mid-mysql-a")]
        );
        assert_eq!(pairing.fleet.len(), 5);
    }

    #[test]
    fn a_version_that_nobody_has_is_a_mistake_and_one_elsewhere_is_none() {
        let fleet = fleet();
        let with = |text: &str| Baseline::Version(text.to_owned()).pair(latest(&fleet), &fleet);
        assert_eq!(names(&with("v2.4.1").unwrap()), [("new-mysql", "old-mysql")]);
        assert!(
            with("2.4.2").unwrap_err().contains("no deployment has version 2.4.2; there are old-mysql (2.4")
        );
        assert!(
            with("prevous").unwrap_err().contains("version prevous (did you mean `previous`?); there are")
        );
        assert!(Baseline::Previous.pair(fleet, &[]).unwrap_err().contains("nothing to compare with"));
    }
}
