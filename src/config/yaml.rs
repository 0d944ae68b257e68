//! YAML text → a tree whose every value knows where it stands.
//!
//! Serde stops at the first thing that does not fit a type; a tree is read by hand instead
//! ([`super::reader`]), so that all problems of a file come out at once. Size, depth, aliases and
//! merge keys are bounded here, so whatever the text is, reading it costs little.

use std::fmt;
use std::rc::Rc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::problem::{At, Fault, Problem};

/// Values of one file, aliases expanded; the shipped suites have about 600.
const NODES_MAX: usize = 50_000;
/// Collections within collections.
const DEPTH_MAX: usize = 32;
/// The label of the outermost value.
const WHOLE_FILE: &str = "the file";

/// A value, its place, and what to call it in a message.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: At,
    /// The key it stands under, or `KEY[2]` for an element of a list.
    pub label: Rc<str>,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// The number and how it was written, since `2.10` is no number when it is a version.
    Number(Number, String),
    Text(String),
    List(Vec<Node>),
    /// As written: in order, and with keys that occur twice.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub at: At,
    pub name: String,
}

impl Node {
    /// What to call it in a message.
    pub fn called(&self) -> String {
        if &*self.label == WHOLE_FILE { WHOLE_FILE.to_owned() } else { format!("`{}`", self.label) }
    }

    /// What was found, for a message.
    pub fn found(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(b) => format!("`{b}`"),
            Value::Number(_, written) => format!("`{written}`"),
            Value::Text(text) => quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A text in back quotes, cut when it is long, on one line.
pub(super) fn quote(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut short: String =
        text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '␣' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

/// Reads the one document of a file.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().filter(|at| *at != Location::UNKNOWN).map(at);
        let message = UserMessageFormatter.format_message(error);
        Fault::new(format!("is not valid YAML: {message}")).at(file, at)
    })?;
    Ok(place(raw, WHOLE_FILE.into(), text))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
            max_recorded_anchor_events: NODES_MAX,
            max_buffered_comment_events: 10_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        // Reported by the reader, with the place of each.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn at(location: Location) -> At {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    At { line: small(location.line()), column: small(location.column()) }
}

/// A value as the parser hands it over, before it has a label.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn place(raw: Spanned<Raw>, label: Rc<str>, text: &str) -> Node {
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(b) => Value::Bool(b),
        Raw::Number(n) => {
            let span = raw.defined.span();
            let written = span.byte_offset().zip(span.byte_len()).and_then(|(offset, len)| {
                let start = usize::try_from(offset).ok()?;
                text.get(start..start.checked_add(usize::try_from(len).ok()?)?)
            });
            let written = written.map_or_else(|| n.to_string(), |w| w.trim().to_owned());
            Value::Number(n, written)
        }
        Raw::Text(t) => Value::Text(t),
        Raw::List(items) => {
            let element = |(i, item)| place(item, format!("{label}[{i}]").into(), text);
            Value::List(items.into_iter().enumerate().map(element).collect())
        }
        Raw::Map(entries) => {
            let entry = |(key, value): (Spanned<String>, _)| {
                let label = key.value.as_str().into();
                (Key { at: at(key.referenced), name: key.value }, place(value, label, text))
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node { at: at(raw.referenced), label, value }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, a boolean, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Raw, E> {
        Ok(Raw::Number(n.into()))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Raw, E> {
        Ok(Raw::Number(n.into()))
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Raw, E> {
        Number::from_f64(n).map(Raw::Number).ok_or_else(|| E::custom("expected a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let At { line, column } = node.at;
        let value = match &node.value {
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let entry =
                    |(k, v): &(Key, Node)| format!("{}@{}:{}={}", k.name, k.at.line, k.at.column, show(v));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
            _ => node.found(),
        };
        format!("{value}@{line}:{column}")
    }

    #[test]
    fn every_value_and_key_has_its_place() {
        let node = parse("f", "a: 2.10\nb:\n  - x\n  - {c: null, 200: off}\na: true\n").unwrap();
        assert_eq!(
            show(&node),
            "{a@1:1=`2.10`@1:4 b@2:1=[`x`@3:5 {c@4:6=nothing@4:9 200@4:15=`off`@4:20}@4:5]@3:3 \
             a@5:1=`true`@5:4}@1:1"
        );
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let node = parse("f", "a: &x {n: 1}\nb: *x\nc:\n  <<: *x\n  m: 2\n").unwrap();
        assert_eq!(
            show(&node),
            "{a@1:1={n@1:8=`1`@1:11}@1:7 b@2:1={n@2:4=`1`@2:4}@2:4 \
             c@3:1={m@5:3=`2`@5:6 n@4:7=`1`@4:7}@4:3}@1:1"
        );
    }

    #[test]
    fn an_empty_file_is_nothing() {
        assert_eq!(show(&parse("f", "# nothing\n").unwrap()), "nothing@2:1");
    }

    #[test]
    fn yes_and_no_are_words() {
        assert_eq!(
            show(&parse("f", "[no, on, 010, 1_000, \"1\"]").unwrap()),
            "[`no`@1:2 `on`@1:6 `010`@1:10 `1_000`@1:15 `1`@1:22]@1:1"
        );
        assert!(matches!(parse("f", "\"1\"").unwrap().value, Value::Text(_)));
        assert!(matches!(parse("f", "no").unwrap().value, Value::Text(_)));
    }

    #[test]
    fn broken_yaml_is_one_problem_with_its_place() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let problem = parse("f", text).unwrap_err().to_string();
            assert_eq!(problem.replace("is not valid YAML: ", ""), expected);
        }
        check("a: [1,\nb: 2", "f:1:4: unclosed bracket '['");
        check("a: !foo 2", "f:1:9: unsupported tag `!foo`");
        check("a: 1\n---\nb: 2\n", "f:3:1: only single YAML document expected but multiple found");
        check("? [a, b]\n: 2\n", "f:1:3: expected string scalar");
        check("a: .inf", "f:1:4: value `.inf` is not a finite number");
    }

    #[test]
    fn bombs_are_refused_before_they_grow() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let problem = parse("f", &bomb).unwrap_err().to_string();
        assert!(problem.contains("too large or too complex"), "{problem}");
        let problem = parse("f", &"[".repeat(10_000)).unwrap_err().to_string();
        assert!(problem.contains("limit"), "{problem}");
    }
}
