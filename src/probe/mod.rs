//! Probing: rounds of requests over all deployments, judged by their checks.

mod budget;
mod check;
mod escape;
mod mask;
mod pace;
mod round;
mod timetable;
mod visit;

pub use pace::{interval, load};
pub use round::{Prober, Progress};
pub use timetable::{Tick, Timetable};
pub use visit::{NOTHING_THERE, answers};
