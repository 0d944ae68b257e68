//! Requests to a Jenkins server and to the daemon, with a limit on every answer.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{RequestBuilder, StatusCode};

use super::super::exit;
use crate::http::causes;
use crate::model::Secret;

/// A Jenkins with a long history takes its time over a list of builds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer at most.
const BODY_MAX: usize = 32 << 20;

/// Why nothing more can be done, and how the command then ends.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Stop {
    pub code: u8,
    pub words: String,
}

impl Stop {
    pub fn new(code: u8, words: impl Into<String>) -> Self {
        Stop { code, words: words.into() }
    }
}

/// What came back.
pub(super) struct Answer {
    pub status: StatusCode,
    pub location: Option<String>,
    pub is_html: bool,
    /// Jenkins names itself in each answer.
    pub is_jenkins: bool,
    pub body: Vec<u8>,
}

/// `unreachable` is the exit code for no answer at all.
pub(super) async fn ask(request: RequestBuilder, place: &str, unreachable: u8) -> Result<Answer, Stop> {
    let gone =
        |error: reqwest::Error| Stop::new(unreachable, format!("no answer from {place}: {}", causes(error)));
    let mut response = request.timeout(TIMEOUT).send().await.map_err(gone)?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let mut answer = Answer {
        status: response.status(),
        location: header(LOCATION.as_str()).map(str::to_owned),
        is_html: header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/html")),
        is_jenkins: header("x-jenkins").is_some(),
        body: Vec::new(),
    };
    while let Some(part) = response.chunk().await.map_err(gone)? {
        if answer.body.len() + part.len() > BODY_MAX {
            let words =
                format!("{place} answered with more than {} MiB; is it what it should be?", BODY_MAX >> 20);
            return Err(Stop::new(exit::FAILED, words));
        }
        answer.body.extend_from_slice(&part);
    }
    Ok(answer)
}

/// The beginning of what was said, on one line, without control characters and without the token.
pub(super) fn excerpt(body: &[u8], token: Option<&Secret>) -> String {
    const CHARS_MAX: usize = 300;
    let text = String::from_utf8_lossy(&body[..body.len().min(8 * 1024)]).into_owned();
    let text = match token.map(Secret::reveal).filter(|token| !token.is_empty()) {
        Some(token) => text.replace(token, "…"),
        None => text,
    };
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(CHARS_MAX).collect()
}
