//! What a stand-in remembers: a few tables of JSON rows in memory.
//!
//! Rows hold their fields in the form their generation shows them, since a stand-in has no other
//! use for them. Tables are bounded: beyond [`ROWS_MAX`] the oldest row that a client made goes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Rows per table; a client that never cleans up costs no more than this.
const ROWS_MAX: usize = 500;

pub(super) type Fields = Map<String, Value>;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Ping,
    Status,
    Version,
    Components,
    Groups,
    Incidents,
    Metrics,
    Points,
    Schedules,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub id: i32,
    /// The metric of a point.
    pub parent: Option<i32>,
    /// Whether visitors without a token see it.
    pub guests: bool,
    pub fields: Fields,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    seeded: usize,
    last_id: i32,
}

impl Table {
    /// The id that the next row will get; ids are never reused, as with an auto-increment column.
    pub fn next_id(&self) -> i32 {
        self.last_id.wrapping_add(1)
    }

    /// Adds a row of a client under [`Table::next_id`].
    pub fn insert(&mut self, parent: Option<i32>, guests: bool, fields: Fields) {
        if self.rows.len() >= ROWS_MAX && self.seeded < self.rows.len() {
            self.rows.remove(self.seeded);
        }
        self.last_id = self.next_id();
        self.rows.push(Row { id: self.last_id, parent, guests, fields });
    }

    /// Adds a row that is there from the start, visible to everyone.
    pub fn seed(&mut self, parent: Option<i32>, fields: Fields) {
        self.insert(parent, true, fields);
        self.seeded = self.rows.len();
    }

    pub fn find(&mut self, id: i32, parent: Option<i32>) -> Option<&mut Row> {
        self.rows.iter_mut().find(|r| r.id == id && r.parent == parent)
    }

    pub fn remove(&mut self, id: i32, parent: Option<i32>) -> bool {
        let Some(at) = self.rows.iter().position(|r| r.id == id && r.parent == parent) else {
            return false;
        };
        self.rows.remove(at);
        self.seeded -= usize::from(at < self.seeded);
        true
    }

    pub fn remove_children(&mut self, parent: i32) {
        let seeded = self.rows[..self.seeded].iter().filter(|r| r.parent == Some(parent)).count();
        self.rows.retain(|r| r.parent != Some(parent));
        self.seeded -= seeded;
    }

    /// By ascending id.
    pub fn children(&self, parent: Option<i32>) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.iter().filter(move |r| r.parent == parent)
    }
}

#[derive(Debug, Default)]
pub(super) struct Tables(BTreeMap<Resource, Table>);

impl Tables {
    pub fn of(&mut self, resource: Resource) -> &mut Table {
        self.0.entry(resource).or_default()
    }
}

/// The fields of a `json!({…})` literal.
pub(super) fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// A text that is not empty, as a `required` rule of Laravel wants it.
pub(super) fn text<'a>(input: &'a Fields, name: &str) -> Option<&'a str> {
    input.get(name).and_then(Value::as_str).filter(|t| !t.trim().is_empty())
}

/// A whole number, also as a boolean or as text: forms and people send all three.
pub(super) fn integer(input: &Fields, name: &str) -> Option<i64> {
    match input.get(name)? {
        Value::Number(n) => n.as_i64(),
        Value::Bool(b) => Some(i64::from(*b)),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

pub(super) fn number(input: &Fields, name: &str) -> Option<f64> {
    match input.get(name)? {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

/// As PHP's `json_encode` writes a float: without a fraction when it has none.
pub(super) fn php_number(n: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if n.fract() == 0.0 && n.abs() < EXACT { Value::from(n as i64) } else { Value::from(n) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_forgets_what_clients_made_and_keeps_the_seeds() {
        let mut table = Table::default();
        table.seed(None, Fields::new());
        for _ in 0..ROWS_MAX + 10 {
            table.insert(None, true, Fields::new());
        }
        let ids: Vec<_> = table.children(None).map(|r| r.id).collect();
        assert_eq!(ids.len(), ROWS_MAX);
        assert_eq!((ids[0], ids[1]), (1, 13));
    }

    #[test]
    fn ids_are_not_reused() {
        let mut table = Table::default();
        table.insert(None, true, Fields::new());
        assert!(table.remove(1, None) && !table.remove(1, None));
        assert_eq!(table.next_id(), 2);
    }

    #[test]
    fn the_points_of_a_metric_go_with_it() {
        let mut table = Table::default();
        table.seed(Some(1), Fields::new());
        table.seed(Some(2), Fields::new());
        table.insert(Some(1), true, Fields::new());
        table.remove_children(1);
        assert_eq!(table.children(Some(1)).count(), 0);
        assert!(table.remove(2, Some(2)));
    }

    #[test]
    fn floats_are_written_as_php_writes_them() {
        assert_eq!(php_number(3.0).to_string(), "3");
        assert_eq!(php_number(1.5).to_string(), "1.5");
    }
}
