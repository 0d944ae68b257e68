//! The API of a stand-in: a request in, an answer out, without IO.
//!
//! What both generations share is here: the order in which Laravel decides (route, method, token,
//! budget, row, rules), the tables and the paging; [`super::v2`] and [`super::v3`] hold what each
//! one looks like. Answers to reads are kept until the next write, so that a busy stand-in costs
//! little beside what probes it. Deliberately absent, as no suite needs them: filters and includes,
//! sorting by anything but the id, subscribers, templates and updates of incidents, and all writes
//! but those of incidents, metrics and points (501).

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use serde_json::Value;

use super::data::{Fields, Resource, Row, Tables};
use super::standin::Generation;
use super::{v2, v3};
use crate::clock::{Clock, Timestamp};
use crate::model::Flavour;

/// Kept answers; a client that invents query strings costs no more than this.
const CACHED_MAX: usize = 64;
const WINDOW: Duration = Duration::from_secs(60);

pub(super) const JSON: &str = "application/json";
pub(super) const JSON_API: &str = "application/vnd.api+json";

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub resource: Resource,
    /// The metric of points, as written in the path.
    pub parent: Option<&'a str>,
    pub id: Option<&'a str>,
}

pub(super) struct Question<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a str,
    /// The value of the generation's token header.
    pub token: Option<&'a str>,
    pub body: &'a [u8],
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// `None` for an empty body.
    pub content_type: Option<&'static str>,
    pub body: Bytes,
    pub headers: Headers,
}

/// Headers beyond the content type; all that there are hold numbers.
pub(super) type Headers = Vec<(&'static str, u64)>;
/// Status and body; `None` is an empty body.
pub(super) type Reply = (u16, Option<Value>);
/// The fields that broke a rule, each with the sentence Laravel says about it.
pub(super) type Broken = Vec<(&'static str, String)>;

/// What a new or changed row is made with.
pub(super) struct Scene {
    pub flavour: Flavour,
    pub base: String,
    pub now: Timestamp,
}

pub(super) struct Created {
    pub stored: Fields,
    /// What the creating request is told; it differs from what is read later.
    pub answered: Fields,
    pub guests: bool,
}

/// The rows of one page of a list.
pub(super) struct Page<'a> {
    /// Scheme, host, port and path of the list.
    pub path: String,
    pub number: usize,
    pub per_page: usize,
    pub total: usize,
    pub rows: Vec<&'a Row>,
}

pub(super) struct Api {
    generation: Generation,
    flavour: Flavour,
    base: String,
    clock: Clock,
    token: &'static str,
    tables: Tables,
    kept: HashMap<(bool, String), Answer>,
    limit: Option<u32>,
    window: Option<(Timestamp, u32)>,
}

impl Api {
    /// `base` is scheme, host and port; `limit` the requests a minute that 3.x allows.
    pub fn new(
        generation: Generation,
        flavour: Flavour,
        base: String,
        limit: Option<u32>,
        clock: Clock,
    ) -> Self {
        let scene = Scene { flavour, base: base.clone(), now: clock.now() };
        let mut tables = Tables::default();
        match generation {
            Generation::V2 => v2::seed(&mut tables, &scene),
            Generation::V3 => v3::seed(&mut tables, &scene),
        }
        let (kept, window, token) = (HashMap::new(), None, generation.token());
        Api { generation, flavour, base, clock, token, tables, kept, limit, window }
    }

    pub fn route<'a>(&self, path: &'a str) -> Option<Route<'a>> {
        match self.generation {
            Generation::V2 => v2::route(path),
            Generation::V3 => v3::route(path),
        }
    }

    pub fn answer(&mut self, question: &Question) -> Answer {
        let Some(route) = self.route(question.path) else { return self.error(404, None) };
        let reads = matches!(*question.method, Method::GET | Method::HEAD);
        if !self.allows(&route, question.method) {
            return self.error(405, None);
        }
        let user = question.token == Some(self.token);
        if !reads && !user {
            return self.error(401, None);
        }
        let headers = match self.spend() {
            Ok(headers) => headers,
            Err(headers) => return Answer { headers, ..self.error(429, None) },
        };
        let key = (user, format!("{}?{}", question.path, question.query));
        if reads && let Some(kept) = self.kept.get(&key) {
            return Answer { headers, ..kept.clone() };
        }
        let reply = match self.reply(&route, question, user) {
            Ok(reply) | Err(reply) => reply,
        };
        let answer = self.write(&route, reply);
        if !reads {
            self.kept.clear();
        } else if answer.status == 200 && self.kept.len() < CACHED_MAX {
            self.kept.insert(key, answer.clone());
        }
        Answer { headers, ..answer }
    }

    /// An error as this generation words it; `detail` instead of the usual sentence.
    pub fn error(&self, status: u16, detail: Option<&str>) -> Answer {
        let body = self.error_body(status, detail);
        Answer { status, content_type: Some(JSON), body: Bytes::from(body.to_string()), headers: Vec::new() }
    }

    /// The refusal of a client that asked too often, however often it asked.
    pub fn rate_limited(&self, retry_after_s: u64) -> Answer {
        let limit = u64::from(self.limit.unwrap_or(0));
        Answer { headers: self.refusal(limit, retry_after_s), ..self.error(429, None) }
    }

    fn error_body(&self, status: u16, detail: Option<&str>) -> Value {
        match self.generation {
            Generation::V2 => v2::error(status, detail),
            Generation::V3 => v3::error(status, detail),
        }
    }

    fn allows(&self, route: &Route, method: &Method) -> bool {
        let fixed = matches!(route.resource, Resource::Ping | Resource::Status | Resource::Version);
        let point = route.resource == Resource::Points;
        let v3 = self.generation == Generation::V3;
        match (method, route.id) {
            (&Method::GET | &Method::HEAD, Some(_)) => v3 || !point,
            (&Method::GET | &Method::HEAD, None) => true,
            (&Method::POST, None) => !fixed,
            (&Method::PUT, Some(_)) => !(v3 && point),
            (&Method::PATCH, Some(_)) => v3 && !point,
            (&Method::DELETE, Some(_)) => true,
            _ => false,
        }
    }

    /// Takes one request from the budget of the minute: Laravel's fixed window, which opens with
    /// the first request. The headers say what is left.
    fn spend(&mut self) -> Result<Headers, Headers> {
        let Some(limit) = self.limit else { return Ok(Vec::new()) };
        let now = self.clock.now();
        let (opened, spent) = match self.window {
            Some((opened, spent)) if now.since(opened) < WINDOW => (opened, spent),
            _ => (now, 0),
        };
        if spent >= limit {
            let wait = WINDOW.saturating_sub(now.since(opened));
            return Err(self.refusal(u64::from(limit), wait.as_secs_f64().ceil() as u64));
        }
        self.window = Some((opened, spent + 1));
        Ok(vec![("x-ratelimit-limit", limit.into()), ("x-ratelimit-remaining", (limit - spent - 1).into())])
    }

    fn refusal(&self, limit: u64, retry_after_s: u64) -> Headers {
        let reset = self.clock.now().plus(Duration::from_secs(retry_after_s)).unix_nanos() / 1_000_000_000;
        vec![
            ("retry-after", retry_after_s),
            ("x-ratelimit-limit", limit),
            ("x-ratelimit-remaining", 0),
            ("x-ratelimit-reset", reset),
        ]
    }

    fn reply(&mut self, route: &Route, question: &Question, user: bool) -> Result<Reply, Reply> {
        let resource = route.resource;
        if matches!(resource, Resource::Ping | Resource::Status | Resource::Version) {
            return Ok(match self.generation {
                Generation::V2 => v2::system(resource),
                Generation::V3 => v3::system(resource),
            });
        }
        let parent = route.parent.map(|text| self.known(Resource::Metrics, text, None, user)).transpose()?;
        match (question.method, route.id) {
            (&Method::GET | &Method::HEAD, None) => self.list(resource, parent, question, user),
            (&Method::GET | &Method::HEAD, Some(text)) => {
                let id = self.known(resource, text, parent, user)?;
                let row = self.tables.of(resource).find(id, parent).cloned();
                Ok((200, row.map(|row| self.one(resource, id, row.fields))))
            }
            (&Method::POST, None) => self.create(resource, parent, question),
            (&Method::DELETE, Some(text)) => self.delete(resource, text, parent),
            (_, Some(text)) => self.update(resource, text, parent, question),
            _ => Err((405, Some(self.error_body(405, None)))),
        }
    }

    fn list(
        &mut self,
        resource: Resource,
        parent: Option<i32>,
        question: &Question,
        user: bool,
    ) -> Result<Reply, Reply> {
        let mut query: HashMap<_, _> = url::form_urlencoded::parse(question.query.as_bytes()).collect();
        let backwards = match (self.generation, query.remove("sort")) {
            (Generation::V2, _) => query.get("order").is_some_and(|o| o == "desc"),
            (Generation::V3, None) => false,
            (Generation::V3, Some(sort)) => match v3::sort(&sort) {
                Ok(backwards) => backwards,
                Err(message) => return Err((400, Some(self.error_body(400, Some(&message))))),
            },
        };
        let asked = |name| query.get(name).and_then(|t: &std::borrow::Cow<str>| t.parse::<usize>().ok());
        let per_page = match self.generation {
            Generation::V2 => asked("per_page").map_or(20, |n| if n == 0 { 15 } else { n }),
            Generation::V3 => asked("per_page").map_or(15, |n| n.clamp(1, 100)),
        };
        let number = asked("page").unwrap_or(1).max(1);
        let mut seen: Vec<&Row> =
            self.tables.of(resource).children(parent).filter(|r| user || r.guests).collect();
        if backwards {
            seen.reverse();
        }
        let total = seen.len();
        let rows = seen.into_iter().skip((number - 1).saturating_mul(per_page)).take(per_page).collect();
        let path = format!("{}{}", self.base, question.path);
        let page = Page { path, number, per_page, total, rows };
        Ok((
            200,
            Some(match self.generation {
                Generation::V2 => v2::list(&page),
                Generation::V3 => v3::list(resource, &page),
            }),
        ))
    }

    fn create(
        &mut self,
        resource: Resource,
        parent: Option<i32>,
        question: &Question,
    ) -> Result<Reply, Reply> {
        self.served(resource, Method::POST)?;
        let (scene, input) = (self.scene(), input(question.body));
        let id = self.tables.of(resource).next_id();
        let made = match self.generation {
            Generation::V2 => v2::create(resource, id, parent, &input, &scene),
            Generation::V3 => v3::create(resource, id, parent, &input, &scene),
        };
        let created = made.map_err(|broken| match self.generation {
            Generation::V2 => (400, Some(v2::invalid(&broken))),
            Generation::V3 => (422, Some(v3::invalid(&broken))),
        })?;
        self.tables.of(resource).insert(parent, created.guests, created.stored);
        let status = if self.generation == Generation::V2 { 200 } else { 201 };
        Ok((status, Some(self.one(resource, id, created.answered))))
    }

    fn update(
        &mut self,
        resource: Resource,
        text: &str,
        parent: Option<i32>,
        question: &Question,
    ) -> Result<Reply, Reply> {
        self.served(resource, Method::PUT)?;
        let (scene, input) = (self.scene(), input(question.body));
        let id = self.known(resource, text, parent, true)?;
        let Some(row) = self.tables.of(resource).find(id, parent) else { return Err((404, None)) };
        match self.generation {
            Generation::V2 => v2::update_incident(row, &input, &scene),
            Generation::V3 => v3::update_incident(row, &input, &scene),
        }
        let fields = row.fields.clone();
        Ok((200, Some(self.one(resource, id, fields))))
    }

    fn delete(&mut self, resource: Resource, text: &str, parent: Option<i32>) -> Result<Reply, Reply> {
        self.served(resource, Method::DELETE)?;
        let id = self.known(resource, text, parent, true)?;
        self.tables.of(resource).remove(id, parent);
        if resource == Resource::Metrics {
            self.tables.of(Resource::Points).remove_children(id);
        }
        Ok((204, None))
    }

    fn served(&self, resource: Resource, method: Method) -> Result<(), Reply> {
        let served = match resource {
            Resource::Incidents => true,
            Resource::Metrics | Resource::Points => method != Method::PUT,
            _ => false,
        };
        if served {
            return Ok(());
        }
        Err((501, Some(self.error_body(501, Some("this write is not part of the stand-in")))))
    }

    /// The id in a path, if there is such a row for this visitor. What is no number is not found,
    /// but an error inside PostgreSQL, which compares it to an integer column.
    fn known(
        &mut self,
        resource: Resource,
        text: &str,
        parent: Option<i32>,
        user: bool,
    ) -> Result<i32, Reply> {
        let status = match text.parse::<i32>() {
            Ok(id) => match self.tables.of(resource).find(id, parent) {
                Some(row) if user || row.guests => return Ok(id),
                _ => 404,
            },
            Err(_) if self.flavour == Flavour::Postgresql => 500,
            Err(_) => 404,
        };
        let detail =
            (status == 404 && self.generation == Generation::V3).then(|| v3::missing(resource, text));
        Err((status, Some(self.error_body(status, detail.as_deref()))))
    }

    fn one(&self, resource: Resource, id: i32, fields: Fields) -> Value {
        match self.generation {
            Generation::V2 => v2::one(fields),
            Generation::V3 => v3::one(resource, id, fields),
        }
    }

    fn write(&self, route: &Route, (status, body): Reply) -> Answer {
        let system = matches!(route.resource, Resource::Ping | Resource::Status | Resource::Version);
        let resource = self.generation == Generation::V3 && status < 300 && !system;
        let content_type = body.as_ref().map(|_| if resource { JSON_API } else { JSON });
        let body = body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string()));
        Answer { status, content_type, body, headers: Vec::new() }
    }

    fn scene(&self) -> Scene {
        Scene { flavour: self.flavour, base: self.base.clone(), now: self.clock.now() }
    }
}

/// A body that is no JSON object counts as empty, as it does at Cachet.
fn input(body: &[u8]) -> Fields {
    serde_json::from_slice(body).unwrap_or_default()
}
