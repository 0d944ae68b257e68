//! The phase-timed client against real loopback servers.

mod answers;
mod connections;
mod cost;
mod phases;
pub mod servers;
pub mod tls;
