//! One run's calls on one deployment: requests, redirects, and the connection between them.

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, HOST, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{Request, Uri};
use tokio::io::{AsyncRead, ReadBuf};
use url::{Origin, Position, Url};

use super::connect::{self, Means, Stream};
use super::exchange::{self, Answer};
use super::stopwatch::Stopwatch;
use super::{Call, Client, Exchange, Failure, body, in_words, redirect};
use crate::model::{Deployment, ErrorType, Method, Phase, Redirects, Tls};

/// One run on one deployment. With `keep_alive` it holds the connection between calls.
#[derive(Debug)]
pub struct Session {
    client: Client,
    tls: Tls,
    resolver: Option<SocketAddr>,
    keep_alive: bool,
    kept: Option<Kept>,
}

/// A connection that waits for the next call, and what is known about its peer.
#[derive(Debug)]
struct Kept {
    stream: Stream,
    origin: Origin,
    peer: Option<SocketAddr>,
    tls_days_left: Option<i64>,
}

impl Kept {
    /// False when the peer has closed it, or said something unasked. Does not wait.
    async fn is_quiet(&mut self) -> bool {
        poll_fn(|cx| {
            let mut byte = [0];
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte));
            Poll::Ready(read.is_pending())
        })
        .await
    }
}

impl Session {
    pub(super) fn new(client: Client, deployment: &Deployment) -> Self {
        Session {
            client,
            tls: deployment.tls.clone(),
            resolver: deployment.resolver,
            keep_alive: deployment.keep_alive,
            kept: None,
        }
    }

    /// Sends the request and reads the answer. Never fails: what went wrong is in the exchange.
    pub async fn send(&mut self, call: Call<'_>) -> Exchange {
        let means = self.means(call.url);
        let mut answer = Answer::default();
        let mut redirects = 0;
        let mut watch = Stopwatch::start();
        let sent = async { self.follow(&call, &means?, &mut watch, &mut answer, &mut redirects).await };
        let result = tokio::time::timeout(call.timeout, sent).await;
        let phases = watch.phases(Instant::now());
        let error = match result {
            Ok(result) => result.err(),
            Err(_) => Some(overdue(&call, &watch, &answer)),
        };
        let complete = error.is_none() && !answer.capped;
        let decoded = body::decode(&answer.headers, answer.wire, call.body_max, complete);
        Exchange {
            phases,
            status: answer.status,
            protocol: answer.protocol,
            headers: answer.headers,
            body: decoded.body,
            truncated: answer.capped || decoded.truncated,
            body_bytes: answer.wire_bytes,
            peer: answer.peer,
            redirects,
            tls_days_left: answer.tls_days_left,
            error: error.or(decoded.failure),
        }
    }

    fn means(&self, url: &Url) -> Result<Means, Failure> {
        let tls = match url.scheme() {
            "http" => None,
            "https" => Some(self.client.tls_config(&self.tls)?),
            other => {
                let detail = format!("the scheme {other} is not spoken; http and https are");
                return Err(Failure::new(ErrorType::Protocol, detail));
            }
        };
        Ok(Means { tls, resolver: self.resolver, clock: self.client.0.clock.clone() })
    }

    /// The request, and those that redirects lead to.
    async fn follow(
        &mut self,
        call: &Call<'_>,
        means: &Means,
        watch: &mut Stopwatch,
        answer: &mut Answer,
        redirects: &mut u32,
    ) -> Result<(), Failure> {
        let mut url = Cow::Borrowed(call.url);
        let mut method = call.method;
        loop {
            let request = request(call, method, &url, self.keep_alive)?;
            self.ask(&url, request, call.body_max, means, watch, answer).await?;
            let Redirects::Follow(limit) = call.redirects else { return Ok(()) };
            let Some(next) = redirect::target(&url, answer.status, &answer.headers)? else { return Ok(()) };
            if *redirects == limit {
                let detail = format!("more than {limit} redirects");
                return Err(Failure::new(ErrorType::Redirect, detail));
            }
            *redirects += 1;
            method = redirect::method_after(answer.status, method);
            url = Cow::Owned(next);
            watch.begin_next();
            *answer = Answer::default();
        }
    }

    /// One request on the kept connection, or on a new one.
    async fn ask(
        &mut self,
        url: &Url,
        request: Request<Full<Bytes>>,
        body_max: usize,
        means: &Means,
        watch: &mut Stopwatch,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        if let Some(mut kept) = self.kept.take()
            && kept.origin == url.origin()
            && kept.is_quiet().await
        {
            watch.end(Phase::Tls);
            (answer.peer, answer.tls_days_left) = (kept.peer, kept.tls_days_left);
            match self.converse(kept.stream, url, request.clone(), body_max, watch, answer).await {
                // The peer may close a kept connection at any moment, also while we write; where
                // asking twice does no harm, that is no news about it (RFC 9112 §9.3.1).
                Err(failure)
                    if failure.kind == ErrorType::Reset
                        && !watch.has_ended(Phase::Wait)
                        && request.method().is_idempotent() =>
                {
                    watch.begin_next();
                    *answer = Answer::default();
                }
                result => return result,
            }
        }
        let stream = connect::open(url, means, watch, answer).await?;
        self.converse(stream, url, request, body_max, watch, answer).await
    }

    /// One exchange on this stream, which is kept if it may be.
    async fn converse(
        &mut self,
        mut stream: Stream,
        url: &Url,
        request: Request<Full<Bytes>>,
        body_max: usize,
        watch: &mut Stopwatch,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        if exchange::speak(&mut stream, watch, request, body_max, self.keep_alive, answer).await? {
            let (peer, tls_days_left) = (answer.peer, answer.tls_days_left);
            self.kept = Some(Kept { stream, origin: url.origin(), peer, tls_days_left });
        }
        Ok(())
    }
}

/// What is put on the wire for one request of a call.
fn request(
    call: &Call<'_>,
    method: Method,
    url: &Url,
    keep_alive: bool,
) -> Result<Request<Full<Bytes>>, Failure> {
    let unsendable =
        |what: &str| Failure::new(ErrorType::Protocol, format!("the {what} of the URL cannot be sent"));
    let uri: Uri =
        url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| unsendable("path or query"))?;
    let mut headers = call.headers.clone();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    // A redirect that turned into a GET goes without the body, and without what described it.
    let body = if method == call.method { call.body.clone() } else { Bytes::new() };
    if method != call.method {
        for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION] {
            headers.remove(name);
        }
    }
    if !headers.contains_key(HOST) {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| unsendable("host"))?);
    }
    let defaults = [
        (USER_AGENT, concat!("cachetscope/", env!("CARGO_PKG_VERSION"))),
        (ACCEPT_ENCODING, "gzip, deflate"),
        (CONNECTION, if keep_alive { "keep-alive" } else { "close" }),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = match method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
        Method::Patch => hyper::Method::PATCH,
        Method::Delete => hyper::Method::DELETE,
    };
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// What the call was doing when its time was over.
fn overdue(call: &Call<'_>, watch: &Stopwatch, answer: &Answer) -> Failure {
    let host = &call.url[Position::BeforeHost..Position::AfterPort];
    let peer = answer.peer.map_or_else(|| host.to_owned(), |peer| peer.to_string());
    let doing = match watch.running() {
        Phase::Dns => format!("resolving the name {host}"),
        Phase::Connect => format!("connecting to {host}"),
        Phase::Tls => format!("in the TLS handshake with {peer}"),
        Phase::Send => format!("sending the request to {peer}"),
        Phase::Wait => format!("waiting for the first byte from {peer}"),
        Phase::Receive => format!("receiving from {peer}, {}", exchange::progress(watch, answer)),
    };
    let detail = format!("the time limit of {} was reached while {doing}", in_words(call.timeout));
    Failure::new(ErrorType::Timeout, detail)
}
