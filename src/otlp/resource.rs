//! The resource that sends: this program, as `service.*` attributes.

use bytes::Bytes;
use opentelemetry_proto::tonic::resource::v1::Resource as Message;
use percent_encoding::percent_decode_str;
use prost::Message as _;

use super::attributes::pair;
use super::names;

/// Who sends; cheap to clone, and encoded once.
#[derive(Clone, Debug)]
pub struct Resource {
    attributes: Vec<(String, String)>,
    encoded: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    #[error("`{0}` is no `key=value`; attributes are separated by commas")]
    NoPair(String),
    #[error("the value of `{0}` is not UTF-8 once its %XX are decoded")]
    NotUtf8(String),
}

impl Resource {
    /// `instance` is the store's UUID for facts about the fleet, a process's own for facts about
    /// itself. `service_name` is what `OTEL_SERVICE_NAME` says, `attributes` what
    /// `OTEL_RESOURCE_ATTRIBUTES` says: `key=value` pairs separated by commas, with `%XX` for what
    /// would be misread (OpenTelemetry SDK specification, 'Resource'). The former wins over the
    /// latter; `service.version` and `service.instance.id` are ours, whatever these say.
    pub fn new(
        instance: &str,
        service_name: Option<&str>,
        attributes: Option<&str>,
    ) -> Result<Self, ResourceError> {
        let mut all: Vec<(String, String)> = Vec::new();
        let mut set = |key: &str, value: &str| match all.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => value.clone_into(old),
            None => all.push((key.to_owned(), value.to_owned())),
        };
        set(names::SERVICE_NAME, names::SERVICE);
        for (key, value) in parse_pairs(attributes.unwrap_or_default())? {
            set(&key, &value);
        }
        if let Some(name) = service_name.map(str::trim).filter(|name| !name.is_empty()) {
            set(names::SERVICE_NAME, name);
        }
        set(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
        set(names::SERVICE_INSTANCE, instance);
        let message = Message {
            attributes: all.iter().map(|(k, v)| pair(k, v.clone())).collect(),
            ..Message::default()
        };
        Ok(Resource { attributes: all, encoded: message.encode_to_vec().into() })
    }

    /// For the pipeline of the daemon's own logs and traces, which sends the same.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(super) fn encoded(&self) -> Bytes {
        self.encoded.clone()
    }
}

fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, ResourceError> {
    let decode = |key: &str, part: &str| match percent_decode_str(part.trim()).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(ResourceError::NotUtf8(key.trim().to_owned())),
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok((decode(key, key)?, decode(key, value)?)),
            _ => Err(ResourceError::NoPair(part.to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(resource: &Resource) -> String {
        resource.attributes().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_environment_names_the_service_and_adds_attributes() {
        let version = env!("CARGO_PKG_VERSION");
        let plain = Resource::new("abc", None, None).unwrap();
        assert_eq!(
            text(&plain),
            format!("service.name=cachetscope service.version={version} service.instance.id=abc")
        );
        let from_env = "host.name=ci%2C1, service.name=other,service.instance.id=theirs,";
        let told = Resource::new("abc", Some("watcher"), Some(from_env)).unwrap();
        assert_eq!(
            text(&told),
            format!("service.name=watcher host.name=ci,1 service.instance.id=abc service.version={version}")
        );
    }

    #[test]
    fn a_broken_attribute_is_named() {
        let error = |text| Resource::new("i", None, Some(text)).unwrap_err();
        assert_eq!(error("a=1,b"), ResourceError::NoPair("b".to_owned()));
        assert_eq!(error("=1"), ResourceError::NoPair("=1".to_owned()));
        assert_eq!(error("a=%FF"), ResourceError::NotUtf8("a".to_owned()));
    }
}
