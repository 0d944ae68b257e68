//! Tests that need real parts: an OpenTelemetry Collector, PostgreSQL, Chromium, other processes.
//!
//! `make test` installs the parts and says where they are. Everything else is in `tests/it`.

mod parts;

mod harness;
mod store;
mod store_faults;
mod store_model;
