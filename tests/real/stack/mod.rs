//! The whole stack as a user has it, of real parts with the very files that are shipped: the daemon, the
//! collector, Prometheus with its rules, Tempo. Only addresses are others.

mod faults;
mod panels;
mod queries;
mod rules;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::parts::part;
use crate::parts::process::{Process, free_addresses};
use crate::parts::prometheus::Prometheus;
use crate::parts::tempo::Tempo;

/// Everything behind the daemon.
struct Stack {
    dir: PathBuf,
    /// Of the collector: OTLP over gRPC and HTTP, health, its own metrics.
    grpc: SocketAddr,
    http: SocketAddr,
    health: SocketAddr,
    metrics: SocketAddr,
    collector: Option<Process>,
    prometheus: Prometheus,
    tempo: Tempo,
}

impl Stack {
    /// All of it answers when this returns.
    async fn start(dir: &Path) -> Stack {
        const TRIES: usize = 5;
        for n in 0..TRIES {
            let dir = dir.join(n.to_string());
            match Stack::try_start(&dir).await {
                Ok(stack) => return stack,
                Err(log) if log.contains("address already in use") => {}
                Err(log) => panic!("the stack did not start:\n{log}"),
            }
        }
        panic!("other processes took the stack's ports {TRIES} times");
    }

    async fn try_start(dir: &Path) -> Result<Stack, String> {
        std::fs::create_dir_all(dir).expect("a folder for the stack");
        let [grpc, http, health, metrics, prometheus, tempo_http, tempo_inner, tempo_otlp] = free_addresses();
        let targets = format!(
            "- targets: ['{metrics}']\n  labels: {{ job: collector }}\n\
             - targets: ['{prometheus}']\n  labels: {{ job: prometheus }}\n\
             - targets: ['{tempo_http}']\n  labels: {{ job: tempo }}\n"
        );
        let mut stack = Stack {
            dir: dir.to_owned(),
            grpc,
            http,
            health,
            metrics,
            collector: None,
            prometheus: Prometheus::prepare(dir, prometheus, &targets),
            tempo: Tempo::prepare(dir, [tempo_http, tempo_inner, tempo_otlp]),
        };
        stack.prometheus.start().await?;
        stack.tempo.start().await?;
        stack.start_collector().await?;
        Ok(stack)
    }

    /// Again after a kill, too: its queues stay.
    async fn start_collector(&mut self) -> Result<(), String> {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("otel-collector/collector.yaml");
        let mut command = Command::new(part("CACHETSCOPE_TEST_OTELCOL"));
        command
            .arg("--config")
            .arg(config)
            .env("GRPC_ADDR", self.grpc.to_string())
            .env("HTTP_ADDR", self.http.to_string())
            .env("HEALTH_ADDR", self.health.to_string())
            .env("METRICS_PORT", self.metrics.port().to_string())
            .env("QUEUE_DIR", self.dir.join("queue"))
            .env("TEMPO_ENDPOINT", self.tempo.otlp.to_string())
            .env("PROMETHEUS_ENDPOINT", format!("http://{}", self.prometheus.address));
        let mut process = Process::start("collector", &self.dir, &mut command);
        process.ready(self.health, "/").await?;
        self.collector = Some(process);
        Ok(())
    }

    fn kill_collector(&mut self) {
        self.collector.take().expect("the collector runs").kill();
    }

    /// Where the daemon sends to.
    fn endpoint(&self) -> String {
        format!("http://{}", self.http)
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "Prometheus and Tempo go by the wall clock")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}
