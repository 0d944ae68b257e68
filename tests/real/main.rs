//! Tests that need real parts: an OpenTelemetry Collector, PostgreSQL, Chromium, other processes.
//!
//! `make test` installs the parts and says where they are. Everything else is in `tests/it`.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod parts;

#[path = "../it/dashboards/files/mod.rs"]
mod dashboards;
mod fleet;
mod harness;
mod junit;
mod kill;
mod kill_events;
mod load;
mod names;
mod outage;
mod page;
#[path = "../it/page_fleet.rs"]
mod page_fleet;
#[path = "../it/page_judged.rs"]
mod page_judged;
#[path = "../it/page_past.rs"]
mod page_past;
mod stack;
mod store;
mod store_events;
mod store_faults;
mod store_model;
mod store_runs;
mod unit;
mod wrap_phpunit;
#[path = "../it/wrapped.rs"]
mod wrapped;
