//! A real Tempo, with the configuration that is shipped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::part;
use super::process::{Process, ask};

pub struct Tempo {
    dir: PathBuf,
    http: SocketAddr,
    inner: SocketAddr,
    pub otlp: SocketAddr,
    process: Option<Process>,
}

/// What a search found of one span: what it selects, by name.
pub type Span = BTreeMap<String, Value>;

impl Tempo {
    pub fn prepare(dir: &Path, [http, inner, otlp]: [SocketAddr; 3]) -> Self {
        Tempo { dir: dir.to_owned(), http, inner, otlp, process: None }
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub async fn start(&mut self) -> Result<(), String> {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("otel-collector/tempo.yaml");
        let mut command = Command::new(part("CACHETSCOPE_TEST_TEMPO"));
        command
            .arg(format!("-config.file={}", config.display()))
            .arg("-config.expand-env=true")
            // With it, it would trace itself.
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env("TEMPO_HTTP_PORT", self.http.port().to_string())
            .env("TEMPO_GRPC_PORT", self.inner.port().to_string())
            .env("TEMPO_OTLP_ADDR", self.otlp.to_string())
            .env("TEMPO_DIR", self.dir.join("tempo"));
        let mut process = Process::start("tempo", &self.dir, &mut command);
        process.ready(self.http, "/ready").await?;
        self.process = Some(process);
        Ok(())
    }

    /// Spans that the TraceQL finds between two times in seconds since 1970.
    pub async fn search(&self, query: &str, start: u64, end: u64, limit: u32) -> Result<Vec<Span>, String> {
        let (start, end, limit) = (start.to_string(), end.to_string(), limit.to_string());
        let parameters = [("q", query), ("start", &start), ("end", &end), ("limit", &limit), ("spss", "20")];
        let answer = ask(self.http, "/api/search", &parameters).await?;
        let each = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        let sets = each(&answer, "traces").into_iter().flat_map(|trace| each(&trace, "spanSets"));
        let spans = sets.flat_map(|set| each(&set, "spans"));
        let attributes = |span: Value| {
            let pairs = each(&span, "attributes").into_iter();
            pairs
                .map(|pair| (pair["key"].as_str().unwrap_or_default().to_owned(), pair["value"].clone()))
                .collect()
        };
        Ok(spans.map(attributes).collect())
    }
}
