//! The real load tools against a loopback server that counts: what is read from their outputs is what
//! the server saw, exactly where a tool sends a fixed number of requests.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cachetscope::load::{LoadError, Tool, read};
use cachetscope::model::Load;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::parts::{PATIENCE, eventually, part};

/// How long the server takes for an answer, so that tools which run for a time make few requests.
const PACE: Duration = Duration::from_millis(4);
/// Requests under way at once.
const CONNECTIONS: u64 = 4;

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// 200 to all.
    Well,
    /// 429 to every second.
    Limited,
    /// Every fifth connection is closed instead of an answer.
    Closing,
    /// Every fifth connection is reset instead of an answer.
    Resetting,
}

/// What the server saw.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    limited: AtomicU64,
    dropped: AtomicU64,
}

struct Target {
    url: String,
    seen: Arc<Seen>,
}

impl Target {
    /// A server of HTTP/1 in its plainest form: it must close and reset connections as it likes,
    /// which no framework lets it.
    async fn start(manner: Manner) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/components", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let counting = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner, counting.clone()));
            }
        });
        Target { url, seen }
    }

    fn requests(&self) -> u64 {
        self.seen.requests.load(Relaxed)
    }

    fn limited(&self) -> u64 {
        self.seen.limited.load(Relaxed)
    }

    fn dropped(&self) -> u64 {
        self.seen.dropped.load(Relaxed)
    }
}

/// Answers on one connection until either side has enough; a broken connection ends it, too.
async fn serve(stream: TcpStream, manner: Manner, seen: Arc<Seen>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = BufReader::new(stream);
    loop {
        let (mut keep, mut line) = (false, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end().to_ascii_lowercase().as_str() {
                "" => break,
                "connection: close" => keep = false,
                "connection: keep-alive" => keep = true,
                first if first.ends_with("http/1.1") => keep = true,
                _ => {}
            }
        }
        let number = seen.requests.fetch_add(1, Relaxed);
        tokio::time::sleep(PACE).await;
        let status = match manner {
            Manner::Limited if number % 2 == 1 => {
                seen.limited.fetch_add(1, Relaxed);
                "429 Too Many Requests"
            }
            Manner::Closing | Manner::Resetting if number % 5 == 4 => {
                seen.dropped.fetch_add(1, Relaxed);
                if manner == Manner::Resetting {
                    stream.get_ref().set_zero_linger().ok()?;
                }
                return None;
            }
            _ => "200 OK",
        };
        let connection = if keep { "keep-alive" } else { "close" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: 11\r\nConnection: {connection}\r\n\r\n{{\"data\":[]}}"
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
        if !keep {
            return None;
        }
    }
}

fn command(tool: Tool, args: &[&str], url: &str) -> Command {
    let variable = format!("CACHETSCOPE_TEST_{}", tool.as_str().to_ascii_uppercase());
    let mut command = Command::new(part(&variable));
    command.args(args).arg(url).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(tool: Tool, args: &[&str], target: &Target) -> Output {
    let output = command(tool, args, &target.url).output();
    tokio::time::timeout(PATIENCE, output).await.expect("in time").unwrap()
}

/// Runs a tool and reads what it printed, recognised from the text.
async fn measure(tool: Tool, args: &[&str], target: &Target) -> Load {
    let output = run(tool, args, target).await;
    read(None, &output.stdout).unwrap_or_else(|error| {
        panic!("{tool}: {error}\n{}", String::from_utf8_lossy(&output.stdout));
    })
}

/// Arguments for so many requests on [`CONNECTIONS`] connections.
fn fixed(tool: Tool) -> &'static [&'static str] {
    match tool {
        Tool::Ab => &["-q", "-n", "200", "-c", "4"],
        Tool::Hey => &["-n", "200", "-c", "4"],
        Tool::Oha => &["--no-tui", "--output-format", "json", "-n", "200", "-c", "4"],
        Tool::Wrk | Tool::K6 => unreachable!("wrk runs for a time; k6 is not among the parts"),
    }
}

const FIXED: [Tool; 3] = [Tool::Ab, Tool::Hey, Tool::Oha];
const WRK: &[&str] = &["-t", "1", "-c", "4", "-d", "1s", "--latency"];

/// What holds of every run against [`PACE`].
fn assert_paced(tool: Tool, load: &Load) {
    let pace = PACE.as_secs_f64();
    // ab rounds to milliseconds.
    let lowest = load.latency.first().unwrap_or_else(|| panic!("{tool} told no quantiles"));
    assert!(lowest.seconds >= pace - 0.000_5, "{tool}: {load:?}");
    assert!(load.latency.len() >= 5 && load.latency.last().unwrap().quantile == 1.0, "{tool}: {load:?}");
    assert!(load.latency_mean_seconds.unwrap() >= pace, "{tool}: {load:?}");
    assert!(load.throughput > 0.0 && load.throughput <= CONNECTIONS as f64 / pace, "{tool}: {load:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_those_of_the_server() {
    for tool in FIXED {
        let target = Target::start(Manner::Well).await;
        let load = measure(tool, fixed(tool), &target).await;
        assert_eq!((load.requests, load.errors), (200, 0), "{tool}: {load:?}");
        assert_eq!(target.requests(), 200, "{tool}");
        assert_paced(tool, &load);
        if tool != Tool::Ab {
            assert_eq!(load.statuses, [(200, 200)].into(), "{tool}");
        }
    }
    let target = Target::start(Manner::Well).await;
    let load = measure(Tool::Wrk, WRK, &target).await;
    assert_paced(Tool::Wrk, &load);
    assert_eq!((load.errors, load.concurrency), (0, Some(4)), "{load:?}");
    // What was under way at the end.
    assert!((load.requests..=load.requests + CONNECTIONS).contains(&target.requests()), "{load:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hey_s_csv_tells_the_same() {
    let target = Target::start(Manner::Limited).await;
    let load = measure(Tool::Hey, &["-n", "200", "-c", "4", "-o", "csv"], &target).await;
    assert_eq!((load.requests, load.rate_limited(), target.requests()), (200, 100, 200), "{load:?}");
    assert_paced(Tool::Hey, &load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_429_are_counted() {
    for tool in FIXED {
        let target = Target::start(Manner::Limited).await;
        let load = measure(tool, fixed(tool), &target).await;
        assert_eq!((load.requests, load.errors, target.limited()), (200, 100, 100), "{tool}: {load:?}");
        let told = if tool == Tool::Ab { 0 } else { 100 };
        assert_eq!(load.rate_limited(), told, "{tool}: {load:?}");
        assert!(load.remarks.iter().any(|remark| remark.contains("429")), "{tool}: {load:?}");
    }
    let target = Target::start(Manner::Limited).await;
    let load = measure(Tool::Wrk, WRK, &target).await;
    let limited = target.limited();
    assert!(
        load.errors > 0 && (load.errors..=load.errors + CONNECTIONS).contains(&limited),
        "{limited} {load:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_close_are_errors() {
    // Without keep-alive, or Go's client quietly repeats what was dropped.
    let one_each: [(Tool, &[&str]); 3] =
        [(Tool::Ab, &[]), (Tool::Hey, &["-disable-keepalive"]), (Tool::Oha, &["--disable-keepalive"])];
    for (tool, more) in one_each {
        let target = Target::start(Manner::Closing).await;
        let load = measure(tool, &[fixed(tool), more].concat(), &target).await;
        assert!(target.dropped() > 0);
        assert_eq!(load.errors, target.dropped(), "{tool}: {load:?}");
        let answered = if tool == Tool::Ab { load.requests - load.errors } else { load.requests };
        assert_eq!(answered, target.requests() - target.dropped(), "{tool}: {load:?}");
    }
    let target = Target::start(Manner::Closing).await;
    let load = measure(Tool::Wrk, WRK, &target).await;
    let dropped = target.dropped();
    assert!(
        load.errors > 0 && (load.errors..=load.errors + CONNECTIONS).contains(&dropped),
        "{dropped} {load:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_oha_aborts_at_its_deadline_are_no_errors() {
    let target = Target::start(Manner::Well).await;
    let args = ["--no-tui", "--output-format", "json", "-z", "1s", "-c", "4"];
    let load = measure(Tool::Oha, &args, &target).await;
    assert_eq!(load.errors, 0, "{load:?}");
    assert!(load.remarks.iter().any(|remark| remark.contains("aborted due to deadline")), "{load:?}");
    assert!((load.requests..=load.requests + CONNECTIONS).contains(&target.requests()), "{load:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_breaks_or_is_ended_is_no_result() {
    let target = Target::start(Manner::Resetting).await;
    let broken = run(Tool::Ab, fixed(Tool::Ab), &target).await;
    let error = read(None, &broken.stdout).unwrap_err();
    assert!(matches!(error, LoadError::Truncated { tool: Tool::Ab, .. }), "{error}");

    let endless: [(Tool, &[&str]); 4] = [
        (Tool::Ab, &["-n", "1000000", "-c", "4"]),
        (Tool::Wrk, &["-t", "1", "-c", "4", "-d", "600s"]),
        (Tool::Hey, &["-z", "600s", "-c", "4"]),
        (Tool::Oha, &["--no-tui", "--output-format", "json", "-z", "600s", "-c", "4"]),
    ];
    for (tool, args) in endless {
        let target = Target::start(Manner::Well).await;
        let mut command = command(tool, args, &target.url);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        eventually("some requests", async || (target.requests() > 20).then_some(())).await;
        child.start_kill().unwrap();
        let printed = child.wait_with_output().await.unwrap().stdout;
        let error = read(None, &printed).unwrap_err();
        assert!(matches!(error, LoadError::Truncated { .. } | LoadError::Empty), "{tool}: {error}");
    }
}
