//! Small commands: healthcheck, completions, man.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::{Cli, block_on, exit};

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// Address of the daemon
    #[arg(long, env = "CACHETSCOPE_DAEMON", value_name = "URL", default_value = "http://127.0.0.1:8787")]
    daemon: url::Url,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Healthcheck {
    /// 0 when the daemon says it is ready, 1 when it does not.
    pub fn run(self) -> anyhow::Result<u8> {
        let url = self.daemon.join("/readyz").context("--daemon")?;
        block_on(async {
            let client = super::http_client(&url)?;
            let asked = async {
                let answer = client.get(url.clone()).timeout(self.timeout).send().await?;
                anyhow::Ok((answer.status(), answer.text().await?))
            };
            match asked.await {
                Ok((status, text)) if status.is_success() => {
                    super::print(&format!("ready\n{}", notes(&text)))?;
                    Ok(exit::OK)
                }
                Ok((status, text)) => {
                    eprintln!("{url} answered {status}: {}", text.trim());
                    Ok(exit::FAILED)
                }
                Err(error) => {
                    eprintln!("{url} did not answer: {error:#}");
                    Ok(exit::FAILED)
                }
            }
        })
    }
}

/// What the daemon does well without, and somebody should know.
fn notes(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    let notes = answer["notes"].as_array().map(Vec::as_slice).unwrap_or_default();
    notes.iter().filter_map(|note| note.as_str()).map(|note| format!("note: {note}\n")).collect()
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell to complete for
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "cachetscope", &mut script);
        super::print(&String::from_utf8_lossy(&script))?;
        Ok(exit::OK)
    }
}

/// The manual pages of the program and of each subcommand, one after the other, as roff for
/// `man -l -`.
pub(super) fn man() -> anyhow::Result<u8> {
    let mut command = Cli::command();
    // Gives subcommands their full names, and the options they inherit.
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        clap_mangen::Man::new(sub.clone()).render(&mut page)?;
        // `help` repeats all the others.
        let is_own = |nested: &&clap::Command| sub.get_name() != "help" && nested.get_name() != "help";
        for nested in sub.get_subcommands().filter(is_own) {
            clap_mangen::Man::new(nested.clone()).render(&mut page)?;
        }
    }
    super::print(&String::from_utf8_lossy(&page))?;
    Ok(exit::OK)
}
