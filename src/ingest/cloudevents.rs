//! CloudEvents 1.0 over HTTP: binary, structured and batched content mode (HTTP protocol binding
//! 1.0.2), down to what is read from one: its attributes and its data.

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::parse::{Items, content, read, whole};
use super::problem::Problem;
use crate::model::Refusal;

/// One CloudEvent; of its extensions only that for tracing.
#[derive(Deserialize)]
pub(super) struct CloudEvent<'a> {
    specversion: String,
    pub id: String,
    pub source: String,
    pub r#type: String,
    pub time: Option<String>,
    datacontenttype: Option<String>,
    pub traceparent: Option<String>,
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
}

/// How the events come in this request.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// Attributes are headers, and the body is the data.
    Binary(Box<Attributes>),
    Structured,
    Batch,
}

#[derive(Clone, Debug)]
pub(super) struct Attributes {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    time: Option<String>,
    traceparent: Option<String>,
}

impl Mode {
    pub fn of(headers: &HeaderMap, media_type: &str) -> Result<Self, Problem> {
        match media_type {
            "application/cloudevents+json" => return Ok(Mode::Structured),
            "application/cloudevents-batch+json" => return Ok(Mode::Batch),
            "application/json" => {}
            other if other.ends_with("+json") => {}
            other => {
                return Err(Problem::MediaType(format!(
                    "the content-type is {}; expected application/cloudevents+json, \
                     application/cloudevents-batch+json, or application/json with ce-* headers",
                    if other.is_empty() { "missing" } else { other }
                )));
            }
        }
        let attribute = |name: &str| -> Option<String> {
            let value = headers.get(format!("ce-{name}"))?.to_str().ok()?;
            Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let needed = |name: &str| {
            attribute(name).ok_or_else(|| {
                let words = "expected the header, or content-type: application/cloudevents+json";
                Problem::BadRequest(format!("ce-{name} is missing; {words}"))
            })
        };
        Ok(Mode::Binary(Box::new(Attributes {
            specversion: needed("specversion")?,
            id: needed("id")?,
            source: needed("source")?,
            r#type: needed("type")?,
            time: attribute("time"),
            traceparent: attribute("traceparent"),
        })))
    }

    /// The CloudEvents of a body; each that cannot be read says why.
    pub fn events<'a>(&self, text: &'a str) -> Result<Vec<Result<CloudEvent<'a>, Refusal>>, Problem> {
        let text = content(text)?;
        let raws: Vec<&RawValue> = match self {
            Mode::Batch => whole::<Items<'_>>(text)?.checked()?,
            _ => vec![whole(text)?],
        };
        let read = |raw: &'a RawValue| {
            let event = match self {
                Mode::Binary(attributes) => attributes.with(raw),
                _ => read::<CloudEvent<'_>>(raw.get())?,
            };
            event.check().map(|()| event)
        };
        Ok(raws.into_iter().map(read).collect())
    }
}

impl Attributes {
    fn with<'a>(&self, data: &'a RawValue) -> CloudEvent<'a> {
        let Attributes { specversion, id, source, r#type, time, traceparent } = self.clone();
        CloudEvent {
            specversion,
            id,
            source,
            r#type,
            time,
            datacontenttype: None,
            traceparent,
            data: Some(data),
        }
    }
}

impl CloudEvent<'_> {
    fn check(&self) -> Result<(), Refusal> {
        let refuse = |field: &str, message: String| Err(Refusal { field: field.into(), message });
        if self.specversion != "1.0" {
            return refuse("specversion", format!("is `{}`; expected `1.0`", short(&self.specversion)));
        }
        match self.datacontenttype.as_deref() {
            Some(found) if !found.to_ascii_lowercase().contains("json") => {
                refuse("datacontenttype", format!("is `{}`; expected application/json", short(found)))
            }
            _ => Ok(()),
        }
    }
}

/// For a message.
pub(super) fn short(text: &str) -> String {
    let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
    crate::model::truncate(&mut text, 200);
    text
}
