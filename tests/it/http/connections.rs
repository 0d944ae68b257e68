//! Which connection a request takes, and what is said when there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cachetscope::http::{Call, HeaderMap, HeaderValue};
use cachetscope::model::{Deployment, ErrorType, Method, Phase, Redirects};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use url::Url;

use super::servers::{
    client, deployment, detail, get, keeping_session, read_request, serve, serve_dns, serve_on, session, url,
};

/// Answers requests on one connection with what they were, `times` times, then closes.
async fn echo(mut stream: TcpStream, times: usize) {
    for _ in 0..times {
        let request = read_request(&mut stream).await;
        if request.is_empty() {
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}", request.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_says_what_it_must_and_keeps_what_the_caller_set() {
    let target = serve(|stream, _| echo(stream, 1)).await;
    let url = url(target, "/api/ping?a=b|c#fragment");
    let exchange = session().send(get(&url)).await;
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "GET /api/ping?a=b|c HTTP/1.1\r\nhost: {target}\r\nuser-agent: cachetscope/{version}\r\n\
         accept-encoding: gzip, deflate\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(String::from_utf8_lossy(&exchange.body), expected);

    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "cachet.example"),
        ("user-agent", "someone"),
        ("accept-encoding", "identity"),
        ("x-cachet-token", "s3cret"),
        ("content-length", "999"),
        ("transfer-encoding", "chunked"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let call = Call { method: Method::Post, headers, body: Bytes::from_static(b"{}"), ..get(&url) };
    let exchange = session().send(call).await;
    let request = String::from_utf8_lossy(&exchange.body).into_owned();
    assert!(request.starts_with("POST /api/ping?a=b|c HTTP/1.1\r\nhost: cachet.example\r\n"), "{request}");
    assert!(request.contains("user-agent: someone\r\n") && request.contains("x-cachet-token: s3cret\r\n"));
    assert!(request.contains("accept-encoding: identity\r\n") && request.contains("content-length: 2\r\n"));
    assert!(!request.contains("chunked") && request.ends_with("\r\n\r\n{}"), "{request}");
}

#[tokio::test]
async fn credentials_in_the_url_are_neither_sent_nor_shown() {
    let target = serve(|stream, _| echo(stream, 1)).await;
    let url = Url::parse(&format!("http://user:s3cret@{target}/")).unwrap();
    let exchange = session().send(get(&url)).await;
    assert!(!String::from_utf8_lossy(&exchange.body).contains("s3cret"));

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://user:s3cret@{closed}/?token=s3cret")).unwrap();
    let exchange = session().send(get(&url)).await;
    assert!(detail(&exchange).contains("connection refused") && !detail(&exchange).contains("s3cret"));
}

#[tokio::test]
async fn each_call_opens_its_own_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let target = serve(move |stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        echo(stream, 9)
    })
    .await;
    let (url, mut session) = (url(target, "/"), session());
    for _ in 0..3 {
        assert_eq!(session.send(get(&url)).await.status, Some(200));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_run_beside_each_other() {
    let target = serve(|stream, _| echo(stream, 1)).await;
    let client = client();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (mut session, url) = (client.session(&deployment()), url(target, &format!("/{n}/")));
        tasks.spawn(async move {
            let exchange = session.send(get(&url)).await;
            assert!(exchange.body.starts_with(format!("GET /{n}/ ").as_bytes()));
        });
    }
    assert_eq!(tasks.join_all().await.len(), 100);
}

#[tokio::test]
async fn a_kept_connection_is_used_again_and_costs_no_handshake() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let target = serve(move |stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        echo(stream, 9)
    })
    .await;
    let (url, mut session) = (url(target, "/"), keeping_session());
    for n in 0..5 {
        let exchange = session.send(get(&url)).await;
        assert_eq!((exchange.status, exchange.peer), (Some(200), Some(target)));
        assert!(String::from_utf8_lossy(&exchange.body).contains("connection: keep-alive"));
        assert!(exchange.phases.get(Phase::Wait) > Duration::ZERO);
        if n > 0 {
            assert!(exchange.phases.get(Phase::Connect) == Duration::ZERO);
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// Each connection serves two requests; the close is seen before the third, or while it is written.
#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let target = serve(move |stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        echo(stream, 2)
    })
    .await;
    let (url, mut session) = (url(target, "/"), keeping_session());
    for _ in 0..10 {
        let exchange = session.send(get(&url)).await;
        assert_eq!((exchange.status, exchange.error), (Some(200), None));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 5);
}

/// The first connection takes a second request and closes without a word.
async fn deaf_after_one() -> std::net::SocketAddr {
    serve(|mut stream, n| async move {
        if n > 0 {
            return echo(stream, 9).await;
        }
        let request = read_request(&mut stream).await;
        assert!(!request.is_empty());
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        read_request(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn a_request_lost_on_a_kept_connection_is_sent_again_once() {
    let (url, mut session) = (url(deaf_after_one().await, "/"), keeping_session());
    assert_eq!(session.send(get(&url)).await.status, Some(200));
    let exchange = session.send(get(&url)).await;
    assert_eq!((exchange.status, exchange.error), (Some(200), None));
    // The lost attempt's time is in there: a new handshake, after a wait.
    assert!(exchange.phases.get(Phase::Connect) > Duration::ZERO);
}

#[tokio::test]
async fn a_lost_request_that_changes_something_is_not_sent_again() {
    let target = deaf_after_one().await;
    let (url, mut session) = (url(target, "/"), keeping_session());
    assert_eq!(session.send(get(&url)).await.status, Some(200));
    let exchange = session.send(Call { method: Method::Post, ..get(&url) }).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Reset);
    assert_eq!(detail(&exchange), format!("{target} closed the connection before it answered"));
}

#[tokio::test]
async fn a_connection_that_says_close_or_has_more_to_say_is_not_kept() {
    for extra in
        ["connection: close\r\ncontent-length: 2\r\n\r\nok", "content-length: 2\r\n\r\nokHTTP/1.1 200"]
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let target = serve(move |mut stream, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                while !read_request(&mut stream).await.is_empty() {
                    stream.write_all(format!("HTTP/1.1 200 OK\r\n{extra}").as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let (url, mut session) = (url(target, "/"), keeping_session());
        for _ in 0..3 {
            assert_eq!(&session.send(get(&url)).await.body[..], b"ok");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 3, "{extra}");
    }
}

#[tokio::test]
async fn ipv6_is_spoken() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let target = serve_on(listener, |stream, _| echo(stream, 1));
    let exchange = session().send(get(&url(target, "/"))).await;
    assert_eq!((exchange.status, exchange.peer), (Some(200), Some(target)));
    assert!(String::from_utf8_lossy(&exchange.body).contains(&format!("host: {target}\r\n")));
}

/// Whether it is ::1 too is for the machine's hosts file to say; only this one listens.
#[tokio::test]
async fn localhost_is_found_where_only_ipv4_listens() {
    let target = serve(|stream, _| echo(stream, 1)).await;
    let url = Url::parse(&format!("http://localhost:{}/", target.port())).unwrap();
    let exchange = session().send(get(&url)).await;
    assert_eq!((exchange.error, exchange.status, exchange.peer), (None, Some(200), Some(target)));
}

#[tokio::test]
async fn a_refused_connection_names_the_address_and_the_time() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let exchange = session().send(get(&url(closed, "/"))).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Connect);
    let words = detail(&exchange);
    assert!(words.starts_with(&format!("connection refused by {closed} after ")), "{words}");
    assert!(words.ends_with(" ms"), "{words}");
    assert_eq!(exchange.phases.get(Phase::Wait), Duration::ZERO);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_failure() {
    let (resolver, _truths) = serve_dns(Vec::new(), Duration::ZERO).await;
    let mut session = client().session(&Deployment { resolver: Some(resolver), ..deployment() });
    let url = Url::parse("http://absent.example/?token=s3cret").unwrap();
    let exchange = session.send(get(&url)).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Dns);
    assert_eq!(detail(&exchange), "the name absent.example could not be resolved: there is no such name");
    assert_eq!(exchange.phases.get(Phase::Connect), Duration::ZERO);
    assert!(exchange.phases.get(Phase::Dns) > Duration::ZERO);

    let exchange = session.send(get(&Url::parse("http://empty.example/").unwrap())).await;
    assert_eq!(detail(&exchange), "the name empty.example could not be resolved: it has no address");

    let exchange = self::session().send(get(&Url::parse("http://absent.invalid/").unwrap())).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Dns, "{}", detail(&exchange));
}

#[tokio::test]
async fn an_unkind_network_does_not_hide_a_name() {
    let target = serve(|stream, _| echo(stream, 1)).await;
    let addresses = vec![[127, 0, 0, 1].into()];
    for (name, least) in [("noisy", 0), ("large", 0), ("lost", 1)] {
        let (resolver, _truths) = serve_dns(addresses.clone(), Duration::ZERO).await;
        let mut session = client().session(&Deployment { resolver: Some(resolver), ..deployment() });
        let url = Url::parse(&format!("http://{name}.example:{}/", target.port())).unwrap();
        let exchange = session.send(get(&url)).await;
        assert_eq!((exchange.error.as_ref(), exchange.peer), (None, Some(target)), "{name}");
        assert!(exchange.phases.get(Phase::Dns) >= Duration::from_secs(least), "{name}");
    }
}

#[tokio::test]
async fn a_resolver_that_is_not_there_is_named() {
    let closed = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut session = client().session(&Deployment { resolver: Some(closed), ..deployment() });
    let exchange = session.send(get(&Url::parse("http://cachet.example/").unwrap())).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Dns);
    let words = format!("the name cachet.example could not be resolved: no resolver answers at {closed}");
    assert_eq!(detail(&exchange), words);
}

#[tokio::test]
async fn a_silent_resolver_costs_the_timeout() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = Some(silent.local_addr().unwrap());
    let mut session = client().session(&Deployment { resolver, ..deployment() });
    let url = Url::parse("http://cachet.example/").unwrap();
    let exchange = session.send(Call { timeout: Duration::from_millis(100), ..get(&url) }).await;
    let words = "the time limit of 100.0 ms was reached while resolving the name cachet.example";
    assert_eq!(detail(&exchange), words);
    assert!(exchange.phases.get(Phase::Dns) >= Duration::from_millis(100));
    assert_eq!(exchange.phases.total(), exchange.phases.get(Phase::Dns));
}

#[tokio::test]
async fn redirects_are_kept_or_followed_within_the_limit() {
    let target = serve(|mut stream, n| async move {
        read_request(&mut stream).await;
        let answer = if n % 3 == 2 {
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone".to_owned()
        } else {
            format!("HTTP/1.1 302 Found\r\nlocation: /hop{n}?x=s3cret\r\ncontent-length: 3\r\n\r\nhop")
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let (url, mut session) = (url(target, "/"), session());
    let redirects = Redirects::Follow(2);
    let exchange = session.send(Call { redirects, ..get(&url) }).await;
    assert_eq!((exchange.status, exchange.redirects, exchange.error), (Some(200), 2, None));
    assert_eq!((&exchange.body[..], exchange.body_bytes), (&b"done"[..], 4));

    let exchange = session.send(get(&url)).await;
    assert_eq!((exchange.status, exchange.redirects, exchange.error), (Some(302), 0, None));
    let exchange = session.send(Call { redirects: Redirects::Follow(0), ..get(&url) }).await;
    assert_eq!((exchange.status, exchange.redirects), (Some(302), 0));
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Redirect);
    assert_eq!(detail(&exchange), "more than 0 redirects");
}

#[tokio::test]
async fn an_endless_redirect_ends_at_the_limit_with_all_its_time() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        stream.write_all(b"HTTP/1.1 307 Again\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let url = url(target, "/");
    for mut session in [session(), keeping_session()] {
        let exchange = session.send(Call { redirects: Redirects::Follow(5), ..get(&url) }).await;
        assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Redirect);
        assert_eq!((exchange.redirects, detail(&exchange)), (5, "more than 5 redirects"));
        assert!(exchange.phases.get(Phase::Wait) >= 6 * Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_redirected_post_becomes_a_get_unless_told_to_stay() {
    for (status, method) in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")] {
        let (report, second) = oneshot::channel();
        let report = std::sync::Mutex::new(Some(report));
        let target = serve(move |mut stream, n| {
            let report = (n == 1).then(|| report.lock().unwrap().take().unwrap());
            async move {
                let request = read_request(&mut stream).await;
                let Some(report) = report else {
                    let head = format!("HTTP/1.1 {status} Go\r\nlocation: /two\r\ncontent-length: 0\r\n\r\n");
                    return stream.write_all(head.as_bytes()).await.unwrap();
                };
                report.send(request).unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        })
        .await;
        let url = url(target, "/one");
        let headers = [("content-type", "text/x"), ("x-token", "t")]
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let call = Call {
            method: Method::Post,
            headers: HeaderMap::from_iter(headers),
            body: Bytes::from_static(b"body"),
            redirects: Redirects::Follow(1),
            ..get(&url)
        };
        assert_eq!(session().send(call).await.status, Some(204));
        let request = second.await.unwrap();
        assert!(request.starts_with(&format!("{method} /two ")), "{request}");
        let stays = method == "POST";
        assert_eq!((request.ends_with("body"), request.contains("text/x")), (stays, stays), "{request}");
        assert!(request.contains("x-token: t"));
    }
}

#[tokio::test]
async fn a_redirect_to_elsewhere_is_not_followed() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 302 Found\r\nlocation: http://b.example/?s3cret\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(head).await.unwrap();
    })
    .await;
    let exchange = session().send(Call { redirects: Redirects::Follow(5), ..get(&url(target, "/")) }).await;
    assert_eq!((exchange.status, exchange.redirects), (Some(302), 0));
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Redirect);
    let words =
        format!("the redirect leads to http://b.example; only those within http://{target} are followed");
    assert_eq!(detail(&exchange), words);
}

#[tokio::test]
async fn a_scheme_that_is_not_spoken_is_refused() {
    let exchange = session().send(get(&Url::parse("ftp://127.0.0.1/").unwrap())).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Protocol);
    assert_eq!(detail(&exchange), "the scheme ftp is not spoken; http and https are");
}
