//! The way out: what the outbox holds goes to the collector, and its answers come back as
//! [`Delivery`].

mod apart;
pub mod backoff;
mod lanes;
pub mod settings;
pub mod split;
pub mod transport;

mod answer;
mod over_grpc;
mod over_http;

pub use lanes::{Counters, Exporter, LaneState, Step};
pub use settings::{Compression, Protocol, SettingError, Settings, Target};
pub use transport::{Delivery, Rejected, Transport, TransportError, Trouble};
