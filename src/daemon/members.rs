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
mod tests;
