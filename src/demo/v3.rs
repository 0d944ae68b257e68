//! What Cachet 3 looks like (core of August 2026): `/api`, JSON:API-like resources, errors as one
//! message, and differences between the databases that shine through.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{Broken, Created, Page, Reply, Route, Scene};
use super::data::{Fields, Resource, Row, Tables, fields, integer, number, php_number, text};
use crate::clock::Timestamp;
use crate::model::Flavour;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn route(path: &str) -> Option<Route<'_>> {
    let rest = path.strip_prefix("/api/")?;
    let parts: Vec<&str> = rest.split('/').collect();
    let at = |resource, parent, id| Some(Route { resource, parent, id });
    match parts[..] {
        ["ping"] => at(Resource::Ping, None, None),
        ["status"] => at(Resource::Status, None, None),
        ["version"] => at(Resource::Version, None, None),
        ["components"] => at(Resource::Components, None, None),
        ["components", id] => at(Resource::Components, None, Some(id)),
        ["component-groups"] => at(Resource::Groups, None, None),
        ["component-groups", id] => at(Resource::Groups, None, Some(id)),
        ["incidents"] => at(Resource::Incidents, None, None),
        ["incidents", id] => at(Resource::Incidents, None, Some(id)),
        ["metrics"] => at(Resource::Metrics, None, None),
        ["metrics", id] => at(Resource::Metrics, None, Some(id)),
        ["metrics", metric, "points"] => at(Resource::Points, Some(metric), None),
        ["metrics", metric, "points", id] => at(Resource::Points, Some(metric), Some(id)),
        ["schedules"] => at(Resource::Schedules, None, None),
        ["schedules", id] => at(Resource::Schedules, None, Some(id)),
        _ => None,
    }
}

pub(super) fn system(resource: Resource) -> Reply {
    let data = match resource {
        Resource::Ping => json!("Pong!"),
        Resource::Status => json!({"status": "operational", "message": "All systems are operational."}),
        _ => json!({"version": "3.x-dev"}),
    };
    (200, Some(json!({ "data": data })))
}

/// Whether to list backwards; the message of a sort that is not allowed otherwise. Allowed sorts
/// other than by id keep the order of the ids here.
pub(super) fn sort(text: &str) -> Result<bool, String> {
    const ALLOWED: [&str; 6] = ["id", "name", "order", "status", "created_at", "updated_at"];
    let name = text.strip_prefix('-').unwrap_or(text);
    if !ALLOWED.contains(&name) {
        let allowed = ALLOWED.join(", ");
        return Err(format!("Requested sort(s) `{name}` is not allowed. Allowed sort(s) are `{allowed}`."));
    }
    Ok(text == "-id")
}

pub(super) fn one(resource: Resource, id: i32, fields: Fields) -> Value {
    json!({ "data": { "id": id.to_string(), "type": type_name(resource), "attributes": fields } })
}

pub(super) fn list(resource: Resource, page: &Page) -> Value {
    let first = (page.number - 1).saturating_mul(page.per_page);
    let count = page.rows.len();
    let url = |number: usize| format!("{}?page={number}", page.path);
    let data: Vec<Value> = page
        .rows
        .iter()
        .map(|r| json!({ "id": r.id.to_string(), "type": type_name(resource), "attributes": r.fields }))
        .collect();
    let mut links = fields(json!({ "first": url(1) }));
    if page.number > 1 {
        links.insert("prev".to_owned(), url(page.number - 1).into());
    }
    if first.saturating_add(count) < page.total {
        links.insert("next".to_owned(), url(page.number + 1).into());
    }
    json!({
        "data": data,
        "links": links,
        "meta": {
            "current_page": page.number,
            "current_page_url": url(page.number),
            "from": (count > 0).then(|| first + 1),
            "path": page.path,
            "per_page": page.per_page,
            "to": (count > 0).then(|| first + count),
        },
    })
}

pub(super) fn error(status: u16, detail: Option<&str>) -> Value {
    let usual = match status {
        401 => "Unauthenticated.",
        404 => "The route could not be found.",
        405 => "The method is not supported for this route.",
        429 => "Too Many Attempts.",
        503 => "Service Unavailable",
        _ => "Server Error",
    };
    json!({ "message": detail.unwrap_or(usual) })
}

pub(super) fn missing(resource: Resource, id: &str) -> String {
    let model = match resource {
        Resource::Components => "Component",
        Resource::Groups => "ComponentGroup",
        Resource::Incidents => "Incident",
        Resource::Metrics => "Metric",
        Resource::Points => "MetricPoint",
        _ => "Schedule",
    };
    format!("No query results for model [Cachet\\Models\\{model}] {id}")
}

/// The first sentence, how many follow, and all by field.
pub(super) fn invalid(broken: &Broken) -> Value {
    let first = broken.first().map_or("", |(_, sentence)| sentence.as_str());
    let message = match broken.len() {
        0 | 1 => first.to_owned(),
        2 => format!("{first} (and 1 more error)"),
        n => format!("{first} (and {} more errors)", n - 1),
    };
    let errors: Fields =
        broken.iter().map(|(name, sentence)| ((*name).to_owned(), json!([sentence]))).collect();
    json!({ "message": message, "errors": errors })
}

pub(super) fn create(
    resource: Resource,
    id: i32,
    parent: Option<i32>,
    input: &Fields,
    scene: &Scene,
) -> Result<Created, Broken> {
    match resource {
        Resource::Metrics => create_metric(id, input, scene),
        Resource::Points => {
            let value = match (number(input, "value"), input.get("value")) {
                (Some(value), _) => value,
                (None, None | Some(Value::Null)) => return Err(vec![required("value")]),
                (None, _) => return Err(vec![("value", "The value field must be a number.".to_owned())]),
            };
            let stored = point(id, parent.unwrap_or(0), value, 1, scene.now, scene.now);
            Ok(Created { answered: stored.clone(), stored, guests: true })
        }
        _ => create_incident(id, input, scene),
    }
}

fn create_incident(id: i32, input: &Fields, scene: &Scene) -> Result<Created, Broken> {
    let mut broken = Broken::new();
    let name = text(input, "name");
    if name.is_none() {
        broken.push(required("name"));
    }
    let status = integer(input, "status");
    match status {
        Some(0..=4) => {}
        None if !input.contains_key("status") => broken.push(required("status")),
        _ => broken.push(("status", "The selected status is invalid.".to_owned())),
    }
    let message = text(input, "message").or(text(input, "template"));
    if message.is_none() {
        broken.push(("message", "The message field is required when template is not present.".to_owned()));
        broken.push(("template", "The template field is required when message is not present.".to_owned()));
    }
    if !broken.is_empty() {
        return Err(broken);
    }
    let visible = integer(input, "visible").unwrap_or(1);
    let notifications = integer(input, "notifications").unwrap_or(0) != 0;
    let answered = fields(json!({
        "id": id,
        "guid": Uuid::new_v4().to_string(),
        "name": name,
        "message": message,
        "visible": visible,
        "stickied": integer(input, "stickied").unwrap_or(0) != 0,
        "notifications": notifications,
        "status": incident_status(status.unwrap_or(0)),
        "occurred": { "human": null, "string": null },
        "published": moment(scene.now, scene.now),
        "created": moment(scene.now, scene.now),
        "updated": moment(scene.now, scene.now),
    }));
    let mut stored = answered.clone();
    stored.insert("notifications".to_owned(), stored_flag(notifications, scene.flavour));
    Ok(Created { stored, answered, guests: visible == 1 })
}

pub(super) fn update_incident(row: &mut Row, input: &Fields, scene: &Scene) {
    for name in ["name", "message"] {
        if let Some(text) = text(input, name) {
            row.fields.insert(name.to_owned(), text.into());
        }
    }
    if let Some(visible) = integer(input, "visible") {
        row.fields.insert("visible".to_owned(), visible.into());
        row.guests = visible == 1;
    }
    if let Some(status) = integer(input, "status") {
        row.fields.insert("status".to_owned(), incident_status(status));
    }
    row.fields.insert("updated".to_owned(), moment(scene.now, scene.now));
}

/// The creating request is told what it said, reads what the table made of it: columns that were
/// not given are null at first, and the default value is text where it is a DECIMAL column.
fn create_metric(id: i32, input: &Fields, scene: &Scene) -> Result<Created, Broken> {
    let mut broken = Broken::new();
    for name in ["name", "suffix"] {
        if text(input, name).is_none() {
            broken.push(required(name));
        }
    }
    if input.contains_key("default_value") && !has_one_or_two_decimals(input) {
        broken.push(("default_value", "The default value field must have 1-2 decimal places.".to_owned()));
    }
    if integer(input, "threshold").is_some_and(|t| t <= 0 || 60 % t != 0) {
        broken.push(("threshold", "The threshold must be a factor of 60.".to_owned()));
    }
    if !broken.is_empty() {
        return Err(broken);
    }
    let default_value = number(input, "default_value");
    let (view, order, visible) =
        (integer(input, "default_view"), integer(input, "order"), integer(input, "visible"));
    let mut answered = metric_of(id, input, scene.now, scene.now);
    let mut stored = answered.clone();
    answered.extend(fields(json!({
        "default_value": default_value.map(php_number),
        "default_view": view, "order": order, "visible": visible,
    })));
    stored.extend(fields(json!({
        "default_value": stored_decimal(default_value.unwrap_or(0.0), scene.flavour),
        "default_view": view.unwrap_or(1), "order": order.unwrap_or(0), "visible": visible.unwrap_or(0),
    })));
    Ok(Created { stored, answered, guests: visible == Some(1) })
}

fn metric_of(id: i32, input: &Fields, created: Timestamp, now: Timestamp) -> Fields {
    fields(json!({
        "id": id,
        "name": text(input, "name"),
        "suffix": text(input, "suffix"),
        "description": text(input, "description"),
        "default_value": null,
        "calc_type": integer(input, "calc_type").unwrap_or(0),
        "display_chart": integer(input, "display_chart").unwrap_or(1) != 0,
        "places": integer(input, "places").unwrap_or(2),
        "default_view": null,
        "threshold": integer(input, "threshold").unwrap_or(5),
        "order": null,
        "visible": null,
        "created": moment(created, now),
        "updated": moment(created, now),
    }))
}

/// Laravel's `decimal:1,2`: 1.5 and "1.0" pass, 1 and 1.0 do not.
fn has_one_or_two_decimals(input: &Fields) -> bool {
    let written = match input.get("default_value") {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.as_f64().unwrap_or(0.0).to_string(),
        _ => return false,
    };
    written.parse::<f64>().is_ok() && written.split_once('.').is_some_and(|(_, d)| (1..=2).contains(&d.len()))
}

fn point(id: i32, metric: i32, value: f64, counter: i32, created: Timestamp, now: Timestamp) -> Fields {
    fields(json!({
        "id": id,
        "metric_id": metric,
        "calculated_value": php_number(value * f64::from(counter)),
        "value": php_number(value),
        "counter": counter,
        "created": moment(created, now),
        "updated": moment(created, now),
    }))
}

fn required(name: &'static str) -> (&'static str, String) {
    (name, format!("The {name} field is required."))
}

/// A BOOLEAN column is a number to SQLite and MariaDB.
fn stored_flag(flag: bool, flavour: Flavour) -> Value {
    if flavour == Flavour::Postgresql { flag.into() } else { i32::from(flag).into() }
}

/// A DECIMAL column is a float to SQLite and text to the others.
fn stored_decimal(n: f64, flavour: Flavour) -> Value {
    if flavour == Flavour::Sqlite { php_number(n) } else { format!("{n:.3}").into() }
}

fn type_name(resource: Resource) -> &'static str {
    match resource {
        Resource::Components => "components",
        Resource::Groups => "componentGroups",
        Resource::Incidents => "incidents",
        Resource::Metrics => "metrics",
        Resource::Points => "metricPoints",
        _ => "schedules",
    }
}

fn incident_status(status: i64) -> Value {
    let human = match status {
        1 => "Investigating",
        2 => "Identified",
        3 => "Watching",
        4 => "Fixed",
        _ => "Unknown",
    };
    json!({ "human": human, "value": status })
}

/// A time as people and as programs read it.
fn moment(time: Timestamp, now: Timestamp) -> Value {
    let seconds = now.since(time).as_secs();
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if n == 1 { "" } else { "s" };
    json!({
        "human": format!("{n} {unit}{plural} ago"),
        "string": time.to_utc().format("%Y-%m-%d %H:%M:%S").to_string(),
    })
}

pub(super) fn seed(tables: &mut Tables, scene: &Scene) {
    let now = scene.now;
    let installed = moment(now.minus(30 * DAY), now);
    let operational = json!({ "human": "Operational", "value": 1 });
    // The first component is bare: that is how one that only has a name looks in a list.
    for (id, name) in [(1, "Website"), (2, "Checkout"), (3, "Mail")] {
        let full = id != 1;
        tables.of(Resource::Components).seed(
            None,
            fields(json!({
                "id": id, "name": name,
                "description": full.then(|| format!("{name} of the example shop")),
                "link": full.then(|| format!("https://shop.example/{id}")),
                "order": full.then_some(id),
                "status": operational, "latest_status": operational, "enabled": true,
                "created": installed, "updated": installed,
            })),
        );
    }
    for (id, name) in [(1, "Shop"), (2, "Partners")] {
        tables.of(Resource::Groups).seed(
            None,
            fields(json!({
                "id": id, "name": name, "order": id, "order_column": null, "order_direction": null,
                "collapsed": 0, "visible": 1, "created": installed, "updated": installed,
            })),
        );
    }
    for (id, name, days) in [(1, "Slow search", 6), (2, "Failed payments", 3)] {
        let then = moment(now.minus(days * DAY), now);
        tables.of(Resource::Incidents).seed(
            None,
            fields(json!({
                "id": id, "guid": Uuid::new_v4().to_string(), "name": name, "message": "We are looking into it.",
                "visible": 1, "stickied": false, "notifications": stored_flag(false, scene.flavour),
                "status": incident_status(4), "occurred": { "human": null, "string": null },
                "published": then, "created": then, "updated": then,
            })),
        );
    }
    let input = fields(json!({"name": "Response time", "suffix": "ms", "description": "Median of the shop"}));
    let mut metric = metric_of(1, &input, now.minus(30 * DAY), now);
    metric.extend(fields(json!({
        "default_value": stored_decimal(1.5, scene.flavour), "default_view": 1, "order": 1, "visible": 1,
    })));
    tables.of(Resource::Metrics).seed(None, metric);
    for (id, value) in [(1, 1.5), (2, 2.5)] {
        let then = now.minus((3 - id) * HOUR);
        tables.of(Resource::Points).seed(Some(1), point(id.cast_signed(), 1, value, 2, then, now));
    }
    let then = now.minus(2 * DAY);
    tables.of(Resource::Schedules).seed(
        None,
        fields(json!({
            "id": 1, "name": "Database upgrade", "message": "The shop is read-only for an hour.",
            "status": { "human": "Complete", "value": 2 },
            "scheduled": moment(then, now), "completed": moment(then.plus(HOUR), now),
            "published": moment(then, now), "created": installed, "updated": moment(then, now),
        })),
    );
}
