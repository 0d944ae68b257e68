//! Small servers with known weather: what they do to a connection is written out in each test.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cachetscope::clock::{Clock, Timestamp};
use cachetscope::http::{Call, Client, Exchange, HeaderMap, Session};
use cachetscope::model::{Deployment, Flavour, Method, Redirects, Tls, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use url::Url;

/// 2026-06-01T00:00:00Z, by the clock that the client is given.
pub const NOW_SECONDS: i64 = 1_780_272_000;

/// A server that does the same with every connection; the second argument counts them from 0.
pub async fn serve<F, Fut>(each: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), each)
}

pub fn serve_on<F, Fut>(listener: TcpListener, each: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(each(stream, n));
        }
    });
    address
}

/// Reads one request with its body, or what came of it before the end; empty when nothing did.
pub async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut request = Vec::new();
    loop {
        if let Some(head) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            if request.len() >= head + 4 + length.unwrap_or(0usize) {
                break;
            }
        }
        if matches!(stream.read_buf(&mut request).await, Ok(0) | Err(_)) {
            break;
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// When a query came, and when its answer was sent.
pub type DnsTruth = (Instant, Instant);

/// A DNS server that answers each A query, after a delay, with `addresses`, and every other with
/// nothing. A name that begins with `absent` does not exist; of one with `lost` the first datagram
/// of each type is lost; for `large` it asks to be asked over TCP; for `noisy` it sends nonsense
/// first.
pub async fn serve_dns(addresses: Vec<Ipv4Addr>, delay: Duration) -> (SocketAddr, mpsc::Receiver<DnsTruth>) {
    let (socket, tcp) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (Arc::new(socket), tcp);
        }
    };
    let address = socket.local_addr().unwrap();
    let (truths, receiver) = mpsc::channel(1_000);
    let for_tcp = addresses.clone();
    serve_on(tcp, move |mut stream, _| {
        let addresses = for_tcp.clone();
        async move {
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            let answer = dns_answer(&query, &addresses, false);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    tokio::spawn(async move {
        for n in 0.. {
            let mut query = vec![0; 512];
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            let came = Instant::now();
            query.truncate(length);
            let begins = |with: &[u8]| query[13..].starts_with(with);
            if begins(b"lost") && n < 2 {
                continue;
            }
            if begins(b"noisy") {
                let mut other = dns_answer(&query, &[Ipv4Addr::new(192, 0, 2, 1)], false);
                other[0] ^= 1;
                socket.send_to(b"nonsense", from).await.unwrap();
                socket.send_to(&other, from).await.unwrap();
            }
            let answer = dns_answer(&query, &addresses, begins(b"large"));
            let (socket, truths) = (Arc::clone(&socket), truths.clone());
            tokio::spawn(async move {
                if delay > Duration::ZERO {
                    tokio::time::sleep(delay).await;
                }
                socket.send_to(&answer, from).await.unwrap();
                let _ = truths.try_send((came, Instant::now()));
            });
        }
    });
    (address, receiver)
}

/// RFC 1035 §4: the question again, and its answers.
fn dns_answer(query: &[u8], addresses: &[Ipv4Addr], truncated: bool) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let is_a = query[end + 1..end + 3] == [0, 1];
    let absent = query[13..].starts_with(b"absent");
    let answers: &[Ipv4Addr] = if is_a && !absent && !truncated { addresses } else { &[] };
    let (flags, rcode) = (if truncated { 0x83 } else { 0x81 }, if absent { 3 } else { 0 });
    let mut answer = query[..2].to_vec();
    answer.extend([flags, 0x80 | rcode, 0, 1, 0, u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(&query[12..end + 5]);
    for ip in answers {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ip.octets());
    }
    answer
}

pub fn client() -> Client {
    Client::new(Clock::manual(Timestamp(NOW_SECONDS * 1_000_000_000)))
}

pub fn deployment() -> Deployment {
    Deployment {
        name: "here".to_owned(),
        version: Version::parse("v2.4.1").unwrap(),
        db: Flavour::Sqlite,
        environment: "test".to_owned(),
        url: Url::parse("http://127.0.0.1/").unwrap(),
        token: None,
        writes: false,
        host_group: "here".to_owned(),
        tls: Tls::default(),
        resolver: None,
        keep_alive: false,
        digest: None,
        commit: None,
        origin: None,
    }
}

pub fn session() -> Session {
    client().session(&deployment())
}

/// A session whose connections stay open.
pub fn keeping_session() -> Session {
    client().session(&Deployment { keep_alive: true, ..deployment() })
}

pub fn url(address: SocketAddr, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).unwrap()
}

pub fn get(url: &Url) -> Call<'_> {
    Call {
        method: Method::Get,
        url,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(5),
        body_max: 1 << 20,
        redirects: Redirects::Keep,
    }
}

/// The words of a failed exchange.
pub fn detail(exchange: &Exchange) -> &str {
    &exchange.error.as_ref().unwrap().detail
}
