//! The pages for people: templates over the view models. Askama escapes every text; only the types
//! of this module's neighbours that are marked [`askama::filters::HtmlSafe`] are markup, and they
//! are made of numbers.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::App;
use super::api::unknown;
use super::assets::HASH;
use super::ci::{near, short_id};
use super::comparison::{Comparison, ComparisonQuery};
use super::deltas::{severity, symbol, word};
use super::evidence::Evidence;
use super::format::Time;
use super::judged::own_words;
use super::matrix::Deployment;
use super::problem::{Document, Problem};
use super::view::{Overview, State as Live};
use crate::model::Phase;
use crate::verdict::Verdict;

/// Deployments of one cell that are shown in full; more are summed up.
const FULL_MAX: usize = 3;
/// Broken deployments of a summed-up cell that are shown in full.
const BROKEN_MAX: usize = 3;
/// Characters of a failure's words that are shown; its deployment's page has all of them.
const DETAIL_MAX: usize = 180;
/// Versions that are shown without being asked for.
const VERSIONS_MAX: usize = 10;
/// Past deployments that are shown without being asked for.
const DEPLOYS_MAX: usize = 9;
/// Cases of one list that are shown without being asked for.
const CASES_MAX: usize = 5;
/// Characters of a name from CI that are shown; all of it on hover.
const NAME_MAX: usize = 90;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    hash: &'a str,
    /// What relative times are relative to: the reading may be some seconds old.
    now: &'a Time,
    view: &'a Overview,
    notices: &'a [String],
}

#[derive(Template)]
#[template(path = "deployment.html")]
struct DeploymentPage<'a> {
    hash: &'a str,
    view: &'a Evidence,
    phases: [Phase; 6],
}

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparisonPage<'a> {
    hash: &'a str,
    view: &'a Comparison,
    phases: [Phase; 6],
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    hash: &'a str,
    problem: &'a Document,
}

/// A cell of the matrix with many deployments, summed up.
struct Summary<'a> {
    /// Words and numbers, worst first.
    outcomes: Vec<(&'static str, usize)>,
    broken: Vec<&'a Deployment>,
    /// The worst verdicts of the deployments with symbol and words, the worst first, two at most.
    verdicts: Vec<(Verdict, &'static str, String)>,
}

fn summary(cell: &[Deployment]) -> Summary<'_> {
    let mut outcomes: Vec<(&'static str, usize)> = Vec::new();
    let mut sorted: Vec<&Deployment> = cell.iter().collect();
    sorted.sort_by_key(|d| std::cmp::Reverse(d.outcome));
    for group in sorted.chunk_by(|a, b| a.outcome == b.outcome) {
        outcomes.push((group[0].word(), group.len()));
    }
    let broken = sorted.into_iter().filter(|d| d.is_broken()).take(BROKEN_MAX).collect();
    let mut judged: Vec<_> = cell.iter().filter_map(|d| d.verdict.as_ref()).collect();
    judged.sort_by_key(|worst| std::cmp::Reverse(severity(worst.verdict, worst.measure)));
    let groups = judged.chunk_by(|a, b| a.verdict == b.verdict);
    let verdicts = groups.map(|group| {
        let verdict = group[0].verdict;
        (verdict, symbol(verdict), format!("{} {}", group.len(), word(verdict)))
    });
    Summary { outcomes, broken, verdicts: verdicts.take(2).collect() }
}

/// The beginning of a text where there is no room for all of it.
fn short(text: &str) -> String {
    match text.char_indices().nth(DETAIL_MAX) {
        Some((end, _)) => format!("{}…", unbroken(&text[..end])),
        None => unbroken(text),
    }
}

/// A name from CI where there is no room for all of it: its end tells it from others.
fn tail(name: &str) -> String {
    let more = name.chars().count().saturating_sub(NAME_MAX);
    match name.char_indices().nth(more) {
        Some((start, _)) if more > 0 => format!("…{}", &name[start..]),
        _ => name.to_owned(),
    }
}

/// A path of this server, as a link from its front page: a place on that page stays there.
fn here(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// Keeps a number and its unit on one line.
fn unbroken(text: &str) -> String {
    let mut text = text.to_owned();
    for unit in ["ms", "%", "min", "pair", "round", "points"] {
        text = text.replace(&format!(" {unit}"), &format!("\u{a0}{unit}"));
    }
    for end in [' ', ')', ',', ';', '.'] {
        text = text.replace(&format!(" s{end}"), &format!("\u{a0}s{end}"));
    }
    match text.strip_suffix(" s") {
        Some(number) => format!("{number}\u{a0}s"),
        None => text,
    }
}

pub async fn overview(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let notices = app.notices.borrow().clone();
    match app.board.overview().await {
        Ok(view) => {
            let now = Time(app.clock.now());
            render(StatusCode::OK, &OverviewPage { hash: &HASH, now: &now, view: &view, notices: &notices })
        }
        Err(error) => problem(error.into(), &headers),
    }
}

#[derive(Deserialize)]
pub struct DeploymentQuery {
    /// Only samples of this request.
    request: Option<String>,
}

pub async fn deployment(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    query: Result<Query<DeploymentQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let only = query.ok().and_then(|Query(query)| query.request);
    match Evidence::read(&app.store, &name, only, app.clock.now()).await {
        Ok(Some(view)) => {
            render(StatusCode::OK, &DeploymentPage { hash: &HASH, view: &view, phases: Phase::ALL })
        }
        Ok(None) => problem(unknown(&name), &headers),
        Err(error) => problem(error.into(), &headers),
    }
}

pub async fn comparison(
    State(app): State<Arc<App>>,
    Path((name, request)): Path<(String, String)>,
    query: Result<Query<ComparisonQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let suite = query.ok().and_then(|Query(query)| query.suite);
    match Comparison::read(&app.store, &name, &request, suite.as_deref(), app.clock.now()).await {
        Ok(view) => render(StatusCode::OK, &ComparisonPage { hash: &HASH, view: &view, phases: Phase::ALL }),
        Err(error) => problem(error, &headers),
    }
}

/// For people as a page, for programs as JSON.
pub fn problem(problem: Problem, headers: &HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        return problem.into_response();
    }
    let status = problem.status();
    render(status, &ProblemPage { hash: &HASH, problem: &problem.document() })
}

fn render(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
