//! What the tests of a fleet that makes itself share: events, and discovery.

use cachetscope::clock::Clock;
use cachetscope::config::{self, Env, Source};
use cachetscope::daemon::{Daemon, Settings};
use cachetscope::otlp::Resource;
use cachetscope::store::{DeploymentRow, Location, Retention, Store};
use serde_json::Value;

use crate::rig::{Collector, Home, plain_http, shipped, until};

/// A home whose suite `cachet` runs each second.
pub fn hurried(fleet: &str) -> Home {
    let home = Home::new();
    let each_second = ("\"*/30 * * * * *\"", "\"@every 1s\"");
    home.write("probes/cachet-v2.yaml", &shipped("cachet-v2.yaml", &[each_second]));
    let unlimited = [each_second, ("budget: 300/min ", "# ")];
    home.write("probes/cachet-v3.yaml", &shipped("cachet-v3.yaml", &unlimited));
    home.write("probes/fleet.yaml", fleet);
    home
}

/// A daemon in this process.
pub async fn start(home: &Home, collector: &Collector) -> Daemon {
    let env = Env::from_iter([("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())]);
    let config = config::load(Source::Required(&home.path("probes")), &env).unwrap();
    let settings = Settings {
        tokens: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        any_port: false,
        location: Location::File(home.store()),
        retention: Retention::default(),
        publish_every: std::time::Duration::from_secs(1),
        outbox_bytes_max: 1 << 30,
        env,
        process: Resource::new("process", None, None).unwrap(),
        title: String::new(),
        export: true,
    };
    Daemon::start(settings, config, None, Clock::system()).await.unwrap()
}

/// The first row that is wanted.
pub async fn row(store: &Store, wanted: impl Fn(&DeploymentRow) -> bool) -> Option<DeploymentRow> {
    store.deployments().await.unwrap().into_iter().find(|row| wanted(row))
}

/// Waits until the living deployments are these.
pub async fn living(store: &Store, names: &[&str]) {
    until(&format!("the fleet is {names:?}"), async || {
        let known = store.deployments().await.unwrap();
        let mut living: Vec<&str> =
            known.iter().filter(|d| d.retired.is_none()).map(|d| d.name.as_str()).collect();
        living.sort_unstable();
        (living == names).then_some(())
    })
    .await;
}

/// The JSON that the daemon answers.
pub async fn get(daemon: &str, path: &str) -> Value {
    let client = plain_http();
    let answer = client.get(format!("http://{daemon}{path}")).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// Waits until the page has a notice with these words.
pub async fn notice(daemon: &str, words: &str) -> String {
    until(&format!("the page says {words}"), async || {
        let ready = get(daemon, "/readyz").await;
        let notes = ready["notes"].as_array().unwrap().clone();
        notes.iter().filter_map(Value::as_str).find(|note| note.contains(words)).map(str::to_owned)
    })
    .await
}
