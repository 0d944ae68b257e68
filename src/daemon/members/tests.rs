//! Who belongs to the fleet, and what is said of it.

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
    let strange =
        "old (1.0.0 on mysql), which docker tells of, is not probed: no suite has a variant for this version";
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
    let members = join(&config(), &Found::default(), &Fleet { removed: removed.into(), ..Fleet::default() });
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
