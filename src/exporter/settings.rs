//! Where telemetry goes and how: the `OTEL_EXPORTER_OTLP_*` variables (OpenTelemetry specification,
//! 'OpenTelemetry Protocol Exporter').
//!
//! The environment comes as a closure, since only `config` reads it; the one file that a variable
//! names (the certificate) is read here, so that all errors come at once. No error shows a value
//! that may hold a secret.
//!
//! Each variable also exists for one signal (`OTEL_EXPORTER_OTLP_TRACES_HEADERS`), which then wins.
//! An empty variable is an unset one.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::otlp::Signal;

/// Longer than this no delivery is waited for.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Headers that the protocols need for themselves.
const RESERVED_HEADERS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    None,
}

/// Where and how one signal is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// For HTTP the whole URL, path included; for gRPC only its scheme, host and port count.
    pub endpoint: Url,
    pub protocol: Protocol,
    /// Sent with each request. Values are marked sensitive, so `Debug` hides them.
    pub headers: HeaderMap,
    pub compression: Compression,
    /// For the whole of one delivery, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Certificates to trust instead of the system's, as PEM.
    pub certificate: Option<Vec<u8>>,
}

/// All targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub traces: Target,
    pub metrics: Target,
    pub logs: Target,
}

/// What is wrong with one variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct SettingError {
    pub variable: String,
    pub problem: String,
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Unset variables mean HTTP with protobuf to `http://localhost:4318`, gzip, 10 s; gRPC goes to
    /// `http://localhost:4317`. The errors are all there are.
    pub fn from_env(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let mut errors = Vec::new();
        let mut target = |signal| Reader { lookup, signal, errors: &mut errors }.target();
        let targets = (target(Signal::Traces), target(Signal::Metrics), target(Signal::Logs));
        match targets {
            (Some(traces), Some(metrics), Some(logs)) if errors.is_empty() => {
                Ok(Settings { traces, metrics, logs })
            }
            _ => Err(errors),
        }
    }

    pub fn target(&self, signal: Signal) -> &Target {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }
}

/// Reads the variables of one signal.
struct Reader<'a> {
    lookup: Lookup<'a>,
    signal: Signal,
    errors: &'a mut Vec<SettingError>,
}

/// A variable that is set.
struct Variable {
    name: String,
    value: String,
}

impl Reader<'_> {
    fn target(&mut self) -> Option<Target> {
        let protocol = self.parsed("PROTOCOL", Protocol::HttpProtobuf, |v| match v {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::HttpProtobuf),
            _ => Err(format!("is `{v}`; expected `http/protobuf` or `grpc`")),
        });
        let compression = self.parsed("COMPRESSION", Compression::Gzip, |v| match v {
            "gzip" => Ok(Compression::Gzip),
            "none" => Ok(Compression::None),
            _ => Err(format!("is `{v}`; expected `gzip` or `none`")),
        });
        let timeout = self.parsed("TIMEOUT", Duration::from_secs(10), |v| {
            let timeout = v.parse().map(Duration::from_millis).ok();
            timeout.filter(|t| !t.is_zero() && *t <= TIMEOUT_MAX).ok_or_else(|| {
                format!("is `{v}`; expected milliseconds from 1 to {}", TIMEOUT_MAX.as_millis())
            })
        });
        let headers = self.parsed("HEADERS", HeaderMap::new(), parse_headers);
        let certificate = self.parsed("CERTIFICATE", None, |path| match std::fs::read(path) {
            Ok(pem) => Ok(Some(pem)),
            Err(error) => Err(format!("names `{path}`, which cannot be read: {error}")),
        });
        for suffix in ["CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            if let Some(variable) = self.find(suffix) {
                self.refuse(variable.name, "is set, but client certificates are not supported yet".into());
            }
        }
        let endpoint = self.endpoint(protocol?);
        Some(Target {
            endpoint: endpoint?,
            protocol: protocol?,
            headers: headers?,
            compression: compression?,
            timeout: timeout?,
            certificate: certificate?,
        })
    }

    fn endpoint(&mut self, protocol: Protocol) -> Option<Url> {
        let own = self.variable(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", self.signal_name()));
        let base = self.variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let (variable, is_base) = match (own, base) {
            (Some(own), _) => (own, false),
            (None, Some(base)) => (base, true),
            (None, None) => {
                let port = if protocol == Protocol::Grpc { 4317 } else { 4318 };
                (Variable { name: String::new(), value: format!("http://localhost:{port}") }, true)
            }
        };
        match parse_endpoint(&variable.value, protocol) {
            Ok(mut url) => {
                if is_base && protocol == Protocol::HttpProtobuf {
                    let path = format!("{}/v1/{}", url.path().trim_end_matches('/'), self.signal);
                    url.set_path(&path);
                }
                Some(url)
            }
            Err(problem) => {
                self.refuse(variable.name, problem);
                None
            }
        }
    }

    /// The value of the signal's own variable, or of the general one; the default without either.
    fn parsed<T>(
        &mut self,
        suffix: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(variable) = self.find(suffix) else { return Some(default) };
        match parse(&variable.value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.refuse(variable.name, problem);
                None
            }
        }
    }

    fn find(&self, suffix: &str) -> Option<Variable> {
        self.variable(&format!("OTEL_EXPORTER_OTLP_{}_{suffix}", self.signal_name()))
            .or_else(|| self.variable(&format!("OTEL_EXPORTER_OTLP_{suffix}")))
    }

    fn variable(&self, name: &str) -> Option<Variable> {
        let value = (self.lookup)(name)?.trim().to_owned();
        (!value.is_empty()).then(|| Variable { name: name.to_owned(), value })
    }

    fn signal_name(&self) -> String {
        self.signal.as_str().to_uppercase()
    }

    /// A general variable is read for each signal, and refused once.
    fn refuse(&mut self, variable: String, problem: String) {
        let error = SettingError { variable, problem };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

fn parse_endpoint(text: &str, protocol: Protocol) -> Result<Url, String> {
    // Not shown before it is known to hold no credentials.
    let example = if protocol == Protocol::Grpc { "http://collector:4317" } else { "http://collector:4318" };
    let url =
        Url::parse(text).map_err(|error| format!("is no URL ({error}); expected one like `{example}`"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials; put them into OTEL_EXPORTER_OTLP_HEADERS".to_owned());
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!(
            "starts with `{}:`; expected `http://` or `https://`, as in `{example}`",
            url.scheme()
        ));
    }
    if protocol == Protocol::Grpc && url.path() != "/" {
        return Err(format!(
            "has the path `{}`; an endpoint for gRPC has none, as in `{example}` (or did you mean OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf?)",
            url.path()
        ));
    }
    Ok(url)
}

/// `key=value` pairs separated by commas, values with `%XX` (W3C Baggage).
fn parse_headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (n, entry) in text.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty()) {
        let Some((name, value)) = entry.split_once('=') else {
            // A token that was pasted without its name must not be shown.
            return Err(format!("has no `=` in entry {}; expected `name=value,name=value`", n + 1));
        };
        let name = name.trim();
        // Nor one that was pasted with its `Authorization:` and ends in `=`.
        let key: HeaderName = name.parse().map_err(|_| {
            format!("has no header name before the `=` of entry {}; expected `name=value`", n + 1)
        })?;
        if RESERVED_HEADERS.contains(&key.as_str()) || key.as_str().starts_with("grpc-") {
            return Err(format!("has `{name}`, which the protocol sets itself"));
        }
        if key.as_str().ends_with("-bin") {
            return Err(format!(
                "has `{name}`; names that end in `-bin` are binary in gRPC and not supported"
            ));
        }
        let value = percent_decode_str(value.trim()).decode_utf8().ok();
        let value = value.and_then(|v| HeaderValue::from_str(&v).ok());
        let Some(mut value) = value else {
            return Err(format!("has a value for `{name}` that no header can carry"));
        };
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let env: Vec<(String, String)> = env
            .iter()
            .map(|(name, value)| (format!("OTEL_EXPORTER_OTLP_{name}"), (*value).to_owned()))
            .collect();
        let lookup = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        Settings::from_env(&lookup).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn endpoints(env: &[(&str, &str)]) -> [String; 3] {
        let settings = read(env).unwrap();
        Signal::ALL.map(|signal| settings.target(signal).endpoint.to_string())
    }

    #[test]
    fn nothing_set_means_http_to_localhost_with_gzip() {
        let settings = read(&[("ENDPOINT", " ")]).unwrap();
        assert_eq!(settings.traces.endpoint.as_str(), "http://localhost:4318/v1/traces");
        assert_eq!(settings.traces.protocol, Protocol::HttpProtobuf);
        assert_eq!(settings.traces.compression, Compression::Gzip);
        assert_eq!(settings.traces.timeout, Duration::from_secs(10));
        assert_eq!(settings.traces.headers.len(), 0);
        assert_eq!(endpoints(&[("PROTOCOL", "grpc")]), ["http://localhost:4317/"; 3]);
    }

    #[test]
    fn a_base_endpoint_gets_the_signal_path_and_an_own_one_is_used_as_it_is() {
        assert_eq!(
            endpoints(&[("ENDPOINT", "https://c.example/otlp/"), ("LOGS_ENDPOINT", "http://logs.example")]),
            ["https://c.example/otlp/v1/traces", "https://c.example/otlp/v1/metrics", "http://logs.example/"]
        );
    }

    #[test]
    fn a_signal_may_go_its_own_way() {
        let settings = read(&[
            ("ENDPOINT", "http://c.example:4318"),
            ("METRICS_PROTOCOL", "grpc"),
            ("METRICS_ENDPOINT", "http://c.example:4317"),
            ("METRICS_COMPRESSION", "none"),
            ("TIMEOUT", "2500"),
        ])
        .unwrap();
        assert_eq!(settings.metrics.protocol, Protocol::Grpc);
        assert_eq!(settings.metrics.compression, Compression::None);
        assert_eq!(settings.traces.compression, Compression::Gzip);
        assert_eq!(settings.logs.timeout, Duration::from_millis(2_500));
    }

    #[test]
    fn headers_are_decoded_and_hidden() {
        let settings = read(&[("HEADERS", "Authorization=Bearer%20s3cret, x-scope=a=b,")]).unwrap();
        assert_eq!(settings.logs.headers["authorization"], "Bearer s3cret");
        assert_eq!(settings.logs.headers["x-scope"], "a=b");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn every_bad_setting_is_named_once_and_without_secrets() {
        let errors = read(&[
            ("PROTOCOL", "http/json"),
            ("COMPRESSION", "zstd"),
            ("TIMEOUT", "0"),
            ("HEADERS", "Bearer s3cret"),
            ("LOGS_HEADERS", "a b=s3cret"),
            ("CERTIFICATE", "/nowhere/ca.pem"),
            ("CLIENT_KEY", "/nowhere/key.pem"),
            ("METRICS_PROTOCOL", "grpc"),
            ("METRICS_ENDPOINT", "http://me:s3cret@c.example"),
        ])
        .unwrap_err();
        insta::assert_snapshot!(errors.join("\n"), @r"
        OTEL_EXPORTER_OTLP_PROTOCOL is `http/json`; expected `http/protobuf` or `grpc`
        OTEL_EXPORTER_OTLP_COMPRESSION is `zstd`; expected `gzip` or `none`
        OTEL_EXPORTER_OTLP_TIMEOUT is `0`; expected milliseconds from 1 to 600000
        OTEL_EXPORTER_OTLP_HEADERS has no `=` in entry 1; expected `name=value,name=value`
        OTEL_EXPORTER_OTLP_CERTIFICATE names `/nowhere/ca.pem`, which cannot be read: No such file or directory (os error 2)
        OTEL_EXPORTER_OTLP_CLIENT_KEY is set, but client certificates are not supported yet
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT holds credentials; put them into OTEL_EXPORTER_OTLP_HEADERS
        OTEL_EXPORTER_OTLP_LOGS_HEADERS has no header name before the `=` of entry 1; expected `name=value`
        ");
    }

    #[test]
    fn bad_endpoints_say_what_to_write() {
        let error = |value| read(&[("ENDPOINT", value)]).unwrap_err().join("\n");
        insta::assert_snapshot!(error("collector:4318"), @"OTEL_EXPORTER_OTLP_ENDPOINT starts with `collector:`; expected `http://` or `https://`, as in `http://collector:4318`");
        insta::assert_snapshot!(error("//collector"), @"OTEL_EXPORTER_OTLP_ENDPOINT is no URL (relative URL without a base); expected one like `http://collector:4318`");
        insta::assert_snapshot!(read(&[("PROTOCOL", "grpc"), ("ENDPOINT", "http://c/v1/traces")]).unwrap_err().join("\n"), @"OTEL_EXPORTER_OTLP_ENDPOINT has the path `/v1/traces`; an endpoint for gRPC has none, as in `http://collector:4317` (or did you mean OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf?)");
    }
}
