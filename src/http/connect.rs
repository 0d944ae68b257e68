//! From a URL to a stream: name, TCP, TLS, each on its own so that each can be timed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use url::{Host, Url};

use super::exchange::Answer;
use super::stopwatch::Stopwatch;
use super::{Failure, dns, in_words, tls};
use crate::clock::Clock;
use crate::model::{ErrorType, Phase};

/// Plain, or TLS; boxed, since a TLS session is large and most targets are plain.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How long an address is tried alone before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// A name may have hundreds; these many are tried.
const ADDRESSES_MAX: usize = 8;

/// What connections are made with, ready before the clock starts.
pub(super) struct Means {
    /// For `https` only.
    pub tls: Option<Arc<ClientConfig>>,
    /// In place of the system's.
    pub resolver: Option<SocketAddr>,
    pub clock: Clock,
}

/// A new connection for this URL; its phases are timed, and what is learnt about the peer noted.
pub(super) async fn open(
    url: &Url,
    means: &Means,
    watch: &mut Stopwatch,
    answer: &mut Answer,
) -> Result<Stream, Failure> {
    let addresses = resolve(url, means.resolver).await?;
    match url.host() {
        Some(Host::Domain(_)) => watch.end(Phase::Dns),
        _ => watch.skip(Phase::Dns),
    }
    let (tcp, peer) = dial(&addresses).await?;
    watch.end(Phase::Connect);
    answer.peer = Some(peer);
    let Some(config) = &means.tls else {
        watch.skip(Phase::Tls);
        return Ok(Either::Left(tcp));
    };
    match secure(tcp, url, Arc::clone(config)).await {
        Ok(stream) => {
            watch.end(Phase::Tls);
            let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            answer.tls_days_left = leaf.and_then(|leaf| tls::days_left(leaf, means.clock.now()));
            Ok(Either::Right(stream))
        }
        Err(error) => {
            let reason = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
            answer.tls_days_left = reason.and_then(tls::days_left_when_refused);
            let detail = match reason {
                Some(reason) => tls::words(reason),
                None if error.kind() == io::ErrorKind::UnexpectedEof => {
                    format!("{peer} closed the connection during the TLS handshake")
                }
                None => format!("the TLS handshake with {peer} failed: {error}"),
            };
            Err(Failure::new(ErrorType::Tls, detail))
        }
    }
}

/// The addresses of a URL's host, in the order they should be tried; at least one.
async fn resolve(url: &Url, resolver: Option<SocketAddr>) -> Result<Vec<SocketAddr>, Failure> {
    let unresolved = |why: String| {
        let host = url.host_str().unwrap_or_default();
        Failure::new(ErrorType::Dns, format!("the name {host} could not be resolved: {why}"))
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let name = match url.host() {
        Some(Host::Ipv4(ip)) => return Ok(vec![(ip, port).into()]),
        Some(Host::Ipv6(ip)) => return Ok(vec![(ip, port).into()]),
        Some(Host::Domain(name)) => name,
        None => return Err(unresolved("the URL has no host".to_owned())),
    };
    let addresses: Vec<SocketAddr> = match resolver {
        None => {
            let found = tokio::net::lookup_host((name, port)).await;
            found.map_err(|e| unresolved(lookup_words(&e)))?.take(ADDRESSES_MAX).collect()
        }
        Some(resolver) => {
            let found = Box::pin(dns::lookup(resolver, name)).await.map_err(|e| unresolved(e.to_string()))?;
            found.into_iter().take(ADDRESSES_MAX).map(|ip| (ip, port).into()).collect()
        }
    };
    if addresses.is_empty() { Err(unresolved("it has no address".to_owned())) } else { Ok(addresses) }
}

/// What `getaddrinfo` says, without Rust's preface.
fn lookup_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// A TCP connection to the first address that takes one; a slow one is overtaken by the next.
async fn dial(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
    let began = Instant::now();
    let open = |address: SocketAddr| async move {
        let connected = TcpStream::connect(address).await;
        connected.map(|stream| (stream, address)).map_err(|e| refusal(address, &e))
    };
    let mut untried = addresses.iter().copied();
    let mut trying: FuturesUnordered<_> = untried.next().into_iter().map(open).collect();
    let mut refusals = Vec::new();
    loop {
        let result = if untried.len() == 0 {
            trying.next().await
        } else if let Ok(result) = tokio::time::timeout(HEAD_START, trying.next()).await {
            result
        } else {
            trying.extend(untried.next().map(open));
            continue;
        };
        match result {
            Some(Ok((stream, address))) => {
                // Without it, Nagle's algorithm could hold back the end of a request. A socket
                // that refuses the option still works.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Some(Err(refusal)) => {
                refusals.push(refusal);
                trying.extend(untried.next().map(open));
            }
            None => break,
        }
    }
    let detail = format!("{} after {}", refusals.join(", "), in_words(began.elapsed()));
    Err(Failure::new(ErrorType::Connect, detail))
}

fn refusal(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("connection refused by {address}"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("no route to {address}")
        }
        io::ErrorKind::TimedOut => format!("no answer from {address}"),
        io::ErrorKind::ConnectionReset => format!("connection reset by {address}"),
        _ => format!("no connection to {address}: {error}"),
    }
}

/// The TLS handshake; asks for the URL's host by SNI, and for HTTP/1.1 by ALPN.
async fn secure(
    tcp: TcpStream,
    url: &Url,
    config: Arc<ClientConfig>,
) -> io::Result<Box<TlsStream<TcpStream>>> {
    let name = match url.host() {
        Some(Host::Ipv4(ip)) => ServerName::from(std::net::IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => ServerName::from(std::net::IpAddr::V6(ip)),
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
        None => return Err(io::Error::other("the URL has no host")),
    };
    Box::pin(TlsConnector::from(config).connect(name, tcp)).await.map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_the_url_needs_no_resolver() {
        let url = Url::parse("http://[::1]:8080/x").unwrap();
        let found = resolve(&url, None).await.unwrap();
        assert_eq!(found, ["[::1]:8080".parse().unwrap()]);
        let url = Url::parse("https://127.0.0.1/").unwrap();
        assert_eq!(resolve(&url, None).await.unwrap(), ["127.0.0.1:443".parse().unwrap()]);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ipv4 = open.local_addr().unwrap();
        let ipv6 = format!("[::1]:{}", ipv4.port()).parse().unwrap();
        let (_stream, peer) = dial(&[ipv6, ipv4]).await.unwrap();
        assert_eq!(peer, ipv4);
    }

    #[tokio::test]
    async fn every_address_that_refused_is_named() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let failure = dial(&[closed, closed]).await.unwrap_err();
        assert_eq!(failure.kind, ErrorType::Connect);
        let refused = format!("connection refused by {closed}");
        assert!(failure.detail.starts_with(&format!("{refused}, {refused} after ")), "{}", failure.detail);
    }
}
