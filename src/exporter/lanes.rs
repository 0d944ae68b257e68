//! The loop that empties the outbox: one step for each lane, over and over.
//!
//! A lane sends its oldest rows, several in one request, and the next only when these were
//! accepted, so order holds within a lane and no lane waits for another. What the collector does
//! not take is tried again for ever; what it refuses for good is cut in halves until only the
//! smallest refused part is set aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::apart::{Apart, Part};
use super::backoff;
use super::transport::{Delivery, Rejected, Transport, Trouble};
use crate::clock::Clock;
use crate::otlp::Signal;
use crate::store::{Change, Lane, Refused, Store, StoreError};

/// Bytes of one request, before compression; collectors take 4 MiB over gRPC by default.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// A collector that finds even less too large is not asked in smaller requests from the start.
const REQUEST_BYTES_MIN: usize = 16 * 1024;
/// What has just been written waits this long for company, so that a busy store is not emptied in
/// crumbs.
const GATHER: Duration = Duration::from_millis(500);
/// A request that failed this often, while other lanes were accepted, is suspected to be the cause.
const SUSPECT_AFTER: u32 = 20;
/// A single item is set aside after so many failures, each while another item passed.
const TRIALS: u32 = 3;
/// A closed store is not asked again at once, should someone still step.
const CLOSED_WAIT: Duration = Duration::from_secs(1);

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

/// What a lane remembers between steps. Losing it loses nothing: the lane starts anew with what the
/// store holds.
#[derive(Debug)]
pub struct LaneState {
    /// Failures in a row.
    failures: u32,
    /// Items sent by all lanes when the first of them happened.
    sent_before: u64,
    /// Bytes of the next request: less than the most while the collector finds it too large.
    bytes_max: usize,
    apart: Option<Apart>,
    settlement: Option<Settlement>,
}

impl Default for LaneState {
    fn default() -> Self {
        LaneState { failures: 0, sent_before: 0, bytes_max: REQUEST_BYTES_MAX, apart: None, settlement: None }
    }
}

impl LaneState {
    /// Slowly back to the most, should the collector take more than it did.
    fn fitted(&mut self, bytes: usize) {
        if bytes > self.bytes_max / 2 {
            self.bytes_max = (self.bytes_max + self.bytes_max / 16).min(REQUEST_BYTES_MAX);
        }
    }
}

/// What the collector has decided about, and the store does not know yet. While the store fails,
/// this is tried again, and not the request.
#[derive(Debug)]
struct Settlement {
    ids: Vec<i64>,
    refused: Vec<Refused>,
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
                // A store that is closed stays closed.
                Step::Wait(_) if changed.has_changed().is_err() => return,
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Idle => {
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

    /// Makes one delivery of a lane, of its oldest rows or of a part of them, and settles what became
    /// of it. (A suspect is compared with another request or two.)
    pub async fn step(&self, lane: Lane, state: &mut LaneState) -> Step {
        match self.try_step(lane, state).await {
            Ok(step) => step,
            Err(StoreError::Closed) => Step::Wait(CLOSED_WAIT),
            Err(error) => {
                tracing::error!(%error, lane = lane.as_str(), "failed to read or settle the outbox");
                Step::Wait(self.failed(state))
            }
        }
    }

    async fn try_step(&self, lane: Lane, state: &mut LaneState) -> Result<Step, StoreError> {
        if state.settlement.is_some() {
            return self.settle(state).await;
        }
        if let Some(apart) = &state.apart {
            // The rows may be gone by now: replaced, thinned or beyond the limit.
            let first = self.store.outbox_next(lane, 0).await?.first().map(|row| row.id);
            if first != apart.ids.first().copied() {
                state.apart = None;
            }
        }
        match state.apart.take() {
            Some(apart) => self.go_on(state, apart).await,
            None => self.send_next(lane, state).await,
        }
    }

    async fn send_next(&self, lane: Lane, state: &mut LaneState) -> Result<Step, StoreError> {
        let rows = self.store.outbox_next(lane, state.bytes_max).await?;
        let Some(created) = rows.first().map(|row| row.created) else { return Ok(Step::Idle) };
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let items = rows.iter().map(|row| row.items).sum();
        let kept = rows.iter().any(|row| row.kept);
        let part = Part::join(rows);
        if part.body.len() > state.bytes_max {
            let mut apart = Apart::new(lane, signal(lane), ids, created, kept);
            apart.left.push(part);
            return self.go_on(state, apart).await;
        }
        match self.transport.send(signal(lane), part.body.clone()).await {
            Delivery::Accepted { rejected } => {
                self.accepted(lane, items, rejected, state);
                state.fitted(part.body.len());
                state.settlement = Some(Settlement { ids, refused: Vec::new() });
                self.settle(state).await
            }
            delivery => {
                let apart = Apart::new(lane, signal(lane), ids, created, kept);
                self.judge(state, apart, part, delivery).await
            }
        }
    }

    /// Sends the next part of a request that is being taken apart.
    async fn go_on(&self, state: &mut LaneState, mut apart: Apart) -> Result<Step, StoreError> {
        // Should the collector have come back, the earlier item goes before the next.
        if !apart.held.is_empty() {
            let part = apart.held.remove(0);
            match self.transport.send(apart.signal, part.body.clone()).await {
                Delivery::Retry { .. } => apart.held.insert(0, part),
                delivery => return self.judge(state, apart, part, delivery).await,
            }
        }
        let Some(mut part) = apart.left.pop() else { return self.conclude(state, apart).await };
        while part.body.len() > state.bytes_max {
            match apart.cut(part) {
                Ok(first) => part = first,
                Err(whole) => {
                    part = whole;
                    break;
                }
            }
        }
        let delivery = self.transport.send(apart.signal, part.body.clone()).await;
        self.judge(state, apart, part, delivery).await
    }

    /// What becomes of one part, and what comes after it.
    async fn judge(
        &self,
        state: &mut LaneState,
        mut apart: Apart,
        part: Part,
        delivery: Delivery,
    ) -> Result<Step, StoreError> {
        match delivery {
            Delivery::Accepted { rejected } => {
                self.accepted(apart.lane, part.items(apart.signal), rejected, state);
                state.fitted(part.body.len());
                apart.passed(part);
            }
            Delivery::TooLarge { reason } => {
                let half = (part.body.len() / 2).max(REQUEST_BYTES_MIN);
                state.bytes_max = state.bytes_max.min(half);
                cut_or_refuse(&mut apart, part, reason);
            }
            Delivery::Refused { reason } => {
                cut_or_refuse(&mut apart, part, reason);
            }
            Delivery::Retry { trouble, reason, after } => {
                self.counters.retries.fetch_add(1, Ordering::Relaxed);
                let lane = apart.lane.as_str();
                if self.store.note_trouble(apart.lane, self.clock.now(), &reason) {
                    tracing::warn!(lane, reason, "not delivered; it waits in the outbox, and is tried again");
                }
                let wait = self.failed(state).max(after.unwrap_or_default());
                tracing::debug!(lane, reason, ?wait, "not delivered");
                self.weigh(state, apart, part, trouble, reason).await;
                return Ok(Step::Wait(wait));
            }
        }
        self.conclude(state, apart).await
    }

    /// Whether a failure that may pass is the collector's or the part's. A single item is blamed only
    /// when it fails again and again while others of its own lane pass right after it.
    async fn weigh(
        &self,
        state: &mut LaneState,
        mut apart: Apart,
        part: Part,
        trouble: Trouble,
        reason: String,
    ) {
        // Credentials or a wrong address are nothing that a part of a request can mend.
        let suspicious = matches!(trouble, Trouble::Failing | Trouble::Overloaded | Trouble::Unreachable);
        let others_pass = self.counters.sent.load(Ordering::Relaxed) > state.sent_before;
        if suspicious && others_pass && !apart.suspected && state.failures >= SUSPECT_AFTER {
            tracing::warn!(lane = apart.lane.as_str(), reason, "fails again and again while others pass");
            apart.suspected = true;
        }
        if !(apart.suspected && suspicious) {
            apart.left.push(part);
        } else if let Err(part) = apart.cut(part).map(|first| apart.left.push(first)) {
            match apart.proof.clone() {
                // Something else of it may pass: then this one is tried again.
                None => apart.held.push(part),
                Some(proof) => match self.transport.send(apart.signal, proof.body).await {
                    Delivery::Accepted { .. } if apart.trials + 1 == TRIALS => apart.refuse(part, reason),
                    Delivery::Accepted { .. } => {
                        apart.trials += 1;
                        apart.left.push(part);
                    }
                    _ => apart.left.push(part),
                },
            }
        }
        // Where nothing passed, not even alone, it is the collector's state: the rows wait as before.
        let nothing_passes = apart.left.is_empty() && !apart.held.is_empty();
        // What was never cut is read anew, with what has come since.
        let whole = !apart.suspected && apart.refused.is_empty() && apart.proof.is_none();
        if nothing_passes {
            state.failures = 0;
        } else if !whole || apart.left.len() > 1 {
            state.apart = Some(apart);
        }
    }

    /// Settles the rows once nothing of them is left.
    async fn conclude(&self, state: &mut LaneState, apart: Apart) -> Result<Step, StoreError> {
        if !apart.left.is_empty() || !apart.held.is_empty() {
            state.apart = Some(apart);
            return Ok(Step::Settled);
        }
        let Apart { lane, ids, refused, .. } = apart;
        if let Some(part) = refused.first() {
            tracing::error!(
                lane = lane.as_str(),
                items = refused.iter().map(|part| u64::from(part.entry.items)).sum::<u64>(),
                reason = part.reason,
                "the collector refuses this for good; it is kept aside (`cachetscope outbox list`)"
            );
            // It was answered: whatever was wrong before, deliveries are decided again.
            self.store.note_delivery(lane, self.clock.now());
        }
        state.settlement = Some(Settlement { ids, refused });
        self.settle(state).await
    }

    async fn settle(&self, state: &mut LaneState) -> Result<Step, StoreError> {
        let Some(Settlement { ids, refused }) = &state.settlement else { return Ok(Step::Settled) };
        let items: u64 = refused.iter().map(|part| u64::from(part.entry.items)).sum();
        let ids = ids.clone();
        let change = if refused.is_empty() {
            Change::Delivered(ids)
        } else {
            Change::Refused { ids, parts: refused.clone() }
        };
        self.store.change(change).await?;
        self.counters.refused.fetch_add(items, Ordering::Relaxed);
        state.settlement = None;
        state.failures = 0;
        Ok(Step::Settled)
    }

    fn accepted(&self, lane: Lane, items: u64, rejected: Option<Rejected>, state: &mut LaneState) {
        let dropped = rejected.as_ref().map_or(0, |rejected| rejected.items.min(items));
        if let Some(rejected) = rejected {
            tracing::warn!(
                lane = lane.as_str(),
                items = rejected.items,
                message = rejected.message,
                "the collector accepted the request, but not all of it"
            );
        }
        self.counters.rejected.fetch_add(dropped, Ordering::Relaxed);
        self.counters.sent.fetch_add(items - dropped, Ordering::Relaxed);
        state.failures = 0;
        if let Some(since) = self.store.note_delivery(lane, self.clock.now()) {
            tracing::info!(lane = lane.as_str(), %since, "the collector takes it again");
        }
    }

    fn failed(&self, state: &mut LaneState) -> Duration {
        if state.failures == 0 {
            state.sent_before = self.counters.sent.load(Ordering::Relaxed);
        }
        let mix = |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte));
        let wait = backoff::delay(self.store.id().bytes().fold(0, mix), state.failures);
        state.failures = state.failures.saturating_add(1);
        wait
    }
}

fn cut_or_refuse(apart: &mut Apart, part: Part, reason: String) {
    match apart.cut(part) {
        Ok(first) => apart.left.push(first),
        Err(part) => apart.refuse(part, reason),
    }
}
