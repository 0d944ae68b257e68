//! Asking over HTTP: a Prometheus HTTP SD endpoint; and what it shares with the Docker API.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use reqwest::{ClientBuilder, RequestBuilder, Response};
use rustls::RootCertStore;

use super::Look;
use crate::config::discover::{self as settings, targets};
use crate::http::{Client, causes, ordinary, ordinary_with};
use crate::model::Secret;

/// Of one answer; a thousand targets have some hundred kilobytes.
const ANSWER_MAX: usize = 1 << 20;
/// For a whole answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Endpoints may cache for this long.
const REFRESH_HEADER: &str = "X-Prometheus-Refresh-Interval-Seconds";

pub(super) struct HttpSd {
    settings: settings::HttpSd,
    client: Result<reqwest::Client, String>,
}

/// For what is asked without TLS: no certificate is trusted.
pub(super) fn plain() -> Result<ClientBuilder, String> {
    ordinary(RootCertStore::empty()).map_err(|error| error.to_string())
}

impl HttpSd {
    pub fn new(settings: &settings::HttpSd, client: &Client) -> Self {
        let tls = client.tls_config(&settings.tls).map_err(|failure| failure.detail);
        let client = tls.and_then(|tls| ordinary_with(tls.as_ref().clone()).build().map_err(causes));
        HttpSd { settings: settings.clone(), client }
    }

    pub fn refresh(&self) -> Duration {
        self.settings.refresh
    }

    pub async fn look(&self) -> Result<Look, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let refresh = self.settings.refresh.as_secs_f64().to_string();
        let mut request = client
            .get(self.settings.url.clone())
            .timeout(TIMEOUT)
            .header(ACCEPT, "application/json")
            .header(REFRESH_HEADER, refresh);
        if let Some(token) = self.settings.token.as_ref().and_then(bearer) {
            request = request.header(AUTHORIZATION, token);
        }
        let (response, body) = ask(request, ANSWER_MAX).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !kind.is_some_and(is_json) {
            let found = kind.unwrap_or("none");
            return Err(format!("answered with the content type {found:?}; expected application/json"));
        }
        let text = String::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?;
        match targets::of_answer(&text, "the answer", &self.settings.label_prefix) {
            Ok(targets) => Ok(Look {
                deployments: targets.deployments,
                notices: targets.problems.iter().map(one_line).collect(),
                ..Look::default()
            }),
            Err(problems) => Err(problems.iter().map(one_line).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// A header is valid, for `config` has looked at the token.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Parameters such as the character set do not matter.
fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// A problem without the file, which the source stands for.
pub(super) fn one_line(problem: &crate::config::Problem) -> String {
    let place = problem.line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let message = problem.message.split_whitespace().collect::<Vec<_>>().join(" ");
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{place}{message}{hint}")
}

/// The whole body of a 200, to a limit.
pub(super) async fn ask(request: RequestBuilder, bytes_max: usize) -> Result<(Response, Vec<u8>), String> {
    let mut response = request.send().await.map_err(causes)?;
    if response.status() != StatusCode::OK {
        return Err(format!("answered {}; expected 200", response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(causes)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("the answer is larger than {} MiB", bytes_max >> 20));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response, body))
}
