//! `flush`: delivers what waits.

use clap::Args;
use serde_json::json;

use super::super::output::{lines, plain_table};
use super::super::{Global, block_on, exit};
use super::say::{self, Output};
use super::{DaemonArgs, warn};
use crate::client::Client;
use crate::clock::Clock;
use crate::config::Env;

/// Events that are listed at most, of those that wait and of those that were refused.
const LISTED_MAX: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Flush {
    /// Only show what waits, and what the daemon refused for good
    #[arg(long)]
    list: bool,
    /// What to print on stdout
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    #[command(flatten)]
    daemon: DaemonArgs,
}

impl Flush {
    /// 0 when nothing waits any more, 6 when something does.
    pub fn run(self, global: &Global, env: &Env) -> anyhow::Result<u8> {
        let (client, _) = self.daemon.client(global, env, Clock::system())?;
        if self.list {
            return self.list(&client);
        }
        block_on(async {
            let flushed = client.flush().await;
            let code = if flushed.waiting > 0 { exit::UNDELIVERED } else { exit::OK };
            let place = client.place();
            let text = match self.output {
                Output::Text if flushed.delivered == 0 && flushed.refused.is_empty() && code == exit::OK => {
                    "nothing waits\n".to_owned()
                }
                Output::Text => {
                    let refused = flushed.refused.len();
                    let reason = flushed.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                    let (delivered, waiting) = (flushed.delivered, flushed.waiting);
                    format!(
                        "{delivered} delivered to {place}, {refused} refused, {waiting} waiting{reason}\n"
                    )
                }
                Output::Json => {
                    let document = json!({
                        "to": place,
                        "delivered": flushed.delivered,
                        "refused": flushed.refused,
                        "waiting": flushed.waiting,
                        "reason": flushed.reason,
                        "notes": flushed.notes,
                        "exit_code": code,
                    });
                    format!("{document:#}\n")
                }
            };
            super::super::print(&text)?;
            flushed.notes.iter().for_each(|note| warn(note));
            for words in &flushed.refused {
                warn(&format!("{place} refused an event for good: {words}"));
            }
            Ok(code)
        })
    }

    fn list(self, client: &Client) -> anyhow::Result<u8> {
        let (waiting, refused) = (client.waiting()?, client.refused()?);
        let text = match self.output {
            Output::Json => {
                let waiting: Vec<_> = waiting
                    .iter()
                    .take(LISTED_MAX)
                    .map(|kept| {
                        let event = kept.event.as_ref().map(say::event);
                        json!({ "kept": kept.at.to_string(), "bytes": kept.bytes, "event": event })
                    })
                    .collect();
                let refused: Vec<_> = refused
                    .iter()
                    .take(LISTED_MAX)
                    .map(|one| {
                        let event = one.event.as_ref().map(say::event);
                        json!({ "kept": one.at.to_string(), "reason": one.reason, "file": one.path, "event": event })
                    })
                    .collect();
                format!("{:#}\n", json!({ "waiting": waiting, "refused": refused }))
            }
            Output::Text if waiting.is_empty() && refused.is_empty() => "nothing waits\n".to_owned(),
            Output::Text => {
                let unread = || "cannot be read".to_owned();
                let mut table = plain_table(&["since", "bytes", "waiting"], &[1]);
                for kept in waiting.iter().take(LISTED_MAX) {
                    let words = kept.event.as_ref().map_or_else(unread, say::line);
                    table.add_row([kept.at.to_string(), kept.bytes.to_string(), words]);
                }
                let mut out = if waiting.is_empty() { "nothing waits\n".to_owned() } else { lines(&table) };
                if waiting.len() > LISTED_MAX {
                    out.push_str(&format!("and {} more\n", waiting.len() - LISTED_MAX));
                }
                if !refused.is_empty() {
                    let mut table = plain_table(&["since", "refused", "the daemon said"], &[]);
                    for one in refused.iter().take(LISTED_MAX) {
                        let words = one.event.as_ref().map_or_else(unread, say::line);
                        table.add_row([one.at.to_string(), words, one.reason.clone()]);
                    }
                    out.push_str(&format!("\n{}", lines(&table)));
                }
                out
            }
        };
        super::super::print(&text)?;
        Ok(exit::OK)
    }
}
