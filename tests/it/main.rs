//! The integration tests, one binary: real stores and real loopback servers, no mocks.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod http;
mod layers;
mod page;
mod page_fleet;
mod standins;
mod transport;
