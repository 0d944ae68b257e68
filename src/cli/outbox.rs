//! Looks after undelivered telemetry: what waits, what was refused, and what to do with it. The
//! same words whether the store is asked or a running daemon.

use anyhow::Context;
use clap::{Args, Subcommand};
use comfy_table::Cell;
use serde::Deserialize;
use serde_json::json;

use super::output::{lines, plain_table};
use super::{Global, block_on, exit};
use crate::clock::{Clock, Timestamp};
use crate::config::Env;
use crate::store::{Change, LaneStatus, Location, Refused, Store};

/// Refused requests that are listed at most.
const LISTED_MAX: u32 = 1_000;
/// What became of refused requests.
const RETRIED: &str = "will be sent again";
const DROPPED: &str = "deleted";

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

#[derive(Clone, Debug, Args)]
struct Which {
    /// Ids from `outbox list`
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<i64>,
    /// Everything that was refused
    #[arg(long)]
    all: bool,
}

impl Which {
    /// Each once; `None` for everything.
    fn ids(mut self) -> Option<Vec<i64>> {
        self.ids.sort_unstable();
        self.ids.dedup();
        (!self.all).then_some(self.ids)
    }

    /// What became of them; whoever named some that are not there is told.
    fn report(self, touched: u64, what: &str) -> anyhow::Result<u8> {
        super::print(&format!("{touched} {what}\n"))?;
        let named = self.ids().map_or(0, |ids| ids.len() as u64);
        match named.saturating_sub(touched) {
            0 => Ok(exit::OK),
            missing => {
                eprintln!(
                    "of the {named} ids, {missing} are not among what was refused; `outbox list` has those that are"
                );
                Ok(exit::FAILED)
            }
        }
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
    let hint = "a running daemon holds its store: ask it with --daemon and the address of its page";
    let store = Store::open(location, &clock).await.context(hint)?;
    let code = match action {
        Action::List => {
            let refused = store.outbox_refused(LISTED_MAX).await?;
            let listed = Listed {
                lanes: store.outbox_status().await?.into_iter().map(Lane::from).collect(),
                refused: refused.into_iter().map(Part::from).collect(),
            };
            super::print(&listing(&listed, clock.now()))?;
            exit::OK
        }
        Action::Retry(which) => {
            let retried = store.change(Change::Retry(which.clone().ids())).await?;
            which.report(retried, RETRIED)?
        }
        Action::Drop(which) => {
            let dropped = store.change(Change::Drop(which.clone().ids())).await?;
            which.report(dropped, DROPPED)?
        }
    };
    store.close().await;
    Ok(code)
}

/// Through a running daemon.
async fn ask(daemon: url::Url, action: Action) -> anyhow::Result<u8> {
    let client = super::http_client(&daemon)?;
    let (path, which, what) = match action {
        Action::List => ("/api/v1/outbox", None, ""),
        Action::Retry(which) => ("/api/v1/outbox/retry", Some(which), RETRIED),
        Action::Drop(which) => ("/api/v1/outbox/drop", Some(which), DROPPED),
    };
    let url = daemon.join(path).context("--daemon")?;
    let request = match &which {
        None => client.get(url.clone()),
        Some(which) => {
            let body = match which.clone().ids() {
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
    let strange = || format!("{url} did not answer as a cachetscope of this version does");
    match which {
        None => {
            let listed: Listed = serde_json::from_str(&text).with_context(strange)?;
            super::print(&listing(&listed, Clock::system().now()))?;
            Ok(exit::OK)
        }
        Some(which) => {
            let Touched { touched } = serde_json::from_str(&text).with_context(strange)?;
            which.report(touched, what)
        }
    }
}

/// What is listed, in the shape of the daemon's `/api/v1/outbox`.
#[derive(Deserialize)]
struct Listed {
    lanes: Vec<Lane>,
    refused: Vec<Part>,
}

#[derive(Deserialize)]
struct Lane {
    lane: String,
    waiting_items: u64,
    waiting_bytes: u64,
    /// RFC 3339.
    oldest: Option<String>,
    refused_items: u64,
}

#[derive(Deserialize)]
struct Part {
    id: i64,
    lane: String,
    items: u64,
    /// RFC 3339.
    created: String,
    reason: String,
}

/// The daemon's answer to `retry` and `drop`.
#[derive(Deserialize)]
struct Touched {
    touched: u64,
}

impl From<LaneStatus> for Lane {
    fn from(status: LaneStatus) -> Self {
        Lane {
            lane: status.lane.as_str().to_owned(),
            waiting_items: status.items,
            waiting_bytes: status.bytes,
            oldest: status.oldest.map(|at| at.to_string()),
            refused_items: status.refused,
        }
    }
}

impl From<Refused> for Part {
    fn from(part: Refused) -> Self {
        Part {
            id: part.id,
            lane: part.entry.lane.as_str().to_owned(),
            items: part.entry.items.into(),
            created: part.entry.created.to_string(),
            reason: part.reason,
        }
    }
}

fn listing(listed: &Listed, now: Timestamp) -> String {
    let mut table = plain_table(&["lane", "waiting", "bytes", "oldest", "refused"], &[1, 2, 3, 4]);
    for lane in &listed.lanes {
        let oldest = lane.oldest.as_deref().map_or_else(|| "–".to_owned(), |oldest| age(oldest, now));
        table.add_row([
            lane.lane.clone(),
            lane.waiting_items.to_string(),
            lane.waiting_bytes.to_string(),
            oldest,
            lane.refused_items.to_string(),
        ]);
    }
    let mut out = lines(&table);
    if listed.refused.is_empty() {
        return out;
    }
    let mut table = plain_table(&["id", "lane", "items", "made", "the collector said"], &[0, 2]);
    for part in &listed.refused {
        table.add_row([
            Cell::new(part.id),
            Cell::new(&part.lane),
            Cell::new(part.items),
            Cell::new(&part.created),
            Cell::new(&part.reason),
        ]);
    }
    out.push_str(&format!("\n{}", lines(&table)));
    out
}

/// In whole seconds; as it came when it is no time.
fn age(at: &str, now: Timestamp) -> String {
    let Ok(at) = chrono::DateTime::parse_from_rfc3339(at) else { return at.to_owned() };
    let age = now.since(Timestamp::from_utc(at.to_utc())).as_secs();
    humantime::format_duration(std::time::Duration::from_secs(age)).to_string()
}
