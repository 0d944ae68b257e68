//! Looks after undelivered telemetry: what waits, what was refused, and what to do with it.

use anyhow::Context;
use clap::{Args, Subcommand};
use comfy_table::Cell;
use serde_json::json;

use super::output::{lines, plain_table};
use super::{Global, block_on, exit};
use crate::clock::{Clock, Timestamp};
use crate::config::Env;
use crate::store::{Change, LaneStatus, Location, Refused, Store};

/// Refused requests that are listed at most.
const LISTED_MAX: u32 = 1_000;

#[derive(Debug, Args)]
pub(super) struct Outbox {
    /// The spool of the one-shots instead of the daemon's store
    #[arg(long, global = true)]
    spool: bool,
    /// Ask this running daemon, which holds its store alone
    #[arg(long, global = true, env = "CACHETSCOPE_DAEMON", value_name = "URL")]
    daemon: Option<url::Url>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What waits, and what the collector refused for good
    List,
    /// Send what was refused once more
    Retry(Which),
    /// Delete what was refused
    Drop(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// Ids from `outbox list`
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<i64>,
    /// Everything that was refused
    #[arg(long)]
    all: bool,
}

impl Which {
    fn ids(self) -> Option<Vec<i64>> {
        (!self.all).then_some(self.ids)
    }
}

impl Outbox {
    pub fn run(self, global: &Global, env: &Env) -> anyhow::Result<u8> {
        block_on(async {
            match self.daemon {
                Some(daemon) => ask(daemon, self.action).await,
                None => {
                    let location = match self.spool {
                        true => super::spool::location(global, env)?,
                        false => global.location(env)?,
                    };
                    look(&location, self.action).await
                }
            }
        })
    }
}

/// On the store itself, which no daemon may hold then.
async fn look(location: &Location, action: Action) -> anyhow::Result<u8> {
    if let Location::File(path) = location {
        anyhow::ensure!(
            path.exists(),
            "there is no store at {location}; name one with --state-dir or --database"
        );
    }
    let clock = Clock::system();
    let hint = "a running daemon holds its store: ask it with --daemon http://127.0.0.1:8787";
    let store = Store::open(location, &clock).await.context(hint)?;
    match action {
        Action::List => {
            let refused = store.outbox_refused(LISTED_MAX).await?;
            super::print(&listing(&store.outbox_status().await?, &refused, clock.now()))?;
        }
        Action::Retry(which) => {
            let retried = store.change(Change::Retry(which.ids())).await?;
            super::print(&format!("{retried} will be sent again\n"))?;
        }
        Action::Drop(which) => {
            let dropped = store.change(Change::Drop(which.ids())).await?;
            super::print(&format!("{dropped} deleted\n"))?;
        }
    }
    store.close().await;
    Ok(exit::OK)
}

/// Through a running daemon.
async fn ask(daemon: url::Url, action: Action) -> anyhow::Result<u8> {
    let client = crate::exporter::http_client()?;
    let (path, which) = match action {
        Action::List => ("/api/v1/outbox", None),
        Action::Retry(which) => ("/api/v1/outbox/retry", Some(which)),
        Action::Drop(which) => ("/api/v1/outbox/drop", Some(which)),
    };
    let url = daemon.join(path).context("--daemon")?;
    let request = match which {
        None => client.get(url.clone()),
        Some(which) => {
            let body = match which.ids() {
                Some(ids) => json!({ "ids": ids }),
                None => json!({ "all": true }),
            };
            client.post(url.clone()).header("content-type", "application/json").body(body.to_string())
        }
    };
    let answer = request.send().await.with_context(|| format!("{url} did not answer"))?;
    let status = answer.status();
    let text = answer.text().await?;
    anyhow::ensure!(status.is_success(), "{url} answered {status}: {}", text.trim());
    super::print(&format!("{}\n", text.trim()))?;
    Ok(exit::OK)
}

fn listing(lanes: &[LaneStatus], refused: &[Refused], now: Timestamp) -> String {
    let mut table = plain_table(&["lane", "waiting", "bytes", "oldest", "refused"], &[1, 2, 3, 4]);
    for lane in lanes {
        let oldest = match lane.oldest {
            Some(oldest) => {
                let age = std::time::Duration::from_secs(now.since(oldest).as_secs());
                humantime::format_duration(age).to_string()
            }
            None => "–".to_owned(),
        };
        table.add_row([
            lane.lane.as_str().to_owned(),
            lane.items.to_string(),
            lane.bytes.to_string(),
            oldest,
            lane.refused.to_string(),
        ]);
    }
    let mut out = lines(&table);
    if refused.is_empty() {
        return out;
    }
    let mut table = plain_table(&["id", "lane", "items", "made", "the collector said"], &[0, 2]);
    for part in refused {
        table.add_row([
            Cell::new(part.id),
            Cell::new(part.entry.lane.as_str()),
            Cell::new(part.entry.items),
            Cell::new(part.entry.created),
            Cell::new(&part.reason),
        ]);
    }
    out.push_str(&format!("\n{}", lines(&table)));
    out
}
