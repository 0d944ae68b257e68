//! `serve` under a service manager: what it is told on the notify socket.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::rig::{Home, Served, until};

/// The socket that a service manager would hold.
struct Manager(UnixDatagram);

impl Manager {
    fn new(home: &Home) -> Self {
        Manager(UnixDatagram::bind(home.path("notify")).unwrap())
    }

    /// Everything that was told by now, line by line.
    fn heard(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut message = [0; 4096];
        while let Ok(length) = self.0.try_recv(&mut message) {
            lines.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
        lines
    }
}

fn serve(home: &Home) -> tokio::process::Command {
    let mut command = home.command(["serve", "--listen", "127.0.0.1:0", "--color", "never"]);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    command
}

#[tokio::test]
async fn the_manager_hears_of_the_start_the_page_and_the_stop() {
    let home = Home::new();
    home.write("probes/fleet.yaml", "deployments: []\n");
    let manager = Manager::new(&home);
    let state = home.path("state");
    let served = Served::of(serve(&home).env("STATE_DIRECTORY", &state)).await;
    let mut heard = Vec::new();
    until("it is ready", async || {
        heard.extend(manager.heard());
        heard.iter().any(|line| line == "READY=1").then_some(())
    })
    .await;
    assert_eq!(heard, ["READY=1".to_owned(), format!("STATUS=page at http://{}", served.address)]);
    assert!(state.join("cachetscope.db").exists(), "the state is where the manager says");
    served.stop().await.0.expect(0);
    let heard = manager.heard();
    assert!(heard.contains(&"STOPPING=1".to_owned()), "{heard:?}");
    assert!(!heard.contains(&"WATCHDOG=1".to_owned()), "nobody asked for it: {heard:?}");
}

#[tokio::test]
async fn the_watchdog_is_told_again_and_again_while_the_store_answers() {
    let home = Home::new();
    home.write("probes/fleet.yaml", "deployments: []\n");
    let manager = Manager::new(&home);
    let served = Served::of(serve(&home).env("WATCHDOG_USEC", "100000")).await;
    let mut told = 0;
    until("the watchdog is told", async || {
        told += manager.heard().iter().filter(|line| *line == "WATCHDOG=1").count();
        (told >= 4).then_some(())
    })
    .await;
    served.stop().await.0.expect(0);
}

/// Who says that it is ready has to hear a stop from then on.
#[tokio::test]
async fn a_stop_right_after_the_start_is_in_order() {
    let home = Home::new();
    home.write("probes/fleet.yaml", "deployments: []\n");
    for _ in 0..5 {
        let ran = Served::start(&home, &[]).await.stop().await.0.expect(0);
        assert!(ran.stderr.contains("stopping"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_manager_that_does_not_listen_changes_nothing() {
    let home = Home::new();
    home.write("probes/fleet.yaml", "deployments: []\n");
    let mut served = Served::of(&mut serve(&home)).await;
    served.hears("the service manager cannot be told").await;
    let (ran, took) = served.stop().await;
    ran.expect(0);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Every setting of the unit that names a file or a variable is one that this program knows.
#[tokio::test]
async fn the_unit_starts_what_is_there() {
    let unit = include_str!("../../deploy/cachetscope.service");
    let start =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/cachetscope ")).unwrap();
    let home = Home::new();
    home.write("probes/fleet.yaml", "deployments: []\n");
    let probes = home.path("probes").display().to_string();
    let words: Vec<String> = start.split(' ').map(|word| word.replace("/etc/cachetscope", &probes)).collect();
    let manager = Manager::new(&home);
    let mut command =
        home.command(words.iter().chain(["--listen".to_owned(), "127.0.0.1:0".to_owned()].iter()));
    let served = Served::of(command.env("NOTIFY_SOCKET", home.path("notify"))).await;
    let mut heard = BTreeSet::new();
    until("it is ready", async || {
        heard.extend(manager.heard());
        heard.contains("READY=1").then_some(())
    })
    .await;
    served.stop().await.0.expect(0);
}
