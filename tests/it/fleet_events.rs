//! Deploy events make the fleet: what they register is probed from then on, what they replace or
//! remove is retired, and the file has the last word.

use cachetscope::clock::Clock;
use cachetscope::model::{Action, CiResult, Deploy, Event, Flavour, Version};
use cachetscope::otlp::Resource;
use cachetscope::publisher::facts_of_event;
use cachetscope::store::{Location, Store};

use crate::fleet_rig::{get, hurried, living, notice, row, start};
use crate::rig::{Collector, Member, Served, V2, V3, plain_http, until};

const ALLOWED: &str = "discover: { deploy_events: { allow_hosts: [127.0.0.1] } }\n";

/// A deploy that has just succeeded.
fn deploy(run: u32, version: &str, url: &str) -> Event {
    let mut event = Event::new("jenkins", "deploy", &run.to_string());
    event.step = Some("deploy".to_owned());
    event.version = Version::parse(version);
    event.db = Some(Flavour::Mysql);
    event.deploy = Some(Deploy { url: Some(url.parse().unwrap()), ..Deploy::default() });
    event.finished = Some(Clock::system().now());
    event.result = Some(CiResult::Success);
    event
}

async fn tell(store: &Store, event: Event) {
    let resource = Resource::new(store.id(), None, None).unwrap();
    let facts = facts_of_event(event, Clock::system().now(), &[], &resource).unwrap();
    store.record(vec![facts]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_registers_the_next_one_replaces_and_a_removal_retires() {
    let home = hurried(ALLOWED);
    let collector = Collector::start().await;
    let member = Member::start("unused", V3, Flavour::Mysql).await;
    let daemon = start(&home, &collector).await;
    let store = daemon.store().clone();

    let mut first = deploy(1, V3, &member.url());
    first.digest = Some("sha256:1".to_owned());
    let span = first.as_parent();
    tell(&store, first).await;
    let name = format!("cachet-{V3}-mysql");
    living(&store, &[&name]).await;
    let build = row(&store, |row| row.retired.is_none()).await.unwrap();
    until("it is probed", async || store.runs(build.key, 1).await.unwrap().pop()).await;
    let linked = until("the run's root span links to the deploy", async || {
        let received = collector.received();
        let root = received.spans.iter().find(|span| span.name == "probe cachet")?;
        Some(root.links.iter().map(|link| (link.trace_id.clone(), link.span_id.clone())).collect::<Vec<_>>())
    })
    .await;
    assert_eq!(linked, [(span.trace.0.to_vec(), span.span.0.to_vec())]);
    until("it has said its version", async || {
        row(&store, |row| row.key == build.key && row.reported == "3.x-dev").await
    })
    .await;
    let address = daemon.address().to_string();
    let told = until("the page has it", async || {
        let told = get(&address, "/api/v1/deployments").await;
        told["deployments"]
            .as_array()
            .or(told.as_array())?
            .first()
            .filter(|d| d["reported"] == "3.x-dev")
            .cloned()
    })
    .await;
    assert!(told["mismatch"].is_null(), "every Cachet 3 says so: {told}");

    // The same version with another digest is another build, which takes the place of the first.
    let mut second = deploy(2, V3, &member.url());
    second.digest = Some("sha256:2".to_owned());
    tell(&store, second).await;
    let rebuilt = until("the new build lives", async || {
        row(&store, |row| row.digest == "sha256:2" && row.retired.is_none()).await
    })
    .await;
    assert_ne!(rebuilt.key, build.key);
    assert!(row(&store, |row| row.key == build.key).await.unwrap().retired.is_some());
    until("the new build is probed", async || store.runs(rebuilt.key, 1).await.unwrap().pop()).await;

    // Another version at the same place, under its own name; and what answers there is not it.
    tell(&store, deploy(3, "2.4.1", &member.url())).await;
    living(&store, &["cachet-2.4.1-mysql"]).await;
    let other = until("it says what it is", async || {
        row(&store, |row| row.retired.is_none() && !row.reported.is_empty()).await
    })
    .await;
    assert_eq!(other.reported, "3.x-dev");
    until("the page tells the mismatch", async || {
        let client = plain_http();
        let url = format!("http://{address}/deployments/cachet-2.4.1-mysql");
        let page = client.get(url).send().await.unwrap().text().await.unwrap();
        page.contains("is registered as 2.4.1, but says that it is 3.x-dev").then_some(())
    })
    .await;

    // A failed one changes nothing, and a removal comes after it.
    let mut failed = deploy(4, "2.5.0", &member.url());
    failed.result = Some(CiResult::Failure);
    tell(&store, failed).await;
    let mut removal = deploy(5, "2.4.1", &member.url());
    removal.deploy = Some(Deploy { action: Action::Remove, ..Deploy::default() });
    tell(&store, removal).await;
    living(&store, &[]).await;
    assert!(row(&store, |row| row.version.as_str() == "2.5.0").await.is_none());
    daemon.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_fleet_is_the_same_and_hosts_that_are_not_allowed_stay_out() {
    let home = hurried("discover: { deploy_events: { allow_hosts: [localhost] } }\n");
    let member = Member::start("unused", V2, Flavour::Mysql).await;
    let store = Store::open(&Location::File(home.store()), &Clock::system()).await.unwrap();
    tell(&store, deploy(1, V2, &member.url())).await;
    store.close().await;

    let mut served = Served::start(&home, &[]).await;
    let note = notice(&served.address, "is not probed: its host 127.0.0.1 is not allowed").await;
    assert!(note.contains("`allow_hosts` under `discover:` and `deploy_events:` in fleet.yaml"), "{note}");
    assert_eq!(member.asked().len(), 0);

    home.write("probes/fleet.yaml", ALLOWED);
    served.signal("HUP");
    served.hears("the configuration was reloaded").await;
    let probed = async || member.asked().iter().any(|asked| asked == "GET /api/v1/ping").then_some(());
    until("it is probed", probed).await;
    until("the notice is gone", async || {
        get(&served.address, "/readyz").await["notes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|n| !n.to_string().contains("allowed"))
            .then_some(())
    })
    .await;
    served.stop().await.0.expect(0);

    let before = member.asked().len();
    let served = Served::start(&home, &[]).await;
    until("it is probed again", async || (member.asked().len() > before + 2).then_some(())).await;
    served.stop().await.0.expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_believed_and_takes_what_only_ci_knows() {
    let member = Member::start("live", V3, Flavour::Mysql).await;
    let entry = format!(
        "deployments:\n  - {{ name: live, version: {V3}, db: mysql, url: '{}' }}\n{ALLOWED}",
        member.url()
    );
    let home = hurried(&entry);
    let collector = Collector::start().await;
    let daemon = start(&home, &collector).await;
    let store = daemon.store().clone();
    living(&store, &["live"]).await;

    let mut agrees = deploy(1, V3, &member.url());
    (agrees.deployment, agrees.digest) = (Some("live".to_owned()), Some("sha256:1".to_owned()));
    tell(&store, agrees).await;
    until("it takes the digest", async || {
        row(&store, |row| row.name == "live" && row.digest == "sha256:1" && row.retired.is_none()).await
    })
    .await;

    let mut contradicts = deploy(2, "2.4.1", &member.url());
    contradicts.deployment = Some("live".to_owned());
    tell(&store, contradicts).await;
    let address = daemon.address().to_string();
    let note = notice(&address, "fleet.yaml says live is").await;
    assert!(note.contains(&format!("is {V3} on mysql")) && note.contains("says 2.4.1 on mysql"), "{note}");
    living(&store, &["live"]).await;
    assert!(row(&store, |row| row.version.as_str() == "2.4.1").await.is_none());
    daemon.shut_down().await;
}
