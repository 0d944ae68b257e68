//! The integration tests, one binary: real stores and real loopback servers, no mocks.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod cli;
mod daemon;
mod exporter;
mod fleet_events;
mod http;
mod junit;
mod junit_fuzz;
mod layers;
mod load;
mod one_shot;
mod page;
mod page_fleet;
mod probe;
mod reconcile;
mod rig;
mod service;
mod standins;
mod transport;
mod wrap;
mod wrapped;
