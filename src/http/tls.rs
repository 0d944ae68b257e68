//! How certificates are judged, and what is said about one that does not hold.
//!
//! Every handshake is a full one: sessions are never resumed, since a new visitor has none and
//! the times of two requests must be comparable.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Failure, in_words};
use crate::clock::{Clock, Timestamp};
use crate::model::{ErrorType, Tls};

/// Reads the system's trusted certificates; a few milliseconds, and some hundred kilobytes.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The configuration for handshakes that are judged by `tls`.
///
/// # Errors
/// When the PEM file of further authorities cannot be read.
pub(super) fn config(
    tls: &Tls,
    roots: impl FnOnce() -> Arc<RootCertStore>,
    clock: &Clock,
) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refused = |detail: String| Failure::new(ErrorType::Tls, detail);
    let verifier: Arc<dyn ServerCertVerifier> = if tls.insecure {
        Arc::new(AnyCertificate(Arc::clone(&provider)))
    } else {
        let roots = match &tls.ca {
            None => roots(),
            Some(path) => {
                let unreadable = |e: &dyn std::fmt::Display| {
                    refused(format!("the CA file {} cannot be used: {e}", path.display()))
                };
                let mut roots = Arc::unwrap_or_clone(roots());
                let mut found = false;
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
                    let certificate = certificate.map_err(|e| unreadable(&e))?;
                    roots.add(certificate).map_err(|e| unreadable(&e))?;
                    found = true;
                }
                if !found {
                    return Err(unreadable(&"it holds no PEM certificate"));
                }
                Arc::new(roots)
            }
        };
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|_| refused("the system has no trusted certificates; name a CA file".to_owned()))?
    };
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Time(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Days, rounded down, until this certificate expires; negative when it has.
pub(super) fn days_left(certificate: &CertificateDer<'_>, now: Timestamp) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(days_between(now.0.div_euclid(1_000_000_000), parsed.validity().not_after.timestamp()))
}

/// The same for a certificate that was refused because it has expired.
pub(super) fn days_left_when_refused(error: &Error) -> Option<i64> {
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
            let seconds = |t: &UnixTime| i64::try_from(t.as_secs()).unwrap_or(i64::MAX);
            Some(days_between(seconds(time), seconds(not_after)))
        }
        _ => None,
    }
}

fn days_between(now_seconds: i64, then_seconds: i64) -> i64 {
    then_seconds.saturating_sub(now_seconds).div_euclid(86_400)
}

/// Why the handshake failed, for a person.
pub(super) fn words(error: &Error) -> String {
    let error = match error {
        Error::InvalidCertificate(error) => error,
        Error::InvalidMessage(_) => return "the peer does not speak TLS on this port".to_owned(),
        Error::AlertReceived(alert) => return format!("the peer refused the TLS handshake: {alert:?}"),
        other => return format!("the TLS handshake failed: {other}"),
    };
    let span = |from: &UnixTime, to: &UnixTime| {
        in_words(Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())))
    };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("the certificate expired {} ago", span(not_after, time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("the certificate is not valid yet; it will be in {}", span(time, not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().take(5).map(|name| bare_name(name)).collect();
            let names = match (presented.len(), names.join(", ")) {
                (0, _) => "no name at all".to_owned(),
                (n, some) if n > names.len() => format!("{some} and {} more", n - names.len()),
                (_, all) => all,
            };
            format!("the certificate is for {names}, not for {}", expected.to_str())
        }
        CertificateError::UnknownIssuer => {
            "the certificate was issued by an unknown authority; if it is yours, name its CA file".to_owned()
        }
        CertificateError::Revoked => "the certificate was revoked".to_owned(),
        CertificateError::BadSignature => {
            "the certificate was not signed by the authority that it names".to_owned()
        }
        CertificateError::BadEncoding => "the certificate cannot be read".to_owned(),
        other => format!("the certificate does not hold: {other}"),
    }
}

/// rustls presents names as `DnsName("a.example")`; people write them bare.
fn bare_name(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').to_owned()
}

#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_nanos(self.0.now().unix_nanos())))
    }
}

/// Takes whatever certificate comes, but the handshake must still be signed by its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_rounded_down_and_negative_once_expired() {
        assert_eq!(days_between(0, 86_400), 1);
        assert_eq!(days_between(0, 86_399), 0);
        assert_eq!(days_between(1, 0), -1);
        assert_eq!(days_between(3 * 86_400, 0), -3);
    }

    #[test]
    fn refusals_are_put_in_human_words() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400));
        let said = |error| words(&Error::InvalidCertificate(error));
        assert_eq!(
            said(CertificateError::ExpiredContext { time: at(13), not_after: at(10) }),
            "the certificate expired 3 days ago"
        );
        assert_eq!(
            said(CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("a.example").unwrap(),
                presented: vec![r#"DnsName("b.example")"#.to_owned(), r#"DnsName("c.example")"#.to_owned()],
            }),
            "the certificate is for b.example, c.example, not for a.example"
        );
        assert!(said(CertificateError::UnknownIssuer).contains("unknown authority"));
    }
}
