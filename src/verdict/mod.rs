//! Verdicts: which request got slower from one version to the next, on which database, how surely.
//!
//! Pure: visits in, verdicts out; no IO, no clock, no randomness, so the same rounds always give the
//! same verdict. From bottom to top:
//!
//! - [`Window`] makes pairs of a round's visits to two versions, and counts what it cannot use;
//! - [`Differences`], [`Dependence`], [`signed_rank`], [`shift`], [`PassFail`] are the statistics;
//! - [`Assessment`] holds the numbers of one cell, [`decide`] the rules that make a word of them;
//! - [`Watch`] is the comparison in time: when it looks, and what makes it blame somebody;
//! - [`interactions`], [`factors_to_fastest`] and [`SelfComparison`] look beyond one cell.
//!
//! | constant | value | why |
//! | --- | --- | --- |
//! | chance of any false verdict in a comparison | 3 % | so that false *alarms* (`regressed`) stay below 2 % |
//! | screening | p ≤ 0.05, ratio ≥ 3 %, at 20, 40, 80, … pairs | finds candidates, promises nothing |
//! | confirmation | at 60, 120, 240, … pairs | `watch` says how and why |
//! | floors of relevance | 5 % and 1 ms | what nobody would notice is not told |
//! | sample floor | 2/2ⁿ ≤ α/cells, and 20 independent pairs | below it no outcome could be significant |
//!
//! What it cannot do: tell apart what always changes together with the version (a cold cache that never
//! warms, a host of its own), see regressions below the floors, or find +10 % in a request whose own
//! noise is twice the usual before 240 pairs. The simulation of `tests/it/verdict_simulation.rs` holds
//! the promises against made-up and real noise; `tests/data/verdict-scipy.json` the arithmetic against
//! SciPy.

mod aa;
mod across;
mod differences;
mod judge;
mod mcnemar;
mod normal;
mod pairs;
mod shift;
mod signed_rank;
mod track;
mod watch;

pub use aa::{STRETCH_PAIRS, Seen, SelfComparison, Tally};
pub use across::{Factor, factor, factors_to_fastest, interactions};
pub use differences::{Dependence, Differences, Lag1, NotFinite};
pub use judge::{
    Assessment, Direction, Disturbance, EFFECTIVE_MIN, FAILED_MAX, Judgement, Measure, Rule, Standing,
    UNUSABLE_MAX, Verdict, decide, disturbance, pairs_floor,
};
pub use mcnemar::PassFail;
pub use normal::wilson;
pub use pairs::{Answer, CellRules, Lost, Pairs, Taken, Visit, Window};
pub use shift::{Interval, Shift, shift};
pub use signed_rank::{EXACT_MAX, Method, SignedRank, signed_rank};
pub use watch::{CellKey, Change, Family, Settings, Touched, Watch};
