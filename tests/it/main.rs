//! The integration tests, one binary: real loopback servers, no mocks.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod cli;
mod daemon;
mod layers;
mod one_shot;
mod probe;
mod rig;
mod standins;
