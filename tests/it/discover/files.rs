//! File SD: files that come, change, break and go.

use cachetscope::model::Flavour;
use serde_json::json;

use super::{address, group, name};
use crate::fleet_rig::{get, hurried, notice};
use crate::rig::{Home, Member, Served, V2, V3, until};

const SOURCE: &str = "discover: { file_sd: { files: ['targets/*.json', 'targets/one.yml'], refresh: 1s } }\n";

fn yaml(member: &Member, more: &str) -> String {
    let Member { version, flavour, .. } = member;
    let address = address(member);
    format!(
        "- targets: ['{address}']\n  labels:\n    cachetscope_version: {version}\n    cachetscope_db: {flavour}\n{more}"
    )
}

async fn probed(member: &Member) {
    let before = member.asked().len();
    until("it is probed", async || (member.asked().len() > before + 2).then_some(())).await;
}

/// Waits until these are the living deployments, as the API tells.
async fn living(served: &Served, names: &[&str]) {
    until(&format!("{names:?} live"), async || {
        let all = get(&served.address, "/api/v1/deployments").await;
        let living: Vec<&str> = all.as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
        (living == names).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_read_when_they_change_and_a_broken_one_takes_nothing_away() {
    let (two, three) =
        (Member::start("2", V2, Flavour::Mysql).await, Member::start("3", V3, Flavour::Sqlite).await);
    let home = hurried(SOURCE);
    std::fs::create_dir(home.path("probes/targets")).unwrap();
    home.write("probes/targets/a.json", &json!([group(&[&two], &[])]).to_string());
    home.write("probes/targets/.hidden.json", "broken");
    let mut served = Served::start(&home, &[]).await;
    probed(&two).await;
    let note = notice(&served.address, "targets/one.yml: cannot be read").await;
    assert!(note.starts_with("file_sd targets/*.json, targets/one.yml: "), "{note}");

    home.write("probes/targets/one.yml", &yaml(&three, ""));
    served.hears(&name(&three)).await;
    probed(&three).await;

    home.write("probes/targets/a.json", "[{\"targets\": [");
    let note = notice(&served.address, "what it said before stays in force").await;
    assert!(note.contains("targets/a.json: line 1: is no list of target groups: EOF"), "{note}");
    probed(&two).await;
    probed(&three).await;

    // It is gone for good, and so is its target, a moment later.
    std::fs::remove_file(home.path("probes/targets/a.json")).unwrap();
    served.hears("a deployment left the fleet").await;
    living(&served, &[&name(&three)]).await;
    probed(&three).await;

    // A source that the file does not name any more takes its targets with it.
    home.write("probes/fleet.yaml", "deployments: []\n");
    served.signal("HUP");
    served.hears("the configuration was reloaded").await;
    living(&served, &[]).await;
    served.stop().await.0.expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_wins_over_a_target_of_its_name() {
    let (listed, target) =
        (Member::start("one", V2, Flavour::Mysql).await, Member::start("2", V2, Flavour::Mysql).await);
    let home = hurried("");
    std::fs::create_dir(home.path("probes/targets")).unwrap();
    home.write(
        "probes/targets/one.yml",
        &yaml(&target, "    cachetscope_name: one\n    cachetscope_db: mariadb\n"),
    );
    home.fleet([&listed]);
    let list = std::fs::read_to_string(home.path("probes/fleet.yaml")).unwrap();
    home.write("probes/fleet.yaml", &format!("{list}{SOURCE}"));
    let served = Served::start(&home, &[]).await;
    let twice = notice(&served.address, "occurs twice").await;
    assert!(twice.contains("one.yml"), "{twice}");
    home.write(
        "probes/targets/one.yml",
        &yaml(&target, "    cachetscope_name: one\n").replace("mysql", "mariadb"),
    );
    let note = notice(&served.address, "file_sd says 2.4.1 on mariadb: the file is believed").await;
    assert!(note.starts_with("fleet.yaml says one is 2.4.1 on mysql"), "{note}");
    probed(&listed).await;
    assert!(target.asked().is_empty());
    served.stop().await.0.expect(0);
}

#[tokio::test]
async fn check_reads_the_files_and_names_the_line_of_a_mistake() {
    let home = Home::new();
    home.write(
        "probes/fleet.yaml",
        "discover:\n  file_sd: { files: ['targets/*.yaml'] }\n  http_sd: { url: 'http://127.0.0.1:1/sd' }\n  docker: {}\n",
    );
    std::fs::create_dir(home.path("probes/targets")).unwrap();
    let good =
        "- targets: ['127.0.0.1:8101']\n  labels: { cachetscope_version: 2.4.1, cachetscope_db: mysql }\n";
    home.write("probes/targets/a.yaml", good);
    let ran = home.run(["check"]).await.expect(0);
    assert!(
        ran.stdout.contains("http_sd http://127.0.0.1:1/sd: asked by the daemon only\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("docker /var/run/docker.sock: asked by the daemon only\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("127.0.0.1-8101  2.4.1    mysql"), "{}", ran.stdout);

    home.write(
        "probes/targets/b.yaml",
        "- targets: ['127.0.0.1:8102']\n  labels:\n    cachetscope_vresion: 2.4.1\n",
    );
    let ran = home.run(["check"]).await.expect(2);
    let said = "probes/targets/b.yaml:3:26: target `127.0.0.1:8102` is not probed: unknown label `cachetscope_vresion`";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: did you mean `cachetscope_version`?"), "{}", ran.stderr);
    assert!(ran.stderr.contains("probes/targets/b.yaml:1:13: target `127.0.0.1:8102` is not probed: label `cachetscope_db` is missing"), "{}", ran.stderr);
}
