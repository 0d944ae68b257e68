//! `reconcile jenkins` against a loopback server that plays what a Jenkins 2 answers: folders,
//! multi-branch pipelines, pages of builds. There is no Jenkins in these tests; the shapes are those
//! of its remote access API with the classes of its folder, git and pipeline plug-ins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use cachetscope::clock::Clock;
use cachetscope::ingest::{self, Access};
use cachetscope::model::{CiResult, Event, EventKind};
use cachetscope::otlp::Resource;
use cachetscope::publisher::{Intake, facts_of_event};
use cachetscope::store::{Location, Store};
use serde_json::{Value, json};

use crate::rig::{Home, Ran, finish};

/// Basic authentication of `reader` with `secret-api-token` (RFC 7617).
const READER: &str = "Basic cmVhZGVyOnNlY3JldC1hcGktdG9rZW4=";

/// By path: a folder's children, or a job's builds.
type Tree = BTreeMap<String, Value>;

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

struct Jenkins {
    tree: Tree,
    /// Whether it answers only `READER`.
    closed: bool,
    /// What was asked: path and tree.
    asked: Mutex<Vec<String>>,
}

impl Jenkins {
    async fn start(tree: Tree, closed: bool) -> (String, Arc<Jenkins>) {
        let jenkins = Arc::new(Jenkins { tree, closed, asked: Mutex::default() });
        let url = listen(Router::new().fallback(answer).with_state(jenkins.clone())).await;
        (format!("{url}/jenkins/"), jenkins)
    }
}

/// The last `{from,to}` of a tree parameter.
fn range(tree: &str) -> (usize, usize) {
    let inner = tree.rsplit_once('{').and_then(|(_, rest)| rest.strip_suffix('}')).unwrap();
    let (from, to) = inner.split_once(',').unwrap();
    (from.parse().unwrap(), to.parse().unwrap())
}

async fn answer(State(jenkins): State<Arc<Jenkins>>, uri: Uri, headers: HeaderMap) -> Response {
    let html = |status: StatusCode, text: &'static str| {
        (status, [("content-type", "text/html;charset=utf-8"), ("x-jenkins", "2.479.1")], text)
            .into_response()
    };
    let url: url::Url = format!("http://jenkins{uri}").parse().unwrap();
    let tree = url.query_pairs().find(|(name, _)| name == "tree").map(|(_, tree)| tree.into_owned());
    let tree = tree.unwrap_or_default();
    jenkins.asked.lock().unwrap().push(format!("{} {tree}", uri.path()));
    if jenkins.closed && headers.get("authorization").is_none_or(|given| given != READER) {
        return html(StatusCode::UNAUTHORIZED, "<html><title>Error 401 Unauthorized</title>");
    }
    let Some(path) = uri.path().strip_prefix("/jenkins").and_then(|path| path.strip_suffix("/api/json"))
    else {
        return html(StatusCode::NOT_FOUND, "<html><title>Error 404 Not Found</title>");
    };
    let Some(item) = jenkins.tree.get(path) else {
        return html(StatusCode::NOT_FOUND, "<html><title>Error 404 Not Found</title>");
    };
    let mut item = item.clone();
    if let (Some(builds), true) = (item.get_mut("allBuilds"), tree.starts_with("allBuilds")) {
        let (from, to) = range(&tree);
        let all = builds.as_array().unwrap();
        *builds = all[from.min(all.len())..to.min(all.len())].into();
    }
    let headers = [("content-type", "application/json;charset=utf-8"), ("x-jenkins", "2.479.1")];
    (headers, item.to_string()).into_response()
}

const FOLDER: &str = "com.cloudbees.hudson.plugins.folder.Folder";
const MULTI: &str = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject";
const PIPELINE: &str = "org.jenkinsci.plugins.workflow.job.WorkflowJob";

/// A build that ended so many days ago.
fn build(number: u64, days: u64, result: &str) -> Value {
    let began =
        Clock::system().now().minus(std::time::Duration::from_secs(days * 86_400 + 600)).0 / 1_000_000;
    json!({
        "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
        "actions": [{"_class": "hudson.model.CauseAction"}, {}, null, {
            "_class": "hudson.plugins.git.util.BuildData",
            "lastBuiltRevision": {"SHA1": format!("{number:040x}"), "branch": [{"SHA1": "x", "name": "refs/remotes/origin/main"}]}
        }],
        "building": false, "duration": 61_500, "number": number, "result": result, "timestamp": began,
        "url": format!("https://ci.example/jenkins/job/nightly/{number}/")
    })
}

fn job(builds: impl IntoIterator<Item = Value>) -> Value {
    json!({"_class": PIPELINE, "allBuilds": builds.into_iter().collect::<Vec<_>>()})
}

/// A plain job with two pages and a half of builds, a folder, and a multi-branch pipeline in it.
fn tree() -> Tree {
    let child = |name: &str| json!({"_class": PIPELINE, "name": name});
    let folder =
        |class: &str, name: &str| json!({"_class": class, "name": name, "jobs": [{"_class": PIPELINE}]});
    let mut running = build(251, 0, "SUCCESS");
    running["result"] = Value::Null;
    running["building"] = true.into();
    let nightly = std::iter::once(running).chain((1..=250).rev().map(|n| build(n, 0, "SUCCESS")));
    BTreeMap::from([
        (
            String::new(),
            json!({"_class": "hudson.model.Hudson", "jobs": [child("nightly"), folder(FOLDER, "team")]}),
        ),
        ("/job/nightly".to_owned(), job(nightly)),
        ("/job/team".to_owned(), json!({"_class": FOLDER, "jobs": [folder(MULTI, "cachet")]})),
        (
            "/job/team/job/cachet".to_owned(),
            json!({"_class": MULTI, "jobs": [child("main"), child("feature%2Fx")]}),
        ),
        (
            "/job/team/job/cachet/job/main".to_owned(),
            job([
                build(4, 0, "UNSTABLE"),
                build(3, 1, "ABORTED"),
                build(2, 2, "NOT_BUILT"),
                build(1, 40, "SUCCESS"),
            ]),
        ),
        // Its name holds `%2F`, which a path has as `%252F`.
        ("/job/team/job/cachet/job/feature%252Fx".to_owned(), job([build(1, 0, "FAILURE")])),
    ])
}

/// The daemon's events API over a store.
async fn daemon(home: &Home) -> (String, Store) {
    let clock = Clock::system();
    let store = Store::open(&Location::File(home.store()), &clock).await.unwrap();
    let access = Access::new(None, "127.0.0.1:8787".parse().unwrap());
    let state = ingest::State {
        store: store.clone(),
        clock,
        resource: Resource::new(store.id(), None, None).unwrap(),
        intake: Arc::new(Intake::new()),
        access: tokio::sync::watch::channel(access).1,
        outbox_bytes_max: 1 << 30,
    };
    (listen(ingest::router(state)).await, store)
}

async fn reconcile(home: &Home, jenkins: &str, daemon: &str, more: &[&str], token: Option<&str>) -> Ran {
    let arguments = ["reconcile", "jenkins", "--url", jenkins, "--daemon", daemon];
    let mut command = home.command(arguments.iter().chain(more));
    if let Some(token) = token {
        command.env("CACHETSCOPE_JENKINS_TOKEN", token);
    }
    finish(&mut command).await
}

/// Without the moment and the ports.
fn settled(text: &str) -> String {
    let moment = regex::Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z").unwrap();
    let text = moment.replace_all(text, "MOMENT");
    regex::Regex::new(r"127\.0\.0\.1:\d+").unwrap().replace_all(&text, "HOST").into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named_imported_once_and_then_there() {
    let home = Home::new();
    let (url, jenkins) = Jenkins::start(tree(), false).await;
    let (daemon, store) = daemon(&home).await;
    // The daemon heard of one of them.
    let mut known = Event::new("jenkins", "team/cachet/main", "3");
    known.finished = Some(Clock::system().now());
    known.result = Some(CiResult::Cancellation);
    let resource = Resource::new(store.id(), None, None).unwrap();
    let facts = facts_of_event(known, Clock::system().now(), &[], &resource).unwrap();
    store.record(vec![facts]).await.unwrap();

    let ran = reconcile(&home, &url, &daemon, &["--dry-run"], None).await.expect(1);
    insta::assert_snapshot!("dry_run", settled(&ran.stdout));
    assert_eq!(store.known_runs("jenkins", "nightly").await.unwrap(), []);

    let ran = reconcile(&home, &url, &daemon, &[], None).await.expect(0);
    insta::assert_snapshot!("imported", settled(&ran.stdout));
    assert_eq!(store.known_runs("jenkins", "nightly").await.unwrap().len(), 250);
    let pages = |asked: &[String]| {
        asked.iter().filter(|asked| asked.contains("/job/nightly/") && asked.contains("allBuilds")).count()
    };
    assert_eq!(pages(&jenkins.asked.lock().unwrap()), 6, "three pages, twice");

    let events = store.events(EventKind::Pipeline, cachetscope::clock::Timestamp(0), 500).await.unwrap();
    let event = |pipeline: &str, run: &str| {
        let found = events.iter().find(|row| row.event.pipeline == pipeline && row.event.run == run);
        found.unwrap_or_else(|| panic!("{pipeline} {run}")).event.clone()
    };
    let branch = event("team/cachet/feature%2Fx", "1");
    assert_eq!((branch.result, branch.branch.as_deref()), (Some(CiResult::Failure), Some("feature/x")));
    let skipped = event("team/cachet/main", "2");
    assert_eq!((skipped.result, skipped.branch.as_deref()), (Some(CiResult::Skip), Some("main")));
    let nightly = event("nightly", "17");
    assert_eq!((nightly.result, nightly.branch.as_deref()), (Some(CiResult::Success), Some("main")));
    assert_eq!(nightly.commit.as_deref(), Some(format!("{:040x}", 17).as_str()));
    assert_eq!(nightly.url.as_deref(), Some("https://ci.example/jenkins/job/nightly/17/"));
    let took = nightly.finished.unwrap().since(nightly.started.unwrap());
    assert_eq!(took, std::time::Duration::from_millis(61_500));

    let ran = reconcile(&home, &url, &daemon, &["--output", "json"], None).await.expect(0);
    let report = ran.json();
    assert_eq!(
        report["jobs"][0],
        json!({"job": "nightly", "there": 250, "here": 250, "missing": [], "imported": 0, "running": 1})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_named_as_job_name_has_them() {
    let home = Home::new();
    let (url, _jenkins) = Jenkins::start(tree(), false).await;
    let (daemon, store) = daemon(&home).await;
    let jobs = |ran: &Ran| -> Vec<String> {
        let report = ran.json();
        report["jobs"].as_array().unwrap().iter().map(|job| job["job"].as_str().unwrap().to_owned()).collect()
    };
    let one = ["--job", "team/cachet/feature%2Fx", "--output", "json"];
    let ran = reconcile(&home, &url, &daemon, &one, None).await.expect(0);
    assert_eq!(jobs(&ran), ["team/cachet/feature%2Fx"]);
    let events = store.events(EventKind::Pipeline, cachetscope::clock::Timestamp(0), 10).await.unwrap();
    assert_eq!(events[0].event.branch.as_deref(), Some("feature/x"));
    let folder = ["--job", "team", "--since", "60d", "--output", "json"];
    let ran = reconcile(&home, &url, &daemon, &folder, None).await.expect(0);
    assert_eq!(jobs(&ran), ["team/cachet/feature%2Fx", "team/cachet/main"]);
    assert_eq!(ran.json()["jobs"][1]["missing"], json!([1, 2, 3, 4]));
    let ran = reconcile(&home, &url, &daemon, &["--job", "nihgtly"], None).await.expect(2);
    assert!(ran.stderr.contains("has no job `nihgtly`"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_daemon_refuses_is_named_and_the_rest_is_kept() {
    let home = Home::new();
    let mut ahead = build(2, 0, "SUCCESS");
    ahead["timestamp"] = 4_000_000_000_000_i64.into();
    let tree = BTreeMap::from([
        (String::new(), json!({"jobs": [{"name": "skewed"}]})),
        ("/job/skewed".to_owned(), job([ahead, build(1, 0, "SUCCESS")])),
    ]);
    let (url, _jenkins) = Jenkins::start(tree, false).await;
    let (daemon, store) = daemon(&home).await;
    let ran = reconcile(&home, &url, &daemon, &[], None).await.expect(1);
    assert!(ran.stdout.contains("refused: skewed #2: started is 2096-"), "{}", ran.stdout);
    assert!(ran.stdout.contains("2 there, 0 here, 2 missing, 1 imported"), "{}", ran.stdout);
    assert_eq!(store.known_runs("jenkins", "skewed").await.unwrap(), [("1".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_asked_for_in_words_and_never_shown() {
    let home = Home::new();
    let (url, _jenkins) = Jenkins::start(tree(), true).await;
    let (daemon, _store) = daemon(&home).await;
    let job = ["--job", "team/cachet/main"];
    let ran = reconcile(&home, &url, &daemon, &job, None).await.expect(2);
    insta::assert_snapshot!("no_token", settled(&ran.stderr));
    let user = ["--job", "team/cachet/main", "--user", "reader"];
    let ran = reconcile(&home, &url, &daemon, &user, Some("wrong-token")).await.expect(2);
    insta::assert_snapshot!("wrong_token", settled(&ran.stderr));
    assert!(!format!("{ran:?}").contains("wrong-token"));
    reconcile(&home, &url, &daemon, &user, Some("secret-api-token")).await.expect(0);
    home.write("token", "secret-api-token\n");
    let from_file = ["--job", "team/cachet/main", "--user", "reader", "--jenkins-token-file", "token"];
    reconcile(&home, &url, &daemon, &from_file, None).await.expect(0);
    let ran = reconcile(&home, &url, &daemon, &[], Some("secret-api-token")).await.expect(2);
    assert!(ran.stderr.contains("name the user with --user"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_jenkins_or_does_not_answer_is_told() {
    let home = Home::new();
    let (daemon_url, store) = daemon(&home).await;
    let fixed = async |status: u16, kind: &'static str, body: &'static str| {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = async move || {
            (status, [("content-type", kind), ("location", "https://ci.example/login?from=x")], body)
        };
        listen(Router::new().fallback(answer)).await
    };
    let (url, _jenkins) = Jenkins::start(tree(), false).await;
    let mut told = String::new();
    for (what, url, daemon, code) in [
        ("a web page", fixed(200, "text/html", "<html>Hello").await, daemon_url.clone(), 2),
        ("other JSON", fixed(200, "application/json", "{\"hello\": 1}").await, daemon_url.clone(), 2),
        ("a redirect", fixed(302, "text/plain", "").await, daemon_url.clone(), 2),
        ("nothing there", fixed(404, "text/html", "<html>").await, daemon_url.clone(), 2),
        ("forbidden", fixed(403, "text/html", "<html>").await, daemon_url.clone(), 2),
        ("broken", fixed(500, "text/html", "<html>\x1b[31mOops\n").await, daemon_url.clone(), 3),
        ("no Jenkins", "http://127.0.0.1:1".to_owned(), daemon_url.clone(), 3),
        ("no daemon", url.clone(), "http://127.0.0.1:1".to_owned(), 6),
        ("a daemon of before", url.clone(), fixed(404, "text/plain", "").await, 2),
        ("a daemon that wants a token", url.clone(), fixed(401, "application/problem+json", "{}").await, 2),
        ("another daemon", url.clone(), fixed(200, "application/json", "{}").await, 2),
        ("an address with a secret", "http://me:hunter2@127.0.0.1:1".to_owned(), daemon_url.clone(), 2),
    ] {
        let ran = reconcile(&home, &url, &daemon, &[], None).await.expect(code);
        assert!(!ran.stderr.contains('\x1b') && !ran.stderr.contains("hunter2"), "{what}: {:?}", ran.stderr);
        let line = ran.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        told.push_str(&format!("{what}: {}\n", settled(line)));
    }
    insta::assert_snapshot!("no_jenkins", told);
    assert_eq!(store.known_runs("jenkins", "nightly").await.unwrap(), []);
}
