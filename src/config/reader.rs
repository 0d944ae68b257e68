//! Reads a mapping key by key, and says what is missing, unknown or written twice.
//!
//! The keys that are asked for are the keys that are known: there is no second list to keep.

use super::problem::{At, Fault, Sink, nearest, one_of};
use super::value::expected;
use super::yaml::{Key, Node, Value, quote};

/// A mapping that is being read. Forgetting [`Fields::finish`] would let unknown keys pass.
pub(super) struct Fields<'a> {
    sink: &'a Sink,
    pub at: At,
    what: String,
    entries: Vec<(Key, Node)>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// `what` completes "missing key `url` in …".
    pub fn of(sink: &'a Sink, node: Node, what: impl Into<String>) -> Option<Self> {
        let (at, what) = (node.at, what.into());
        let entries = entries(sink, node)?;
        Some(Fields { sink, at, what, entries, known: Vec::new() })
    }

    /// How messages call the mapping, once its name is known.
    pub fn call(&mut self, what: impl Into<String>) {
        self.what = what.into();
    }

    pub fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let index = self.entries.iter().position(|(k, _)| k.name == key)?;
        Some(self.entries.remove(index).1)
    }

    /// What `read` makes of the value; `None` when it is absent, or bad and therefore reported.
    pub fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Node) -> Result<T, Fault>,
    ) -> Option<(T, At)> {
        let node = self.take(key)?;
        Some((keep(self.sink, &node, read)?, node.at))
    }

    /// As [`Fields::take`], and absence is reported.
    pub fn need_node(&mut self, key: &'static str) -> Option<Node> {
        if !self.has(key) {
            self.sink.report(self.at, Fault::new(format!("missing key `{key}` in {}", self.what)));
        }
        self.take(key)
    }

    /// As [`Fields::get`], and absence is reported too.
    pub fn need<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Node) -> Result<T, Fault>,
    ) -> Option<(T, At)> {
        let node = self.need_node(key)?;
        Some((keep(self.sink, &node, read)?, node.at))
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k.name == key)
    }

    /// Whatever was not asked for is unknown.
    pub fn finish(mut self) {
        self.known.sort_unstable();
        self.known.dedup();
        for (key, _) in &self.entries {
            let mut fault = Fault::new(format!(
                "unknown key {} in {}\nexpected {}",
                quote(&key.name),
                self.what,
                one_of(&self.known)
            ));
            if let Some(known) = nearest(&key.name, &self.known) {
                fault = fault.hint(format!("did you mean `{known}`?"));
            }
            self.sink.report(key.at, fault);
        }
    }
}

/// Applies `read`, and reports a fault under the name and at the place of the node.
pub(super) fn keep<T>(sink: &Sink, node: &Node, read: impl FnOnce(&Node) -> Result<T, Fault>) -> Option<T> {
    let named = |fault: Fault| Fault { message: format!("{}: {}", node.called(), fault.message), ..fault };
    sink.keep(node.at, read(node).map_err(named))
}

/// The entries of a mapping; a key that occurs twice is reported, and its first value kept.
pub(super) fn entries(sink: &Sink, node: Node) -> Option<Vec<(Key, Node)>> {
    let Value::Map(all) = node.value else {
        return keep(sink, &node, |node| Err(expected("a mapping", node)));
    };
    let mut kept: Vec<(Key, Node)> = Vec::with_capacity(all.len());
    for (key, value) in all {
        match kept.iter().find(|(k, _)| k.name == key.name) {
            Some((first, _)) => sink.report(
                key.at,
                Fault::new(format!("key {} occurs twice; first in line {}", quote(&key.name), first.at.line)),
            ),
            None => kept.push((key, value)),
        }
    }
    Some(kept)
}

/// The value as JSON, for a body, an expectation or a schema; keys that occur twice are reported.
pub(super) fn json(sink: &Sink, node: Node) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match node.value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(b),
        Value::Number(n, _) => Json::Number(n),
        Value::Text(text) => Json::String(text),
        Value::List(items) => {
            Json::Array(items.into_iter().map(|item| json(sink, item)).collect::<Option<_>>()?)
        }
        Value::Map(_) => {
            let pair = |(key, value): (Key, Node)| Some((key.name, json(sink, value)?));
            Json::Object(entries(sink, node)?.into_iter().map(pair).collect::<Option<_>>()?)
        }
    })
}

/// The elements of a list; an absent or empty value is an empty list.
pub(super) fn elements(sink: &Sink, node: Option<Node>) -> Vec<Node> {
    match node {
        None => Vec::new(),
        Some(Node { value: Value::Null, .. }) => Vec::new(),
        Some(Node { value: Value::List(items), .. }) => items,
        Some(node) => {
            keep::<()>(sink, &node, |node| Err(expected("a list", node)));
            Vec::new()
        }
    }
}
