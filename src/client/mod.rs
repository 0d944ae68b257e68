//! The client side of the events API: what a command in CI has to tell reaches the daemon, now or at
//! a later call, and CI never waits long for it.
//!
//! Written to the spool first, then sent: an event that was handed in survives `kill -9` and a daemon
//! that is away. It leaves the spool only when the daemon said that it is committed, so it may arrive
//! twice; its identity makes that one event. Everything is bounded: the spool ([`FILES_MAX`],
//! [`SPOOL_BYTES_MAX`]), one request, and the time that a call may take. Deliberately absent: a process
//! in the background. Whoever calls next takes along what waits.

mod answer;
mod exchange;
mod spool;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::model::{Event, Secret};
use exchange::{Exchange, Item, Key, Progress};
pub use spool::{FILES_MAX, Kept, SPOOL_BYTES_MAX, SetAside, SpoolError};
use spool::{Name, Spool};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long the word that something has begun may take.
const NOTICE_MAX: Duration = Duration::from_secs(2);
/// How long to try to deliver, unless said otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether another process is done with the spool.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What became of the events of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The daemon has committed all of them.
    Delivered { place: String },
    /// Some wait in the spool, which the next call empties.
    Spooled {
        reason: String,
        /// Everything that waits, also from earlier calls.
        waiting: u64,
        folder: PathBuf,
    },
    /// The daemon will never take these; each with its words. The others are delivered.
    Refused { place: String, refusals: Vec<String> },
    /// They could be neither delivered nor kept.
    Lost { reason: String },
}

/// One sentence for a person.
impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Delivery::Delivered { place } => write!(f, "delivered ({place})"),
            Delivery::Spooled { reason, waiting, folder } => {
                let (events, wait) = if *waiting == 1 { ("event", "waits") } else { ("events", "wait") };
                write!(
                    f,
                    "kept: {waiting} {events} {wait} in {} for the next call: {reason}",
                    folder.display()
                )
            }
            Delivery::Refused { place, refusals } => {
                write!(f, "REFUSED for good by {place}: {}", refusals.join("; "))
            }
            Delivery::Lost { reason } => {
                write!(f, "LOST, it could be neither delivered nor kept: {reason}")
            }
        }
    }
}

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub delivery: Delivery,
    /// Events of earlier calls that the daemon took.
    pub earlier: u64,
    /// What a person should know besides, one sentence each.
    pub notes: Vec<String>,
}

/// What a flush did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    pub delivered: u64,
    /// What the daemon will never take, in its words.
    pub refused: Vec<String>,
    /// What still waits, and why.
    pub waiting: u64,
    pub reason: Option<String>,
    pub notes: Vec<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url} is no address of a daemon: expected one such as http://127.0.0.1:8787")]
    NoAddress { url: String },
    #[error(
        "the address of the daemon holds credentials; hand a token over in a file instead (--token-file)"
    )]
    Credentials,
    #[error("the token holds characters that no HTTP header can hold; expected one line of plain text")]
    Token,
    #[error("this system has no certificates to trust for {place}")]
    NoRoots { place: String },
    #[error("cannot make an HTTP client: {0}")]
    Http(String),
    #[error("an event cannot be written as JSON: {0}")]
    Event(String),
}

/// What became of events that were told without a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Events that the daemon has committed.
    pub taken: u64,
    /// What it will never take: place among the events, and its words.
    pub refused: Vec<(usize, String)>,
    /// Why the rest was not sent, if it ended early.
    pub stopped: Option<String>,
}

/// Tells events in their order and keeps none: for a caller that can come again with the same ones.
///
/// # Errors
/// When there is no way to such a daemon; what goes wrong on the way is in [`Told`].
pub async fn tell(
    daemon: &Url,
    token: Option<Secret>,
    events: &[Event],
    timeout: Duration,
) -> Result<Told, ClientError> {
    let exchange = Exchange::new(daemon, token)?;
    let bodies: Result<Vec<Vec<u8>>, _> = events.iter().map(serde_json::to_vec).collect();
    let bodies = bodies.map_err(|error| ClientError::Event(error.to_string()))?;
    let until = Instant::now() + timeout;
    let mut progress = Progress::default();
    exchange.carry_all(bodies, until, &mut progress).await;
    let place = |(key, words)| match key {
        Key::Place(place) => Some((place, words)),
        Key::Kept(_) => None,
    };
    let refused = progress.refused.into_iter().filter_map(place).collect();
    Ok(Told { taken: progress.taken, refused, stopped: progress.stopped })
}

/// A way to one daemon, with a spool.
pub struct Client {
    exchange: Exchange,
    spool: Spool,
    clock: Clock,
    timeout: Duration,
}

impl Client {
    /// `daemon` is its address, `folder` where events are kept until they are delivered.
    pub fn new(
        daemon: &Url,
        token: Option<Secret>,
        folder: &Path,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let exchange = Exchange::new(daemon, token)?;
        Ok(Client { exchange, spool: Spool::at(folder), clock, timeout: TIMEOUT })
    }

    /// How long one call tries to deliver.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Client { timeout, ..self }
    }

    /// The daemon's address.
    pub fn place(&self) -> &str {
        &self.exchange.place
    }

    /// Tells that something has begun, if the daemon answers soon. Never kept: the event that completes
    /// it says all of it again.
    pub async fn notify(&self, event: &Event) {
        let Ok(body) = serde_json::to_vec(event) else { return };
        let until = Instant::now() + NOTICE_MAX;
        let mut progress = Progress::default();
        let told = self.exchange.carry(vec![Item { key: Key::Place(0), body }], None, until, &mut progress);
        if tokio::time::timeout(NOTICE_MAX, told).await.is_err() || progress.taken == 0 {
            tracing::debug!(reason = ?progress.stopped, "the daemon was not told that this has begun");
        }
    }

    /// Keeps the events, then delivers everything that waits, oldest first.
    pub async fn deliver(&self, events: &[Event]) -> Report {
        let bodies: Result<Vec<Vec<u8>>, _> = events.iter().map(serde_json::to_vec).collect();
        let bodies = match bodies {
            Ok(bodies) => bodies,
            Err(error) => {
                let delivery = Delivery::Lost { reason: format!("it cannot be written as JSON: {error}") };
                return Report { delivery, earlier: 0, notes: Vec::new() };
            }
        };
        let until = Instant::now() + self.timeout;
        let mut progress = Progress::default();
        let unkept = match self.spool.keep(&bodies, self.clock.now()) {
            Ok(own) => return self.deliver_kept(&own, until, progress).await,
            Err(SpoolError::Full { .. }) => {
                // What waits may be on its way at once, and then there is room.
                self.drain(&[], until, &mut progress).await;
                match self.spool.keep(&bodies, self.clock.now()) {
                    Ok(own) => return self.deliver_kept(&own, until, progress).await,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        self.deliver_past(bodies, unkept, until, progress).await
    }

    async fn deliver_kept(&self, own: &[Name], until: Instant, mut progress: Progress) -> Report {
        self.drain(own, until, &mut progress).await;
        let waiting = own.iter().filter(|name| self.spool.waits(name)).count();
        let refusals: Vec<String> = own
            .iter()
            // Another process may have met the refusal.
            .filter_map(|name| progress.refusal(name).or_else(|| self.spool.set_aside_for(name)))
            .collect();
        let taken = own.len().saturating_sub(waiting + refusals.len()) as u64;
        let delivery = if waiting > 0 {
            let waiting = self.spool.count().max(waiting as u64);
            let reason = progress.stopped.take().unwrap_or_else(|| "it did not finish in time".to_owned());
            Delivery::Spooled { reason, waiting, folder: self.spool.folder().to_owned() }
        } else if refusals.is_empty() {
            Delivery::Delivered { place: self.exchange.place.clone() }
        } else {
            Delivery::Refused { place: self.exchange.place.clone(), refusals }
        };
        let earlier = progress.taken.saturating_sub(taken);
        let is_own = |key: &Key| matches!(key, Key::Kept(name) if own.contains(name));
        let mut notes = progress.notes;
        notes.extend(progress.refused.iter().filter(|(key, _)| !is_own(key)).map(|(_, words)| {
            format!("{} refused an event of an earlier call for good: {words}", self.exchange.place)
        }));
        Report { delivery, earlier, notes }
    }

    /// Where nothing can be kept, the daemon may still take it.
    async fn deliver_past(
        &self,
        bodies: Vec<Vec<u8>>,
        unkept: SpoolError,
        until: Instant,
        mut progress: Progress,
    ) -> Report {
        let (all, before) = (bodies.len() as u64, progress.taken);
        self.exchange.carry_all(bodies, until, &mut progress).await;
        let refusals: Vec<String> = progress
            .refused
            .iter()
            .filter(|(key, _)| matches!(key, Key::Place(_)))
            .map(|(_, words)| words.clone())
            .collect();
        let mut notes = progress.notes;
        let delivery = if progress.taken - before + (refusals.len() as u64) < all {
            let reason = progress.stopped.unwrap_or_default();
            Delivery::Lost { reason: format!("{unkept}; {reason}") }
        } else {
            notes.push(format!("the spool cannot be used, so this was delivered past it: {unkept}"));
            match refusals.is_empty() {
                true => Delivery::Delivered { place: self.exchange.place.clone() },
                false => Delivery::Refused { place: self.exchange.place.clone(), refusals },
            }
        };
        Report { delivery, earlier: before, notes }
    }

    /// Delivers what waits.
    pub async fn flush(&self) -> Flushed {
        let mut progress = Progress::default();
        if self.spool.count() > 0 {
            self.drain(&[], Instant::now() + self.timeout, &mut progress).await;
        }
        let waiting = self.spool.count();
        let late = || "it did not finish in time".to_owned();
        Flushed {
            delivered: progress.taken,
            refused: progress.refused.into_iter().map(|(_, words)| words).collect(),
            waiting,
            reason: (waiting > 0).then(|| progress.stopped.unwrap_or_else(late)),
            notes: progress.notes,
        }
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> Result<Vec<Kept>, SpoolError> {
        self.spool.kept()
    }

    /// What the daemon refused for good, oldest first.
    pub fn refused(&self) -> Result<Vec<SetAside>, SpoolError> {
        self.spool.refused()
    }

    /// Sends what waits, as the only process that does so. While another one sends, it waits until that
    /// has taken `own` along or is done.
    async fn drain(&self, own: &[Name], until: Instant, progress: &mut Progress) {
        let work = async {
            loop {
                match self.spool.lock() {
                    Ok(Some(_lock)) => {
                        self.spool.sweep(self.clock.now());
                        return self.send_all(until, progress).await;
                    }
                    Ok(None) if !own.is_empty() && own.iter().all(|name| !self.spool.waits(name)) => return,
                    Ok(None) => {
                        progress.stopped = Some("another process is delivering".to_owned());
                        tokio::time::sleep(LOCK_PAUSE).await;
                    }
                    Err(error) => {
                        progress.stopped = Some(error.to_string());
                        return;
                    }
                }
            }
        };
        // What is under way at the deadline is given up; it stays in the spool.
        let _ = tokio::time::timeout_at(until.into(), work).await;
    }

    /// Everything that waits now; what comes meanwhile is its own process's to send.
    async fn send_all(&self, until: Instant, progress: &mut Progress) {
        progress.stopped = None;
        let names = match self.spool.names() {
            Ok(names) => names,
            Err(error) => {
                progress.stopped = Some(error.to_string());
                return;
            }
        };
        let spool = &self.spool;
        let now: Timestamp = self.clock.now();
        let mut unreadable = Vec::new();
        let items = names.into_iter().filter_map(|name| match spool.read(&name) {
            Ok(body) => body.map(|body| Item { key: Key::Kept(name), body }),
            Err(error) => {
                // It would stand in the way for ever.
                let words =
                    format!("{error}; it was set aside in {}", spool.folder().join("refused").display());
                spool.set_aside(&name, &error.to_string(), now);
                unreadable.push(words);
                None
            }
        });
        for batch in exchange::batches(items) {
            if !self.exchange.carry(batch, Some((spool, now)), until, progress).await {
                break;
            }
        }
        progress.notes.append(&mut unreadable);
    }
}
