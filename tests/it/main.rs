//! The integration tests, one binary: real loopback servers, no mocks.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod layers;
mod standins;
mod transport;
