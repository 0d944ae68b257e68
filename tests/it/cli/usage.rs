//! Usage and configuration errors: exit 2, nothing done, and words that say what to do.

use cachetscope::model::Flavour;

use crate::rig::{Home, Member, V2, V3};

#[tokio::test]
async fn every_problem_of_the_configuration_is_told_at_once_with_its_place_and_a_hint() {
    let home = Home::new();
    home.write(
        "probes/fleet.yaml",
        "deployments:\n\
         - name: a\n  verison: v2.4.1\n  db: mysql\n  url: http://127.0.0.1:8101\n\
         - name: b\n  version: main\n  db: oracle\n  url: ftp://x\n\
         - name: c\n  version: 2.4.1\n  db: mysql\n  url: http://127.0.0.1\n  token: { env: NOT_SET }\n",
    );
    home.write(
        "probes/mine.yaml",
        "suite: mine\nschedule: 61 * * * *\nrequests:\n- name: x\n  get: /x\n  expect: { json: { '$.a[': 1 } }\n",
    );
    let mut said = Vec::new();
    for command in [["check"].as_slice(), &["probe", "--once"], &["serve"]] {
        let ran = home.run(command).await.expect(2);
        assert_eq!(ran.stdout, "");
        said.push(ran.stderr);
    }
    insta::assert_snapshot!(said[0]);
    assert!(said.iter().all(|words| *words == said[0]), "{said:#?}");
    assert!(!home.store().exists() && !home.spool().exists());
}

#[tokio::test]
async fn a_usage_error_says_what_there_is_instead() {
    let home = Home::new();
    let (old, new) = tokio::join!(
        Member::start("cachet-2", V2, Flavour::Mysql),
        Member::start("cachet-3", V3, Flavour::Mysql)
    );
    home.fleet([&old, &new]);
    let url = new.url();
    let mut said = String::new();
    for arguments in [
        vec!["probe"],
        vec!["probe", "--once", "cachet-4"],
        vec!["probe", "--once", "--suite", "cachet-reads"],
        vec!["probe", "--once", "--suite", "cachet-writes"],
        vec!["probe", "--once", "--suite", "cachet-writes", "cachet-3"],
        vec!["probe", "--once", "--url", &url],
        vec!["probe", "--once", "--url", &url, "--version", "main", "--db", "oracle"],
        vec!["probe", "--once", "--url", &url, "--version", "1.0", "--db", "mysql"],
        vec!["probe", "--once", "--url", &url, "--version", "2.4", "--db", "mysql", "--token-env", "NOT_SET"],
        vec!["probe", "--once", "--output", "xml"],
        vec!["probe", "--once", "--config", "elsewhere"],
        vec!["serve", "--publish-every", "1ms"],
        vec!["outbox", "retry"],
        vec!["outbox", "list"],
    ] {
        let ran = home.run(&arguments).await.expect(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        said.push_str(&format!("$ cachetscope {}\n{}\n", arguments.join(" "), ran.stderr));
    }
    let home_path = home.path("").canonicalize().unwrap().display().to_string();
    let said = said.replace(home_path.trim_end_matches('/'), "HOME");
    insta::with_settings!({ filters => vec![(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT")] }, {
        insta::assert_snapshot!(said);
    });
    assert_eq!(new.asked(), [""; 0]);
}

#[tokio::test]
async fn a_setting_of_the_environment_that_makes_no_sense_is_a_usage_error() {
    let home = Home::new();
    let member = Member::start("cachet-3", V3, Flavour::Mysql).await;
    home.fleet([&member]);
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        ("OTEL_RESOURCE_ATTRIBUTES", "no-equals-sign"),
    ] {
        for command in [["check"].as_slice(), &["probe", "--once"], &["serve", "--listen", "127.0.0.1:0"]] {
            let ran = crate::rig::finish(home.command(command).env(variable, value)).await.expect(2);
            assert!(ran.stderr.starts_with(&format!("error: {variable}")), "{command:?}: {}", ran.stderr);
        }
    }
    assert_eq!(member.asked(), [""; 0]);
}
