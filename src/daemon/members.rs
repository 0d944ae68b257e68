//! Who belongs to the fleet: what the file lists, and what deploy events registered. Pure.
//!
//! The file is believed. An event that agrees with it adds what only CI knows (digest, commit, the
//! span to link to); one that contradicts it is told, and changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::history::{Fleet, Registered, place};
use crate::model::Deployment;

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

pub(super) fn join(config: &Config, told: &Fleet) -> Members {
    let mut notices = Vec::new();
    let mut deployments: Vec<Arc<Deployment>> = Vec::new();
    for listed in &config.fleet {
        deployments.push(match told.about(&listed.name, &listed.url) {
            Some(event) if agrees(listed, event) => completed(listed, event),
            Some(event) => {
                notices.push(contradiction(listed, event));
                listed.clone()
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
                listed.clone()
            }
        });
    }
    let names: HashSet<&str> = config.fleet.iter().map(|d| d.name.as_str()).collect();
    let places: HashSet<String> = config.fleet.iter().map(|d| place(&d.url)).collect();
    let mut joined: Vec<(Timestamp, Arc<Deployment>)> = Vec::new();
    for event in &told.registered {
        let Some(deployment) = event.deployment() else { continue };
        if names.contains(event.name.as_str()) || places.contains(&place(&deployment.url)) {
            continue;
        }
        match obstacle(config, &deployment) {
            Some(why) => notices.push(format!("{} is not probed: {why}", of_event(event))),
            None => {
                if !config.suites.iter().any(|suite| suite.variant_for(&deployment.version).is_some()) {
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

/// Whether an event can be about the very build that the file lists.
fn agrees(listed: &Deployment, event: &Registered) -> bool {
    let digests = matches!((&listed.digest, &event.digest), (Some(a), Some(b)) if a != b);
    // By their place in the order: a file may call by a branch's name what CI calls by its number.
    listed.version.order_text() == event.version.order_text() && listed.db == event.db && !digests
}

fn completed(listed: &Arc<Deployment>, event: &Registered) -> Arc<Deployment> {
    let mut deployment = listed.as_ref().clone();
    deployment.digest = deployment.digest.or_else(|| event.digest.clone());
    deployment.commit.clone_from(&event.commit);
    deployment.origin = Some(event.origin);
    deployment.into()
}

fn contradiction(listed: &Deployment, event: &Registered) -> String {
    let Deployment { name, version, db, digest, .. } = listed;
    let says = if *name == event.name { String::new() } else { format!("{} is there, ", event.name) };
    let (mut here, mut there) = (format!("{version} on {db}"), format!("{} on {}", event.version, event.db));
    if let (Some(of_file), Some(of_event)) = (digest, &event.digest)
        && here == there
    {
        here.push_str(&format!(", image {of_file}"));
        there.push_str(&format!(", image {of_event}"));
    }
    format!(
        "fleet.yaml says {name} is {here}, the deploy event of {} says {says}{there}: the file is believed; \
         change it, or take the entry out",
        minute(event.at)
    )
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
    use crate::model::{Flavour, TraceParent, Version};

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
        join(&config(), &Fleet { registered: events, ..Fleet::default() })
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
    fn a_removal_of_what_the_file_lists_is_told() {
        let removed = [("cachet-2.4".to_owned(), Timestamp(1_795_442_520_000_000_000))];
        let members = join(&config(), &Fleet { removed: removed.into(), ..Fleet::default() });
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
