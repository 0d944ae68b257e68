//! Attributes: what a span, record or data point is labelled with.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyKind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use super::names;
use crate::model::Deployment;

/// Pairs in the order they are sent; a key occurs once.
pub type Attributes = Vec<(Cow<'static, str>, Value)>;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Cow<'static, str>),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text))
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}
impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

/// What every metric point about a deployment is labelled with: its version, name, environment and
/// flavour. Two deployments of one version and flavour must not share a series.
pub fn deployment_attributes(deployment: &Deployment) -> Attributes {
    vec![
        (names::TARGET_VERSION.into(), deployment.version.to_string().into()),
        (names::DEPLOYMENT.into(), deployment.name.clone().into()),
        (names::ENVIRONMENT.into(), deployment.environment.clone().into()),
        (names::DB.into(), deployment.db.as_str().into()),
    ]
}

pub(super) fn pair(key: &str, value: impl Into<Value>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value.into())), ..KeyValue::default() }
}

pub(super) fn any(value: Value) -> AnyValue {
    let kind = match value {
        Value::Text(text) => AnyKind::StringValue(text.into_owned()),
        Value::Int(number) => AnyKind::IntValue(number),
        Value::Float(number) => AnyKind::DoubleValue(number),
        Value::Bool(truth) => AnyKind::BoolValue(truth),
    };
    AnyValue { value: Some(kind) }
}

pub(super) fn pairs(attributes: Attributes) -> Vec<KeyValue> {
    attributes
        .into_iter()
        .map(|(key, value)| KeyValue {
            key: key.into_owned(),
            value: Some(any(value)),
            ..KeyValue::default()
        })
        .collect()
}
