//! Which columns a panel has, followed through its transformations: whatever is sorted, renamed or set by
//! name must be there, or Grafana leaves it without a word.

use std::collections::BTreeSet;

use serde_json::Value;

use super::files::model::{Format, MatcherKind, Panel, PrometheusTarget, Transformation};

/// Of one panel: names of columns, as long as they can be told.
#[derive(Default)]
pub struct Columns {
    names: BTreeSet<String>,
    targets: Vec<String>,
    legends: BTreeSet<String>,
    /// Those of the names that are of values, not of labels.
    numbers: BTreeSet<String>,
    /// There may be others.
    open: bool,
}

impl Columns {
    /// What comes is not known by name, as from a search for traces.
    pub fn open(&mut self) {
        self.open = true;
    }

    pub fn add(&mut self, target: &PrometheusTarget, labels: BTreeSet<String>) {
        match target.format {
            Some(Format::Table) => {
                self.names.extend(labels);
                self.names.insert("Time".to_owned());
            }
            // A series is called by its legend, which its labels fill.
            _ => match target.legend_format.as_deref() {
                Some(legend) if !legend.contains("{{") && legend != "__auto" => {
                    self.legends.insert(legend.to_owned());
                }
                _ => self.open = true,
            },
        }
        self.targets.push(target.ref_id.clone());
    }

    /// What is wrong with the transformations and overrides, in this order.
    pub fn follow(&mut self, panel: &Panel) -> Vec<String> {
        if self.targets.len() > 1 {
            self.numbers.extend(self.targets.iter().map(|id| format!("Value #{id}")));
        }
        // It is called so also when all other targets have no answer.
        if !self.targets.is_empty() {
            self.numbers.insert("Value".to_owned());
        }
        self.numbers.append(&mut self.legends);
        self.names.extend(self.numbers.iter().cloned());
        self.names.insert("Time".to_owned());
        let mut problems = Vec::new();
        for transformation in &panel.transformations {
            let found = self.transform(transformation);
            let id = &transformation.id;
            problems.extend(found.into_iter().map(|problem| format!("transformation {id}: {problem}")));
        }
        for rule in &panel.field_config.overrides {
            if let (MatcherKind::Name, Some(name)) = (rule.matcher.id, rule.matcher.options.as_str()) {
                problems.extend(self.missing(name).map(|problem| format!("override: {problem}")));
            }
        }
        let sorted = panel.options["sortBy"].as_array().into_iter().flatten();
        for name in sorted.filter_map(|by| by["displayName"].as_str()) {
            problems.extend(self.missing(name).map(|problem| format!("sortBy: {problem}")));
        }
        problems
    }

    /// Whether a column of numbers is left in the end.
    pub fn shows_numbers(&self) -> bool {
        !self.names.is_disjoint(&self.numbers)
    }

    fn missing(&self, name: &str) -> Option<String> {
        let there: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let is_missing = !self.open && !self.names.contains(name);
        is_missing.then(|| format!("there is no column `{name}`; there are {}", there.join(", ")))
    }

    fn transform(&mut self, transformation: &Transformation) -> Vec<String> {
        let options = &transformation.options;
        let keys = |name: &str| {
            options[name].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
        };
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let under = |list: &str, name: &str| -> Vec<String> {
            let entries = options[list].as_array().into_iter().flatten();
            entries.filter_map(|entry| entry[name].as_str().map(str::to_owned)).collect()
        };
        let named: Vec<String> = match transformation.id.as_str() {
            "organize" => {
                let parts = ["excludeByName", "includeByName", "indexByName", "renameByName"];
                parts.iter().flat_map(|part| -> Vec<String> { keys(part) }).collect()
            }
            "sortBy" => under("sort", "field"),
            "convertFieldType" => under("conversions", "targetField"),
            "filterFieldsByName" => texts(&options["include"]["names"])
                .into_iter()
                .chain(texts(&options["exclude"]["names"]))
                .collect(),
            "joinByField" => options["byField"].as_str().map(str::to_owned).into_iter().collect(),
            "groupBy" => keys("fields"),
            "filterByValue" => under("filters", "fieldName"),
            "groupingToMatrix" => {
                let parts = ["columnField", "rowField", "valueField"];
                parts.iter().filter_map(|part| options[part].as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        let problems = named.iter().filter_map(|name| self.missing(name)).collect();
        self.change(transformation, options, &texts);
        problems
    }

    fn change(
        &mut self,
        transformation: &Transformation,
        options: &Value,
        texts: &dyn Fn(&Value) -> Vec<String>,
    ) {
        match transformation.id.as_str() {
            "organize" => {
                for (name, excluded) in options["excludeByName"].as_object().into_iter().flatten() {
                    if excluded == true {
                        self.names.remove(name);
                    }
                }
                for (name, new) in options["renameByName"].as_object().into_iter().flatten() {
                    if let Some(new) = new.as_str().filter(|new| !new.is_empty()) {
                        self.names.remove(name);
                        self.names.insert(new.to_owned());
                        if self.numbers.contains(name) {
                            self.numbers.insert(new.to_owned());
                        }
                    }
                }
            }
            "filterFieldsByName" if options["include"]["names"].is_array() => {
                let kept: BTreeSet<String> = texts(&options["include"]["names"]).into_iter().collect();
                self.names.retain(|name| kept.contains(name));
                // What is named is there from here on, wherever it came from.
                if self.open {
                    self.names = kept;
                    self.open = false;
                }
            }
            "groupingToMatrix" => {
                // Its first column is called by both fields; the others by what the data have.
                let part = |name: &str| options[name].as_str().unwrap_or_default().to_owned();
                self.names = [format!("{}\\{}", part("rowField"), part("columnField"))].into();
                self.open = true;
            }
            "merge" | "sortBy" | "limit" | "convertFieldType" | "filterByValue" | "formatTime"
            | "joinByField" => {}
            // The others make columns that only the data name.
            _ => self.open = true,
        }
    }
}
