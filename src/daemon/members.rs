//! Who belongs to the fleet: what the file lists, what was discovered, and what deploy events
//! registered. Pure.
//!
//! The file is believed; then what is discovered, since that is there; then events. Who agrees with
//! the one that is believed adds what it alone knows (digest, commit, the span to link to); who
//! contradicts it is told, and changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::discover::{Found, Target};
use crate::history::{Fleet, Registered, place};
use crate::model::{Deployment, Flavour, Version};

/// Deployments that events may bring into the fleet; of more, the newest.
const REGISTERED_MAX: usize = 500;
/// Notices at most; a last one counts the rest.
const NOTICES_MAX: usize = 20;
/// Bytes of a name, a version or an environment that a label and a path can bear.
const TEXT_MAX: usize = 100;

/// The fleet, and what a person should know about it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Members {
    pub deployments: Vec<Arc<Deployment>>,
    pub notices: Vec<String>,
}

pub(super) fn join(config: &Config, found: &Found, told: &Fleet) -> Members {
    let mut notices = found.notices.clone();
    let mut deployments: Vec<Arc<Deployment>> = Vec::new();
    for listed in &config.fleet {
        let listed = match found.targets.iter().find(|target| is_about(&target.deployment, listed)) {
            Some(target) => with_target(listed, target, &mut notices),
            None => listed.clone(),
        };
        deployments.push(match told.about(&listed.name, &listed.url) {
            Some(event) if agrees(&listed, event) => completed(&listed, event),
            Some(event) => {
                notices.push(contradiction(FILE, &listed, &Claim::of(event)));
                listed
            }
            None => {
                if let Some(at) = told.removed.get(&listed.name) {
                    let name = &listed.name;
                    let at = minute(*at);
                    notices.push(format!(
                        "fleet.yaml lists {name}, the deploy event of {at} says that it is gone: it is still \
                         probed; take it out of the file"
                    ));
                }
                listed
            }
        });
    }
    let mut names: HashSet<String> = config.fleet.iter().map(|d| d.name.clone()).collect();
    let mut places: HashSet<String> = config.fleet.iter().map(|d| place(&d.url)).collect();
    for Target { by, deployment } in &found.targets {
        if !places.insert(place(&deployment.url)) {
            continue;
        }
        if !names.insert(deployment.name.clone()) {
            notices.push(format!(
                "{by} tells of another {} at {}: it is not probed, for names are unique; give it a name of its own",
                deployment.name, deployment.url
            ));
            continue;
        }
        if !is_spoken_to(config, deployment) {
            let Deployment { name, version, db, .. } = deployment.as_ref();
            notices.push(format!(
                "{name} ({version} on {db}), which {by} tells of, is not probed: no suite has a variant for this version"
            ));
        }
        deployments.push(match told.about(&deployment.name, &deployment.url) {
            Some(event) if agrees(deployment, event) => completed(deployment, event),
            Some(event) => {
                // Digests are left out: an engine knows images by ids, and CI by what it pushed.
                if !same_build(deployment, &event.version, event.db) {
                    notices.push(contradiction(by, deployment, &Claim::of(event)));
                }
                deployment.clone()
            }
            None => deployment.clone(),
        });
    }
    let mut joined: Vec<(Timestamp, Arc<Deployment>)> = Vec::new();
    for event in &told.registered {
        let Some(deployment) = event.deployment() else { continue };
        if names.contains(event.name.as_str()) || places.contains(&place(&deployment.url)) {
            continue;
        }
        match obstacle(config, &deployment) {
            Some(why) => notices.push(format!("{} is not probed: {why}", of_event(event))),
            None => {
                if !is_spoken_to(config, &deployment) {
                    notices.push(format!(
                        "{} is not probed: no suite has a variant for this version",
                        of_event(event)
                    ));
                }
                joined.push((event.at, deployment.into()));
            }
        }
    }
    if joined.len() > REGISTERED_MAX {
        notices.push(format!(
            "{} deployments are registered by events, of which the newest {REGISTERED_MAX} are probed; tell of \
             those that are gone with the action `remove`",
            joined.len()
        ));
        joined.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        joined.truncate(REGISTERED_MAX);
        joined.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    }
    deployments.extend(joined.into_iter().map(|(_, deployment)| deployment));
    if notices.len() > NOTICES_MAX {
        let rest = notices.len() - NOTICES_MAX;
        notices.truncate(NOTICES_MAX);
        notices.push(format!("and {rest} more of this kind"));
    }
    Members { deployments, notices }
}

fn is_spoken_to(config: &Config, deployment: &Deployment) -> bool {
    config.suites.iter().any(|suite| suite.variant_for(&deployment.version).is_some())
}

fn is_about(found: &Deployment, listed: &Deployment) -> bool {
    found.name == listed.name || place(&found.url) == place(&listed.url)
}

/// By their place in the order: a file may call by a branch's name what CI calls by its number.
fn same_build(listed: &Deployment, version: &Version, db: Flavour) -> bool {
    listed.version.order_text() == version.order_text() && listed.db == db
}

/// What the file lists, with the digest of what was found there.
fn with_target(listed: &Arc<Deployment>, target: &Target, notices: &mut Vec<String>) -> Arc<Deployment> {
    let found = &target.deployment;
    if !same_build(listed, &found.version, found.db) {
        notices.push(contradiction(FILE, listed, &Claim::of_target(target)));
    } else if listed.digest.is_none() && found.digest.is_some() {
        return Arc::new(Deployment { digest: found.digest.clone(), ..listed.as_ref().clone() });
    }
    listed.clone()
}

/// Whether an event can be about the very build that is believed to be there.
fn agrees(listed: &Deployment, event: &Registered) -> bool {
    let digests = matches!((&listed.digest, &event.digest), (Some(a), Some(b)) if a != b);
    same_build(listed, &event.version, event.db) && !digests
}

fn completed(listed: &Arc<Deployment>, event: &Registered) -> Arc<Deployment> {
    let mut deployment = listed.as_ref().clone();
    deployment.digest = deployment.digest.or_else(|| event.digest.clone());
    deployment.commit.clone_from(&event.commit);
    deployment.origin = Some(event.origin);
    deployment.into()
}

/// How messages call the list.
const FILE: &str = "fleet.yaml";

/// What somebody says is there, who is not believed.
struct Claim<'a> {
    who: String,
    name: &'a str,
    version: &'a Version,
    db: Flavour,
    digest: Option<&'a String>,
}

impl<'a> Claim<'a> {
    fn of(event: &'a Registered) -> Self {
        let Registered { name, version, db, digest, at, .. } = event;
        let who = format!("the deploy event of {}", minute(*at));
        Claim { who, name, version, db: *db, digest: digest.as_ref() }
    }

    fn of_target(target: &'a Target) -> Self {
        let Deployment { name, version, db, digest, .. } = target.deployment.as_ref();
        Claim { who: target.by.to_owned(), name, version, db: *db, digest: digest.as_ref() }
    }
}

fn contradiction(by: &str, believed: &Deployment, claim: &Claim<'_>) -> String {
    let Deployment { name, version, db, digest, .. } = believed;
    let says = if *name == claim.name { String::new() } else { format!("{} is there, ", claim.name) };
    let (mut here, mut there) = (format!("{version} on {db}"), format!("{} on {}", claim.version, claim.db));
    if let (Some(of_file), Some(of_claim)) = (digest, claim.digest)
        && here == there
    {
        here.push_str(&format!(", image {of_file}"));
        there.push_str(&format!(", image {of_claim}"));
    }
    let advice = if by == FILE {
        "the file is believed; change it, or take the entry out".to_owned()
    } else {
        format!("{by} is believed")
    };
    format!("{by} says {name} is {here}, {} says {says}{there}: {advice}", claim.who)
}

/// Why a deployment that an event tells of cannot be probed.
fn obstacle(config: &Config, deployment: &Deployment) -> Option<String> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.len() <= TEXT_MAX
            && text.chars().all(|c| c.is_alphanumeric() || "._-+".contains(c))
    };
    for (what, text) in [
        ("name", deployment.name.as_str()),
        ("environment", &deployment.environment),
        ("version", deployment.version.as_str()),
    ] {
        if !plain(text) {
            return Some(format!(
                "its {what} is not one of at most {TEXT_MAX} letters, digits, `.`, `_`, `-` or `+`"
            ));
        }
    }
    (!config.allow_hosts.allow(&deployment.url)).then(|| {
        format!(
            "its host {} is not allowed; add it to `allow_hosts` under `discover:` and `deploy_events:` in \
             fleet.yaml",
            deployment.url.host_str().unwrap_or_default()
        )
    })
}

fn of_event(event: &Registered) -> String {
    let Registered { name, version, db, .. } = event;
    // A name may be anything; what is shown of it is short.
    let name: String = name.chars().take(TEXT_MAX).collect();
    format!("{name} ({version} on {db}), which the deploy event of {} tells of,", minute(event.at))
}

fn minute(at: Timestamp) -> String {
    at.to_utc().format("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env, Source};
    use crate::model::TraceParent;

    const FLEET: &str = "deployments:\n\
        - { name: cachet-2.4, version: v2.4.1, db: mysql, url: 'http://127.0.0.1:8101' }\n\
        discover: { deploy_events: { allow_hosts: ['*.ci.example', 10.0.0.0/8] } }\n";

    fn config() -> Config {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("fleet.yaml"), FLEET).unwrap();
        config::load(Source::Required(dir.path()), &Env::default()).unwrap()
    }

    fn event(name: &str, version: &str, url: &str) -> Registered {
        Registered {
            name: name.to_owned(),
            version: Version::parse(version).unwrap(),
            db: Flavour::Mysql,
            environment: "production".to_owned(),
            url: Some(url.parse().unwrap()),
            digest: Some("sha256:2".to_owned()),
            commit: Some("abc".to_owned()),
            origin: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse::<TraceParent>().unwrap(),
            // 2026-11-23 14:02
            at: Timestamp(1_795_442_520_000_000_000),
        }
    }

    fn joined(events: Vec<Registered>) -> Members {
        join(&config(), &Found::default(), &Fleet { registered: events, ..Fleet::default() })
    }

    fn target(name: &str, version: &str, url: &str, digest: Option<&str>) -> Target {
        let deployment = event(name, version, url).deployment().unwrap();
        let digest = digest.map(str::to_owned);
        let deployment = Deployment { digest, commit: None, origin: None, ..deployment };
        Target { by: "docker", deployment: deployment.into() }
    }

    fn found(targets: Vec<Target>, events: Vec<Registered>) -> Members {
        let found = Found { targets, notices: vec!["docker fails".to_owned()] };
        join(&config(), &found, &Fleet { registered: events, ..Fleet::default() })
    }

    fn names(members: &Members) -> Vec<&str> {
        members.deployments.iter().map(|d| d.name.as_str()).collect()
    }

    #[test]
    fn an_event_that_agrees_adds_what_only_ci_knows() {
        for event in [
            event("cachet-2.4", "2.4.1", "http://elsewhere.example"),
            event("another-name", "2.4.1", "http://127.0.0.1:8101/"),
        ] {
            let members = joined(vec![event.clone()]);
            assert_eq!((names(&members), members.notices.len()), (vec!["cachet-2.4"], 0));
            let deployment = &members.deployments[0];
            assert_eq!(deployment.url.as_str(), "http://127.0.0.1:8101/");
            assert_eq!((&deployment.digest, &deployment.commit), (&event.digest, &event.commit));
            assert_eq!(deployment.origin, Some(event.origin));
        }
    }

    #[test]
    fn the_file_is_believed_and_the_contradiction_is_told() {
        let members = joined(vec![event("cachet-2.4", "2.5.0", "http://127.0.0.1:8101")]);
        assert_eq!(members.deployments, config().fleet);
        assert_eq!(
            members.notices,
            [
                "fleet.yaml says cachet-2.4 is 2.4.1 on mysql, the deploy event of 2026-11-23 14:02 UTC says 2.5.0 on \
              mysql: the file is believed; change it, or take the entry out"
            ]
        );
        let members = joined(vec![event("new", "2.5.0", "http://127.0.0.1:8101")]);
        assert_eq!(members.deployments, config().fleet);
        assert!(members.notices[0].contains("says new is there, 2.5.0 on mysql"), "{:?}", members.notices);
    }

    #[test]
    fn only_allowed_hosts_join() {
        let members = joined(vec![
            event("a", "2.4.1", "http://a.ci.example"),
            event("b", "2.4.1", "http://b.example"),
            event("c", "2.4.1", "http://10.1.2.3:8080"),
            event("d|e", "2.4.1", "http://d.ci.example"),
            event("f", "1.0.0", "http://f.ci.example"),
        ]);
        assert_eq!(names(&members), ["cachet-2.4", "a", "c", "f"]);
        assert_eq!(
            members.notices,
            [
                "b (2.4.1 on mysql), which the deploy event of 2026-11-23 14:02 UTC tells of, is not probed: its host \
                 b.example is not allowed; add it to `allow_hosts` under `discover:` and `deploy_events:` in fleet.yaml",
                "d|e (2.4.1 on mysql), which the deploy event of 2026-11-23 14:02 UTC tells of, is not probed: its name \
                 is not one of at most 100 letters, digits, `.`, `_`, `-` or `+`",
                "f (1.0.0 on mysql), which the deploy event of 2026-11-23 14:02 UTC tells of, is not probed: no suite \
                 has a variant for this version",
            ]
        );
    }

    #[test]
    fn what_is_discovered_joins_without_a_list_of_hosts_and_events_complete_it() {
        let mut same = event("cachet-2.4.1-mysql", "2.4.1", "http://b.example/");
        same.digest = None;
        let targets = vec![
            target("b", "2.4.1", "http://b.example", Some("sha256:1")),
            target("old", "1.0.0", "http://old.example", None),
        ];
        let members = found(targets, vec![same.clone()]);
        assert_eq!(names(&members), ["cachet-2.4", "b", "old"]);
        let b = &members.deployments[1];
        assert_eq!(
            (b.digest.as_deref(), &b.commit, b.origin),
            (Some("sha256:1"), &same.commit, Some(same.origin))
        );
        let strange = "old (1.0.0 on mysql), which docker tells of, is not probed: no suite has a variant for this version";
        assert_eq!(members.notices, ["docker fails", strange]);
    }

    #[test]
    fn what_is_discovered_is_believed_before_events() {
        let targets = || vec![target("b", "2.5.0", "http://b.example", Some("sha256:1"))];
        let members = found(targets(), vec![event("b", "2.4.1", "http://a.ci.example")]);
        assert_eq!(names(&members), ["cachet-2.4", "b"]);
        assert_eq!(members.deployments[1].url.as_str(), "http://b.example/");
        let contradiction = "docker says b is 2.5.0 on mysql, the deploy event of 2026-11-23 14:02 UTC says 2.4.1 on \
                             mysql: docker is believed";
        assert_eq!(members.notices, ["docker fails", contradiction]);
        // Of another image of this version nothing is taken, and nothing said.
        let members = found(targets(), vec![event("b", "2.5.0", "http://b.example")]);
        assert_eq!((members.deployments[1].origin, members.notices.len()), (None, 1));
    }

    #[test]
    fn the_file_wins_over_what_is_discovered_and_takes_its_digest() {
        for name in ["cachet-2.4", "elsewhere"] {
            let members =
                found(vec![target(name, "2.4.1", "http://127.0.0.1:8101/", Some("sha256:1"))], Vec::new());
            assert_eq!(names(&members), ["cachet-2.4"]);
            assert_eq!(members.deployments[0].digest.as_deref(), Some("sha256:1"));
        }
        let members = found(vec![target("cachet-2.4", "2.5.0", "http://b.example", None)], Vec::new());
        assert_eq!(members.deployments, config().fleet);
        let contradiction = "fleet.yaml says cachet-2.4 is 2.4.1 on mysql, docker says 2.5.0 on mysql: the file is \
                             believed; change it, or take the entry out";
        assert_eq!(members.notices[1], contradiction);
    }

    #[test]
    fn of_two_with_one_name_the_first_joins_and_one_place_is_one_deployment() {
        let members = found(
            vec![
                target("a", "2.4.1", "http://a.example", None),
                target("a", "2.4.1", "http://a2.example", None),
                target("same", "2.4.1", "http://a.example/", None),
            ],
            Vec::new(),
        );
        assert_eq!(names(&members), ["cachet-2.4", "a"]);
        assert_eq!(
            members.notices[1..],
            [
                "docker tells of another a at http://a2.example/: it is not probed, for names are unique; give it a \
              name of its own"
            ]
        );
    }

    #[test]
    fn a_removal_of_what_the_file_lists_is_told() {
        let removed = [("cachet-2.4".to_owned(), Timestamp(1_795_442_520_000_000_000))];
        let members =
            join(&config(), &Found::default(), &Fleet { removed: removed.into(), ..Fleet::default() });
        assert_eq!(names(&members), ["cachet-2.4"]);
        assert!(members.notices[0].contains("says that it is gone"), "{:?}", members.notices);
    }

    #[test]
    fn there_is_a_limit_and_the_newest_stay() {
        let events = (0..REGISTERED_MAX + 30).map(|n| {
            let mut event = event(&format!("d{n:04}"), "2.4.1", &format!("http://d{n}.ci.example"));
            event.at = Timestamp(event.at.0 + n as i64);
            event
        });
        let members = joined(events.collect());
        assert_eq!(members.deployments.len(), 1 + REGISTERED_MAX);
        assert_eq!(members.deployments[1].name, "d0030");
        let refused = (0..30).map(|n| event(&format!("d{n}"), "2.4.1", &format!("http://d{n}.example")));
        let members = joined(refused.collect());
        assert_eq!(members.notices.len(), NOTICES_MAX + 1);
        assert_eq!(members.notices[NOTICES_MAX], "and 10 more of this kind");
    }
}
