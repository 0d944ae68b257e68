//! `grafana/empty.yaml`: the panels that rightly show nothing in the demo, each with the reason.

use serde::Deserialize;

pub const FILE: &str = "grafana/empty.yaml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The dashboard's uid.
    pub dashboard: String,
    /// The panel's title.
    pub panel: String,
    /// The `refId` of the only query that is empty; all of them unless told.
    pub query: Option<String>,
    pub because: String,
    /// It has data at times, such as when something is wrong: it is not held to be empty either.
    #[serde(default)]
    pub may: bool,
}

pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    serde_saphyr::from_str::<Option<Vec<Entry>>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|error| format!("{FILE}: {error}"))
}

/// What the list says of this query.
pub fn entry<'a>(list: &'a [Entry], dashboard: &str, panel: &str, query: &str) -> Option<&'a Entry> {
    list.iter().find(|entry| {
        let of_query = entry.query.as_deref().is_none_or(|only| only == query);
        entry.dashboard == dashboard && entry.panel == panel && of_query
    })
}
