//! Target groups in Prometheus's format (HTTP SD and file SD): a list of `{targets, labels}`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::super::problem::{At, Fault, Problem, Problems, Sink};
use super::super::reader::{Fields, elements, entries, keep};
use super::super::surroundings::Surroundings;
use super::super::yaml::{self, Node};
use super::super::{Env, value};
use super::labels::{Known, Labels};
use crate::model::Deployment;

/// Targets of one source, or of one file, that are meant for us.
pub const TARGETS_MAX: usize = 1_000;
/// What Prometheus says beside the address, and what it ignores with us.
const SCHEME: &str = "__scheme__";

/// What a source knows, as far as it is sound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    pub deployments: Vec<Deployment>,
    /// Why the others are not taken.
    pub problems: Vec<Problem>,
}

/// Several targets with the labels that they share.
struct Group {
    targets: Vec<(String, Option<At>)>,
    labels: Vec<(String, String, Option<At>)>,
}

/// Reads a file, by its ending as JSON or as YAML; `called` is how problems name it.
///
/// # Errors
/// When the file is no list of target groups: then nothing of it is known.
pub fn of_file(path: &Path, called: &str, prefix: &str) -> Result<Targets, Problems> {
    let env = Env::default();
    let sink = Sink::new(called);
    let text = sink.keep(None, Surroundings::new(&env, Path::new("")).read(path));
    let groups = text.map(|text| match path.extension() {
        Some(ending) if ending == "json" => from_json(&sink, &text),
        _ => from_yaml(&sink, &text),
    });
    finish(sink, groups.unwrap_or_default(), prefix)
}

/// Reads what an HTTP SD endpoint answered.
///
/// # Errors
/// When it is no list of target groups.
pub fn of_answer(text: &str, called: &str, prefix: &str) -> Result<Targets, Problems> {
    let sink = Sink::new(called);
    let groups = from_json(&sink, text);
    finish(sink, groups, prefix)
}

fn finish(sink: Sink, groups: Vec<Group>, prefix: &str) -> Result<Targets, Problems> {
    let file = sink.file.clone();
    let mut targets = Targets::default();
    let mut count = 0;
    for group in &groups {
        let labels = group.labels.iter().map(|(name, value, at)| (name.as_str(), value.as_str(), *at));
        let labels = Labels::placed(prefix, labels);
        if !labels.are_meant() {
            continue;
        }
        let scheme =
            group.labels.iter().find(|(name, ..)| name == SCHEME).map(|(_, value, _)| value.as_str());
        for (target, at) in &group.targets {
            count += 1;
            if count > TARGETS_MAX {
                continue;
            }
            match of_target(target, scheme, &labels) {
                Ok(deployment) => targets.deployments.push(deployment),
                Err(faults) => targets.problems.extend(faults.into_iter().map(|(place, fault)| {
                    let message = format!("target {} is not probed: {}", yaml::quote(target), fault.message);
                    Fault { message, ..fault }.at(&file, place.or(*at))
                })),
            }
        }
    }
    if count > TARGETS_MAX {
        let fault = Fault::new(format!("holds {count} targets; expected at most {TARGETS_MAX}"));
        sink.report(None, fault.hint("split them over several sources"));
    }
    match Problems::of(sink.into_parts().0) {
        Some(problems) => Err(problems),
        None => Ok(targets),
    }
}

fn of_target(
    target: &str,
    scheme: Option<&str>,
    labels: &Labels,
) -> Result<Deployment, Vec<(Option<At>, Fault)>> {
    // Blackbox exporters are given whole URLs as targets.
    let name = Url::parse(target).ok().filter(|_| target.contains("://")).map(|url| authority(&url));
    let known = Known { name: name.as_deref().unwrap_or(target), scheme, ..Known::default() };
    let address = || Ok(target.to_owned());
    let wrong = |wrong: super::labels::Wrong| (wrong.at, wrong.fault);
    labels.deployment(&known, address).map_err(|all| all.into_iter().map(wrong).collect())
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[derive(Deserialize)]
struct JsonGroup {
    targets: Vec<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// By serde, since JSON escapes what YAML does not; it tells no places but that of its own errors.
fn from_json(sink: &Sink, text: &str) -> Vec<Group> {
    match serde_json::from_str::<Vec<JsonGroup>>(text) {
        Ok(groups) => groups
            .into_iter()
            .map(|group| Group {
                targets: group.targets.into_iter().map(|target| (target, None)).collect(),
                labels: group.labels.into_iter().flatten().map(|(name, value)| (name, value, None)).collect(),
            })
            .collect(),
        Err(error) => {
            let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let at = At { line: small(error.line()), column: small(error.column().max(1)) };
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or(&words);
            let fault = Fault::new(format!("is no list of target groups: {words}"));
            sink.report(
                Some(at).filter(|at| at.line > 0),
                fault.hint("expected `[{\"targets\": [\"host:port\"], \"labels\": {…}}]`"),
            );
            Vec::new()
        }
    }
}

fn from_yaml(sink: &Sink, text: &str) -> Vec<Group> {
    let node = match yaml::parse(&sink.file, text) {
        Ok(node) => node,
        Err(problem) => {
            sink.add(problem);
            return Vec::new();
        }
    };
    if !matches!(node.value, yaml::Value::List(_)) {
        keep::<()>(sink, &node, |node| Err(value::expected("a list of target groups", node)));
        return Vec::new();
    }
    elements(sink, Some(node)).into_iter().filter_map(|node| yaml_group(sink, node)).collect()
}

fn yaml_group(sink: &Sink, node: Node) -> Option<Group> {
    let mut fields = Fields::of(sink, node, "the target group")?;
    let targets = fields.need_node("targets");
    let labels = fields.take("labels");
    fields.finish();
    let target =
        |node: &Node| Some((keep(sink, node, |n| value::text(n).map(str::to_owned))?, Some(node.at)));
    let targets = elements(sink, targets).iter().filter_map(target).collect();
    let labels = match labels {
        None | Some(Node { value: yaml::Value::Null, .. }) => Vec::new(),
        Some(node) => entries(sink, node)?,
    };
    let label = |(key, node): (yaml::Key, Node)| {
        // A version such as 2.10 is no number here.
        let value = keep(sink, &node, |n| value::written(n).map(str::to_owned))?;
        Some((key.name, value, Some(node.at)))
    };
    Some(Group { targets, labels: labels.into_iter().filter_map(label).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Result<Targets, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        of_file(&path, name, "cachetscope_").map_err(|problems| problems.to_string())
    }

    fn shown(targets: &Targets) -> Vec<String> {
        let line = |d: &Deployment| format!("{} {} {} {}", d.name, d.version, d.db, d.url);
        targets.deployments.iter().map(line).collect()
    }

    fn problems(targets: &Targets) -> Vec<String> {
        targets.problems.iter().map(ToString::to_string).collect()
    }

    const JSON: &str = r#"[
        {"targets": ["127.0.0.1:8101", "https://cachet.example/status"],
         "labels": {"cachetscope_version": "v2.4.1", "cachetscope_db": "mysql", "__metrics_path__": "/m",
                    "team": "\ud83d\ude00"}},
        {"targets": ["cachet.example:8443"],
         "labels": {"cachetscope_version": "3.0.0-dev.1", "cachetscope_db": "sqlite", "__scheme__": "https"}},
        {"targets": ["node:9100"], "labels": {"job": "node"}},
        {"targets": ["db:3306"]}
    ]"#;

    #[test]
    fn both_forms_are_read_and_the_targets_of_others_left_alone() {
        let expected = [
            "127.0.0.1-8101 2.4.1 mysql http://127.0.0.1:8101/",
            "cachet.example 2.4.1 mysql https://cachet.example/status",
            "cachet.example-8443 3.0.0-dev.1 sqlite https://cachet.example:8443/",
        ];
        let json = file("a.json", JSON).unwrap();
        assert_eq!((shown(&json), problems(&json)), (expected.map(str::to_owned).to_vec(), Vec::new()));
        let yaml = "- targets: ['127.0.0.1:8101', 'https://cachet.example/status']\n  \
                      labels: {cachetscope_version: v2.4.1, cachetscope_db: mysql}\n\
                    - targets: ['cachet.example:8443']\n  \
                      labels: {cachetscope_version: 3.0.0-dev.1, cachetscope_db: sqlite, __scheme__: https}\n\
                    - targets: ['node:9100']\n";
        assert_eq!(shown(&file("a.yml", yaml).unwrap()), expected);
        assert_eq!(file("none.json", "[]").unwrap(), Targets::default());
        assert_eq!(of_answer(JSON, "http_sd", "cachetscope_").unwrap().deployments.len(), 3);
    }

    #[test]
    fn a_wrong_label_leaves_its_target_out_and_says_where_it_stands() {
        let yaml = "- targets:\n    - a:1\n    - b:2/x?y\n  labels:\n    cachetscope_version: 2.10.0\n    \
                    cachetscope_db: mariab\n- targets: ['c:3']\n  labels: {cachetscope_version: 2.10, cachetscope_db: sqlite}\n";
        let targets = file("a.yaml", yaml).unwrap();
        assert_eq!(shown(&targets), ["c-3 2.10 sqlite http://c:3/"]);
        let wrong = "unknown database `mariab`; expected one of sqlite, mysql, mariadb, postgresql, microsoft.sql_server\n    \
                     hint: did you mean `mariadb`?";
        assert_eq!(
            problems(&targets),
            [
                format!("a.yaml:6:21: target `a:1` is not probed: label `cachetscope_db`: {wrong}"),
                format!("a.yaml:6:21: target `b:2/x?y` is not probed: label `cachetscope_db`: {wrong}"),
                "a.yaml:3:7: target `b:2/x?y` is not probed: expected a URL without query or fragment\n    \
                 hint: requests bring their own path and query"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn what_is_no_list_of_groups_is_refused_as_a_whole() {
        #[track_caller]
        fn refuses(name: &str, text: &str, expected: &str) {
            let found = file(name, text).unwrap_err();
            assert_eq!(found.lines().next().unwrap(), expected);
        }
        let none = "is no list of target groups:";
        refuses("a.json", "", &format!("a.json:1:1: {none} EOF while parsing a value"));
        refuses(
            "a.json",
            "[{\"targets\": \"a\"}]",
            &format!("a.json:1:16: {none} invalid type: string \"a\", expected a sequence"),
        );
        refuses("a.json", "<html>", &format!("a.json:1:1: {none} expected value"));
        refuses("a.json", "[{\"labels\": {}}]", &format!("a.json:1:15: {none} missing field `targets`"));
        refuses("a.yaml", "", "a.yaml:1:1: the file: expected a list of target groups, found nothing");
        refuses("a.yaml", "- target: [a]\n", "a.yaml:1:3: missing key `targets` in the target group");
        refuses("a.yaml", "- targets: [1]\n", "a.yaml:1:13: `targets[0]`: expected text, found `1`");
        let many = format!(
            "[{{\"targets\":[{}\"z:1\"],\"labels\":{{\"cachetscope_db\":\"x\"}}}}]",
            "\"a:1\",".repeat(1_000)
        );
        refuses("a.json", &many, "a.json: holds 1001 targets; expected at most 1000");
    }
}
