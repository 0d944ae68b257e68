//! The page in a real browser: no complaint on its console, no sideways scrolling on a phone, and it
//! keeps itself current. Leaves screenshots in `target/tmp`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use cachetscope::clock::Clock;
use cachetscope::model::{Deployment, ErrorType, Flavour, Outcome};
use cachetscope::store::Lane;
use tokio::sync::watch;

use crate::page_fleet::{Fleet, Told, deployment, usual};
use crate::page_judged;
use crate::page_past;

const PHONE_PX: u32 = 390;
/// The evidence of a verdict, and of a request that nothing precedes.
const COMPARED: &str = "/deployments/cachet-3.x-mariadb/compare/components";
const UNCOMPARED: &str = "/deployments/cachet-2.3-sqlite/compare/ping";

/// What Chromium saw: the document after its scripts ran, and what it wrote on the console.
struct Seen {
    dom: String,
    console: Vec<String>,
}

/// Runs Chromium without a window. It must not reach beyond loopback, so all else is unresolvable.
async fn chromium(arguments: &[&str], url: &str) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::parts::part("CACHETSCOPE_TEST_CHROMIUM"));
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(url);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The document after so many seconds of the page's own time, which passes as fast as it can.
async fn look(url: &str, seconds: u32) -> Seen {
    let budget = format!("--virtual-time-budget={}", seconds * 1_000);
    let output = chromium(&["--window-size=1280,1000", &budget, "--dump-dom"], url).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let console = log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Seen { dom: String::from_utf8_lossy(&output.stdout).into_owned(), console }
}

async fn screenshot(url: &str, name: &str, size: &str, more: &[&str]) {
    let path: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (shot, size) = (format!("--screenshot={}", path.display()), format!("--window-size={size}"));
    let arguments = [&[shot.as_str(), size.as_str()], more].concat();
    chromium(&arguments, url).await;
    let png = std::fs::read(&path).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{} bytes in {name}", png.len());
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// As bad as it gets: long names, long words in failures, a collector that is away.
async fn unlucky() -> Fleet {
    let mut fleet = Fleet::filled().await;
    page_past::told(&fleet).await;
    page_past::long(&fleet).await;
    page_past::hostile(&fleet, &"a-name-that-never-ends".repeat(10), "https://ci.example/").await;
    let name = "cachet-with-a-name-that-somebody-had-to-type-in-full-microsoft-sql-server";
    fleet.deployments.push(deployment(name, "2.4.1", Flavour::SqlServer).into());
    fleet.live().await;
    fleet.clock.advance(Duration::from_secs(30));
    let detail = "body: expected application/vnd.api+json, found <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\">aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    fleet
        .rounds(1, |d, request, back, ms| match d.db {
            Flavour::SqlServer => Told { ms, outcome: Outcome::Fail, error: Some(ErrorType::Check), detail },
            _ => usual(d, request, back, ms),
        })
        .await;
    let now = fleet.clock.now();
    fleet.store.note_trouble(
        Lane::Traces,
        now,
        "connection to http://127.0.0.1:4318/v1/traces refused (os error 111)",
    );
    fleet.refuse("field resource_spans[0].scope_spans[0].spans[3].trace_id must be 16 bytes long").await;
    page_judged::crowded(&fleet).await;
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_has_no_complaint() {
    let fleet = Fleet::filled().await;
    page_past::told(&fleet).await;
    page_judged::judged(&fleet).await;
    let (router, _notices) = fleet.router("staging");
    // What the browser says of a page that breaks the policy: so a complaint would be seen.
    let broken = async || ([(CONTENT_SECURITY_POLICY, "default-src 'none'")], Html("<p style='color:red'>x"));
    let url = serve(router.route("/broken", get(broken))).await;
    let control = look(&format!("{url}/broken"), 1).await;
    assert!(
        control.console.iter().any(|line| line.contains("Content Security Policy")),
        "{:?}",
        control.console
    );

    for path in [
        "/",
        "/deployments/cachet-2.4-postgresql",
        "/deployments/cachet-2.3-mariadb?request=ping",
        COMPARED,
        UNCOMPARED,
    ] {
        let seen = look(&format!("{url}{path}"), 12).await;
        assert_eq!(seen.console, [""; 0], "{path}");
        assert!(
            seen.dom.contains("$.data[0].visible: expected 1, found true") || !path.contains("2.4"),
            "{path}"
        );
        assert!(seen.dom.contains("id=\"away\" class=\"away\" role=\"status\" hidden"), "{path}");
    }
}

/// Opens what can be opened, focuses a link, and tells after three updates what became of them.
const OPEN_AND_FOCUS: &str = "
    const page = () => frame.contentDocument;
    page().querySelector('details').open = true;
    page().querySelector('#failures a[href^=\"/deployments\"]').focus();
    const before = page().querySelector('details');
    setTimeout(() => {
      const after = page().querySelector('details');
      tell(`exchanged ${before !== after}, open ${after.open}, focus ${page().activeElement.getAttribute('href')}, ` +
        `notices ${page().querySelectorAll('.notice').length}`);
    }, 16000);";

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_itself_current_and_open_details_open() {
    let mut fleet = Fleet::empty().await;
    for name in ["one", "two", "three", "four", "five"] {
        fleet.deployments.push(deployment(name, "2.4.1", Flavour::Sqlite).into());
    }
    fleet.live().await;
    let told = |d: &Deployment, _: &str, _, ms| match d.name.as_str() {
        "four" => {
            Told { ms, outcome: Outcome::Fail, error: Some(ErrorType::Check), detail: "status: found 500" }
        }
        _ => Told::pass(ms),
    };
    fleet.rounds(5, told).await;
    let (router, notices) = fleet.router("staging");
    let changing = from_fn_with_state(Arc::new((fleet.clock.clone(), notices)), change_something);
    let url = serve(framed(router.layer(changing), OPEN_AND_FOCUS)).await;
    let seen = look(&format!("{url}/framed?path=/"), 20).await;
    assert_eq!(told_by(&seen), "exchanged true, open true, focus /deployments/four, notices 1");
    assert_eq!(seen.console, [""; 0]);
}

/// With every page that is asked for time passes, and there is something to be said.
async fn change_something(
    State(changing): State<Arc<(Clock, watch::Sender<Vec<String>>)>>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == "/" {
        let (clock, notices) = &*changing;
        clock.advance(Duration::from_secs(60));
        notices.send_replace(vec![format!("it is {}", clock.now())]);
    }
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_when_the_daemon_no_longer_answers() {
    let fleet = Fleet::filled().await;
    let (router, _notices) = fleet.router("staging");
    let asked = Arc::new(AtomicU32::new(0));
    let die = async |State(asked): State<Arc<AtomicU32>>, request: Request, next: Next| -> Response {
        if request.uri().path() == "/" && asked.fetch_add(1, Ordering::SeqCst) > 0 {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        next.run(request).await
    };
    let url = serve(router.layer(from_fn_with_state(asked, die))).await;
    let seen = look(&url, 8).await;
    assert!(
        seen.dom.contains("This daemon no longer answers (status 503). What you see is from"),
        "{}",
        seen.dom
    );
    assert!(seen.dom.contains("<body class=\"old\">"));
    assert!(seen.dom.contains("incidents on postgresql"), "what was shown stays");
}

/// Puts the page into a frame as wide as a phone, where `script` may look into it. Headless Chromium
/// has no narrower window than 500 px, and the page refuses to be framed, so its policy is taken off.
fn framed(router: Router, script: &'static str) -> Router {
    let frame = async move |Query(query): Query<HashMap<String, String>>| {
        let path = &query["path"];
        Html(format!(
            "<!doctype html>
             <style>body{{margin:0}}iframe{{border:0;display:block;width:{PHONE_PX}px;height:8000px}}</style>
             <iframe src=\"{path}\"></iframe><pre></pre>
             <script>
             const frame = document.querySelector('iframe');
             const tell = (words) => {{ document.querySelector('pre').textContent = words; }};
             frame.onload = () => {{ {script} }};
             </script>"
        ))
    };
    let unframed = async |request: Request, next: Next| {
        let mut answer = next.run(request).await;
        answer.headers_mut().remove(CONTENT_SECURITY_POLICY);
        answer
    };
    router.route("/framed", get(frame)).layer(from_fn(unframed))
}

/// What the script of a framed page told.
fn told_by(seen: &Seen) -> &str {
    seen.dom.split("<pre>").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap_or("nothing")
}

/// What reaches beyond the frame, but for what may be scrolled or is only for screen readers.
const MEASURE: &str = "
    const page = frame.contentDocument;
    const scrolls = (e) => e && (getComputedStyle(e).overflowX !== 'visible' || scrolls(e.parentElement));
    const wide = [...page.body.querySelectorAll('*')].filter((e) =>
      e.getBoundingClientRect().right > frame.clientWidth + 0.5 && !scrolls(e) && !e.closest('.vh, .skip'));
    tell(`scrolls ${page.documentElement.scrollWidth - frame.clientWidth} px; too wide: ` +
      wide.map((e) => e.outerHTML.slice(0, 90)).join(' '));";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_scrolls_sideways_on_a_phone() {
    let fleet = unlucky().await;
    let (router, _notices) = fleet.router("staging");
    let url = serve(framed(router, MEASURE)).await;
    for path in ["/", "/deployments/cachet-2.3-mariadb", "/deployments/nobody", COMPARED, UNCOMPARED] {
        let seen = look(&format!("{url}/framed?path={path}"), 3).await;
        assert_eq!(told_by(&seen).trim(), "scrolls 0 px; too wide:", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_worth_looking_at() {
    let fleet = Fleet::filled().await;
    page_past::told(&fleet).await;
    page_judged::judged(&fleet).await;
    let (router, _notices) = fleet.router("staging");
    let url = serve(framed(router, "")).await;
    let dark = "--blink-settings=preferredColorScheme=0";
    screenshot(&url, "page-light.png", "1220,3300", &[]).await;
    screenshot(&url, "page-dark.png", "1220,3300", &[dark]).await;
    screenshot(&format!("{url}/framed?path=/"), "page-phone.png", "390,8000", &[]).await;
    let evidence = format!("{url}/deployments/cachet-2.4-postgresql");
    screenshot(&evidence, "page-deployment.png", "1220,1700", &[]).await;
    let crowd = unlucky().await;
    let (crowded, _notices) = crowd.router("staging");
    let crowded = serve(crowded).await;
    screenshot(&crowded, "page-crowded.png", "1220,3300", &[]).await;
    let compared = format!("{url}{COMPARED}");
    screenshot(&compared, "page-compared.png", "1220,2000", &[]).await;
    screenshot(&compared, "page-compared-dark.png", "1220,2000", &[dark]).await;
    screenshot(&format!("{url}/framed?path={COMPARED}"), "page-compared-phone.png", "390,8000", &[]).await;
}
