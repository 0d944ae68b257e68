//! `POST /api/v1/events/cdevents`: CDEvents (0.1 to 0.5) as CloudEvents → [`Event`]s.
//!
//! CDEvents say less than an event here, so this is what becomes of them; whatever is named
//! `customData.X` may be added by the sender and goes before the rest:
//!
//! | here | there |
//! | --- | --- |
//! | `source` | the CloudEvent's `source` |
//! | `pipeline` | `customData.pipeline`, else `pipelineName`, else `cdevents` (never an id: it is a label of metrics) |
//! | `run` | `customData.run`, else the id of the pipeline run (or the suite run) it is part of, else the subject's; for a service the CloudEvent's own id, since one service is deployed again and again |
//! | `step` | none for a pipeline run; else its kind and the subject's id |
//! | `started`, `finished` | the CloudEvent's `time`, else `context.timestamp` |
//! | `result` | `outcome`; without one, `failure` where `errors` are told |
//! | `traceparent` | the extension of CloudEvents for tracing |
//! | `environment`, `url` | `environment.id`; `url`, or `testCase.uri` |
//! | `version`, `db`, `digest`, `deployment`, `branch`, `commit` | `customData`; version and digest also from `artifactId` (a package URL) |
//! | `deploy.url` | `customData.url` |
//!
//! A pipeline run becomes an event of its run; a task run and a test suite run a step; a finished or
//! skipped test case run a part of a test run, with that one case: parts of one suite run are one test
//! run, in whichever order they come. Its suite is `customData.suite`, else what its pipeline is called
//! (never the suite run's id: a suite is compared from run to run). A service becomes a deployment. To
//! queue is no beginning, so `queued` is not taken.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::App;
use super::answer::{Answers, RefusedEvent, Taken};
use super::auth::Bearer;
use super::body::{Sent, media_type};
use super::cloudevents::{CloudEvent, Mode, short};
use super::identity::Identity;
use super::parse::{Judged, judge, read};
use super::problem::Problem;
use super::take::{apart, take};
use crate::clock::Timestamp;
use crate::model::{Case, CaseStatus, CiResult, Deploy, Event, Refusal, Task, Tests};

const SUPPORTED: &str = "expected dev.cdevents.{pipelinerun,taskrun,testsuiterun,testcaserun}.{started,finished}, \
     testcaserun.skipped or service.{deployed,upgraded,rolledback,removed}, with a version such as .0.2.0";
/// The pipeline of whatever names none.
const UNNAMED: &str = "cdevents";

/// Takes CDEvents in, as CloudEvents 1.0 in binary, structured or batched content mode; otherwise
/// as `POST /api/v1/events`.
#[utoipa::path(post, path = "/api/v1/events/cdevents", security((), ("token" = [])),
    request_body(content(
        (Value = "application/cloudevents+json"),
        (Vec<Value> = "application/cloudevents-batch+json"),
        (Value = "application/json")
    )),
    responses(Answers))]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let admitted = match app.admit(&headers).await {
        Ok(bearer) => Mode::of(&headers, &media_type(&headers)).map(|mode| (bearer, mode)),
        Err(problem) => Err(problem),
    };
    let taken = match admitted {
        Ok((bearer, mode)) => receive(&app, &bearer, mode, &headers, body).await,
        Err(problem) => {
            super::body::drain(body.into_data_stream()).await;
            Err(problem)
        }
    };
    app.answer(taken)
}

async fn receive(
    app: &Arc<App>,
    bearer: &Bearer,
    mode: Mode,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, Problem> {
    let sent = Sent::read(&app.budget, headers, body).await?;
    let heavy = sent.is_heavy();
    let now = app.clock.now();
    let (judged, weight) = apart(heavy, move || {
        let (text, weight) = sent.into_text()?;
        events(&mode, &text, now).map(|judged| (judged, weight))
    })
    .await??;
    take(app, judged, bearer, weight, heavy).await
}

fn events(mode: &Mode, text: &str, now: Timestamp) -> Result<Vec<Judged>, Problem> {
    let judged = mode.events(text)?.into_iter().enumerate().map(|(index, cloud)| {
        let refuse = |identity, problems| Box::new(RefusedEvent { index, identity, problems });
        let judged = match cloud {
            Ok(cloud) => match event(&cloud) {
                Ok(event) => judge(event, index, now).map_err(in_their_words),
                Err(refusal) => {
                    let source = Some(short(&cloud.source));
                    Err(refuse(Identity { source, ..Identity::default() }, vec![refusal]))
                }
            },
            Err(refusal) => Err(refuse(Identity::default(), vec![refusal])),
        };
        (index, judged)
    });
    Ok(judged.collect())
}

/// Where the sender can say what is missing.
fn in_their_words(mut refused: Box<RefusedEvent>) -> Box<RefusedEvent> {
    for refusal in &mut refused.problems {
        if matches!(refusal.field.as_str(), "version" | "db" | "deployment" | "digest" | "branch" | "commit")
        {
            refusal.field = format!("data.customData.{}", refusal.field);
        }
    }
    refused
}

fn refuse<T>(field: &str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { field: field.into(), message: message.into() })
}

/// What is read of a CDEvent; a value of another type counts as absent.
struct Data<'a> {
    subject: String,
    content: &'a Map<String, Value>,
    custom: Option<&'a Map<String, Value>>,
}

impl Data<'_> {
    fn text(&self, path: &[&str]) -> Option<String> {
        let (last, parents) = path.split_last()?;
        let parent = parents.iter().try_fold(self.content, |map, key| map.get(*key)?.as_object())?;
        text(parent, last)
    }

    fn custom(&self, key: &str) -> Option<String> {
        text(self.custom?, key)
    }

    /// A text of `customData` that has to be of a form.
    fn parsed<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.custom(key) else { return Ok(None) };
        serde_json::from_value(Value::String(text))
            .map(Some)
            .map_err(|error| Refusal { field: format!("data.customData.{key}"), message: error.to_string() })
    }
}

/// What is empty was not said.
fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key)?.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn event(cloud: &CloudEvent<'_>) -> Result<Event, Refusal> {
    let unsupported = || refuse("type", format!("is `{}`; {SUPPORTED}", short(&cloud.r#type)));
    let mut parts = cloud.r#type.strip_prefix("dev.cdevents.").unwrap_or_default().splitn(3, '.');
    let (Some(subject), Some(predicate), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return unsupported();
    };
    let Some(raw) = cloud.data else { return refuse("data", "is missing; expected a CDEvent") };
    let data: Map<String, Value> =
        read(raw.get()).map_err(|refusal| Refusal { field: "data".into(), ..refusal })?;
    let object = |key: &str| data.get(key).and_then(Value::as_object);
    let (empty, about) = (Map::new(), object("subject"));
    let Some(id) = about.and_then(|about| text(about, "id")) else {
        return refuse("data.subject.id", "is missing; expected the id of what the event is about");
    };
    let content = about.and_then(|about| about.get("content")?.as_object()).unwrap_or(&empty);
    let data_of = Data { subject: id, content, custom: object("customData") };
    let timestamp = object("context").and_then(|context| text(context, "timestamp"));
    let Some(time) = cloud.time.clone().or(timestamp) else {
        return refuse("time", "is missing; expected when it happened, as RFC 3339");
    };
    let at = moment(&time)?;

    let mut event = common(cloud, &data_of)?;
    match (subject, predicate) {
        ("pipelinerun" | "taskrun" | "testsuiterun" | "testcaserun", "started") => event.started = Some(at),
        ("pipelinerun" | "taskrun" | "testsuiterun" | "testcaserun", "finished") => {
            event.finished = Some(at);
            event.result = Some(outcome(&data_of)?);
        }
        ("testcaserun", "skipped") => {
            event.finished = Some(at);
            event.result = Some(CiResult::Skip);
        }
        ("service", "deployed" | "upgraded" | "rolledback" | "removed") => {
            event.finished = Some(at);
            event.result = Some(CiResult::Success);
        }
        _ => return unsupported(),
    }
    match subject {
        "pipelinerun" => {}
        "service" => deploy(&mut event, cloud, &data_of, predicate)?,
        _ => step(&mut event, &data_of, subject),
    }
    Ok(event)
}

/// What all kinds have.
fn common(cloud: &CloudEvent<'_>, data: &Data<'_>) -> Result<Event, Refusal> {
    let pipeline = data.custom("pipeline").or_else(|| data.text(&["pipelineName"]));
    let run = data
        .custom("run")
        .or_else(|| data.text(&["pipelineRun", "id"]))
        .or_else(|| data.text(&["testSuiteRun", "id"]))
        .unwrap_or_else(|| data.subject.clone());
    let mut event = Event::new(&cloud.source, pipeline.as_deref().unwrap_or(UNNAMED), &run);
    if let Some(text) = &cloud.traceparent {
        let parent = text.parse().map_err(|message| Refusal { field: "traceparent".into(), message })?;
        event.traceparent = Some(parent);
    }
    event.environment = data.custom("environment").or_else(|| data.text(&["environment", "id"]));
    event.url = data.text(&["url"]).or_else(|| data.text(&["testCase", "uri"]));
    event.version = data.parsed("version")?;
    event.db = data.parsed("db")?;
    event.digest = data.custom("digest");
    event.deployment = data.custom("deployment");
    event.branch = data.custom("branch");
    event.commit = data.custom("commit");
    Ok(event)
}

/// A task, a suite, or a case of one.
fn step(event: &mut Event, data: &Data<'_>, subject: &str) {
    let kind = match subject {
        "taskrun" => "task",
        "testsuiterun" => "suite",
        _ => "case",
    };
    event.step = Some(format!("{kind}/{}", data.subject));
    event.name = match subject {
        "taskrun" => data.text(&["taskName"]),
        "testsuiterun" => data.text(&["testSuite", "name"]),
        _ => data.text(&["testCase", "name"]),
    };
    if subject != "taskrun" {
        event.task = Some(Task::Test);
    }
    if let (Some(result), "testcaserun") = (event.result, subject) {
        let suite = data.custom("suite").unwrap_or_else(|| event.pipeline.clone());
        let id = data.text(&["testCase", "id"]).unwrap_or_else(|| data.subject.clone());
        let case = Case {
            class: String::new(),
            name: event.name.clone().unwrap_or(id),
            status: match result {
                CiResult::Success => CaseStatus::Pass,
                CiResult::Skip => CaseStatus::Skip,
                CiResult::Failure => CaseStatus::Fail,
                _ => CaseStatus::Error,
            },
            seconds: None,
            message: data.text(&["reason"]),
            mark: None,
        };
        // Without a suite run there is at best the pipeline's, which then is `run`.
        let part_of = data.text(&["testSuiteRun", "id"]).or_else(|| Some(event.run.clone()));
        event.tests = Some(Tests { suite, part_of, cases: vec![case], ..Tests::default() });
    }
}

fn deploy(
    event: &mut Event,
    cloud: &CloudEvent<'_>,
    data: &Data<'_>,
    predicate: &str,
) -> Result<(), Refusal> {
    if data.custom("run").is_none() {
        event.run.clone_from(&cloud.id);
    }
    event.step = Some(format!("deploy/{}", data.subject));
    event.name = Some(data.subject.clone());
    if let Some(package) = data.text(&["artifactId"]) {
        let (version, digest) = of_package(&package);
        event.digest = event.digest.take().or(digest);
        let version = version.and_then(|text| crate::model::Version::parse(&text));
        event.version = event.version.take().or(version);
    }
    let action = if predicate == "removed" { crate::model::Action::Remove } else { Default::default() };
    event.deploy = Some(Deploy { action, url: data.parsed("url")?, steps: Vec::new() });
    Ok(())
}

/// What a package URL says after its `@`: a version, or a digest.
fn of_package(purl: &str) -> (Option<String>, Option<String>) {
    let (plain, qualifiers) = purl.split_once('?').unwrap_or((purl, ""));
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let after =
        plain.split('#').next().and_then(|plain| plain.rsplit_once('@')).map(|(_, text)| decode(text));
    let tag = qualifiers.split('&').find_map(|pair| pair.strip_prefix("tag=")).map(decode);
    match after {
        Some(digest) if digest.starts_with("sha256:") => (tag, Some(digest)),
        version => (version.or(tag), None),
    }
}

fn moment(text: &str) -> Result<Timestamp, Refusal> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok().and_then(|at| at.timestamp_nanos_opt());
    match at {
        Some(nanos) => Ok(Timestamp(nanos)),
        None => {
            refuse("time", format!("is `{}`; expected RFC 3339, such as 2026-11-23T04:05:06Z", short(text)))
        }
    }
}

fn outcome(data: &Data<'_>) -> Result<CiResult, Refusal> {
    let known = "expected one of success, pass, failure, fail, error, cancel, skip";
    match data.text(&["outcome"]).as_deref() {
        Some("success" | "pass") => Ok(CiResult::Success),
        Some("failure" | "fail") => Ok(CiResult::Failure),
        Some("error") => Ok(CiResult::Error),
        Some("cancel" | "cancelled" | "canceled") => Ok(CiResult::Cancellation),
        Some("skip" | "skipped") => Ok(CiResult::Skip),
        Some(other) => refuse("data.subject.content.outcome", format!("is `{}`; {known}", short(other))),
        None if data.text(&["errors"]).is_some() => Ok(CiResult::Failure),
        None => refuse("data.subject.content.outcome", format!("is missing; {known}")),
    }
}
