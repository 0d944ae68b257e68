//! The events API of a daemon as a child process: tokens from a file, what reaches the collector,
//! and that no log tells a secret.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cachetscope::clock::Clock;
use cachetscope::config::{Config, Env};
use cachetscope::daemon::{Daemon, Settings, resource};
use cachetscope::store::{Location, Retention};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::ingest_rig::{but, run, soon};
use crate::page::{Answer, send};
use crate::rig::{Collector, Home, NO_COLLECTOR, Received, Served};

const SECRET: &str = "sesame-sesame-0123456789";

async fn tell(served: &Served, token: &str, event: &Value) -> Answer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{}/api/v1/events", served.address));
    let request = request.header(CONTENT_TYPE, "application/json").body(event.to_string());
    send(if token.is_empty() { request } else { request.header(AUTHORIZATION, format!("Bearer {token}")) })
        .await
}

fn write_tokens(home: &Home, text: &str) {
    home.write("tokens.yaml", text);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(home.path("tokens.yaml"), private).unwrap();
}

/// The newest value of a counter, summed over its attributes.
fn counter(received: &Received, name: &str) -> Option<i64> {
    let metric = received.metrics.iter().rev().find(|metric| metric.name == name)?;
    let Some(Data::Sum(sum)) = &metric.data else { panic!("{name} is no counter") };
    let value = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| match point.value {
        Some(Number::AsInt(n)) => n,
        _ => 0,
    };
    Some(sum.data_points.iter().map(value).sum())
}

#[tokio::test]
async fn what_is_accepted_reaches_the_collector_and_no_secret_any_log() {
    let home = Home::new();
    home.write("probes/fleet.yaml", "deployments: []\n");
    write_tokens(&home, &format!("- {{ name: ci, token: {SECRET}, scopes: [events] }}\n"));
    let collector = Collector::start().await;
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--color", "never", "--log", "trace"];
    let mut command = home.command(arguments);
    command.args(["--tokens-file", "tokens.yaml", "--publish-every", "1s"]);
    let mut served = Served::of(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).await;
    let loud = but(run("1"), json!({"name": "a name that no log needs"}));
    assert_eq!(tell(&served, SECRET, &loud).await.status.as_u16(), 202);
    assert_eq!(tell(&served, SECRET, &loud).await.status.as_u16(), 200);
    assert_eq!(tell(&served, "", &run("2")).await.status.as_u16(), 401);
    assert_eq!(tell(&served, "another-secret-of-someone", &run("2")).await.status.as_u16(), 401);
    assert_eq!(tell(&served, SECRET, &json!({"run": 5})).await.status.as_u16(), 422);
    soon("all is counted", async || {
        let received = collector.received();
        let counts = ["received", "duplicate", "refused", "rejected"]
            .map(|what| counter(&received, &format!("cachetscope.events.{what}")));
        (counts == [1, 1, 1, 2].map(Some)).then_some(())
    })
    .await;

    // Another token from now on.
    write_tokens(&home, "- { name: ci, token: open-sesame-open-sesame, scopes: [events] }\n");
    served.signal("HUP");
    served.hears("the tokens were reloaded").await;
    assert_eq!(tell(&served, SECRET, &run("3")).await.status.as_u16(), 401);
    assert_eq!(tell(&served, "open-sesame-open-sesame", &run("3")).await.status.as_u16(), 202);
    // A broken file changes nothing, and both log and page say so.
    write_tokens(&home, "- { name: ci, token: short-sesame, scopes: [events] }\n");
    served.signal("HUP");
    served.hears("the tokens were not reloaded; those before stay in force").await;
    assert_eq!(tell(&served, "open-sesame-open-sesame", &run("4")).await.status.as_u16(), 202);
    let page = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = send(page.get(format!("http://{}/readyz", served.address))).await;
    assert!(page.body.contains("The tokens were not reloaded"), "{}", page.body);

    let (ran, _) = served.stop().await;
    let log = ran.expect(0).stderr;
    assert!(log.lines().count() > 100 && log.contains("TRACE"), "it is no trace");
    for secret in [SECRET, "another-secret", "sesame", "a name that no log needs"] {
        assert!(!log.contains(secret), "the log tells {secret}");
    }
    let received = collector.received();
    let runs = received.spans.iter().filter(|span| span.name.contains("cachet")).count();
    assert_eq!(runs, 3, "one span for each run that was accepted");
    assert!(!String::from_utf8_lossy(&received.bytes).contains("sesame"));
}

#[tokio::test]
async fn a_daemon_says_at_once_what_is_wrong_with_its_tokens() {
    let home = Home::new();
    write_tokens(&home, "- { name: ci, token: sesame, scopes: [evnets] }\n");
    let ran = home.run(["serve", "--listen", "127.0.0.1:0", "--tokens-file", "tokens.yaml"]).await.expect(2);
    insta::assert_snapshot!("wrong_tokens", ran.stderr);
    let ran = home.run(["serve", "--listen", "127.0.0.1:0", "--tokens-file", "none.yaml"]).await.expect(2);
    assert!(ran.stderr.contains("none.yaml: cannot be read: No such file"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_credential_of_systemd_is_found_without_a_flag() {
    let home = Home::new();
    std::fs::create_dir(home.path("credentials")).unwrap();
    home.write("credentials/tokens", &format!("- {{ name: ci, token: {SECRET}, scopes: [steps] }}\n"));
    let mut command = home.command(["serve", "--listen", "127.0.0.1:0", "--color", "never"]);
    let served = Served::of(command.env("CREDENTIALS_DIRECTORY", home.path("credentials"))).await;
    assert_eq!(tell(&served, "", &run("1")).await.status.as_u16(), 401);
    assert_eq!(tell(&served, SECRET, &run("1")).await.status.as_u16(), 202);
    served.stop().await.0.expect(0);
}

/// In this process: bound beyond loopback, spoken to over it.
#[tokio::test]
async fn a_daemon_beyond_loopback_without_tokens_is_closed_and_says_so() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let env = Env::from_iter([("OTEL_EXPORTER_OTLP_ENDPOINT", NO_COLLECTOR)]);
    let settings = Settings {
        listen: "0.0.0.0:0".parse().unwrap(),
        any_port: false,
        location: Location::File(folder.path().join("store.db")),
        retention: Retention::default(),
        publish_every: Duration::from_secs(60),
        outbox_bytes_max: 1 << 30,
        process: resource("a-test", &env).unwrap(),
        env,
        title: String::new(),
        export: false,
        tokens: None,
    };
    let daemon = Daemon::start(settings, Config::default(), None, Clock::system()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let at = format!("http://127.0.0.1:{}", daemon.address().port());
    let words = format!("ingest is closed: the daemon listens on {}", daemon.address());
    let request = client.post(format!("{at}/api/v1/events")).header(CONTENT_TYPE, "application/json");
    let refused = send(request.body(run("1").to_string())).await;
    assert_eq!(refused.status.as_u16(), 403);
    assert!(refused.body.contains(&words), "{}", refused.body);
    let page = send(client.get(format!("{at}/")).header("accept", "text/html")).await;
    assert!(page.body.contains(&words), "{}", page.body);
    let ready = send(client.get(format!("{at}/readyz"))).await;
    assert_eq!((ready.status.as_u16(), ready.body.contains(&words)), (200, true), "{}", ready.body);
    // The whole document: what is served by the page and what is served beside it.
    let document = send(client.get(format!("{at}/api/v1/openapi.json"))).await.json();
    for path in ["/api/v1/overview", "/api/v1/events", "/api/v1/events/cdevents"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    daemon.shut_down().await;
}

#[tokio::test]
async fn without_tokens_the_daemon_on_loopback_is_open() {
    let home = Home::new();
    let served = Served::start(&home, &[]).await;
    assert_eq!(tell(&served, "", &run("1")).await.status.as_u16(), 202);
    let log = served.stop().await.0.expect(0).stderr;
    assert!(!log.contains("ingest is closed"), "{log}");
}
