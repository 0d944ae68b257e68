//! `healthcheck`, as a container runs it every few seconds.

use axum::http::StatusCode;
use axum::routing::get;

use crate::rig::{Home, Ran};

async fn healthcheck(answer: (StatusCode, &'static str)) -> Ran {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let daemon = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/readyz", get(move || async move { answer }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Home::new().run(["healthcheck", "--daemon", &daemon]).await
}

#[tokio::test]
async fn a_daemon_that_is_ready_is_well_and_another_says_why_it_is_not() {
    assert_eq!(healthcheck((StatusCode::OK, "ready")).await.expect(0).stdout, "ready\n");
    let noted = r#"{"ready":true,"reasons":[],"notes":["the collector takes no logs","two"]}"#;
    let ran = healthcheck((StatusCode::OK, noted)).await.expect(0);
    assert_eq!(ran.stdout, "ready\nnote: the collector takes no logs\nnote: two\n");
    let ran = healthcheck((StatusCode::SERVICE_UNAVAILABLE, "the store cannot be written\n")).await.expect(1);
    assert!(ran.stderr.ends_with("/readyz answered 503 Service Unavailable: the store cannot be written\n"));
}

#[tokio::test]
async fn a_daemon_that_is_gone_or_hangs_is_not_well() {
    let home = Home::new();
    let ran = home.run(["healthcheck", "--daemon", "http://127.0.0.1:1"]).await.expect(1);
    assert!(ran.stderr.starts_with("http://127.0.0.1:1/readyz did not answer: "), "{}", ran.stderr);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let daemon = format!("http://{}", listener.local_addr().unwrap());
    let ran = home.run(["healthcheck", "--timeout", "200ms", "--daemon", &daemon]).await.expect(1);
    assert!(ran.stderr.contains("did not answer"), "{}", ran.stderr);
}
