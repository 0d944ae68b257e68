//! Texts with `{{name}}` places that are filled when a request is sent.

use std::collections::HashMap;
use std::fmt;

/// A text whose places are known; parsed once, rendered for every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("`{{{{` at byte {0} has no closing `}}}}`")]
    Unclosed(usize),
    #[error("`{{{{{0}}}}}` is not a name; names hold letters, digits, `_`, `-` and `.`")]
    BadName(String),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let at = text.len() - rest.len() + open;
            let close = rest[open..].find("}}").ok_or(TemplateError::Unclosed(at))? + open;
            let name = rest[open + 2..close].trim();
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
                return Err(TemplateError::BadName(name.to_owned()));
            }
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            parts.push(Part::Place(name.to_owned()));
            rest = &rest[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// The names it needs.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|p| match p {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Fills every place with its value, escaped for where it goes: values may come from a target's
    /// answer. A name without a value is the error, never an empty string.
    pub fn render(
        &self,
        values: &HashMap<String, String>,
        escape: impl Fn(&str) -> String,
    ) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Place(name) => out.push_str(&escape(values.get(name).ok_or_else(|| name.clone())?)),
            }
        }
        Ok(out)
    }
}

/// The text with its places as `{name}`, which is how `url.template` is written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Place(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_a_missing_one_is_named() {
        let t = Template::parse("/api/incidents/{{ incident }}?r={{round}}").unwrap();
        assert_eq!(t.places().collect::<Vec<_>>(), ["incident", "round"]);
        assert_eq!(t.to_string(), "/api/incidents/{incident}?r={round}");
        let mut values = HashMap::from([("round".to_owned(), "7".to_owned())]);
        let plain = str::to_owned;
        assert_eq!(t.render(&values, plain), Err("incident".to_owned()));
        values.insert("incident".to_owned(), "1/2".to_owned());
        let escaped = t.render(&values, |v| v.replace('/', "%2F"));
        assert_eq!(escaped.unwrap(), "/api/incidents/1%2F2?r=7");
    }

    #[test]
    fn broken_places_are_errors() {
        assert_eq!(Template::parse("é{{x"), Err(TemplateError::Unclosed(2)));
        assert!(matches!(Template::parse("{{a b}}"), Err(TemplateError::BadName(_))));
        assert!(matches!(Template::parse("{{}}"), Err(TemplateError::BadName(_))));
    }
}
