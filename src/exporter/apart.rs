//! A request that is being taken apart: what of it is still to be sent, and what is found guilty.
//!
//! Pure. It lasts over many steps of a lane, so that each failure is followed by its wait, and what
//! passed once is not sent anew. Nothing of it is settled before all of it is: after a crash it
//! starts from the whole.

use bytes::Bytes;

use super::split::{count, split};
use crate::clock::Timestamp;
use crate::otlp::Signal;
use crate::store::{Entry, Lane, Refused, Waiting};

/// Rows next to each other as one request, or a piece of one row.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub body: Bytes,
    /// How long each row is.
    rows: Vec<usize>,
}

impl Part {
    /// Encoded messages of one type, one after the other, are one message.
    pub fn join(rows: Vec<Waiting>) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|row| row.body.len()).collect();
        let mut body = Vec::with_capacity(lengths.iter().sum());
        // Each row is freed as soon as it is copied.
        rows.into_iter().for_each(|row| body.extend_from_slice(&row.body));
        Part { body: body.into(), rows: lengths }
    }

    /// Spans, data points or log records; 1 for what cannot be read.
    pub fn items(&self, signal: Signal) -> u64 {
        count(signal, &self.body).map_or(1, |items| items as u64)
    }

    /// Between rows first, so that one that cannot be read takes no others with it.
    fn halves(&self, signal: Signal) -> Option<(Part, Part)> {
        let part = |body: Bytes, rows: &[usize]| Part { body, rows: rows.to_vec() };
        if self.rows.len() > 1 {
            let (first, rest) = self.rows.split_at(self.rows.len() / 2);
            let middle = first.iter().sum::<usize>();
            return Some((part(self.body.slice(..middle), first), part(self.body.slice(middle..), rest)));
        }
        let (first, rest) = split(signal, &self.body)?;
        Some((part(first.into(), &[0]), part(rest.into(), &[0])))
    }
}

#[derive(Debug)]
pub(super) struct Apart {
    pub lane: Lane,
    pub signal: Signal,
    /// The rows it is made of.
    pub ids: Vec<i64>,
    pub created: Timestamp,
    /// Whether any of them is.
    pub kept: bool,
    /// To be sent, the next one last: depth first, the earlier half first, so that order holds.
    pub left: Vec<Part>,
    pub refused: Vec<Refused>,
    /// Whether failures are blamed on the parts, and not on the collector.
    pub suspected: bool,
    /// The smallest part that passed: it shows whether the collector is well when a suspect fails.
    pub proof: Option<Part>,
    /// Single items that failed when nothing had passed yet.
    pub held: Vec<Part>,
    /// How often the next suspect failed while the proof passed.
    pub trials: u32,
}

impl Apart {
    pub fn new(lane: Lane, signal: Signal, ids: Vec<i64>, created: Timestamp, kept: bool) -> Self {
        Apart {
            lane,
            signal,
            ids,
            created,
            kept,
            left: Vec::new(),
            refused: Vec::new(),
            suspected: false,
            proof: None,
            held: Vec::new(),
            trials: 0,
        }
    }

    /// Gives the first half and keeps the rest for later; gives back what cannot be cut.
    pub fn cut(&mut self, part: Part) -> Result<Part, Part> {
        let Some((first, rest)) = part.halves(self.signal) else { return Err(part) };
        self.left.push(rest);
        Ok(first)
    }

    /// What passes is a proof, and those that failed before there was one are tried again.
    pub fn passed(&mut self, part: Part) {
        self.trials = 0;
        if self.proof.as_ref().is_none_or(|proof| part.body.len() < proof.body.len()) {
            self.proof = Some(part);
        }
        self.left.extend(self.held.drain(..).rev());
    }

    pub fn refuse(&mut self, part: Part, reason: String) {
        self.trials = 0;
        let items = u32::try_from(part.items(self.signal)).unwrap_or(u32::MAX);
        let body = part.body.to_vec();
        let (lane, created, kept) = (self.lane, self.created, self.kept);
        let entry = Entry { lane, created, items, body, snapshot: None, kept };
        self.refused.push(Refused { id: 0, entry, reason });
    }
}
