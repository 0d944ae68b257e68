//! Who may tell events, as the tokens file says; read anew when it changes, or on SIGHUP.
//!
//! A file with problems, or one that has gone, changes nothing: the tokens before stay in force.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::notices::{Notices, Subject};
use super::reload::{LOOK_EVERY, Mark, look};
use crate::config::{self, Problem, Problems, Tokens};
use crate::ingest::Access;

/// A tokens file that was read.
pub struct TokensFile {
    path: PathBuf,
    seen: Vec<Mark>,
    tokens: Tokens,
}

impl TokensFile {
    pub fn read(path: PathBuf) -> Result<Self, Problems> {
        // Before the reading, so that a change in between is seen.
        let seen = look(std::slice::from_ref(&path));
        let tokens = config::tokens(&path)?;
        Ok(TokensFile { path, seen, tokens })
    }

    /// What works, but may not be meant.
    pub fn notes(&self) -> &[Problem] {
        &self.tokens.notes
    }

    async fn watch(
        mut self,
        listen: SocketAddr,
        access: watch::Sender<Access>,
        notices: Notices,
        mut hangup: Signal,
        stop: CancellationToken,
    ) {
        loop {
            let forced = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let seen = look(std::slice::from_ref(&self.path));
            if !forced && seen == self.seen {
                continue;
            }
            self.seen = seen;
            let lines = match config::tokens(&self.path) {
                Ok(tokens) => {
                    for note in &tokens.notes {
                        tracing::warn!(%note, "the tokens file");
                    }
                    tracing::info!(tokens = tokens.tokens.len(), "the tokens were reloaded");
                    access.send_replace(Access::new(Some(tokens.tokens), listen));
                    Vec::new()
                }
                Err(problems) => {
                    tracing::error!(%problems, "the tokens were not reloaded; those before stay in force");
                    let intro = "The tokens were not reloaded; those before stay in force.".to_owned();
                    std::iter::once(intro).chain(problems.iter().map(ToString::to_string)).collect()
                }
            };
            notices.set(Subject::Tokens, lines);
        }
    }
}

/// To whom ingest is open at this address, now and later; a closed one is said.
pub(super) fn access(
    file: Option<TokensFile>,
    listen: SocketAddr,
    notices: Notices,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<watch::Receiver<Access>> {
    let tokens = file.as_ref().map(|file| file.tokens.tokens.clone());
    let now = Access::new(tokens, listen);
    if let Some(notice) = now.notice() {
        tracing::warn!("{notice}");
        notices.set(Subject::Tokens, vec![notice]);
    }
    let (sender, receiver) = watch::channel(now);
    if let Some(file) = file {
        let hangup = signal(SignalKind::hangup()).context("failed to hear SIGHUP")?;
        tasks.spawn(file.watch(listen, sender, notices, hangup, stop.clone()));
    }
    Ok(receiver)
}
