//! The HTTP client for everything that is not a probe: OTLP, a daemon's own API, Jenkins,
//! discovery.
//!
//! reqwest does not tell the phases of a request apart, and here nobody asks for them.

use std::error::Error;
use std::sync::Arc;

use reqwest::ClientBuilder;
use reqwest::redirect::Policy;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::tls::system_roots;

/// For these authorities. Redirects are not followed: a token goes to the address it was meant for,
/// and nowhere else. Proxies of the environment are not used: only `config` reads it. Time-outs are
/// the caller's.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub fn ordinary(roots: RootCertStore) -> Result<ClientBuilder, rustls::Error> {
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(ordinary_with(tls))
}

/// The same, with another way to judge certificates.
pub fn ordinary_with(tls: ClientConfig) -> ClientBuilder {
    ClientBuilder::new()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .user_agent(concat!("cachetscope/", env!("CARGO_PKG_VERSION")))
}

/// The system's trusted certificates where this address needs some; none for plain HTTP, since
/// reading them takes milliseconds.
pub fn roots_for(url: &Url) -> RootCertStore {
    if url.scheme() == "https" { system_roots() } else { RootCertStore::empty() }
}

/// An error with what is behind it, without the URL, whose query may hold a key. Libraries nest causes
/// and repeat each other.
pub fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut causes: Vec<String> = Vec::new();
    let mut next: Option<&dyn Error> = Some(&error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !causes.iter().any(|seen| seen.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes.join(": ")
}
