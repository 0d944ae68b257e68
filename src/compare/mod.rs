//! Which versions are compared, and what the comparisons have come to: pure.
//!
//! A [`Ladder`] holds the living deployments of one suite. Each of them is compared with the greatest
//! version below its own that lives on the same flavour in the same environment; each version of an
//! environment is one comparison ([`Watch`](crate::verdict::Watch)), whose cells are its requests on its
//! deployments. Rounds go in as [`Seen`], [`Standing`]s come out: the daemon, the gate and `compare` use
//! the same ladder, so they come to the same verdicts.
//!
//! What it holds in memory is bounded: 640 pairs for each cell, 240 times for each request of each
//! deployment. A ladder is saved as [`Saved`], without samples; who restores it hands over the rounds
//! that are stored ([`Ladder::replay`]).

mod across;
mod cell;
mod comparison;
mod ladder;
mod member;
mod standing;

pub use comparison::Saved;
pub use ladder::{Ladder, VerdictChange};
pub use member::{Member, Seen, Visited, predecessor, visit_of};
pub use standing::{Across, Against, Standing, read as read_standings};
