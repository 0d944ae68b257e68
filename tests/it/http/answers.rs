//! What comes back: bodies whole, cut, compressed and endless; and what is no answer at all.

use std::io::Write;
use std::time::Duration;

use cachetscope::http::{Call, Exchange};
use cachetscope::model::{ErrorType, Method, Phase};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::AsyncWriteExt;

use super::servers::{detail, get, keeping_session, read_request, serve, session, url};

/// Asks a server that writes this, whatever it is asked, and closes.
async fn answer(bytes: impl Into<Vec<u8>>) -> Exchange {
    answer_within(bytes, 1 << 20).await
}

async fn answer_within(bytes: impl Into<Vec<u8>>, body_max: usize) -> Exchange {
    let bytes = bytes.into();
    let target = serve(move |mut stream, _| {
        let bytes = bytes.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(&bytes).await;
        }
    })
    .await;
    let url = url(target, "/?token=s3cret");
    let mut exchange = session().send(Call { body_max, ..get(&url) }).await;
    if let Some(error) = &mut exchange.error {
        assert!(!error.detail.contains("s3cret"));
        error.detail = error.detail.replace(&target.to_string(), "PEER");
    }
    exchange
}

fn assert_failed(exchange: &Exchange, kind: ErrorType, words: &str) {
    let error = exchange.error.as_ref().unwrap();
    assert_eq!((error.kind, error.detail.as_str()), (kind, words));
}

fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

#[tokio::test]
async fn status_headers_and_body_are_as_sent() {
    let exchange = answer("HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nwait").await;
    assert_eq!((exchange.status, exchange.protocol, exchange.error), (Some(429), Some("1.1"), None));
    assert_eq!(exchange.headers["retry-after"], "7");
    assert_eq!((&exchange.body[..], exchange.body_bytes, exchange.truncated), (&b"wait"[..], 4, false));
}

#[tokio::test]
async fn chunks_are_joined() {
    let body = "4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n";
    let exchange = answer(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
    assert_eq!((&exchange.body[..], exchange.body_bytes), (&b"Wikipedia"[..], 9));
}

#[tokio::test]
async fn http_1_0_is_an_answer() {
    let exchange = answer("HTTP/1.0 500 Internal Server Error\r\nServer: old\r\n\r\nuntil the end").await;
    assert_eq!((exchange.status, exchange.protocol, exchange.error), (Some(500), Some("1.0"), None));
    assert_eq!(&exchange.body[..], b"until the end");
}

#[tokio::test]
async fn http_1_0_is_not_kept_alive_by_mistake() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let (url, mut session) = (url(target, "/"), keeping_session());
    for _ in 0..3 {
        let exchange = session.send(get(&url)).await;
        assert_eq!((exchange.status, &exchange.body[..], exchange.error), (Some(200), &b"ok"[..], None));
    }
}

#[tokio::test]
async fn head_and_204_have_no_body() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 99\r\n\r\n";
        stream.write_all(head).await.unwrap();
    })
    .await;
    let exchange = session().send(Call { method: Method::Head, ..get(&url(target, "/")) }).await;
    assert_eq!((exchange.status, exchange.body_bytes, exchange.error), (Some(200), 0, None));
    let exchange = answer("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!((exchange.status, exchange.body_bytes, exchange.error), (Some(204), 0, None));
}

#[tokio::test]
async fn an_interim_answer_is_passed_over() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let exchange = answer(format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await;
    assert_eq!((exchange.status, &exchange.body[..]), (Some(200), &b"ok"[..]));
}

#[tokio::test]
async fn gzip_is_undone_and_both_sizes_are_known() {
    let plain = b"cachet ".repeat(1_000);
    let wire = gzipped(&plain);
    let exchange = answer(wire).await;
    assert_eq!((exchange.body == plain, exchange.error), (true, None));
    assert!(exchange.body_bytes > 10 && exchange.body_bytes < 200, "{}", exchange.body_bytes);
}

#[tokio::test]
async fn a_gzip_bomb_costs_the_cap() {
    let exchange = answer_within(gzipped(&vec![0; 50_000_000]), 100_000).await;
    assert_eq!((exchange.status, exchange.truncated, exchange.error), (Some(200), true, None));
    assert_eq!(exchange.body.len(), 100_000);
    assert!(exchange.body_bytes < 60_000);
}

#[tokio::test]
async fn an_unknown_encoding_is_reported() {
    let exchange = answer("HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n??").await;
    let words = "the body is encoded as br; only gzip and deflate can be read";
    assert_failed(&exchange, ErrorType::Protocol, words);
    assert_eq!((exchange.status, &exchange.body[..]), (Some(200), &b"??"[..]));
}

#[tokio::test]
async fn broken_gzip_is_reported() {
    let mut wire = gzipped(&b"cachet ".repeat(1_000));
    let length = wire.len();
    wire[length - 6] ^= 0xff;
    let exchange = answer(wire).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Protocol);
    assert!(detail(&exchange).starts_with("the body is not valid gzip: "), "{}", detail(&exchange));
}

#[tokio::test]
async fn invalid_utf8_is_a_body_like_any_other() {
    let head: &[u8] = b"HTTP/1.1 200 OK\r\nx-odd: \xff\xfe\r\ncontent-length: 3\r\n\r\n";
    let exchange = answer([head, b"\xff\xfe\x00"].concat()).await;
    assert_eq!((exchange.status, &exchange.body[..]), (Some(200), &b"\xff\xfe\x00"[..]));
    assert_eq!(exchange.error, None);
}

/// 10 GB announced, and sent as long as anybody reads.
#[tokio::test]
async fn a_body_of_ten_gigabytes_costs_the_cap() {
    let (report, mut written) = tokio::sync::mpsc::channel(1);
    let target = serve(move |mut stream, _| {
        let report = report.clone();
        async move {
            read_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let mut total = 0_u64;
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {
                total += 65_536;
            }
            report.send(total).await.unwrap();
        }
    })
    .await;
    let mut session = keeping_session();
    let exchange = session.send(Call { body_max: 300_000, ..get(&url(target, "/")) }).await;
    assert_eq!((exchange.status, exchange.truncated, exchange.error), (Some(200), true, None));
    assert_eq!(exchange.body.len(), 300_000);
    assert!((300_001..300_001 + 65_536).contains(&exchange.body_bytes), "{}", exchange.body_bytes);
    // The connection was dropped, though it was to be kept: what the kernel buffers hold, no more.
    assert!(written.recv().await.unwrap() < 20_000_000);
}

#[tokio::test]
async fn a_body_of_exactly_the_cap_is_whole() {
    let exchange = answer_within("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour", 4).await;
    assert_eq!((&exchange.body[..], exchange.truncated), (&b"four"[..], false));
    let exchange = answer_within("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfive!", 4).await;
    assert_eq!((&exchange.body[..], exchange.truncated), (&b"five"[..], true));
}

#[tokio::test]
async fn a_body_cut_short_is_a_reset_that_says_how_far_it_came() {
    let exchange = answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
    let words = "PEER closed the connection after 9 of 100 body bytes";
    assert_failed(&exchange, ErrorType::Reset, words);
    assert_eq!((exchange.status, &exchange.body[..]), (Some(200), &b"only this"[..]));

    let exchange = answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nWiki\r\n5\r\npe").await;
    assert_failed(&exchange, ErrorType::Reset, "PEER closed the connection after 6 body bytes");
}

#[tokio::test]
async fn a_reset_amid_the_body_is_a_reset() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome").await.unwrap();
        // The client has read this much before the reset throws away what is on its way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let exchange = session().send(get(&url(target, "/"))).await;
    let words = format!("{target} reset the connection after 4 of 100 body bytes");
    assert_failed(&exchange, ErrorType::Reset, &words);
    assert!(exchange.phases.get(Phase::Receive) >= Duration::from_millis(40));
}

#[tokio::test]
async fn a_close_without_an_answer_is_a_reset() {
    assert_failed(&answer("").await, ErrorType::Reset, "PEER closed the connection before it answered");
    let exchange = answer("HTTP/1.1 200 OK\r\nx: y").await;
    assert_failed(&exchange, ErrorType::Reset, "PEER closed the connection within the headers");
    assert_eq!(exchange.status, None);

    let target = serve(async |stream, _| stream.set_zero_linger().unwrap()).await;
    let exchange = session().send(get(&url(target, "/"))).await;
    let error = exchange.error.unwrap();
    assert_eq!(error.kind, ErrorType::Reset, "{}", error.detail);
}

#[tokio::test]
async fn garbage_is_a_protocol_failure() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/7.3 200 OK\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "\0\0\0\0",
    ] {
        let exchange = answer(garbage).await;
        let error = exchange.error.unwrap();
        assert_eq!(error.kind, ErrorType::Protocol, "{garbage:?}: {}", error.detail);
        assert!(error.detail.starts_with("PEER did not answer in HTTP: "), "{}", error.detail);
        assert_eq!(exchange.status, None);
    }
    let exchange = answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n").await;
    let words = "the answer of PEER broke the rules of HTTP after 0 body bytes";
    assert_failed(&exchange, ErrorType::Protocol, words);
}

#[tokio::test]
async fn a_banner_before_the_request_is_a_protocol_failure() {
    let target = serve(async |mut stream, _| {
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        read_request(&mut stream).await;
    })
    .await;
    let error = session().send(get(&url(target, "/"))).await.error.unwrap();
    assert_eq!(error.kind, ErrorType::Protocol, "{}", error.detail);
}

#[tokio::test]
async fn headers_have_a_limit() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(140_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    for head in [long, many] {
        let exchange = answer(head).await;
        let words = "the headers of PEER are larger than 64 KiB, or more than 100";
        assert_failed(&exchange, ErrorType::Protocol, words);
    }
    let fits = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(60_000));
    assert_eq!(answer(fits).await.status, Some(200));
}
