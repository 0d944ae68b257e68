//! The transport against servers that answer as OTLP asks, and as it does not.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use cachetscope::clock::{Clock, Timestamp};
use cachetscope::exporter::{Delivery, Rejected, Settings, Transport, TransportError, Trouble};
use cachetscope::otlp::Signal;
use http::{HeaderMap, HeaderValue};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// `Mon, 23 Nov 2026 10:00:00 GMT`
const NOW: Timestamp = Timestamp(1_795_428_000_000_000_000);

fn transport(variables: &[(&str, &str)]) -> Transport {
    try_transport(variables).unwrap()
}

/// Short names of `OTEL_EXPORTER_OTLP_*` variables and their values.
fn try_transport(variables: &[(&str, &str)]) -> Result<Transport, TransportError> {
    let variables: Vec<(String, String)> =
        variables.iter().map(|(n, v)| (format!("OTEL_EXPORTER_OTLP_{n}"), (*v).to_owned())).collect();
    let lookup = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    Transport::new(Settings::from_env(&lookup).unwrap(), Clock::manual(NOW))
}

fn retried(delivery: Delivery) -> (Trouble, String, Option<Duration>) {
    match delivery {
        Delivery::Retry { trouble, reason, after } => (trouble, reason, after),
        other => panic!("{other:?}"),
    }
}

/// Field 1 of a message: what `partial_success` looks like on the wire.
fn partial_success(rejected: u8, message: &str) -> Vec<u8> {
    let inner = [&[0x08, rejected, 0x12, message.len() as u8], message.as_bytes()].concat();
    [&[0x0a, inner.len() as u8], inner.as_slice()].concat()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

mod over_http {
    use super::*;

    /// One request as it came.
    struct Received {
        head: String,
        body: Vec<u8>,
    }

    struct Server {
        address: SocketAddr,
        received: mpsc::Receiver<Received>,
    }

    impl Server {
        fn endpoint(&self) -> String {
            format!("http://{}", self.address)
        }
    }

    /// Answers each request with these bytes and closes, whatever they are.
    async fn server(answer: impl Into<Vec<u8>>) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::channel(16);
        let answer = answer.into();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answer) = (sender.clone(), answer.clone());
                tokio::spawn(async move { converse(stream, &sender, &answer).await });
            }
        });
        Server { address, received }
    }

    async fn converse(
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        sender: &mpsc::Sender<Received>,
        answer: &[u8],
    ) -> Option<()> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        while bytes.len() < end + length {
            stream.read_buf(&mut bytes).await.ok()?;
        }
        sender.send(Received { head, body: bytes.split_off(end) }).await.ok()?;
        stream.write_all(answer).await.ok()?;
        stream.shutdown().await.ok()
    }

    fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";

    async fn delivery_of(answer: impl Into<Vec<u8>>) -> Delivery {
        let server = server(answer).await;
        transport(&[("ENDPOINT", &server.endpoint())]).send(Signal::Traces, Bytes::from_static(b"x")).await
    }

    #[tokio::test]
    async fn a_request_arrives_compressed_and_with_its_headers() {
        let mut server = server(answer("200 OK", PROTOBUF, "")).await;
        let transport =
            transport(&[("ENDPOINT", &server.endpoint()), ("HEADERS", "Authorization=Bearer%20s3cret")]);
        // Above the size that is compressed elsewhere, and below it.
        for body in [Bytes::from(vec![7; 1 << 20]), Bytes::from_static(b"small")] {
            let delivery = transport.send(Signal::Metrics, body.clone()).await;
            assert_eq!(delivery, Delivery::Accepted { rejected: None });
            let received = server.received.recv().await.unwrap();
            assert!(received.head.starts_with("post /v1/metrics http/1.1"), "{}", received.head);
            assert!(received.head.contains("content-type: application/x-protobuf"), "{}", received.head);
            assert!(received.head.contains("content-encoding: gzip"), "{}", received.head);
            assert!(received.head.contains("authorization: bearer s3cret"), "{}", received.head);
            assert_eq!(gunzip(&received.body), body);
        }
    }

    #[tokio::test]
    async fn without_compression_the_bytes_are_as_they_were() {
        let mut server = server(answer("200 OK", PROTOBUF, "")).await;
        let transport = transport(&[("ENDPOINT", &server.endpoint()), ("COMPRESSION", "none")]);
        transport.send(Signal::Logs, Bytes::from_static(b"plain")).await;
        let received = server.received.recv().await.unwrap();
        assert_eq!(received.body, b"plain");
        assert!(!received.head.contains("content-encoding"), "{}", received.head);
    }

    #[tokio::test]
    async fn a_partial_success_is_accepted_with_the_collectors_words() {
        let delivery = delivery_of(answer("200 OK", PROTOBUF, partial_success(3, "too old"))).await;
        let rejected = Some(Rejected { items: 3, message: "too old".to_owned() });
        assert_eq!(delivery, Delivery::Accepted { rejected });
    }

    #[tokio::test]
    async fn nobody_listening_is_unreachable() {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let transport = transport(&[("ENDPOINT", &format!("http://{address}?key=s3cret"))]);
        let (trouble, reason, after) = retried(transport.send(Signal::Traces, Bytes::new()).await);
        assert_eq!((trouble, after), (Trouble::Unreachable, None));
        assert!(reason.contains(&format!("http://{address}/v1/traces")), "{reason}");
        assert!(reason.contains("refused"), "{reason}");
        assert!(!reason.contains("s3cret"), "{reason}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_costs_the_timeout() {
        // The kernel accepts, and nobody ever answers.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let transport = transport(&[("ENDPOINT", &endpoint), ("TIMEOUT", "50")]);
        let (trouble, reason, _) = retried(transport.send(Signal::Traces, Bytes::new()).await);
        assert_eq!(trouble, Trouble::Unreachable);
        assert_eq!(reason, format!("{endpoint}/v1/traces did not answer within 50ms"));
    }

    #[tokio::test]
    async fn broken_answers_are_retried() {
        for (broken, expected, words) in [
            ("", Trouble::Unreachable, "no answer from http://127.0.0.1:"),
            ("SSH-2.0-OpenSSH_9.9\r\n", Trouble::NotACollector, "does not speak HTTP/1.1"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", Trouble::Unreachable, "200 OK and broke off: "),
            ("HTTP/1.1 400 Bad\r\ncontent-length: 9\r\n\r\nx", Trouble::Unreachable, "and broke off: "),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\n", Trouble::Overloaded, "answered 503"),
        ] {
            let (trouble, reason, _) = retried(delivery_of(broken).await);
            assert_eq!(trouble, expected, "{broken:?}: {reason}");
            assert!(reason.contains(words), "{broken:?}: {reason}");
        }
        let large = delivery_of("HTTP/1.1 413 Large\r\ncontent-length: 9\r\n\r\n").await;
        assert!(matches!(large, Delivery::TooLarge { .. }), "{large:?}");
    }

    #[tokio::test]
    async fn a_success_that_is_no_otlp_answer_is_not_believed() {
        let html = answer("200 OK", "content-type: text/html; charset=utf-8\r\n", "<html>Welcome to nginx!");
        let (trouble, reason, _) = retried(delivery_of(html).await);
        assert_eq!(trouble, Trouble::NotACollector);
        assert!(
            reason
                .ends_with("answered 200 OK with an HTML page instead of an OTLP answer; is it a collector?"),
            "{reason}"
        );

        let garbage = answer("200 OK", PROTOBUF, [0xff; 40]);
        assert_eq!(retried(delivery_of(garbage).await).0, Trouble::NotACollector);

        let flood = answer("200 OK", PROTOBUF, vec![0; 8 << 20]);
        let (trouble, reason, _) = retried(delivery_of(flood).await);
        assert_eq!(trouble, Trouble::NotACollector);
        assert!(reason.contains("more than 64 KiB"), "{reason}");
    }

    #[tokio::test]
    async fn retry_after_is_obeyed_in_both_forms() {
        for (value, seconds) in [("7", 7), ("Mon, 23 Nov 2026 10:02:00 GMT", 120)] {
            let busy = answer("429 Too Many Requests", &format!("retry-after: {value}\r\n"), "slow down");
            let (trouble, reason, after) = retried(delivery_of(busy).await);
            assert_eq!((trouble, after), (Trouble::Overloaded, Some(Duration::from_secs(seconds))));
            assert!(reason.ends_with("answered 429 Too Many Requests: slow down"), "{reason}");
        }
    }

    #[tokio::test]
    async fn bad_data_is_refused_and_large_data_is_to_be_split() {
        // google.rpc.Status { message: "bad span" }
        let status = [b"\x08\x03\x12\x08".as_slice(), b"bad span"].concat();
        let Delivery::Refused { reason } = delivery_of(answer("400 Bad Request", PROTOBUF, status)).await
        else {
            panic!("not refused")
        };
        assert!(reason.ends_with("answered 400 Bad Request: bad span"), "{reason}");
        let large = delivery_of(answer("413 Payload Too Large", "", "")).await;
        assert!(matches!(large, Delivery::TooLarge { .. }), "{large:?}");
    }

    #[tokio::test]
    async fn redirects_are_told_and_not_followed() {
        let mut elsewhere = server(answer("200 OK", PROTOBUF, "")).await;
        let location = format!("location: {}/v1/traces?key=s3cret\r\n", elsewhere.endpoint());
        let (trouble, reason, _) =
            retried(delivery_of(answer("307 Temporary Redirect", &location, "")).await);
        assert_eq!(trouble, Trouble::NotACollector);
        assert!(reason.contains(&format!("redirects to {}/v1/traces,", elsewhere.endpoint())), "{reason}");
        assert!(elsewhere.received.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_secret_that_the_server_quotes_is_masked() {
        let server = server(answer("401 Unauthorized", "", "no such token: s3cret\r\nBearer s3cret")).await;
        let transport =
            transport(&[("ENDPOINT", &server.endpoint()), ("HEADERS", "Authorization=Bearer%20s3cret")]);
        let (trouble, reason, _) = retried(transport.send(Signal::Traces, Bytes::new()).await);
        assert_eq!(trouble, Trouble::Unauthorised);
        assert!(reason.ends_with("answered 401 Unauthorized: no such token: … …"), "{reason}");
    }

    #[tokio::test]
    async fn a_certificate_is_judged_by_the_authority_that_is_named() {
        let (authority, acceptor) = authority(&[]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (sender, _received) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    converse(stream, &sender, &answer("200 OK", PROTOBUF, "")).await;
                }
            }
        });
        let trusting = transport(&[("ENDPOINT", &endpoint), ("CERTIFICATE", &authority.path)]);
        let delivery = trusting.send(Signal::Traces, Bytes::new()).await;
        assert_eq!(delivery, Delivery::Accepted { rejected: None });

        let other = super::authority(&[]).0;
        let wary = transport(&[("ENDPOINT", &endpoint), ("CERTIFICATE", &other.path)]);
        let (trouble, reason, _) = retried(wary.send(Signal::Traces, Bytes::new()).await);
        assert_eq!(trouble, Trouble::Unreachable);
        assert!(reason.contains("certificate"), "{reason}");
    }
}

mod over_grpc {
    use super::*;

    /// What a gRPC server answers: headers, bytes, trailers.
    #[derive(Clone, Default)]
    struct Answer {
        headers: HeaderMap,
        body: Bytes,
        trailers: Option<HeaderMap>,
    }

    /// One call as it came.
    struct Received {
        path: String,
        headers: HeaderMap,
        body: Vec<u8>,
    }

    struct Server {
        address: SocketAddr,
        received: mpsc::Receiver<Received>,
    }

    impl Server {
        fn endpoint(&self) -> String {
            format!("http://{}", self.address)
        }
    }

    async fn server(answer: Answer) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, sender.clone(), answer.clone()));
            }
        });
        Server { address, received }
    }

    async fn converse(
        stream: impl AsyncRead + AsyncWrite + Unpin,
        sender: mpsc::Sender<Received>,
        answer: Answer,
    ) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let (sender, answer) = (sender.clone(), answer.clone());
            tokio::spawn(async move {
                let (head, mut incoming) = request.into_parts();
                let mut body = Vec::new();
                while let Some(Ok(data)) = incoming.data().await {
                    incoming.flow_control().release_capacity(data.len()).unwrap();
                    body.extend_from_slice(&data);
                }
                let path = head.uri.path().to_owned();
                sender.send(Received { path, headers: head.headers, body }).await.unwrap();
                let mut response = http::Response::new(());
                *response.headers_mut() = answer.headers;
                // The client may be gone by now; that is its affair.
                let Ok(mut stream) = respond.send_response(response, false) else { return };
                let _ = stream.send_data(answer.body, answer.trailers.is_none());
                let _ = answer.trailers.map(|trailers| stream.send_trailers(trailers));
            });
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_str(v).unwrap())).collect()
    }

    /// A message in its frame, and OK.
    fn ok(message: &[u8]) -> Answer {
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(message.len() as u32);
        body.put_slice(message);
        Answer {
            headers: headers(&[("content-type", "application/grpc")]),
            body: body.freeze(),
            trailers: Some(headers(&[("grpc-status", "0")])),
        }
    }

    fn error(trailers: &[(&'static str, &str)]) -> Answer {
        let trailers = Some(headers(trailers));
        Answer { headers: headers(&[("content-type", "application/grpc")]), body: Bytes::new(), trailers }
    }

    fn grpc(endpoint: &str) -> Transport {
        transport(&[("PROTOCOL", "grpc"), ("ENDPOINT", endpoint)])
    }

    async fn delivery_of(answer: Answer) -> Delivery {
        let server = server(answer).await;
        grpc(&server.endpoint()).send(Signal::Traces, Bytes::from_static(b"x")).await
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_encoded() {
        let mut server = server(ok(b"")).await;
        let body = Bytes::from(vec![7; 1 << 20]);
        for (compression, flag) in [("gzip", 1), ("none", 0)] {
            let transport = transport(&[
                ("PROTOCOL", "grpc"),
                ("ENDPOINT", &server.endpoint()),
                ("HEADERS", "Authorization=Bearer%20s3cret"),
                ("COMPRESSION", compression),
            ]);
            let delivery = transport.send(Signal::Metrics, body.clone()).await;
            assert_eq!(delivery, Delivery::Accepted { rejected: None });
            let received = server.received.recv().await.unwrap();
            assert_eq!(received.path, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
            assert_eq!(received.headers["authorization"], "Bearer s3cret");
            assert_eq!(received.body[0], flag);
            let message = &received.body[5..];
            assert_eq!(if flag == 1 { gunzip(message) } else { message.to_vec() }, body);
        }
    }

    #[tokio::test]
    async fn a_partial_success_is_accepted_with_the_collectors_words() {
        let rejected = Some(Rejected { items: 3, message: "too old".to_owned() });
        let delivery = delivery_of(ok(&partial_success(3, "too old"))).await;
        assert_eq!(delivery, Delivery::Accepted { rejected });
    }

    #[tokio::test]
    async fn each_status_is_told_apart() {
        for (code, name, expected) in [
            ("1", "CANCELLED", Trouble::Overloaded),
            ("2", "UNKNOWN", Trouble::Failing),
            ("4", "DEADLINE_EXCEEDED", Trouble::Overloaded),
            ("7", "PERMISSION_DENIED", Trouble::Unauthorised),
            ("8", "RESOURCE_EXHAUSTED", Trouble::Overloaded),
            ("10", "ABORTED", Trouble::Overloaded),
            ("12", "UNIMPLEMENTED", Trouble::NotACollector),
            ("13", "INTERNAL", Trouble::Failing),
            ("14", "UNAVAILABLE", Trouble::Overloaded),
            ("16", "UNAUTHENTICATED", Trouble::Unauthorised),
        ] {
            let answer = error(&[("grpc-status", code), ("grpc-message", "not%20now")]);
            let (trouble, reason, after) = retried(delivery_of(answer).await);
            assert_eq!((trouble, after), (expected, None), "{reason}");
            assert!(reason.ends_with(&format!("(gRPC) answered {name}: not now")), "{reason}");
        }
        let refused = delivery_of(error(&[("grpc-status", "3"), ("grpc-message", "bad span")])).await;
        assert!(
            matches!(&refused, Delivery::Refused { reason } if reason.ends_with("INVALID_ARGUMENT: bad span")),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn retry_info_is_obeyed() {
        // google.rpc.Status { code: 14, details: [RetryInfo { retry_delay: 3 s }] }
        let details = "CA4aMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAw";
        let answer = error(&[("grpc-status", "14"), ("grpc-status-details-bin", details)]);
        let (trouble, _, after) = retried(delivery_of(answer).await);
        assert_eq!((trouble, after), (Trouble::Overloaded, Some(Duration::from_secs(3))));
    }

    #[tokio::test]
    async fn nobody_listening_is_unreachable() {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let transport = grpc(&format!("http://{address}"));
        for _ in 0..2 {
            let (trouble, reason, _) = retried(transport.send(Signal::Traces, Bytes::new()).await);
            assert_eq!(trouble, Trouble::Unreachable);
            assert!(reason.starts_with(&format!("no answer from http://{address} (gRPC): ")), "{reason}");
            assert!(reason.contains("refused"), "{reason}");
        }
    }

    #[tokio::test]
    async fn what_is_no_grpc_server_is_retried() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        let (trouble, reason, _) = retried(grpc(&endpoint).send(Signal::Traces, Bytes::new()).await);
        // Which of the two it is told depends on whether the answer comes before the request is out.
        assert!(matches!(trouble, Trouble::Unreachable | Trouble::NotACollector), "{trouble:?}: {reason}");

        let page = Answer {
            headers: headers(&[("content-type", "text/html")]),
            body: Bytes::from_static(b"<html>Welcome to nginx!"),
            trailers: None,
        };
        let (trouble, reason, _) = retried(delivery_of(page).await);
        assert_eq!(trouble, Trouble::NotACollector, "{reason}");

        let (trouble, reason, _) = retried(delivery_of(ok(&[0xff; 40])).await);
        assert_eq!(trouble, Trouble::NotACollector, "{reason}");
        let (trouble, reason, _) = retried(delivery_of(ok(&vec![0; 1 << 20])).await);
        assert_ne!(trouble, Trouble::Unreachable, "{reason}");
    }

    #[tokio::test]
    async fn a_connection_that_hangs_is_left() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, _received) = mpsc::channel(16);
        tokio::spawn(async move {
            let _silent: TcpStream = listener.accept().await.unwrap().0;
            let (stream, _) = listener.accept().await.unwrap();
            converse(stream, sender, ok(b"")).await;
        });
        let transport = transport(&[("PROTOCOL", "grpc"), ("ENDPOINT", &endpoint), ("TIMEOUT", "200")]);
        let (trouble, reason, _) = retried(transport.send(Signal::Traces, Bytes::new()).await);
        assert_eq!(trouble, Trouble::Unreachable);
        assert_eq!(reason, format!("{endpoint} (gRPC) did not answer within 200ms"));
        let delivery = transport.send(Signal::Traces, Bytes::new()).await;
        assert_eq!(delivery, Delivery::Accepted { rejected: None });
    }

    #[tokio::test]
    async fn a_connection_that_broke_is_made_again() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, _received) = mpsc::channel(16);
        tokio::spawn(async move {
            drop(listener.accept().await.unwrap());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, sender.clone(), ok(b"")));
            }
        });
        let transport = grpc(&endpoint);
        let (trouble, reason, _) = retried(transport.send(Signal::Traces, Bytes::new()).await);
        assert_eq!(trouble, Trouble::Unreachable, "{reason}");
        let delivery = transport.send(Signal::Traces, Bytes::new()).await;
        assert_eq!(delivery, Delivery::Accepted { rejected: None });
    }

    #[tokio::test]
    async fn a_certificate_is_judged_by_the_authority_that_is_named() {
        let (authority, acceptor) = authority(&[b"h2"]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (sender, _received) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(converse(stream, sender.clone(), ok(b"")));
                }
            }
        });
        let with = |authority: &Authority| {
            transport(&[("PROTOCOL", "grpc"), ("ENDPOINT", &endpoint), ("CERTIFICATE", &authority.path)])
        };
        let delivery = with(&authority).send(Signal::Traces, Bytes::new()).await;
        assert_eq!(delivery, Delivery::Accepted { rejected: None });

        let wary = with(&super::authority(&[]).0);
        let (trouble, reason, _) = retried(wary.send(Signal::Traces, Bytes::new()).await);
        assert_eq!(trouble, Trouble::Unreachable);
        assert!(reason.contains("certificate"), "{reason}");
    }
}

/// A certificate authority in a file.
struct Authority {
    path: String,
    _folder: tempfile::TempDir,
}

/// An authority, and a server for `localhost` that it vouches for.
fn authority(protocols: &[&[u8]]) -> (Authority, TlsAcceptor) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);

    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let authority = Authority { path: path.to_str().unwrap().to_owned(), _folder: folder };
    (authority, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_certificate_file_without_a_certificate_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "no certificate").unwrap();
    let variables = [("ENDPOINT", "https://localhost:4318"), ("CERTIFICATE", path.to_str().unwrap())];
    let error = try_transport(&variables).err().unwrap().to_string();
    assert!(error.starts_with("the certificate for https://localhost:4318/v1/traces is no PEM"), "{error}");
}
