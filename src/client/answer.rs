//! What the daemon's answers mean, and which of them are final.
//!
//! Final is only what a cachetscope says about an event. Everything else may be mended by someone (a
//! proxy, a token, a wrong address), so the event is kept.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

/// Characters of a stranger's words that are shown.
const WORDS_MAX: usize = 300;
/// Nobody is obeyed that wants to be left alone for longer.
const AFTER_MAX: Duration = Duration::from_secs(3_600);

/// What one request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Committed, all but these: place within the request, and the daemon's words.
    /// `differing` says another thing than what is kept under its identity, which stays.
    Taken { refused: Vec<(usize, String)>, differing: Vec<usize> },
    /// The daemon does not take this request, and does not say which event it is about.
    Wrong { reason: String },
    /// Too large: split it.
    TooLarge { reason: String },
    /// Not now. `again` when it may be otherwise in a moment.
    Later { reason: String, after: Option<Duration>, again: bool },
}

/// The body of a 2xx, and of a problem (RFC 9457) that names what was refused.
#[derive(Deserialize)]
struct Body {
    accepted: Option<u64>,
    refused: Option<Vec<Refused>>,
    #[serde(default)]
    differing: Vec<Differing>,
    title: Option<String>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Differing {
    index: usize,
}

#[derive(Deserialize)]
struct Refused {
    index: usize,
    #[serde(default)]
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    field: String,
    #[serde(default)]
    message: String,
}

/// `place` is the daemon's address; `sent` how many events the request held; `after` the seconds of
/// `Retry-After`; `secret` is taken out of what a stranger says.
pub(super) fn judge(
    place: &str,
    status: StatusCode,
    after: Option<&str>,
    body: &[u8],
    sent: usize,
    secret: Option<&str>,
) -> Answer {
    let document: Option<Body> = serde_json::from_slice(body).ok();
    let said = match &document {
        Some(Body { title, detail, .. }) => detail.as_ref().or(title.as_ref()).cloned().unwrap_or_default(),
        None if body.first() == Some(&b'<') => String::new(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let said = clean(&said, secret);
    let colon = if said.is_empty() { "" } else { ": " };
    let answered = format!("{place} answered {status}{colon}{said}");
    let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let later =
        |reason: String, again: bool| Answer::Later { reason, after: after.map(|t| t.min(AFTER_MAX)), again };
    match status.as_u16() {
        200 | 202 | 207 | 400 | 422 => match document {
            Some(Body { refused: Some(refused), differing, .. })
                if status.is_success() || !refused.is_empty() =>
            {
                if refused.iter().any(|one| one.index >= sent) {
                    return later(format!("{place} speaks of events that it was not sent"), false);
                }
                let words = |one: Refused| (one.index, one.words(secret));
                let differing = differing.into_iter().map(|one| one.index).collect();
                Answer::Taken { refused: refused.into_iter().map(words).collect(), differing }
            }
            Some(Body { accepted: Some(_), .. }) if status.is_success() => {
                Answer::Taken { refused: Vec::new(), differing: Vec::new() }
            }
            Some(_) if !status.is_success() => {
                let reason = if said.is_empty() { answered } else { said };
                Answer::Wrong { reason }
            }
            _ => {
                later(format!("{answered}; is it a cachetscope? set --daemon to the daemon's address"), false)
            }
        },
        413 => Answer::TooLarge { reason: answered },
        401 => later(format!("{answered}; hand a token over with --token-file"), false),
        403 => later(format!("{answered}; its token may not do this"), false),
        300..=399 => {
            later(format!("{answered}: redirects are not followed; set --daemon to the right address"), false)
        }
        404 | 405 => later(format!("{answered}; is it a cachetscope that takes events?"), false),
        408 | 425 | 429 | 500..=599 => later(answered, true),
        _ => later(answered, false),
    }
}

impl Refused {
    fn words(&self, secret: Option<&str>) -> String {
        let problem = |problem: &Problem| format!("{} {}", problem.field, problem.message);
        match self.problems.is_empty() {
            true => "without a reason".to_owned(),
            false => clean(&self.problems.iter().map(problem).collect::<Vec<_>>().join("; "), secret),
        }
    }
}

/// A stranger's text as one short line without our secret.
pub(super) fn clean(text: &str, secret: Option<&str>) -> String {
    let visible = text.replace(|c: char| c.is_control(), " ");
    let mut line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(secret) = secret.filter(|secret| secret.len() >= 4) {
        line = line.replace(secret, "…");
    }
    match line.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        judge("http://d", status, Some("7"), body.as_bytes(), 2, Some("hunter2"))
    }

    fn later(status: u16, body: &str) -> (String, bool) {
        match judged(status, body) {
            Answer::Later { reason, again, after } => {
                assert_eq!(after, Some(Duration::from_secs(7)));
                (reason, again)
            }
            other => panic!("{status}: {other:?}"),
        }
    }

    #[test]
    fn only_what_a_cachetscope_says_is_taken_for_an_acknowledgement() {
        let none = Answer::Taken { refused: vec![], differing: vec![] };
        assert_eq!(judged(202, r#"{"accepted":2,"duplicates":0,"refused":[]}"#), none);
        assert_eq!(judged(200, r#"{"accepted":0,"duplicates":2,"refused":[]}"#), none);
        assert_eq!(judged(202, r#"{"accepted":2}"#), none);
        for portal in ["<html>please log in</html>", "", "{}", "ok"] {
            assert!(later(200, portal).0.contains("is it a cachetscope?"));
        }
    }

    #[test]
    fn refused_events_come_with_their_fields() {
        let body = r#"{"title":"x","refused":[{"index":1,"identity":["a"],"problems":[
            {"field":"finished","message":"is too late"},{"field":"db","message":"is missing"}]}]}"#;
        let refused = vec![(1, "finished is too late; db is missing".to_owned())];
        for status in [202, 207, 422] {
            assert_eq!(judged(status, body), Answer::Taken { refused: refused.clone(), differing: vec![] });
        }
        let strange = body.replace("\"index\":1", "\"index\":2");
        assert_eq!(
            later(207, &strange),
            ("http://d speaks of events that it was not sent".to_owned(), false)
        );
    }

    #[test]
    fn a_problem_that_names_no_event_is_about_the_request() {
        let wrong = Answer::Wrong { reason: "no JSON at byte 7".to_owned() };
        assert_eq!(judged(400, r#"{"title":"Bad Request","detail":"no JSON at byte 7"}"#), wrong);
        // A proxy's own 400 says nothing about the event.
        assert!(later(400, "<html>").0.contains("is it a cachetscope?"));
    }

    #[test]
    fn what_someone_can_mend_is_kept_and_told_without_secrets() {
        let (reason, again) = later(401, r#"{"title":"Unauthorized","detail":"no such token: hunter2"}"#);
        let words =
            "http://d answered 401 Unauthorized: no such token: …; hand a token over with --token-file";
        assert_eq!((reason.as_str(), again), (words, false));
        assert_eq!(
            later(503, "wait\nplease"),
            ("http://d answered 503 Service Unavailable: wait please".to_owned(), true)
        );
        assert!(later(302, "").0.contains("not followed"));
        assert!(!later(404, "").1 && later(429, "").1 && later(502, "<html>").1);
        assert!(matches!(judged(413, ""), Answer::TooLarge { .. }));
    }
}
