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

/// A plain HTTP client for asking another daemon, without redirects.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|b| b.with_root_certificates(roots).with_no_client_auth());
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    match tls {
        Ok(tls) => builder.use_preconfigured_tls(tls).build(),
        Err(_) => builder.build(),
    }
}
