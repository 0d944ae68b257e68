//! What the program says about itself: its log on stderr, and the same with its own spans over
//! OTLP.
//!
//! This alone goes through the SDK's pipeline, which keeps what it cannot send in memory for
//! seconds: a lost line about the daemon is bearable, a lost fact about the fleet is not. What
//! carries telemetry (HTTP, gRPC, the SDK) is kept out of it, or each export would cause another.

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::Env;
use crate::otlp::{self, names};

/// How long the last of the log may take.
const SHUT_DOWN_MAX: std::time::Duration = std::time::Duration::from_secs(1);
/// Never sent, whatever the level: what carries telemetry would tell of its own carrying.
const CARRIERS: &str = "h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,reqwest=off,rustls=off,\
     opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,opentelemetry_http=off";

/// Ends with [`Telemetry::shut_down`], which sends what is left.
#[derive(Default)]
pub struct Telemetry {
    logs: Option<SdkLoggerProvider>,
    traces: Option<SdkTracerProvider>,
}

/// Logs to stderr; with `export` also to the collector that its `OTEL_EXPORTER_OTLP_*` variables
/// name. Must be called within a Tokio runtime.
pub fn start(
    level: Option<&str>,
    color: bool,
    export: Option<(&otlp::Resource, &Env)>,
) -> anyhow::Result<Telemetry> {
    let level = level.unwrap_or("info");
    let filter = |more: &str| {
        EnvFilter::try_new(format!("{level},{more}")).map_err(|error| anyhow::anyhow!("--log: {error}"))
    };
    // The SDK's complaints about an absent collector are the exporter's to tell, once.
    let quiet = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off";
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .with_filter(filter(quiet)?);
    let mut telemetry = Telemetry::default();
    let mut layers = vec![stderr.boxed()];
    if let Some((process, env)) = export {
        // reqwest inside the SDK takes the process's provider.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("a TLS provider was installed before");
        }
        let pair = |(key, value): (&str, &str)| KeyValue::new(key.to_owned(), value.to_owned());
        let resource = Resource::builder_empty().with_attributes(process.attributes().map(pair)).build();
        let grpc = env.get("OTEL_EXPORTER_OTLP_PROTOCOL") == Some("grpc");
        let (spans, records) = match grpc {
            true => {
                (SpanExporter::builder().with_tonic().build()?, LogExporter::builder().with_tonic().build()?)
            }
            false => {
                (SpanExporter::builder().with_http().build()?, LogExporter::builder().with_http().build()?)
            }
        };
        let logs =
            SdkLoggerProvider::builder().with_resource(resource.clone()).with_batch_exporter(records).build();
        let traces = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(spans).build();
        layers.push(OpenTelemetryTracingBridge::new(&logs).with_filter(filter(CARRIERS)?).boxed());
        let tracer = traces.tracer(names::SERVICE);
        let spans =
            tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        layers.push(spans.with_filter(filter(CARRIERS)?).boxed());
        telemetry = Telemetry { logs: Some(logs), traces: Some(traces) };
    }
    tracing_subscriber::registry().with(layers).try_init()?;
    Ok(telemetry)
}

impl Telemetry {
    /// Sends what is left, for a second at most.
    pub async fn shut_down(self) {
        let (done, ended) = tokio::sync::oneshot::channel();
        // On a thread of its own, which the process does not wait for: inside a task the SDK waits
        // for itself, and beside an absent collector for much longer than anyone wants.
        std::thread::spawn(move || {
            let traces = self.traces.map(|traces| std::thread::spawn(move || traces.shutdown()));
            let logs = self.logs.map_or(Ok(()), |logs| logs.shutdown());
            let traces = traces.and_then(|thread| thread.join().ok()).unwrap_or(Ok(()));
            // Nobody listens any more when it took too long.
            let _ = done.send(logs.and(traces));
        });
        match tokio::time::timeout(SHUT_DOWN_MAX, ended).await {
            Ok(Ok(Err(error))) => {
                tracing::debug!(%error, "the last of the daemon's own log was not delivered")
            }
            Ok(_) => {}
            Err(_) => tracing::debug!("the last of the daemon's own log took too long to deliver"),
        }
    }
}
