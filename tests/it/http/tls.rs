//! Handshakes, certificates, and what is said about those that do not hold.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::http::{Client, Exchange};
use cachetscope::model::{Deployment, ErrorType, Phase, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::servers::{NOW_SECONDS, client, deployment, detail, get, read_request, serve};

/// A certificate authority, and its PEM file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem: NamedTempFile,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("cachetscope test authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut pem = NamedTempFile::new().unwrap();
        pem.write_all(issuer.pem().as_bytes()).unwrap();
        Authority { issuer, pem }
    }

    /// A server for these names, valid until a hundred days after [`NOW_SECONDS`].
    pub fn server(&self, names: &[&str]) -> ServerConfig {
        self.server_until(names, (2026, 9, 9))
    }

    fn server_until(&self, names: &[&str], (year, month, day): (i32, u8, u8)) -> ServerConfig {
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    /// A deployment that trusts this authority.
    pub fn deployment(&self) -> Deployment {
        let tls = Tls { ca: Some(self.pem.path().to_owned()), insecure: false };
        Deployment { tls, ..deployment() }
    }

    /// The file with its certificate.
    pub fn pem(&self) -> &std::path::Path {
        self.pem.path()
    }
}

/// Lets each handshake wait, answers one request, and reports the time from the accepted connection
/// to the end of the handshake.
pub async fn serve_tls(
    mut config: ServerConfig,
    delay: Duration,
) -> (std::net::SocketAddr, mpsc::Receiver<Duration>) {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (report, truths) = mpsc::channel(1_000);
    let address = serve(move |stream: TcpStream, _| {
        let (acceptor, report) = (acceptor.clone(), report.clone());
        async move {
            let accepted = Instant::now();
            if delay > Duration::ZERO {
                tokio::time::sleep(delay).await;
            }
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = report.try_send(accepted.elapsed());
            let session = stream.get_ref().1;
            let protocol = String::from_utf8_lossy(session.alpn_protocol().unwrap()).into_owned();
            let name = session.server_name().unwrap_or("none").to_owned();
            while !read_request(&mut stream).await.is_empty() {
                let body = format!("{protocol} {name}");
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await;
    (address, truths)
}

async fn ask(config: ServerConfig, host: &str, deployment: &Deployment) -> Exchange {
    let (address, _truths) = serve_tls(config, Duration::ZERO).await;
    let url = Url::parse(&format!("https://{host}:{}/?token=s3cret", address.port())).unwrap();
    client().session(deployment).send(get(&url)).await
}

fn assert_refused(exchange: &Exchange, words: &str) {
    let error = exchange.error.as_ref().unwrap();
    assert_eq!((error.kind, error.detail.as_str()), (ErrorType::Tls, words));
    assert_eq!(exchange.status, None);
    assert!(exchange.phases.get(Phase::Tls) > Duration::ZERO);
    assert_eq!(exchange.phases.get(Phase::Send), Duration::ZERO);
}

#[tokio::test]
async fn a_good_certificate_is_taken_and_its_days_are_counted() {
    let authority = Authority::new();
    let exchange = ask(authority.server(&["localhost"]), "localhost", &authority.deployment()).await;
    assert_eq!((exchange.status, exchange.error), (Some(200), None));
    assert_eq!(&exchange.body[..], b"http/1.1 localhost");
    assert_eq!(exchange.tls_days_left, Some(100));
    assert!(exchange.phases.get(Phase::Tls) > Duration::ZERO);
}

#[tokio::test]
async fn a_certificate_for_an_address_is_taken() {
    let authority = Authority::new();
    let exchange = ask(authority.server(&["127.0.0.1"]), "127.0.0.1", &authority.deployment()).await;
    assert_eq!((&exchange.body[..], exchange.error), (&b"http/1.1 none"[..], None));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_with_its_age() {
    let authority = Authority::new();
    let server = authority.server_until(&["localhost"], (2026, 5, 29));
    let exchange = ask(server, "localhost", &authority.deployment()).await;
    assert_refused(&exchange, "the certificate expired 3 days ago");
    assert_eq!(exchange.tls_days_left, Some(-3));
}

#[tokio::test]
async fn the_clock_decides_what_has_expired() {
    let authority = Authority::new();
    let (address, _truths) = serve_tls(authority.server(&["localhost"]), Duration::ZERO).await;
    let url = Url::parse(&format!("https://localhost:{}/", address.port())).unwrap();
    let clock = Clock::manual(Timestamp(NOW_SECONDS * 1_000_000_000));
    let mut session = Client::new(clock.clone()).session(&authority.deployment());
    assert_eq!(session.send(get(&url)).await.error, None);
    clock.advance(Duration::from_secs(101 * 86_400));
    assert_refused(&session.send(get(&url)).await, "the certificate expired 24 hours ago");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_with_both_names() {
    let authority = Authority::new();
    let server = authority.server(&["a.example", "*.b.example", "127.0.0.9"]);
    let exchange = ask(server, "localhost", &authority.deployment()).await;
    let words = "the certificate is for a.example, *.b.example, 127.0.0.9, not for localhost";
    assert_refused(&exchange, words);
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let trusted = Authority::named("one");
    let trusting = trusted.deployment();
    let exchange = ask(Authority::named("other").server(&["localhost"]), "localhost", &trusting).await;
    let words = "the certificate was issued by an unknown authority; if it is yours, name its CA file";
    assert_refused(&exchange, words);
    assert_eq!(exchange.tls_days_left, None);
    let exchange = ask(Authority::named("one").server(&["localhost"]), "localhost", &trusting).await;
    assert_refused(&exchange, "the certificate was not signed by the authority that it names");
}

#[tokio::test]
async fn an_unreadable_ca_file_is_named() {
    let server = Authority::new().server(&["localhost"]);
    let ca = Some("/nonexistent/ca.pem".into());
    let tls = Tls { ca, insecure: false };
    let exchange = ask(server, "localhost", &Deployment { tls, ..deployment() }).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Tls);
    assert!(detail(&exchange).starts_with("the CA file /nonexistent/ca.pem cannot be used: "));
    assert_eq!(exchange.peer, None);

    let empty = NamedTempFile::new().unwrap();
    let tls = Tls { ca: Some(empty.path().to_owned()), insecure: false };
    let server = Authority::new().server(&["localhost"]);
    let exchange = ask(server, "localhost", &Deployment { tls, ..deployment() }).await;
    assert!(detail(&exchange).ends_with("it holds no PEM certificate"), "{}", detail(&exchange));
}

#[tokio::test]
async fn insecure_takes_any_certificate_and_still_counts_its_days() {
    let server = Authority::new().server_until(&["a.example"], (2026, 5, 1));
    let tls = Tls { ca: None, insecure: true };
    let exchange = ask(server, "localhost", &Deployment { tls, ..deployment() }).await;
    assert_eq!((exchange.status, exchange.error), (Some(200), None));
    assert_eq!(exchange.tls_days_left, Some(-31));
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_named() {
    let target = serve(async |mut stream, _| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        read_request(&mut stream).await;
    })
    .await;
    let url = Url::parse(&format!("https://{target}/")).unwrap();
    let tls = Tls { ca: None, insecure: true };
    let exchange = client().session(&Deployment { tls, ..deployment() }).send(get(&url)).await;
    assert_refused(&exchange, "the peer does not speak TLS on this port");
}

#[tokio::test]
async fn a_kept_tls_connection_costs_one_handshake() {
    let authority = Authority::new();
    let (address, mut truths) = serve_tls(authority.server(&["localhost"]), Duration::ZERO).await;
    let url = Url::parse(&format!("https://localhost:{}/", address.port())).unwrap();
    let deployment = Deployment { keep_alive: true, ..authority.deployment() };
    let mut session = client().session(&deployment);
    for n in 0..3 {
        let exchange = session.send(get(&url)).await;
        assert_eq!((exchange.status, exchange.error), (Some(200), None));
        assert_eq!(exchange.tls_days_left, Some(100));
        assert_eq!(exchange.peer, Some(address));
        assert_eq!(exchange.phases.get(Phase::Tls) == Duration::ZERO, n > 0);
    }
    assert!(truths.try_recv().is_ok() && truths.try_recv().is_err());
}
