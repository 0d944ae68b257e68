//! What needs no network: `check`, completions, the manual; and readers that go away.

use cachetscope::model::Flavour;
use tokio::process::Command;

use crate::rig::{Home, Member, V2, V3, finish, shipped};

fn fleet(home: &Home, deployments: usize) {
    let entry = |n| {
        format!("- {{ name: d{n}, version: {V3}, db: mysql, url: 'http://127.0.0.1:1', host_group: g{n} }}\n")
    };
    let entries: String = (0..deployments).map(entry).collect();
    home.write("probes/fleet.yaml", &format!("deployments:\n{entries}"));
}

#[tokio::test]
async fn check_tells_what_is_asked_how_often_and_of_whom() {
    let home = Home::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/probes");
    let ran = home.run(["check", "--config", shipped]).await.expect(0);
    assert_eq!(ran.stderr, "");
    insta::assert_snapshot!(ran.stdout.replace(shipped, "probes"));
}

#[tokio::test]
async fn check_names_who_is_over_budget_and_whom_nobody_speaks_to() {
    let home = Home::new();
    let faster = [("\"*/30 * * * * *\"", "\"@every 2s\"")];
    home.write("probes/cachet-v3.yaml", &shipped("cachet-v3.yaml", &faster));
    home.write("probes/cachet-v2.yaml", &shipped("cachet-v2.yaml", &faster));
    home.write(
        "probes/weekly.yaml",
        "suite: weekly\nschedule: 0 3 * * 0\nrequests:\n- { name: feed, get: /rss }\n",
    );
    home.write(
        "probes/fleet.yaml",
        &format!(
            "deployments:\n\
             - {{ name: old, version: {V2}, db: mysql, url: 'http://127.0.0.1:1' }}\n\
             - {{ name: new, version: {V3}, db: mysql, url: 'https://cachet.invalid', tls: {{ insecure: true }} }}\n\
             - {{ name: ancient, version: 1.0.0, db: sqlite, url: 'http://127.0.0.1:3' }}\n"
        ),
    );
    insta::assert_snapshot!(home.run(["check"]).await.expect(0).stdout);
}

#[tokio::test]
async fn more_series_than_a_server_bears_are_refused_unless_forced() {
    let home = Home::new();
    fleet(&home, 200);
    let ran = home.run(["check"]).await.expect(0);
    assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains("3 KiB"), "{}", ran.stderr);
    fleet(&home, 1_200);
    let ran = home.run(["check"]).await.expect(2);
    assert!(ran.stderr.contains("more than 500000") && ran.stderr.contains("--force"), "{}", ran.stderr);
    home.run(["check", "--force"]).await.expect(0);
}

#[tokio::test]
async fn completions_are_scripts_that_their_shells_accept() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(["completions", shell]).await.expect(0).stdout;
        for word in ["probe", "--require-delivery", "healthcheck"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell} does not complete {word}");
        }
        home.write(shell, &script);
        let mut parser = Command::new(shell);
        // Bash is where this runs; zsh and fish may be.
        match parser.arg("-n").arg(home.path(shell)).output().await {
            Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            Err(error) => assert!(shell != "bash", "{error}"),
        }
    }
}

#[tokio::test]
async fn the_manual_is_roff_that_groff_has_nothing_to_say_about() {
    let home = Home::new();
    let manual = home.run(["man"]).await.expect(0).stdout;
    assert!(manual.is_ascii(), "roff wants other characters escaped");
    for command in ["cachetscope", "cachetscope\\-serve", "cachetscope\\-probe", "cachetscope\\-man"] {
        assert!(manual.contains(&format!(".SH NAME\n{command} \\- ")), "no page for {command}");
    }
    home.write("manual.1", &manual);
    if let Ok(output) =
        Command::new("groff").args(["-man", "-ww", "-z"]).arg(home.path("manual.1")).output().await
    {
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let member = Member::start("cachet-3", V3, Flavour::Sqlite).await;
    home.fleet([&member]);
    for arguments in [["man", ""], ["completions", "bash"], ["check", ""], ["probe", "--once"]] {
        let mut command = home.command(arguments.iter().filter(|a| !a.is_empty()));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = finish(command.stdout(writer)).await.expect(0);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn check_refuses_a_store_that_no_daemon_could_open() {
    let ran = Home::new().run(["check", "--database", "mysql://127.0.0.1/cachetscope"]).await.expect(2);
    assert!(ran.stderr.contains("mysql://…"), "{}", ran.stderr);
}
