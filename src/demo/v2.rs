//! What Cachet 2.4 looks like: `/api/v1`, an envelope of `meta` and `data`, plain rows, errors as
//! a list. The three databases answer alike.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{Broken, Created, Page, Reply, Route, Scene};
use super::data::{Fields, Resource, Row, Tables, fields, integer, number, php_number, text};
use crate::clock::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn route(path: &str) -> Option<Route<'_>> {
    let rest = path.strip_prefix("/api/v1/")?;
    let parts: Vec<&str> = rest.split('/').collect();
    let at = |resource, parent, id| Some(Route { resource, parent, id });
    match parts[..] {
        ["ping"] => at(Resource::Ping, None, None),
        ["status"] => at(Resource::Status, None, None),
        ["version"] => at(Resource::Version, None, None),
        ["components", "groups"] => at(Resource::Groups, None, None),
        ["components", "groups", id] => at(Resource::Groups, None, Some(id)),
        ["components"] => at(Resource::Components, None, None),
        ["components", id] => at(Resource::Components, None, Some(id)),
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

/// `version` asks a server on the internet, and fails where there is none.
pub(super) fn system(resource: Resource) -> Reply {
    match resource {
        Resource::Ping => (200, Some(json!({"data": "Pong!"}))),
        Resource::Status => {
            (200, Some(json!({"data": {"status": "success", "message": "System operational"}})))
        }
        _ => (500, Some(error(500, None))),
    }
}

pub(super) fn one(fields: Fields) -> Value {
    json!({ "data": fields })
}

pub(super) fn list(page: &Page) -> Value {
    let pages = page.total.div_ceil(page.per_page).max(1);
    let link = |number: usize| (1..=pages).contains(&number).then(|| format!("{}?page={number}", page.path));
    let data: Vec<&Fields> = page.rows.iter().map(|r| &r.fields).collect();
    json!({
        "meta": { "pagination": {
            "total": page.total,
            "count": page.rows.len(),
            "per_page": page.per_page,
            "current_page": page.number,
            "total_pages": pages,
            "links": { "next_page": link(page.number.saturating_add(1)), "previous_page": link(page.number - 1) },
        }},
        "data": data,
    })
}

pub(super) fn error(status: u16, detail: Option<&str>) -> Value {
    json!({ "errors": [errors_entry(status, detail)] })
}

pub(super) fn invalid(broken: &Broken) -> Value {
    let details: Vec<&str> = broken.iter().map(|(_, sentence)| sentence.as_str()).collect();
    let mut entry = errors_entry(400, None);
    entry["meta"] = json!({ "details": details });
    json!({ "errors": [entry] })
}

fn errors_entry(status: u16, detail: Option<&str>) -> Value {
    let title = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
    let usual = match status {
        400 => "The request cannot be fulfilled due to bad syntax.",
        401 => "You are not authenticated to perform this request.",
        404 => "The requested resource could not be found but may be available again in the future.",
        405 => "A request was made of a resource using a request method not supported by that resource.",
        _ => "An error has occurred and this resource cannot be displayed.",
    };
    json!({
        "id": Uuid::new_v4().to_string(), "status": status, "title": title, "detail": detail.unwrap_or(usual),
    })
}

pub(super) fn create(
    resource: Resource,
    id: i32,
    parent: Option<i32>,
    input: &Fields,
    scene: &Scene,
) -> Result<Created, Broken> {
    let now = at(scene.now);
    let (stored, guests) = match resource {
        Resource::Metrics => {
            require(input, &["name", "suffix", "default_value"])?;
            let visible = integer(input, "visible").unwrap_or(1);
            (metric(id, input, visible, &now), visible == 1)
        }
        Resource::Points => {
            let Some(value) = number(input, "value") else {
                require(input, &["value"])?;
                return Err(vec![("value", "The value must be a number.".to_owned())]);
            };
            (point(id, parent.unwrap_or(0), value, 1, &now), true)
        }
        _ => {
            let mut broken = require(input, &["name", "status"]).err().unwrap_or_default();
            let status = integer(input, "status");
            if input.contains_key("status") && !status.is_some_and(|s| (0..=4).contains(&s)) {
                broken.retain(|(field, _)| *field != "status");
                broken.push(("status", "The status must be between 0 and 4.".to_owned()));
            }
            if !broken.is_empty() {
                return Err(broken);
            }
            let visible = integer(input, "visible").unwrap_or(1);
            let mut made = fields(json!({
                "id": id,
                "user_id": 1,
                "component_id": integer(input, "component_id").unwrap_or(0),
                "name": text(input, "name"),
                "status": status,
                "visible": visible,
                "stickied": integer(input, "stickied").unwrap_or(0) != 0,
                "notifications": integer(input, "notify").unwrap_or(1) != 0,
                "message": text(input, "message").unwrap_or_default(),
                "occurred_at": now, "created_at": now, "updated_at": now, "deleted_at": null,
            }));
            complete_incident(&mut made, Vec::new(), &scene.base);
            (made, visible == 1)
        }
    };
    let mut answered = stored.clone();
    answered.remove("deleted_at");
    Ok(Created { stored, answered, guests })
}

pub(super) fn update_incident(row: &mut Row, input: &Fields, scene: &Scene) {
    for name in ["name", "message"] {
        if let Some(text) = text(input, name) {
            row.fields.insert(name.to_owned(), text.into());
        }
    }
    for name in ["status", "visible"] {
        if let Some(n) = integer(input, name) {
            row.fields.insert(name.to_owned(), n.into());
            row.guests = if name == "visible" { n == 1 } else { row.guests };
        }
    }
    row.fields.insert("updated_at".to_owned(), at(scene.now).into());
    let updates = match row.fields.remove("updates") {
        Some(Value::Array(updates)) => updates,
        _ => Vec::new(),
    };
    complete_incident(&mut row.fields, updates, &scene.base);
}

/// Adds what Cachet computes from the rest.
fn complete_incident(incident: &mut Fields, updates: Vec<Value>, base: &str) {
    let status = updates.last().unwrap_or(&Value::Null).get("status").or(incident.get("status"));
    let status = status.and_then(Value::as_i64).unwrap_or(0);
    let own = incident.get("status").and_then(Value::as_i64).unwrap_or(0);
    let id = incident.get("id").and_then(Value::as_i64).unwrap_or(0);
    let latest_update = updates.last().and_then(|u| u.get("id")).cloned();
    incident.extend(fields(json!({
        "is_resolved": status == 4,
        "meta": [],
        "updates": updates,
        "human_status": incident_status(own),
        "latest_update_id": latest_update,
        "latest_status": status,
        "latest_human_status": incident_status(status),
        "latest_icon": "icon ion-flag",
        "permalink": format!("{base}/incidents/{id}"),
        "duration": 0,
    })));
}

fn incident_status(status: i64) -> &'static str {
    match status {
        0 => "Scheduled",
        1 => "Investigating",
        2 => "Identified",
        3 => "Watching",
        _ => "Fixed",
    }
}

fn metric(id: i32, input: &Fields, visible: i64, now: &str) -> Fields {
    let or = |name, usual| integer(input, name).unwrap_or(usual);
    fields(json!({
        "id": id,
        "name": text(input, "name"),
        "suffix": text(input, "suffix"),
        "description": text(input, "description").unwrap_or_default(),
        "default_value": or("default_value", 0),
        "calc_type": or("calc_type", 0),
        "display_chart": or("display_chart", 1) != 0,
        "places": or("places", 2),
        "default_view": or("default_view", 1),
        "threshold": or("threshold", 5),
        "order": or("order", 0),
        "visible": visible,
        "created_at": now, "updated_at": now,
        "default_view_name": "Last 12 Hours",
    }))
}

fn point(id: i32, metric: i32, value: f64, counter: i32, now: &str) -> Fields {
    fields(json!({
        "id": id,
        "metric_id": metric,
        "value": php_number(value),
        "counter": counter,
        "created_at": now, "updated_at": now,
        "calculated_value": php_number(value * f64::from(counter)),
    }))
}

fn require(input: &Fields, names: &[&'static str]) -> Result<(), Broken> {
    let missing = |name: &&str| match input.get(*name) {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.trim().is_empty(),
        Some(_) => false,
    };
    let broken: Broken = names
        .iter()
        .filter(|n| missing(n))
        .map(|n| (*n, format!("The {} field is required.", n.replace('_', " "))))
        .collect();
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

fn at(time: Timestamp) -> String {
    time.to_utc().format("%Y-%m-%d %H:%M:%S").to_string()
}

pub(super) fn seed(tables: &mut Tables, scene: &Scene) {
    let installed = at(scene.now.minus(30 * DAY));
    let component = |id: i32, name: &str, group: i32| {
        fields(json!({
            "id": id, "name": name, "description": format!("{name} of the example shop"),
            "link": format!("https://shop.example/{id}"), "status": 1, "order": id, "group_id": group,
            "enabled": true, "meta": null,
            "created_at": installed, "updated_at": installed, "deleted_at": null,
            "status_name": "Operational", "tags": [],
        }))
    };
    let names = [("Website", 2), ("Checkout", 2), ("Mail", 0)];
    let components: Vec<Fields> =
        (1..).zip(names).map(|(id, (name, group))| component(id, name, group)).collect();
    // The first group has no components: that is how an empty one looks in a list.
    for (id, name) in [(1, "Partners"), (2, "Shop")] {
        let members: Vec<&Fields> = components.iter().filter(|c| c["group_id"] == id).collect();
        tables.of(Resource::Groups).seed(
            None,
            fields(json!({
                "id": id, "name": name, "order": id, "visible": 1, "collapsed": 0,
                "created_at": installed, "updated_at": installed,
                "enabled_components": members,
                "enabled_components_lowest": members.first().into_iter().collect::<Vec<_>>(),
                "lowest_human_status": members.first().map(|_| "Operational"),
            })),
        );
    }
    for component in components {
        tables.of(Resource::Components).seed(None, component);
    }
    for (id, name, days) in [(1, "Slow search", 6), (2, "Failed payments", 3)] {
        let then = at(scene.now.minus(days * DAY));
        let mut incident = fields(json!({
            "id": id, "user_id": 1, "component_id": id, "name": name, "status": 4, "visible": 1,
            "stickied": false, "notifications": false, "message": "We are looking into it.",
            "occurred_at": then, "created_at": then, "updated_at": then, "deleted_at": null,
        }));
        let update = json!({
            "id": 1, "incident_id": 2, "status": 4, "message": "Payments work again.", "user_id": 1,
            "created_at": then, "updated_at": then, "human_status": "Fixed",
            "permalink": format!("{}/incidents/2#update-1", scene.base),
        });
        complete_incident(&mut incident, if id == 2 { vec![update] } else { Vec::new() }, &scene.base);
        tables.of(Resource::Incidents).seed(None, incident);
    }
    let input = fields(json!({"name": "Response time", "suffix": "ms", "description": "Median of the shop"}));
    tables.of(Resource::Metrics).seed(None, metric(1, &input, 1, &installed));
    for (id, value) in [(1, 1.5), (2, 2.5)] {
        let then = at(scene.now.minus((3 - id) * HOUR));
        tables.of(Resource::Points).seed(Some(1), point(id.cast_signed(), 1, value, 2, &then));
    }
    let then = at(scene.now.minus(2 * DAY));
    tables.of(Resource::Schedules).seed(
        None,
        fields(json!({
            "id": 1, "name": "Database upgrade", "message": "The shop is read-only for an hour.",
            "status": 2, "scheduled_at": then, "completed_at": at(scene.now.minus(2 * DAY - HOUR)),
            "created_at": installed, "updated_at": then, "deleted_at": null,
            "components": [], "human_status": "Complete",
        })),
    );
}
