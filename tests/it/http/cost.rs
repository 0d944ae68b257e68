//! What a request costs the machine it is sent from.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::servers::{get, serve, session, url};

/// CPU time of this thread, user and system, in nanoseconds (Linux, `proc(5)`).
fn thread_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The server runs on a thread of its own, so that this one's time is the client's alone.
#[test]
fn a_request_costs_little_cpu() {
    const REQUESTS: u32 = 2_000;
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let target = server.block_on(serve(async |mut stream, _| {
        let mut request = [0; 1_024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(read > 0 && read < request.len());
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    }));
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(async {
        let (url, mut session) = (url(target, "/api/ping"), session());
        assert_eq!(session.send(get(&url)).await.status, Some(200));
        let before = thread_cpu_nanos();
        for _ in 0..REQUESTS {
            assert_eq!(session.send(get(&url)).await.status, Some(200));
        }
        let each = Duration::from_nanos(thread_cpu_nanos() - before) / REQUESTS;
        println!("{each:?} of CPU for one request on a fresh connection");
        // Generous: this runs unoptimised, and beside other tests.
        assert!(each < Duration::from_millis(1), "{each:?}");
    });
}
