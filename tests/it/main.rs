//! The integration tests, one binary: real stores and real loopback servers, no mocks.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod chosen_versions;
mod cli;
mod cli_ci;
mod client;
mod daemon;
mod dashboards;
mod demo_ci;
mod discover;
mod events_api;
mod exporter;
mod fleet_events;
mod fleet_rig;
mod fresh_version;
mod http;
mod ingest;
mod ingest_cdevents;
mod ingest_daemon;
mod ingest_junit;
mod ingest_rig;
mod junit;
mod junit_fuzz;
mod layers;
mod load;
mod one_shot;
mod page;
mod page_fleet;
mod page_judged;
mod page_past;
mod page_verdicts;
mod probe;
mod reconcile;
mod report;
mod rig;
mod service;
mod standins;
mod transport;
mod verdict;
mod verdict_noise;
mod verdict_simulation;
mod wrap;
mod wrapped;
