//! Docker discovery against a real engine: `make docker-test` starts one and runs this.
//!
//! Not among the ordinary tests, since an engine needs root; those ask a server that answers as one
//! (`tests/it/discover/docker.rs`).

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[allow(dead_code, reason = "a vocabulary for other tests too")]
#[path = "it/rig.rs"]
mod rig;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rig::{Home, Served, until};
use serde_json::Value;

const SUITE: &str = "suite: smoke\nschedule: '@every 1s'\nrequests:\n  - name: ping\n    get: /api/v1/ping\n    \
                     expect: { status: 200, json: { '$.data': 'Pong!' } }\n";
/// Other suites would ask what the small web server of these containers does not have.
const SHIPPED: [&str; 4] =
    ["cachet-v2.yaml", "cachet-v2-writes.yaml", "cachet-v3.yaml", "cachet-v3-writes.yaml"];

/// The socket of the engine that `scripts/docker-test.sh` started.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration; this is where they read theirs")]
fn socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = host.strip_prefix("unix://");
    socket.expect("DOCKER_HOST names no socket: run `make docker-test`").to_owned()
}

/// What the client of Docker says.
fn docker(arguments: &str) -> String {
    shell(&format!("docker {arguments}"))
}

fn shell(line: &str) -> String {
    let output = Command::new("bash").args(["-euc", line]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn configure(home: &Home, fleet: &str) {
    home.write("probes/smoke.yaml", SUITE);
    for name in SHIPPED {
        let unused = format!(
            "suite: {name}\napplies_to: '<0.0.1'\nschedule: '@hourly'\nrequests:\n  - {{ name: a, get: /a }}\n"
        );
        home.write(&format!("probes/{name}"), &unused);
    }
    home.write("probes/fleet.yaml", fleet);
}

async fn deployments(daemon: &str) -> Option<Vec<Value>> {
    let client = cachetscope::http::ordinary(rustls::RootCertStore::empty()).unwrap().build().unwrap();
    let answer = client.get(format!("http://{daemon}/api/v1/deployments")).send().await.ok()?;
    serde_json::from_str(&answer.text().await.ok()?).ok()
}

/// Waits until these, and no others, are probed and well.
async fn well(daemon: &str, names: &[&str]) {
    let mut last = String::new();
    until(&format!("{names:?} are well"), async || {
        let all = deployments(daemon).await?;
        let found: Vec<String> = all.iter().map(|d| format!("{} {}", d["name"], d["outcome"])).collect();
        if found.join(", ") != last {
            last = found.join(", ");
            println!("docker-test:   {last}");
        }
        let expected: Vec<String> = names.iter().map(|name| format!("\"{name}\" \"pass\"")).collect();
        (found == expected).then_some(())
    })
    .await;
}

/// One test at a time, with nothing of the one before.
fn clean() {
    shell("docker ps -aq | xargs -r docker rm -f; docker network prune -f");
}

fn told(what: &str, since: Instant) {
    println!("docker-test: {what}, after {:.1} s", since.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_real_engine_are_probed_without_being_listed() {
    clean();
    let home = Home::new();
    configure(&home, &format!("discover: {{ docker: {{ socket: '{}', refresh: 5s }} }}\n", socket()));
    let mut served = Served::start(&home, &[]).await;
    let at = served.address.clone();

    let since = Instant::now();
    docker("run -d --name bystander cachet:2.4.1");
    docker("run -d --name published -p 127.0.0.1:18101:8000 -l cachetscope.db=mysql cachet:2.4.1");
    let joined = served.hears("a deployment joined the fleet").await;
    assert!(joined.contains("http://127.0.0.1:18101/") && joined.contains("2.4.1"), "{joined}");
    well(&at, &["published"]).await;
    told("a container that publishes its port is probed, its version from the image's tag", since);

    let since = Instant::now();
    docker("network create shop");
    docker(
        "run -d --name inside --network shop -l cachetscope.db=sqlite -l cachetscope.version=2.5.0 cachet:2.4.1",
    );
    let joined = served.hears("a deployment joined the fleet").await;
    let address = docker("inspect -f '{{.NetworkSettings.Networks.shop.IPAddress}}' inside");
    assert!(joined.contains(&format!("http://{address}:8000/")), "{joined}");
    well(&at, &["inside", "published"]).await;
    told("one that publishes nothing is probed at its address on its network", since);

    // Whether one was a departure is seen at the end.
    docker("restart -t 0 published inside");

    // The tag moves to another image: what runs is still 2.4.1; once deployed anew, it is another build.
    let before = docker("inspect -f '{{.Image}}' published");
    shell(
        "cd \"$(mktemp -d)\" && mkdir -p bin www/api/v1 && install /bin/busybox bin/ && echo '{\"data\":\"Pong!\"}' >www/api/v1/ping && \
           tar -c . | docker import --change 'EXPOSE 8000' --change 'LABEL build=2' --change \
           'ENTRYPOINT [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8000\", \"-h\", \"/www\"]' - cachet:2.4.1 && rm -r \"$PWD\"",
    );
    assert!(
        docker("ps --format '{{.Image}}' --filter name=published") != "cachet:2.4.1",
        "it tells an id now"
    );
    docker("restart -t 0 published");
    well(&at, &["inside", "published"]).await;
    let since = Instant::now();
    docker("rm -f published");
    docker("run -d --name published -p 127.0.0.1:18101:8000 -l cachetscope.db=mysql cachet:2.4.1");
    let joined = served.hears("a deployment joined the fleet").await;
    assert!(joined.contains("published"), "{joined}");
    assert!(docker("inspect -f '{{.Image}}' published") != before);
    assert!(served.hears("a deployment left the fleet").await.contains("published"), "the build before");
    well(&at, &["inside", "published"]).await;
    told("the same version in another image is another build", since);

    // Gone for good: after two refreshes.
    let since = Instant::now();
    docker("rm -f inside");
    well(&at, &["published"]).await;
    assert!(since.elapsed() > Duration::from_secs(9), "it may have been a restart");
    told("a container that is gone is retired", since);

    let (ran, _) = served.stop().await;
    println!("docker-test: the daemon said of it:\n{}", ran.stderr);
    let heard = |words: &str| ran.stderr.lines().filter(|line| line.contains(words)).count();
    assert_eq!((heard("joined the fleet"), heard("left the fleet")), (3, 2), "restarts are no departures");
    ran.expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_in_a_container_asks_the_others_on_their_network() {
    clean();
    let binary = Path::new(env!("CARGO_BIN_EXE_cachetscope"));
    let since = Instant::now();
    // The program with the libraries and the trusted certificates it needs, as an image.
    shell(&format!(
        "cd \"$(mktemp -d)\" && mkdir tmp && install -D /etc/ssl/certs/ca-certificates.crt -t etc/ssl/certs && strip -o cachetscope {0} && \
         ldd {0} | grep -o '/[^ ]*' | while read -r lib; do install -D \"$lib\" \".$lib\"; done && \
         tar -c . | docker import --change 'ENTRYPOINT [\"/cachetscope\"]' - watcher:1 >&2 && rm -r \"$PWD\"",
        binary.display()
    ));
    told("the daemon is in an image", since);
    let home = Home::new();
    configure(&home, "discover: { docker: { network: own, refresh: 5s } }\n");
    docker("network create own");
    docker(&format!(
        "run -d --name watcher --network own -v {}:/var/run/docker.sock:ro -v {}:/probes:ro \
         watcher:1 serve --listen 0.0.0.0:8787 --config /probes --state-dir /tmp/state",
        socket(),
        home.path("probes").display()
    ));
    let address = docker("inspect -f '{{.NetworkSettings.Networks.own.IPAddress}}' watcher");
    let at = format!("{address}:8787");
    let since = Instant::now();
    docker(
        "run -d --name neighbour --network own -p 127.0.0.1:18102:8000 -l cachetscope.db=mariadb cachet:2.4.1",
    );
    docker("run -d --name stranger -l cachetscope.db=mariadb cachet:2.4.1");
    well(&at, &["neighbour"]).await;
    let client = cachetscope::http::ordinary(rustls::RootCertStore::empty()).unwrap().build().unwrap();
    let said = until("it tells of the other one", async || {
        let answer = client.get(format!("http://{at}/readyz")).send().await.ok()?.text().await.ok()?;
        answer.contains("container `stranger` is not probed").then_some(answer)
    })
    .await;
    assert!(said.contains("it has no address on the network `own`; it is on `bridge`"), "{said}");
    told("from within a container it asks its neighbour, and says why not the stranger", since);
}
