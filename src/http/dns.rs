//! Asks one DNS server for the addresses of a name (RFC 1035), every time anew.
//!
//! For a deployment that names its resolver. No cache, no hosts file, no search domains: nothing
//! stands between the question and its answer, so the phase is the server's time. The messages are
//! hickory's; a resolver library around them costs half a millisecond of its own unoptimised.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// A datagram can get lost, so an unanswered question is asked again this much later, for as long
/// as the caller waits.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Without EDNS an answer is no longer than this (RFC 1035 §4.2.1); some servers send more.
const DATAGRAM_MAX: usize = 4096;

/// Why there is no address, as the end of 'the name … could not be resolved: '.
#[derive(Debug)]
pub(super) struct Unresolved(String);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The addresses of an absolute name, IPv6 first as RFC 8305 §4 prefers; at least one.
///
/// Waits for ever for a server that says nothing.
pub(super) async fn lookup(server: SocketAddr, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
    let mut name = Name::from_ascii(host).map_err(|e| Unresolved(e.to_string()))?;
    name.set_fqdn(true);
    let answers = exchange(server, &name).await.map_err(|e| match e.kind() {
        io::ErrorKind::ConnectionRefused => Unresolved(format!("no resolver answers at {server}")),
        _ => Unresolved(format!("the resolver {server} failed: {e}")),
    })?;
    let addresses: Vec<IpAddr> = answers
        .iter()
        .flat_map(|answer| &answer.answers)
        .filter_map(|record| match record.data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            _ => None,
        })
        .collect();
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let code = |answer: &Message| answer.metadata.response_code;
    Err(Unresolved(match answers.iter().map(code).find(|c| *c != ResponseCode::NoError) {
        None => "it has no address".to_owned(),
        Some(ResponseCode::NXDomain) => "there is no such name".to_owned(),
        Some(code) => format!("the resolver {server} answered '{code}'"),
    }))
}

/// Both questions at once, and the answers to both, in the order AAAA, A.
async fn exchange(server: SocketAddr, name: &Name) -> io::Result<[Message; 2]> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    // Connected, it takes datagrams from this server only.
    socket.connect(server).await?;
    let questions = [RecordType::AAAA, RecordType::A].map(|kind| {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name.clone(), kind));
        question
    });
    let (mut ipv6, mut ipv4) = (None, None);
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        for (question, answer) in questions.iter().zip([&ipv6, &ipv4]) {
            if answer.is_none() {
                socket.send(&encode(question)?).await?;
            }
        }
        while let Ok(received) = tokio::time::timeout(ASK_AGAIN_AFTER, socket.recv(&mut buffer)).await {
            // What cannot be read, or answers nothing that was asked, may be forged or late.
            let Ok(answer) = Message::from_vec(&buffer[..received?]) else { continue };
            let Some(n) = questions.iter().position(|question| fits(&answer, question)) else { continue };
            let truncated = answer.metadata.truncation;
            let answer = if truncated { ask_over_tcp(server, &questions[n]).await? } else { answer };
            *[&mut ipv6, &mut ipv4][n] = Some(answer);
            match (ipv6, ipv4) {
                (Some(ipv6), Some(ipv4)) => return Ok([ipv6, ipv4]),
                unfinished => (ipv6, ipv4) = unfinished,
            }
        }
    }
}

/// For an answer that does not fit a datagram (RFC 7766).
async fn ask_over_tcp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let bytes = encode(question)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let answer = Message::from_vec(&answer).map_err(io::Error::other)?;
    if fits(&answer, question) { Ok(answer) } else { Err(io::Error::other("it answered something else")) }
}

fn encode(question: &Message) -> io::Result<Vec<u8>> {
    question.to_vec().map_err(io::Error::other)
}

fn fits(answer: &Message, question: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && answer.queries == question.queries
}
