//! What the service manager is told (sd_notify(3)): that the daemon is ready, where its page is,
//! that it stops, and that it is alive. Without a manager nothing is sent.
//!
//! `NOTIFY_SOCKET` and `WATCHDOG_USEC` are read by the crate that knows the protocol.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::store::Store;

/// How long the store may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Waits for the store, and tells that the daemon is ready. Returns what keeps telling that it is
/// alive, where the manager asks for that; it is to be aborted at the stop.
pub async fn ready(page: SocketAddr, store: Store) -> Option<tokio::task::JoinHandle<()>> {
    // A disk that is full is no reason not to start: what arrives is held.
    if !is_alive(&store).await {
        tracing::warn!("the store has not answered yet");
    }
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("page at http://{page}"))]);
    // Twice as often as asked for, so that one late moment ends nothing.
    let every = sd_notify::watchdog_enabled()?.div_f64(2.0).max(Duration::from_millis(10));
    Some(tokio::spawn(stay_alive(store, every)))
}

pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: rounds end, telemetry is delivered")]);
}

async fn stay_alive(store: Store, every: Duration) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if is_alive(&store).await {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Whether the store answers. While it says that it cannot write (a full disk, a database that is
/// away) it holds what arrives and tries on: to be ended then would lose that, and help nobody.
async fn is_alive(store: &Store) -> bool {
    let answered = async {
        if store.health().trouble().is_some() {
            return true;
        }
        store.settle().await.is_ok()
    };
    tokio::time::timeout(ANSWER_WITHIN, answered).await.unwrap_or(false)
}
