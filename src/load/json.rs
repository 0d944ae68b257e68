//! JSON summaries: which tool wrote one, and its numbers read strictly.

use serde_json::Value;
use serde_json::error::Category;

use super::error::{LoadError, shown};
use super::text::RATE_MAX;
use super::{Form, Tool};

/// Entries of one object at most.
const ENTRIES_MAX: usize = 1_000;

/// By the names of its first level. They are looked for in the text, so that a summary which is cut
/// off is told to be so.
pub fn recognise(text: &str) -> Result<Form, LoadError> {
    let form = match serde_json::from_str::<Value>(text) {
        Ok(value) if value.get("summary").is_some() => Some(Form::Oha),
        Ok(value) if value.get("metrics").is_some() => Some(Form::K6),
        Err(_) if text.contains("\"successRate\"") => Some(Form::Oha),
        Err(_) if ["\"root_group\"", "\"http_reqs\""].iter().any(|name| text.contains(name)) => {
            Some(Form::K6)
        }
        _ => None,
    };
    form.ok_or_else(|| LoadError::not_recognised(text))
}

pub fn parse(tool: Tool, text: &str) -> Result<Value, LoadError> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Eof => LoadError::truncated(tool, "the end of its JSON", text),
        _ => LoadError::Malformed {
            tool,
            place: format!("line {}, column {}", error.line(), error.column()),
            found: shown(text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default()),
            expected: format!("JSON ({error})"),
        },
    })
}

/// A place within a summary.
#[derive(Clone)]
pub struct Node<'a> {
    tool: Tool,
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Node<'a> {
    pub fn root(tool: Tool, value: &'a Value) -> Self {
        Node { tool, path: String::new(), value: Some(value) }
    }

    pub fn get(&self, name: &str) -> Node<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Node { tool: self.tool, path, value: self.value.and_then(|value| value.get(name)) }
    }

    /// It, unless it is absent or null.
    pub fn there(self) -> Option<Self> {
        self.value.is_some_and(|value| !value.is_null()).then_some(self)
    }

    pub fn wrong(&self, expected: impl Into<String>) -> LoadError {
        LoadError::Malformed {
            tool: self.tool,
            place: format!("`{}`", shown(&self.path)),
            found: self.value.map_or("absent".to_owned(), |value| shown(&value.to_string())),
            expected: expected.into(),
        }
    }

    pub fn number(&self, max: f64) -> Result<f64, LoadError> {
        let number = self.value.and_then(Value::as_f64).filter(|number| (0.0..=max).contains(number));
        number.ok_or_else(|| self.wrong(format!("a number from 0 to {max}")))
    }

    pub fn rate(&self) -> Result<f64, LoadError> {
        self.number(RATE_MAX)
    }

    /// Also as a whole floating-point number: k6 counts in these.
    pub fn count(&self) -> Result<u64, LoadError> {
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        let whole = |number: &f64| number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(number);
        let float = || self.value.and_then(Value::as_f64).filter(whole).map(|number| number as u64);
        let count = self.value.and_then(Value::as_u64).or_else(float);
        count.ok_or_else(|| self.wrong("a whole number from 0"))
    }

    /// The entries of an object, a thousand at most; none where it is absent.
    pub fn entries(&self) -> Result<Vec<(&'a str, Node<'a>)>, LoadError> {
        match self.value {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Object(map)) if map.len() > ENTRIES_MAX => {
                Err(self.wrong(format!("at most {ENTRIES_MAX} entries, not {}", map.len())))
            }
            Some(Value::Object(map)) => Ok(map.keys().map(|name| (name.as_str(), self.get(name))).collect()),
            Some(_) => Err(self.wrong("an object")),
        }
    }
}
