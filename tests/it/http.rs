//! The phase-timed client against real loopback servers.

mod answers;
mod connections;
mod cost;
mod phases;
mod servers;
mod tls;
