//! `$name`, `${name}` and `${name:format}` in an expression, replaced as Grafana does.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Values by name; those with `__` are Grafana's own.
pub type Values = BTreeMap<String, String>;

/// How a value gets into an expression.
fn formatted(value: &str, format: Option<&str>) -> String {
    match format {
        Some("raw" | "text") => value.trim_start_matches('(').trim_end_matches(')').to_owned(),
        _ => value.to_owned(),
    }
}

/// `$1` and the like belong to `label_replace`.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$\{(\w+)(?::(\w+))?\}|\$([A-Za-z_]\w*)|\[\[(\w+)\]\]").expect("a pattern by hand")
});

/// The error names a variable that has no value.
pub fn substitute(text: &str, values: &Values) -> Result<String, String> {
    let mut missing = None;
    let replaced = VARIABLE.replace_all(text, |found: &Captures| {
        let name = found.get(1).or(found.get(3)).or(found.get(4)).map_or("", |m| m.as_str());
        match values.get(name) {
            Some(value) => formatted(value, found.get(2).map(|m| m.as_str())),
            None => {
                missing.get_or_insert_with(|| name.to_owned());
                String::new()
            }
        }
    });
    match missing {
        None => Ok(replaced.into_owned()),
        Some(name) => Err(format!("no variable `${name}`")),
    }
}

/// Values of a variable that may have several, as Grafana writes them into a query of Prometheus.
pub fn joined(values: &[String]) -> String {
    match values {
        [one] => escaped(one),
        many => format!("({})", many.iter().map(|v| escaped(v)).collect::<Vec<_>>().join("|")),
    }
}

/// For a regular expression within a string of PromQL.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '\\' => text.push_str(r"\\\\"),
            c if "$^*{}[]'+?.()|".contains(c) => {
                text.push_str(r"\\");
                text.push(c);
            }
            c => text.push(c),
        }
    }
    text
}

#[test]
fn variables_are_replaced_as_grafana_does() {
    let values: Values = [("db", "mariadb"), ("version", r"(3\\.0|2\\.4)"), ("__rate_interval", "1m")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let replaced = substitute(r#"a{d=~"$db",v=~"${version:regex}"}[$__rate_interval]"#, &values);
    assert_eq!(replaced.unwrap(), r#"a{d=~"mariadb",v=~"(3\\.0|2\\.4)"}[1m]"#);
    assert_eq!(
        substitute(r#"label_replace(a, "b", "$1", "c", "(.*)")"#, &values).unwrap().matches("$1").count(),
        1
    );
    assert_eq!(substitute("$__rate_intervals", &values).unwrap_err(), "no variable `$__rate_intervals`");
    assert_eq!(joined(&["3.0.0-dev.1".to_owned(), "2.4".to_owned()]), r"(3\\.0\\.0-dev\\.1|2\\.4)");
    assert_eq!(joined(&["a+b".to_owned()]), r"a\\+b");
}
