//! What a refused event is called, so that its sender finds it again.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::model::{Event, NAME_MAX, truncate};

/// What sets an event apart from all others, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Identity {
    pub source: Option<String>,
    pub pipeline: Option<String>,
    pub run: Option<String>,
    pub attempt: Option<u32>,
    pub step: Option<String>,
}

impl From<&Event> for Identity {
    fn from(event: &Event) -> Self {
        let short = |text: &str| {
            let mut text = text.to_owned();
            truncate(&mut text, NAME_MAX);
            Some(text)
        };
        Identity {
            source: short(&event.source),
            pipeline: short(&event.pipeline),
            run: short(&event.run),
            attempt: Some(event.attempt),
            step: event.step.as_deref().and_then(short),
        }
    }
}

impl Identity {
    /// What of an identity can be read, whatever else is wrong.
    pub fn of_broken(raw: &str) -> Self {
        struct Seek<'a>(&'a mut Identity);
        impl<'de> DeserializeSeed<'de> for Seek<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_map(self)
            }
        }
        impl<'de> Visitor<'de> for Seek<'_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    let text = |raw: &RawValue| {
                        let mut text: String = serde_json::from_str(raw.get()).ok()?;
                        truncate(&mut text, NAME_MAX);
                        Some(text)
                    };
                    match &*key {
                        "source" => self.0.source = text(map.next_value()?),
                        "pipeline" => self.0.pipeline = text(map.next_value()?),
                        "run" => self.0.run = text(map.next_value()?),
                        "step" => self.0.step = text(map.next_value()?),
                        "attempt" => {
                            let raw: &RawValue = map.next_value()?;
                            self.0.attempt = serde_json::from_str(raw.get()).ok();
                        }
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(())
            }
        }
        let mut identity = Identity::default();
        // Whatever stops it, what was read before stands.
        let _ = Seek(&mut identity).deserialize(&mut serde_json::Deserializer::from_str(raw));
        identity
    }
}
