//! A CI history to look at: ten days of tests, deployments and load runs of the stand-ins, and a small
//! run every 40 s while the demo runs.
//!
//! No CI ran: the events say that they come from `jenkins.example`, which does not exist. Everything is
//! drawn by a seed and laid relative to the clock, so the same seed tells the same story at any time.
//! What there is to find in it is listed in `story`. It goes the way of all events, into the store,
//! and whoever looks at it cannot tell it from what a real CI told.

mod cases;
mod dice;
mod live;
mod scribe;
mod story;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::{Clock, Timestamp};
use crate::model::{Deployment, Event, TraceParent};
use crate::otlp::Resource;
use crate::publisher::facts_of_event;
use crate::store::{Store, StoreError};
pub use live::run as live_run;
pub use story::past;

/// A new small run begins so often …
pub const LIVE_EVERY: Duration = Duration::from_secs(40);
/// … and no more after so many: three hours, after which nobody looks.
const LIVE_RUNS_MAX: u32 = 270;
/// Events in one transaction: small enough that runs of probes do not wait for it.
const BATCH: usize = 16;

/// An event, and what it follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub event: Event,
    /// A deployment leads to the build of its image.
    pub links: Vec<TraceParent>,
}

/// An event could not be put into the store.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("failed to write an event of the demo as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("failed to record the demo's events: {0}")]
    Store(#[from] StoreError),
}

/// Records the past, then a small run every [`LIVE_EVERY`], each step of it when it happens. Ends by
/// itself after three hours; may be dropped at any time.
pub async fn feed(store: Store, clock: Clock, resource: Resource, seed: u64) -> Result<(), FeedError> {
    record(&store, &clock, &resource, past(seed, clock.now())).await?;
    for n in 0..LIVE_RUNS_MAX {
        let mut passed = Duration::ZERO;
        for (offset, told) in live_run(seed, n, clock.now()) {
            tokio::time::sleep(offset.saturating_sub(passed)).await;
            passed = offset;
            record(&store, &clock, &resource, told).await?;
        }
        tokio::time::sleep(LIVE_EVERY.saturating_sub(passed)).await;
    }
    Ok(())
}

/// Records these events, a bounded number in each transaction.
pub async fn record(
    store: &Store,
    clock: &Clock,
    resource: &Resource,
    told: Vec<Told>,
) -> Result<(), FeedError> {
    for batch in told.chunks(BATCH) {
        let facts =
            batch.iter().map(|told| facts_of_event(told.event.clone(), clock.now(), &told.links, resource));
        store.record(facts.collect::<Result<_, _>>()?).await?;
    }
    Ok(())
}

/// Adds what CI knows of a stand-in: image, commit, and the deploy event that its runs link to.
pub(super) fn complete(deployment: &mut Deployment) {
    if let Some(release) = story::RELEASES.iter().find(|r| r.version == deployment.version.as_str()) {
        deployment.digest = Some(digest(release.version, release.build));
        deployment.commit = Some(commit(release.commit));
        deployment.origin = Some(story::deployed_by(release, &deployment.name).as_parent());
    }
}

/// The digest of the `build`th image of a version.
fn digest(version: &str, build: u32) -> String {
    format!("sha256:{}", hex(&["image", version, &build.to_string()], 32))
}

/// A commit's id, by what the story calls it.
fn commit(label: &str) -> String {
    hex(&["commit", label], 20)
}

fn hex(words: &[&str], bytes: usize) -> String {
    let digest = Sha256::digest(words.join("\n"));
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

fn minutes_before(now: Timestamp, minutes: f64) -> Timestamp {
    now.minus(Duration::from_secs_f64(60.0 * minutes))
}
