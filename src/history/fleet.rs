//! Which deployments there are, as far as deploy events tell: a fold over them.
//!
//! By name, the last one that succeeded counts. One that failed changes nothing here: what ran
//! before may still run. Order is that of the ends, whatever the order of arrival.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use url::Url;

use crate::clock::Timestamp;
use crate::model::{CiResult, Deployment, EventRow, Flavour, Tls, TraceParent, Version};

/// What the last successful deploy event of a name says.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    pub name: String,
    pub version: Version,
    pub db: Flavour,
    pub environment: String,
    /// Without query and fragment. Where the event has none: that of the deploy before it.
    pub url: Option<Url>,
    pub digest: Option<String>,
    pub commit: Option<String>,
    /// The event's span.
    pub origin: TraceParent,
    /// When the deploy ended.
    pub at: Timestamp,
}

/// What all deploy events come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    /// By name.
    pub registered: Vec<Registered>,
    /// Names whose last word was that they are gone, and when that was.
    pub removed: BTreeMap<String, Timestamp>,
}

impl Registered {
    /// As it is probed: by default, without a token and without writes. `None` without a URL.
    pub fn deployment(&self) -> Option<Deployment> {
        let url = self.url.clone()?;
        Some(Deployment {
            name: self.name.clone(),
            version: self.version.clone(),
            db: self.db,
            environment: self.environment.clone(),
            token: None,
            writes: false,
            host_group: url.host_str().unwrap_or_default().to_owned(),
            url,
            tls: Tls::default(),
            resolver: None,
            keep_alive: false,
            digest: self.digest.clone(),
            commit: self.commit.clone(),
            origin: Some(self.origin),
        })
    }
}

/// Where something answers, however its URL is written: without query, fragment and last slash.
pub fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// The fleet that these events tell of, in whatever order they are given.
pub fn fleet(deploys: &[EventRow]) -> Fleet {
    let mut told: Vec<(Timestamp, &EventRow)> = deploys
        .iter()
        .filter(|row| row.event.deploy.is_some() && row.event.result == Some(CiResult::Success))
        .filter_map(|row| Some((row.event.finished?, row)))
        .collect();
    told.sort_by_key(|(finished, row)| (*finished, row.received, row.key));
    let mut registered: BTreeMap<String, Registered> = BTreeMap::new();
    let mut removed = BTreeMap::new();
    for (at, row) in told {
        let event = &row.event;
        let (Some(deploy), Some(name)) = (&event.deploy, event.deployment_name()) else { continue };
        if !deploy.action.is_deploy() {
            // A removal that names another build is of one that was replaced before.
            let known = registered.get(&name);
            let another = known.is_some_and(|known| {
                event.version.as_ref().is_some_and(|version| *version != known.version)
                    || matches!((&event.digest, &known.digest), (Some(a), Some(b)) if a != b)
            });
            if !another {
                registered.remove(&name);
                removed.insert(name, at);
            }
            continue;
        }
        let (Some(version), Some(db)) = (event.version.clone(), event.db) else { continue };
        let url = deploy.url.clone().map(|mut url| {
            url.set_query(None);
            url.set_fragment(None);
            url
        });
        let url = url.or_else(|| registered.get(&name)?.url.clone());
        if let Some(url) = &url {
            // One place holds one deployment: what was there before is gone.
            let here = place(url);
            registered.retain(|_, other| other.url.as_ref().is_none_or(|url| place(url) != here));
        }
        removed.remove(&name);
        let digest = event.digest.clone();
        let commit = event.commit.clone();
        let environment = event.environment().to_owned();
        let origin = event.as_parent();
        registered.insert(
            name.clone(),
            Registered { name, version, db, environment, url, digest, commit, origin, at },
        );
    }
    Fleet { registered: registered.into_values().collect(), removed }
}

impl Fleet {
    /// The last word about this name, or about this place.
    pub fn about(&self, name: &str, url: &Url) -> Option<&Registered> {
        let named = self.registered.iter().find(|told| told.name == name);
        named.or_else(|| self.at(url))
    }

    /// What answers here.
    pub fn at(&self, url: &Url) -> Option<&Registered> {
        let here = place(url);
        let there = |told: &&Registered| told.url.as_ref().is_some_and(|url| place(url) == here);
        self.registered.iter().filter(there).min_by_key(|told| Reverse(told.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Deploy, Event};

    const A: &str = "http://a.ci.example/";

    /// A deploy that ended at a minute.
    fn deploy(minute: i64, version: &str, url: Option<&str>) -> EventRow {
        let mut event = Event::new("jenkins", "deploy", &minute.to_string());
        event.step = Some("deploy".to_owned());
        event.version = Version::parse(version);
        event.db = Some(Flavour::Mysql);
        event.deploy = Some(Deploy { url: url.map(|url| url.parse().unwrap()), ..Deploy::default() });
        event.finished = Some(Timestamp(minute * 60_000_000_000));
        event.result = Some(CiResult::Success);
        let at = event.finished.unwrap();
        EventRow { key: minute, started: at, received: at, event }
    }

    fn named(mut row: EventRow, name: &str) -> EventRow {
        row.event.deployment = Some(name.to_owned());
        row
    }

    fn removal(minute: i64, name: &str) -> EventRow {
        let mut row = named(deploy(minute, "2.4.1", None), name);
        row.event.version = None;
        row.event.deploy.as_mut().unwrap().action = Action::Remove;
        row
    }

    /// Name, version and place of what is registered.
    fn shown(rows: &[EventRow]) -> Vec<String> {
        let mut backwards = rows.to_vec();
        backwards.reverse();
        let told = fleet(rows);
        assert_eq!(told, fleet(&backwards), "the order of arrival changes nothing");
        let url = |told: &Registered| told.url.as_ref().map(Url::to_string).unwrap_or_default();
        told.registered.iter().map(|t| format!("{} {} {}", t.name, t.version, url(t))).collect()
    }

    #[test]
    fn the_last_success_of_a_name_counts() {
        let old = named(deploy(1, "2.4.0", Some(A)), "live");
        let new = named(deploy(2, "2.4.1", Some(A)), "live");
        let mut failed = named(deploy(3, "2.5.0", Some(A)), "live");
        failed.event.result = Some(CiResult::Failure);
        let mut under_way = named(deploy(4, "2.5.0", Some(A)), "live");
        (under_way.event.finished, under_way.event.result) = (None, None);
        assert_eq!(shown(&[old, new, failed, under_way]), [format!("live 2.4.1 {A}")]);
    }

    #[test]
    fn another_name_at_the_same_place_replaces() {
        let old = deploy(1, "2.4.0", Some("http://a.ci.example"));
        let new = deploy(2, "2.4.1", Some("http://A.ci.example:80/?x#y"));
        let beside = deploy(3, "2.3.18", Some("http://a.ci.example/old/"));
        assert_eq!(
            shown(&[old, new, beside]),
            [
                "cachet-2.3.18-mysql 2.3.18 http://a.ci.example/old/".to_owned(),
                format!("cachet-2.4.1-mysql 2.4.1 {A}")
            ]
        );
    }

    #[test]
    fn a_removal_retires_and_a_later_deploy_brings_back() {
        let there = named(deploy(1, "2.4.1", Some(A)), "live");
        assert_eq!(shown(&[there.clone(), removal(2, "live")]), [""; 0]);
        assert_eq!(fleet(&[there.clone(), removal(2, "live")]).removed.len(), 1);
        let back = named(deploy(3, "2.4.1", Some(A)), "live");
        assert_eq!(shown(&[there.clone(), removal(2, "live"), back.clone()]).len(), 1);
        assert_eq!(fleet(&[there, removal(2, "live"), back]).removed.len(), 0);
    }

    #[test]
    fn a_removal_of_the_build_before_leaves_the_new_one() {
        let new = named(deploy(2, "2.4.1", Some(A)), "live");
        let mut old = removal(3, "live");
        old.event.version = Version::parse("2.4.0");
        assert_eq!(shown(&[new, old]).len(), 1);
    }

    #[test]
    fn a_deploy_without_a_url_is_where_the_one_before_was() {
        let first = named(deploy(1, "2.4.0", Some(A)), "live");
        let second = named(deploy(2, "2.4.1", None), "live");
        assert_eq!(shown(&[first, second.clone()]), [format!("live 2.4.1 {A}")]);
        assert_eq!(fleet(&[second]).registered[0].deployment(), None);
    }

    #[test]
    fn the_same_version_with_a_new_digest_is_a_new_build() {
        let build = |minute, digest: &str| {
            let mut row = named(deploy(minute, "2.4.1", Some(A)), "live");
            row.event.digest = Some(digest.to_owned());
            row
        };
        let of = |rows: &[EventRow]| fleet(rows).registered[0].deployment().unwrap();
        let (first, second) =
            (of(&[build(1, "sha256:1")]), of(&[build(1, "sha256:1"), build(2, "sha256:2")]));
        assert_ne!(first.key(), second.key());
        assert_ne!(first.origin, second.origin);
        assert!(!second.writes && second.token.is_none());
        assert_eq!(second.host_group, "a.ci.example");
    }
}
