//! The loop that empties the outbox: one step for each lane, over and over.
//!
//! A lane sends its oldest rows, several in one request, and the next only when these were
//! accepted, so order holds within a lane and no lane waits for another. What the collector does
//! not take is tried again for ever; what it refuses for good is cut in halves until only the
//! smallest refused part is set aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::split::{count, split};
use super::transport::{Delivery, Transport, Trouble};
use crate::clock::Clock;
use crate::otlp::Signal;
use crate::store::{Change, Entry, Lane, Refused, Store, StoreError, Waiting};

/// Bytes of one request, before compression; collectors take 4 MiB over gRPC by default.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// What has just been written waits this long for company, so that a busy store is not emptied in
/// crumbs.
const GATHER: Duration = Duration::from_millis(500);
/// A request that failed this often, while other lanes were accepted, is suspected to be the cause.
const SUSPECT_AFTER: u32 = 20;

/// Counts since this process started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Items that the collector accepted.
    pub sent: AtomicU64,
    /// Items out of accepted requests that it dropped all the same.
    pub rejected: AtomicU64,
    /// Items set aside after it refused them for good.
    pub refused: AtomicU64,
    /// Deliveries that will be tried again.
    pub retries: AtomicU64,
}

/// Empties the outbox into a collector. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    store: Store,
    transport: Arc<Transport>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// What a lane remembers between steps.
#[derive(Debug, Default)]
pub struct LaneState {
    /// Failures in a row.
    failures: u32,
    /// Items sent by all lanes when the first of them happened.
    sent_before: u64,
}

/// What to do after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing waits.
    Idle,
    /// Something was settled, and more may wait.
    Settled,
    /// Come again after this.
    Wait(Duration),
}

fn signal(lane: Lane) -> Signal {
    match lane {
        Lane::Traces => Signal::Traces,
        Lane::Logs => Signal::Logs,
        Lane::Metrics | Lane::Gauges => Signal::Metrics,
    }
}

impl Exporter {
    pub fn new(store: Store, transport: Transport, clock: Clock) -> Self {
        Exporter { store, transport: Arc::new(transport), clock, counters: Arc::default() }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where spans go, for people.
    pub fn place(&self) -> &str {
        self.transport.place(Signal::Traces)
    }

    /// Runs until cancelled; a request that is under way then is given up, and sent again later.
    pub async fn run(&self, cancel: CancellationToken) {
        let lanes = Lane::ALL.map(|lane| self.run_lane(lane));
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = futures_util::future::join_all(lanes) => {}
        }
    }

    async fn run_lane(&self, lane: Lane) {
        let mut state = LaneState::default();
        let mut changed = self.store.outbox_changed();
        loop {
            changed.mark_unchanged();
            match self.step(lane, &mut state).await {
                Step::Settled => {}
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Idle => {
                    // The store is closed: nothing will ever wait again.
                    if changed.changed().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                }
            }
        }
    }

    /// Sends what waits, each lane until it is empty or meets an obstacle; whether all is delivered.
    pub async fn drain(&self) -> bool {
        let lanes = Lane::ALL.map(|lane| async move {
            let mut state = LaneState::default();
            loop {
                match self.step(lane, &mut state).await {
                    Step::Settled => {}
                    Step::Idle => return true,
                    Step::Wait(_) => return false,
                }
            }
        });
        futures_util::future::join_all(lanes).await.into_iter().all(|delivered| delivered)
    }

    /// Sends the oldest rows of a lane once, and settles what became of them.
    pub async fn step(&self, lane: Lane, state: &mut LaneState) -> Step {
        match self.try_step(lane, state).await {
            Ok(step) => step,
            Err(StoreError::Closed) => Step::Wait(Duration::from_secs(1)),
            Err(error) => {
                tracing::error!(%error, lane = lane.as_str(), "failed to read or settle the outbox");
                Step::Wait(self.failed(state))
            }
        }
    }

    async fn try_step(&self, lane: Lane, state: &mut LaneState) -> Result<Step, StoreError> {
        let rows = self.store.outbox_next(lane, REQUEST_BYTES_MAX).await?;
        if rows.is_empty() {
            return Ok(Step::Idle);
        }
        let body = join(&rows);
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let items = rows.iter().map(|row| row.items).sum();
        let reason = match self.transport.send(signal(lane), body.clone()).await {
            Delivery::Accepted { rejected } => {
                let dropped = rejected.as_ref().map_or(0, |r| r.items);
                if let Some(rejected) = rejected {
                    tracing::warn!(
                        lane = lane.as_str(),
                        items = rejected.items,
                        message = rejected.message,
                        "the collector accepted the request, but not all of it"
                    );
                }
                self.counters.rejected.fetch_add(dropped, Ordering::Relaxed);
                self.accepted(lane, items - dropped.min(items), state);
                self.store.change(Change::Delivered(ids)).await?;
                return Ok(Step::Settled);
            }
            Delivery::Retry { trouble, reason, after } => {
                self.counters.retries.fetch_add(1, Ordering::Relaxed);
                self.store.note_trouble(lane, self.clock.now(), &reason);
                let wait = self.failed(state).max(after.unwrap_or_default());
                let others_pass = self.counters.sent.load(Ordering::Relaxed) > state.sent_before;
                // Credentials or a wrong address are nothing that a part of a request can mend.
                let suspicious =
                    matches!(trouble, Trouble::Failing | Trouble::Overloaded | Trouble::Unreachable);
                if state.failures < SUSPECT_AFTER || !others_pass || !suspicious {
                    tracing::debug!(lane = lane.as_str(), reason, ?wait, "not delivered");
                    return Ok(Step::Wait(wait));
                }
                tracing::warn!(lane = lane.as_str(), reason, "fails again and again while others pass");
                reason
            }
            Delivery::TooLarge { reason } | Delivery::Refused { reason } => reason,
        };
        self.bisect(lane, state, &rows, body, reason).await
    }

    /// Cuts the request in halves, in order, until what passes has passed and the smallest parts
    /// that do not are known. Nothing is settled before all of it is: after a crash it starts anew.
    async fn bisect(
        &self,
        lane: Lane,
        state: &mut LaneState,
        rows: &[Waiting],
        body: Bytes,
        reason: String,
    ) -> Result<Step, StoreError> {
        let signal = signal(lane);
        let created = rows.first().map(|row| row.created).unwrap_or_default();
        let mut refused: Vec<Refused> = Vec::new();
        let mut sent = 0;
        let mut suspects = 0;
        // Depth first and the earlier half on top, so that order holds.
        let mut stack = vec![(body, reason)];
        while let Some((part, reason)) = stack.pop() {
            let Some((first, rest)) = split(signal, &part) else {
                let entry = Entry {
                    lane,
                    created,
                    items: u32::try_from(count(signal, &part).unwrap_or(1)).unwrap_or(u32::MAX),
                    body: part.to_vec(),
                    snapshot: None,
                };
                refused.push(Refused { id: 0, entry, reason });
                continue;
            };
            let mut failed = Vec::new();
            for half in [Bytes::from(first), Bytes::from(rest)] {
                match self.transport.send(signal, half.clone()).await {
                    Delivery::Accepted { rejected } => {
                        let items = count(signal, &half).unwrap_or(0) as u64;
                        let dropped = rejected.map_or(0, |r| r.items).min(items);
                        self.counters.rejected.fetch_add(dropped, Ordering::Relaxed);
                        sent += items - dropped;
                    }
                    Delivery::TooLarge { reason } | Delivery::Refused { reason } => {
                        failed.push((half, reason))
                    }
                    Delivery::Retry { reason, after, .. } if state.failures < SUSPECT_AFTER => {
                        self.counters.retries.fetch_add(1, Ordering::Relaxed);
                        self.store.note_trouble(lane, self.clock.now(), &reason);
                        return Ok(Step::Wait(self.failed(state).max(after.unwrap_or_default())));
                    }
                    Delivery::Retry { reason, .. } => {
                        suspects += 1;
                        failed.push((half, reason));
                    }
                }
            }
            stack.extend(failed.into_iter().rev());
        }
        if sent == 0 && suspects > 0 {
            // Nothing of it passes: that is the collector's state, not one bad part.
            return Ok(Step::Wait(self.failed(state)));
        }
        let items: u64 = refused.iter().map(|part| u64::from(part.entry.items)).sum();
        if let Some(part) = refused.first() {
            tracing::error!(
                lane = lane.as_str(),
                items,
                reason = part.reason,
                "the collector refuses this for good; it is kept aside (`cachetscope outbox list`)"
            );
        }
        self.counters.refused.fetch_add(items, Ordering::Relaxed);
        let ids = rows.iter().map(|row| row.id).collect();
        self.store.change(Change::Refused { ids, parts: refused }).await?;
        self.accepted(lane, sent, state);
        Ok(Step::Settled)
    }

    fn accepted(&self, lane: Lane, items: u64, state: &mut LaneState) {
        let sent_before = self.counters.sent.fetch_add(items, Ordering::Relaxed) + items;
        *state = LaneState { failures: 0, sent_before };
        self.store.note_delivery(lane, self.clock.now());
    }

    fn failed(&self, state: &mut LaneState) -> Duration {
        if state.failures == 0 {
            state.sent_before = self.counters.sent.load(Ordering::Relaxed);
        }
        let seed = self.store.id().bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
        let wait = backoff::delay(seed, state.failures);
        state.failures = state.failures.saturating_add(1);
        wait
    }
}

/// One request of several: encoded messages of one type, one after the other, are one message.
fn join(rows: &[Waiting]) -> Bytes {
    let mut body = Vec::with_capacity(rows.iter().map(|row| row.body.len()).sum());
    rows.iter().for_each(|row| body.extend_from_slice(&row.body));
    body.into()
}
