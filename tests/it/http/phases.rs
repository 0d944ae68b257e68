//! Each phase against what the server on the other side measured.
//!
//! Injected delays overshoot, as all sleeping does; so the servers report the instants at which
//! things really happened, and a phase is compared with these.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cachetscope::http::Call;
use cachetscope::model::{Deployment, ErrorType, Method, Phase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{Mutex, mpsc};
use url::Url;

use super::servers::{
    client, deployment, detail, get, read_request, serve, serve_dns, serve_on, session, url,
};
use super::tls::{Authority, serve_tls};

const REPETITIONS: usize = 25;
const BATCHES_MAX: usize = 10;
const TOLERANCE: Duration = Duration::from_micros(500);
const DELAY: Duration = Duration::from_millis(20);

/// Measurements take turns, so as not to disturb each other.
static QUIET: Mutex<()> = Mutex::const_new(());

/// What the client says and what is true, side by side, until a batch of repetitions agrees at the
/// median. Whatever else the machine does can only add to the difference, so another batch may be
/// closer to the truth, but not by chance closer than the client is.
struct Comparison<const N: usize> {
    names: [&'static str; N],
    pairs: Vec<[(Duration, Duration); N]>,
    batches: usize,
}

impl<const N: usize> Comparison<N> {
    fn of(names: [&'static str; N]) -> Self {
        Comparison { names, pairs: Vec::new(), batches: 0 }
    }

    fn add(&mut self, said_and_true: [(Duration, Duration); N]) {
        self.pairs.push(said_and_true);
    }

    /// Panics when no batch agrees.
    fn agrees(&mut self) -> bool {
        if self.pairs.len() < REPETITIONS {
            return false;
        }
        self.batches += 1;
        let mut errors = Vec::new();
        for (n, name) in self.names.iter().enumerate() {
            let median = |of: fn(&(Duration, Duration)) -> Duration| {
                let mut values: Vec<_> = self.pairs.iter().map(|pairs| of(&pairs[n])).collect();
                values.sort();
                values[values.len() / 2]
            };
            let (said, truth) = (median(|p| p.0), median(|p| p.1));
            let error = median(|p| p.0.abs_diff(p.1));
            println!("{name}: measured {said:?}, true {truth:?}, median error {error:?}");
            errors.push(error);
        }
        self.pairs.clear();
        let agrees = errors.iter().all(|e| *e <= TOLERANCE);
        assert!(agrees || self.batches < BATCHES_MAX, "off by {errors:?} at the median");
        agrees
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_is_what_the_resolver_took() {
    let _quiet = QUIET.lock().await;
    let (resolver, mut truths) = serve_dns(vec![[127, 0, 0, 1].into()], DELAY).await;
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let url = Url::parse(&format!("http://cachet.example:{}/", target.port())).unwrap();
    let mut session = client().session(&Deployment { resolver: Some(resolver), ..deployment() });
    let mut comparison = Comparison::of(["dns"]);
    while !comparison.agrees() {
        let exchange = session.send(get(&url)).await;
        assert_eq!((exchange.status, exchange.error.as_ref()), (Some(200), None));
        // One query for A and one for AAAA, every time: nothing is cached.
        let (first, second) = (truths.recv().await.unwrap(), truths.recv().await.unwrap());
        let truth = first.1.max(second.1) - first.0.min(second.0);
        comparison.add([(exchange.phases.get(Phase::Dns), truth)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_what_the_handshake_took() {
    let _quiet = QUIET.lock().await;
    let authority = Authority::new();
    let (address, mut truths) = serve_tls(authority.server(&["localhost"]), DELAY).await;
    let url = Url::parse(&format!("https://localhost:{}/", address.port())).unwrap();
    let mut session = client().session(&authority.deployment());
    let mut comparison = Comparison::of(["tls"]);
    while !comparison.agrees() {
        let exchange = session.send(get(&url)).await;
        assert_eq!((exchange.status, exchange.error.as_ref()), (Some(200), None));
        comparison.add([(exchange.phases.get(Phase::Tls), truths.recv().await.unwrap())]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_is_what_the_handler_took_and_receive_what_the_body_took() {
    let _quiet = QUIET.lock().await;
    let (report, mut truths) = mpsc::channel(1);
    let target = serve(move |mut stream, _| {
        let report = report.clone();
        async move {
            read_request(&mut stream).await;
            let read = Instant::now();
            tokio::time::sleep(DELAY).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n").await.unwrap();
            let answered = Instant::now();
            for _ in 0..3 {
                tokio::time::sleep(DELAY / 2).await;
                stream.write_all(b"ab").await.unwrap();
            }
            report.send((answered - read, answered.elapsed())).await.unwrap();
        }
    })
    .await;
    let (url, mut session) = (url(target, "/"), session());
    let mut comparison = Comparison::of(["wait", "receive"]);
    while !comparison.agrees() {
        let exchange = session.send(get(&url)).await;
        assert_eq!(&exchange.body[..], b"ababab");
        let (wait, receive) = truths.recv().await.unwrap();
        let said = |phase| exchange.phases.get(phase);
        comparison.add([(said(Phase::Wait), wait), (said(Phase::Receive), receive)]);
    }
}

/// A server that reads late: the kernel cannot take a request larger than its buffers until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_lasts_until_the_kernel_has_taken_the_request() {
    let _quiet = QUIET.lock().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (report, mut truths) = mpsc::channel(1);
    let target = serve_on(socket.listen(8).unwrap(), move |mut stream, _| {
        let report = report.clone();
        async move {
            let accepted = Instant::now();
            tokio::time::sleep(DELAY).await;
            let unread = accepted.elapsed();
            read_request(&mut stream).await;
            tokio::time::sleep(DELAY).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            report.send(unread).await.unwrap();
        }
    });
    let (url, mut session) = (url(target, "/"), session());
    let mut waits = Vec::new();
    for _ in 0..REPETITIONS {
        let body = Bytes::from(vec![b'x'; 8 << 20]);
        let exchange = session.send(Call { method: Method::Post, body, ..get(&url) }).await;
        assert_eq!(exchange.error, None);
        let unread = truths.recv().await.unwrap();
        let sent = exchange.phases.get(Phase::Connect) + exchange.phases.get(Phase::Send);
        assert!(sent >= unread, "{sent:?} {unread:?}");
        waits.push(exchange.phases.get(Phase::Wait));
    }
    waits.sort();
    assert!(waits[REPETITIONS / 2] >= DELAY / 2, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phases_sum_to_the_time_the_call_took() {
    let _quiet = QUIET.lock().await;
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let (url, mut session) = (url(target, "/"), session());
    let mut comparison = Comparison::of(["sum"]);
    while !comparison.agrees() {
        let began = Instant::now();
        let exchange = session.send(get(&url)).await;
        let elapsed = began.elapsed();
        assert!(exchange.phases.total() <= elapsed);
        comparison.add([(exchange.phases.total(), elapsed)]);
    }
}

#[tokio::test]
async fn a_hanging_target_costs_its_timeout_and_says_where() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        read_request(&mut stream).await;
    })
    .await;
    let (url, mut session, timeout) = (url(target, "/?token=s3cret"), session(), Duration::from_millis(100));
    let began = Instant::now();
    let exchange = session.send(Call { timeout, ..get(&url) }).await;
    let elapsed = began.elapsed();
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Timeout);
    let expected =
        format!("the time limit of 100.0 ms was reached while waiting for the first byte from {target}");
    assert_eq!(detail(&exchange), expected);
    assert!(exchange.phases.get(Phase::Wait) > Duration::from_millis(90));
    assert_eq!(exchange.phases.get(Phase::Receive), Duration::ZERO);
    assert!(exchange.phases.total() >= timeout && exchange.phases.total() <= elapsed);
    assert_eq!((exchange.status, exchange.peer), (None, Some(target)));
}

#[tokio::test]
async fn a_dripping_body_costs_its_timeout_and_keeps_what_came() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
        while stream.write_all(b"drip").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let (url, mut session, timeout) = (url(target, "/"), session(), Duration::from_millis(100));
    let exchange = session.send(Call { timeout, ..get(&url) }).await;
    assert_eq!(exchange.error.as_ref().unwrap().kind, ErrorType::Timeout);
    assert!(detail(&exchange).contains("of 1000 body bytes"), "{}", detail(&exchange));
    assert_eq!(exchange.status, Some(200));
    assert!(exchange.body.starts_with(b"dripdrip") && exchange.body.len() < 1_000);
    assert_eq!(exchange.body_bytes, exchange.body.len() as u64);
    assert!(exchange.phases.get(Phase::Receive) > Duration::from_millis(80));
}

/// A listener whose queue is full drops the handshake, which looks like a host that is not there.
#[tokio::test]
async fn an_address_that_hangs_is_overtaken_by_the_next() {
    let target = serve(async |mut stream, _| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    let hanging = format!("127.0.0.2:{}", target.port()).parse().unwrap();
    socket.bind(hanging).unwrap();
    let _listener = socket.listen(1).unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(hanging)).await
    {
        queued.push(stream);
    }

    let (resolver, _truths) =
        serve_dns(vec![[127, 0, 0, 2].into(), [127, 0, 0, 1].into()], Duration::ZERO).await;
    let named = Url::parse(&format!("http://cachet.example:{}/", target.port())).unwrap();
    let mut session = client().session(&Deployment { resolver: Some(resolver), ..deployment() });
    let exchange = session.send(get(&named)).await;
    assert_eq!((exchange.status, exchange.peer), (Some(204), Some(target)));
    let connect = exchange.phases.get(Phase::Connect);
    assert!(connect >= Duration::from_millis(250) && connect < Duration::from_millis(500), "{connect:?}");

    let (url, timeout) = (url(hanging, "/"), Duration::from_millis(50));
    let exchange = session.send(Call { timeout, ..get(&url) }).await;
    let expected = format!("the time limit of 50.0 ms was reached while connecting to {hanging}");
    assert_eq!(detail(&exchange), expected);
    assert!(exchange.phases.get(Phase::Connect) > Duration::from_millis(45));
}

/// An early answer: what is still unsent when it begins belongs to nobody.
#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_taken() {
    let target = serve(async |mut stream, _| {
        let mut some = [0; 1_000];
        stream.read_exact(&mut some).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        while stream.read(&mut [0; 65_536]).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let (url, mut session) = (url(target, "/"), session());
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let exchange = session.send(Call { method: Method::Post, body, ..get(&url) }).await;
    assert_eq!((exchange.status, exchange.error), (Some(413), None));
}
