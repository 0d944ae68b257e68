//! The commands as a person or a pipeline uses them: what they print, and how they exit.

mod delivery;
mod gate;
mod health;
mod offline;
mod outputs;
mod usage;
