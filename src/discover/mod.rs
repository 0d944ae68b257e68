//! Finds deployments where they run: asks the sources of `discover:` again and again.
//!
//! A behaviour: one task for each source, which looks, keeps what it found, and waits. Invariants: a
//! source that fails keeps what it told last; what it does not tell any more stays for two of its
//! refreshes, so that a restart is no departure; nothing is written anywhere, and Docker is only
//! read. Targets bring neither tokens nor writes.
//!
//! What is found is not kept beyond this process: after a restart a source has to answer first.

mod docker;
mod files;
mod kept;
mod web;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::discover::Source;
use crate::http::Client;
use crate::model::Deployment;
use kept::Kept;

/// Notices of one source at most; a last one counts the rest.
const NOTICES_MAX: usize = 10;

/// A deployment, and who told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The key of the source under `discover:`, such as `docker`.
    pub by: &'static str,
    pub deployment: Arc<Deployment>,
}

/// What all sources tell, in their order in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub targets: Vec<Target>,
    /// What a person should know: sources that fail, targets that are not sound.
    pub notices: Vec<String>,
}

/// How a kind of source fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub targets: u64,
    /// Looks that failed, since the start.
    pub failures: u64,
}

/// Of each kind that was ever asked; shared with whoever publishes it.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, Count>>);

impl Counts {
    pub fn get(&self) -> BTreeMap<&'static str, Count> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one look came to.
#[derive(Debug, Default)]
struct Look {
    deployments: Vec<Deployment>,
    /// Names of those that are there, but have no address at the moment: if known, they stay.
    restarting: Vec<String>,
    notices: Vec<String>,
    /// Parts that could not be read; what they told last is among the deployments.
    failures: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Discover(Arc<Shared>);

struct Shared {
    client: Client,
    clock: Clock,
    tasks: TaskTracker,
    stop: CancellationToken,
    running: Mutex<Vec<Running>>,
    found: watch::Sender<Found>,
    /// Wakes those who wait for the first look.
    looked: Notify,
    counts: Arc<Counts>,
}

/// A source that is asked until this is dropped.
struct Running {
    source: Arc<Source>,
    kept: Arc<Mutex<Kept>>,
    _stop: DropGuard,
}

impl Discover {
    /// `client` says how certificates are judged.
    pub fn new(client: Client, clock: Clock, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Discover(Arc::new(Shared {
            client,
            clock,
            tasks,
            stop,
            running: Mutex::default(),
            found: watch::Sender::new(Found::default()),
            looked: Notify::new(),
            counts: Arc::default(),
        }))
    }

    pub fn found(&self) -> watch::Receiver<Found> {
        self.0.found.subscribe()
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.0.counts.clone()
    }

    /// Asks these sources from now on. Those that were asked before go on as they are; what the
    /// others told is gone at once.
    pub fn set(&self, sources: &[Source]) {
        let mut running = self.running();
        let mut before = std::mem::take(&mut *running);
        for source in sources {
            running.push(match before.iter().position(|known| *known.source == *source) {
                Some(known) => before.swap_remove(known),
                None => self.start(source.clone().into()),
            });
        }
        drop(running);
        self.tell();
    }

    /// Waits until each source was asked once, but not for long: one that does not answer must not
    /// hold up the others.
    pub async fn asked_once(&self, within: Duration) {
        let all = async {
            loop {
                let looked = self.0.looked.notified();
                if self.running().iter().all(|running| lock(&running.kept).is_known()) {
                    return;
                }
                looked.await;
            }
        };
        let _ = tokio::time::timeout(within, all).await;
    }

    fn start(&self, source: Arc<Source>) -> Running {
        let stop = self.0.stop.child_token();
        let kept = Arc::<Mutex<Kept>>::default();
        let task = self.clone().run(source.clone(), kept.clone(), stop.clone());
        self.0.tasks.spawn(task);
        Running { source, kept, _stop: stop.drop_guard() }
    }

    async fn run(self, source: Arc<Source>, kept: Arc<Mutex<Kept>>, stop: CancellationToken) {
        let mut asked = Asked::new(&source, &self.0.client);
        loop {
            let look = tokio::select! {
                () = stop.cancelled() => return,
                look = asked.look() => look,
            };
            let failures = match &look {
                Ok(look) => look.failures,
                Err(_) => 1,
            };
            lock(&kept).take(&source, look, Instant::now(), self.0.clock.now());
            self.0.counts.lock().entry(source.kind()).or_default().failures += failures;
            self.tell();
            self.0.looked.notify_waiters();
            tokio::select! {
                () = stop.cancelled() => return,
                () = asked.wait() => {}
            }
        }
    }

    /// Joins what the sources told.
    fn tell(&self) {
        let running = self.running();
        let mut found = Found::default();
        let mut targets: BTreeMap<&'static str, u64> = BTreeMap::new();
        for Running { source, kept, .. } in running.iter() {
            let kept = lock(kept);
            let by = source.kind();
            *targets.entry(by).or_default() += kept.deployments().count() as u64;
            found.targets.extend(kept.deployments().cloned().map(|deployment| Target { by, deployment }));
            let notices = kept.notices();
            found
                .notices
                .extend(notices.iter().take(NOTICES_MAX).map(|notice| format!("{source}: {notice}")));
            if notices.len() > NOTICES_MAX {
                let rest = notices.len() - NOTICES_MAX;
                found.notices.push(format!("{source}: and {rest} more of this kind"));
            }
        }
        let mut counts = self.0.counts.lock();
        counts.values_mut().for_each(|count| count.targets = 0);
        for (kind, targets) in targets {
            counts.entry(kind).or_default().targets = targets;
        }
        drop(counts);
        self.0.found.send_if_modified(|known| {
            let differs = *known != found;
            *known = found;
            differs
        });
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        lock(&self.0.running)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A source as its task sees it.
enum Asked {
    HttpSd(web::HttpSd),
    FileSd(files::FileSd),
    Docker(docker::Docker),
}

impl Asked {
    fn new(source: &Source, client: &Client) -> Self {
        match source {
            Source::HttpSd(settings) => Asked::HttpSd(web::HttpSd::new(settings, client)),
            Source::FileSd(settings) => Asked::FileSd(files::FileSd::new(settings)),
            Source::Docker(settings) => Asked::Docker(docker::Docker::new(settings)),
        }
    }

    /// # Errors
    /// When nothing was learned, in words without a secret.
    async fn look(&mut self) -> Result<Look, String> {
        match self {
            Asked::HttpSd(source) => source.look().await,
            Asked::FileSd(source) => Ok(source.look().await),
            Asked::Docker(source) => source.look().await,
        }
    }

    /// Until it is time for the next look.
    async fn wait(&mut self) {
        match self {
            Asked::HttpSd(source) => tokio::time::sleep(source.refresh()).await,
            Asked::FileSd(source) => tokio::time::sleep(source.refresh()).await,
            Asked::Docker(source) => source.wait().await,
        }
    }
}
