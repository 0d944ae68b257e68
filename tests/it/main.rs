//! The integration tests: real stores and real loopback servers. One binary, one module a file.

mod page;
mod page_fleet;
