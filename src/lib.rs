//! cachetscope: probes every deployed Cachet version on every database flavour, keeps what it saw,
//! and exports it over OTLP. ARCHITECTURE.md is the map of this crate.

pub mod cli;
pub mod client;
pub mod clock;
pub mod compare;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod discover;
pub mod exporter;
pub mod history;
pub mod http;
pub mod ingest;
pub mod junit;
pub mod load;
pub mod model;
pub mod otlp;
pub mod page;
pub mod probe;
pub mod publisher;
pub mod store;
pub mod telemetry;
pub mod verdict;
pub mod wrap;
