//! Versions that somebody chooses are compared anew from stored rounds.

use cachetscope::page::Verdicts;
use cachetscope::verdict::Verdict;
use reqwest::StatusCode;

use crate::page_fleet::Fleet;

async fn get(fleet: &Fleet, query: &str) -> (StatusCode, String) {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (router, _notices) = fleet.router("test");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/verdicts?{query}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    let (status, body) = (answer.status(), answer.text().await.unwrap());
    server.abort();
    (status, body)
}

async fn verdicts(fleet: &Fleet, query: &str) -> Verdicts {
    let (status, body) = get(fleet, query).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

const LATEST: &str = "3.0.0-dev.202608221030";

#[tokio::test]
async fn any_two_versions_are_compared_by_the_rounds_that_visited_both() {
    let fleet = Fleet::filled().await;
    assert!(verdicts(&fleet, "").await.verdicts.is_empty(), "no daemon has judged anything");

    let found = verdicts(&fleet, &format!("version={LATEST}&against=2.4.1&db=mariadb")).await.verdicts;
    assert_eq!(found.len(), 8, "requests that both were asked, on one database");
    for standing in &found {
        let expected = if standing.request == "components" { Verdict::Regressed } else { Verdict::Unchanged };
        assert_eq!(standing.verdict, expected, "{}", standing.words());
        assert_eq!(standing.against.as_ref().unwrap().version, "2.4.1");
        assert_eq!(standing.latency.unwrap().assessment.pairs, 67, "of 70 rounds, but for the warm-up");
    }
    let ratio = |all: &[cachetscope::compare::Standing]| {
        let components = all.iter().find(|standing| standing.request == "components");
        components.unwrap().latency.unwrap().assessment.ratio.unwrap().value
    };
    assert!((ratio(&found) - 1.158).abs() < 0.02, "{}", ratio(&found));

    // Over the one in between, and the other way around.
    let query = format!("version={LATEST}&against=2.3.18&db=sqlite");
    let over = verdicts(&fleet, &query).await.verdicts;
    assert_eq!(over.len(), 7, "2.3 has no schedules");
    assert!(over.iter().all(|standing| standing.request != "schedules"));
    let query = format!("version=2.4.1&against={LATEST}&db=mariadb&request=components");
    let back = verdicts(&fleet, &query).await.verdicts;
    assert_eq!(back[0].verdict, Verdict::Improved);
    assert!((ratio(&back) * ratio(&found) - 1.0).abs() < 1e-6);
}

#[tokio::test]
async fn a_window_judges_by_its_own_rounds() {
    let fleet = Fleet::filled().await;
    let of = |all: &Verdicts| {
        let is = |s: &&cachetscope::compare::Standing| {
            s.request == "components" && s.version == LATEST && s.db.as_str() == "mariadb"
        };
        all.verdicts.iter().find(is).unwrap().clone()
    };
    let whole = of(&verdicts(&fleet, "window=7d").await);
    assert_eq!((whole.verdict, whole.latency.unwrap().assessment.pairs), (Verdict::Regressed, 67));
    let short = of(&verdicts(&fleet, "window=15m").await);
    assert_eq!(short.verdict, Verdict::Inconclusive, "{}", short.words());
    assert!((20..=30).contains(&short.latency.unwrap().assessment.pairs), "{}", short.words());
    assert!(short.since >= cachetscope::clock::Timestamp(0), "nothing is said of what was before the window");
}

#[tokio::test]
async fn what_cannot_be_compared_is_said() {
    let fleet = Fleet::filled().await;
    for (query, words) in [
        ("against=2.4.1", "`against` needs `version`: the later one"),
        ("version=3.0.0&against=%20", "is not a version"),
        (
            "version=9.9.9&against=2.4.1",
            "no deployment ever had version 9.9.9; known are 3.0.0-dev.202608221030,",
        ),
        ("version=2.4.1&against=v2.4.1", "2.4.1 would be compared with itself"),
        ("window=soon", "`soon` is not a duration such as `6h` or `2d`"),
    ] {
        let (status, body) = get(&fleet, query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains(words), "{body}");
    }
}
