//! A proxy before a deployment: it takes each answer whole, and hands it on, later if told so.
//!
//! Every deployment has one, delayed or not, so that what a proxy itself costs is the same for all. It
//! speaks HTTP/1 as far as it must: one request without a body for each connection, whose answer ends
//! with the connection, as that of PHP's own server does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a deployment may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request's head; what is longer is none of ours.
const HEAD_MAX: usize = 16 << 10;

/// Which answers come later, by how much of their own time.
#[derive(Clone, Debug)]
pub struct Delay {
    /// By its `requestid`.
    pub request: String,
    pub part: f64,
}

#[derive(Debug, Default)]
struct State {
    delay: Option<Delay>,
    /// Seconds that the deployment took, by `requestid`.
    times: BTreeMap<String, Vec<f64>>,
    /// Seconds that answers were held back.
    held: Vec<f64>,
}

pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Before a deployment at `http://HOST:PORT`; it lives as long as this process.
    pub fn before(url: &str) -> Self {
        let upstream: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = proxy.state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || {
                    // What fails here, the one who asks sees: the connection ends without an answer.
                    if let Err(error) = pass(client, upstream, &state) {
                        println!("live: the proxy before {upstream}: {error}");
                    }
                });
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn delay(&self, delay: Option<Delay>) {
        let mut state = self.state();
        state.held.clear();
        state.delay = delay;
    }

    /// Seconds that answers were held back since the delay was set.
    pub fn held(&self) -> Vec<f64> {
        self.state().held.clone()
    }

    /// What the deployment itself took for this request since the last call, in seconds.
    pub fn take_times(&self, request: &str) -> Vec<f64> {
        self.state().times.remove(request).unwrap_or_default()
    }
}

fn pass(mut client: TcpStream, upstream: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_nodelay(true)?;
    let Some(head) = read_head(&mut client)? else { return Ok(()) };

    let asked = Instant::now();
    let mut server = TcpStream::connect(upstream)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.set_nodelay(true)?;
    server.write_all(&head)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let took = asked.elapsed();

    if let Some(request) = request_id(&head) {
        let part = {
            let mut state = state.lock().unwrap();
            state.times.entry(request.to_owned()).or_default().push(took.as_secs_f64());
            state.delay.as_ref().filter(|delay| delay.request == request).map(|delay| delay.part)
        };
        if let Some(part) = part {
            let held = hold_back(took.mul_f64(part));
            state.lock().unwrap().held.push(held.as_secs_f64());
        }
    }
    client.write_all(&answer)?;
    client.shutdown(Shutdown::Write)
}

/// To the blank line; nothing where the client went without a word.
fn read_head(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut part = [0; 4 << 10];
    while !head.ends_with(b"\r\n\r\n") {
        let count = client.read(&mut part)?;
        if count == 0 && head.is_empty() {
            return Ok(None);
        }
        if count == 0 || head.len() > HEAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a request without an end"));
        }
        head.extend(&part[..count]);
    }
    Ok(Some(head))
}

/// What the request line says after `requestid=`.
fn request_id(head: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(head.split(|&byte| byte == b'\r').next()?).ok()?;
    let (_, rest) = line.split_once("requestid=")?;
    rest.split(['&', ' ']).next()
}

/// The timers of tokio count in milliseconds, which is too coarse for a tenth of an answer's time.
#[expect(clippy::disallowed_methods, reason = "the delay that is to be found, on a thread of its own")]
fn hold_back(time: Duration) -> Duration {
    let started = Instant::now();
    std::thread::sleep(time);
    started.elapsed()
}
