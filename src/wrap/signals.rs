//! Signals that reach this process, on their way to the command.

use std::io;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Handed on. A signal that asks to end is noted as such, see [`asks_to_end`].
const FORWARDED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// More than a person or a CI system sends at once; the kernel, too, joins those that wait.
const WAITING_MAX: usize = 32;

pub(super) fn asks_to_end(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT)
}

/// The keyboard sends it to every process of the terminal's foreground group.
pub(super) fn comes_from_keyboard(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGQUIT)
}

/// What has arrived.
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// From here on these signals no longer end this process. One that was ignored when we started
    /// (`nohup`) stays so, for the command inherits that.
    pub fn listen() -> io::Result<Self> {
        let ignored = procfs::process::Process::myself().and_then(|own| own.status());
        let ignored = ignored.map_or(0, |status| status.sigign);
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        for forwarded in FORWARDED.into_iter().filter(|s| ignored >> (*s as i32 - 1) & 1 == 0) {
            let mut arriving = signal(SignalKind::from_raw(forwarded as i32))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while arriving.recv().await.is_some() && sender.send(forwarded).await.is_ok() {}
            });
        }
        Ok(Signals(receiver))
    }

    /// Never ends where no signal comes.
    pub async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// When the next one arrives that asks to end.
    pub async fn asked_to_end(&mut self) {
        while !asks_to_end(self.next().await) {}
    }
}
