//! The rules themselves: a sample keeps all of them, and each copy of it that breaks one is refused, in
//! words that name the place.

use serde_json::{Value, json};

use super::files::{Grafana, empty, model, rules};
use super::problems_of;

const SAMPLE: &str = include_str!("sample.json");
const RULES: &str = "
groups:
  - name: sample
    interval: 15s
    rules:
      - record: cachetscope:sample_delta:max
        expr: max by (deployment_environment_name, db_system_name) (cachetscope_deployment_duration_delta_seconds)
      - alert: Silent
        expr: absent(cachetscope_target_version_rank)
        for: 5m
        labels: { severity: critical }
        annotations: { summary: nothing is heard, dashboard: /d/cachetscope-sample }
";
const EMPTY: &str = "
- { dashboard: cachetscope-sample, panel: What is the verdict?, because: verdicts are not built yet }
";

fn problems(sample: &Value, rules_text: &str, empty_text: &str) -> Vec<String> {
    let (dashboard, mut problems) = model::parse("sample.json", &sample.to_string());
    let mut grafana = Grafana { dashboards: Vec::new(), rules: Vec::new(), empty: Vec::new() };
    grafana.dashboards.extend(dashboard.map(|dashboard| ("sample.json".to_owned(), dashboard)));
    match rules::parse("sample.yaml", rules_text) {
        Ok(rules) => grafana.rules.push(("sample.yaml".to_owned(), rules)),
        Err(problem) => problems.push(problem),
    }
    match empty::parse(empty_text) {
        Ok(list) => grafana.empty = list,
        Err(problem) => problems.push(problem),
    }
    problems.extend(problems_of(&grafana));
    problems
}

fn sample() -> Value {
    serde_json::from_str(SAMPLE).unwrap()
}

/// The first problem says this; others may follow from it.
fn refused(what: &str, problems: &[String], words: &str) {
    let right = problems.first().is_some_and(|problem| problem.contains(words));
    assert!(right, "{what}: `{words}` expected, found:\n{}", problems.join("\n"));
}

#[test]
fn the_sample_keeps_the_rules() {
    let found = problems(&sample(), RULES, EMPTY);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_copy_that_breaks_a_rule_is_refused() {
    const RATE: &str = "/panels/1/targets/0/expr";
    const VERDICT: &str = "/panels/2/fieldConfig/overrides/0/properties/1/value/0/options";
    let delta = "round(cachetscope:sample_delta:max)";
    // Where, what stands there instead (nothing: the field is taken out), words of the problem.
    let cases: &[(&str, Option<Value>, &str)] = &[
        ("/id", Some(json!(7)), "id: "),
        ("/id", None, "missing field `id`"),
        ("/gnetId", Some(json!(7)), "unknown field `gnetId`"),
        ("/editable", Some(json!(true)), "uneditable-dashboard"),
        ("/schemaVersion", Some(json!(43)), "at most 42"),
        ("/description", Some(json!("")), "title and description"),
        ("/links/0/url", Some(json!("/d/other")), "the dashboard `other`"),
        ("/links/0/url", Some(json!("/d/cachetscope-sample?var-db=a")), "sets `db`"),
        ("/links/0/url", Some(json!("/d/cachetscope-sample?${database:queryparam}")), "sets `database`"),
        (
            "/annotations/list/0/expr",
            Some(json!("cachetscope_deployed")),
            "annotation `Deployments`: nothing is called",
        ),
        ("/templating/list/0/name", Some(json!("source")), "template-datasource-rule"),
        ("/templating/list/0/current/value", Some(json!("mine")), "template-datasource-rule"),
        ("/templating/list/1/query", Some(json!("label_values(up, colour)")), "template-label-promql-rule"),
        (
            "/templating/list/1/query",
            Some(json!("query_result(up)")),
            "label_values(selector, label) expected",
        ),
        ("/templating/list/1/refresh", Some(json!(1)), "template-on-time-change-reload-rule"),
        ("/templating/list/1/datasource/uid", Some(json!("prometheus")), "is not ${datasource}"),
        (
            "/panels/1/type",
            Some(json!("heatmap")),
            "panel `How many requests are made?`: type: unknown variant `heatmap`",
        ),
        ("/panels/1/colour", Some(json!("red")), "unknown field `colour`"),
        ("/panels/1/id", Some(json!(1)), "the same id 1"),
        ("/panels/1/title", Some(json!("")), "panel-title-description-rule"),
        ("/panels/1/description", None, "panel-title-description-rule"),
        ("/panels/1/gridPos/w", Some(json!(13)), "lie upon each other"),
        ("/panels/2/gridPos/x", Some(json!(13)), "24 columns"),
        ("/panels/1/datasource", None, "panel-datasource-rule"),
        ("/panels/1/targets", Some(json!([])), "panel-no-targets-rule"),
        ("/panels/1/targets/0/datasource/uid", Some(json!("prometheus")), "is not ${datasource}"),
        ("/panels/1/targets/0/datasource/type", Some(json!("graphite")), "targets[0].datasource.type"),
        ("/panels/1/targets/0/step", Some(json!(10)), "targets[0].step: unknown field `step`"),
        ("/panels/1/fieldConfig/defaults/unit", None, "panel-units-rule"),
        ("/panels/1/fieldConfig/defaults/unit", Some(json!("requests")), "unknown unit `requests`"),
        ("/panels/1/fieldConfig/defaults/noValue", None, "noValue"),
        ("/panels/1/fieldConfig/defaults/color", None, "thresholds of its own"),
        (
            "/panels/1/fieldConfig/defaults/custom/drawStyle",
            Some(json!("stairs")),
            "custom.drawStyle: \"stairs\" found",
        ),
        ("/panels/1/fieldConfig/defaults/custom/steps", Some(json!(1)), "unknown field `steps`"),
        ("/panels/1/options/graphMode", Some(json!("none")), "unknown field `graphMode`"),
        ("/panels/1/options/legend/calcs", Some(json!("max")), "options.legend.calcs: \"max\" found"),
        (
            RATE,
            Some(json!("rate(http_client_request_duration_seconds_count[1m]) or (")),
            "target-promql-rule",
        ),
        (
            RATE,
            Some(json!("sum by (db_system_name) (rate(http_client_request_duration_seconds_count[1m]))")),
            "target-rate-interval-rule",
        ),
        (
            RATE,
            Some(json!("sum by (db_system_name) (cachetscope_probe_runs_total)")),
            "target-counter-agg-rule",
        ),
        (
            RATE,
            Some(json!("sum by (db_system_name) (rate(cachetscope_probe_up[$__rate_interval]))")),
            "is a gauge",
        ),
        (
            RATE,
            Some(json!("sum by (db_system_name) (cachetscope_request_median)")),
            "nothing is called `cachetscope_request_median`",
        ),
        (
            RATE,
            Some(json!("sum by (db_system_name) ({__name__=~\"cachetscope_tests_.*\"})")),
            "no metric has a name like",
        ),
        (
            RATE,
            Some(json!("sum by (db_system_name) (cachetscope_probe_up{flavour=\"a\"})")),
            "a label `flavour`",
        ),
        (RATE, Some(json!("sum by (db_system_name, flavour) (cachetscope_probe_up)")), "a label `flavour`"),
        (
            RATE,
            Some(json!("sum by (cachetscope_target_version) (cachetscope_probe_up)")),
            "the legend shows `{{db_system_name}}`",
        ),
        (
            RATE,
            Some(json!(
                "sum by (db_system_name) (cachetscope_probe_up{deployment_environment_name=\"$env\"})"
            )),
            "no variable `$env`",
        ),
        ("/panels/2/transformations/0/id", Some(json!("mergeAll")), "unknown transformation `mergeAll`"),
        (
            "/panels/2/transformations/1/options/include/names/1",
            Some(json!("verdict_value")),
            "there is no column `verdict_value`",
        ),
        ("/panels/2/transformations/2/options/renames", Some(json!({})), "unknown field `renames`"),
        (
            "/panels/2/fieldConfig/overrides/0/matcher/options",
            Some(json!("judgement")),
            "there is no column `judgement`",
        ),
        (
            "/panels/2/fieldConfig/overrides/0/properties/0/id",
            Some(json!("custom.size")),
            "unknown property `custom.size`",
        ),
        ("/panels/2/options/sortBy/0/displayName", Some(json!("Value #A")), "there is no column `Value #A`"),
        (&format!("{VERDICT}/regressed/color"), Some(json!("#ff0000")), "`regressed` looks like"),
        (
            &format!("{VERDICT}/regressed/color"),
            Some(json!("rgba(185, 53, 37, 0)x")),
            "`regressed` looks like",
        ),
        (&format!("{VERDICT}/improved/text"), Some(json!("better")), "`improved` looks like"),
        (&format!("{VERDICT}/invalid"), None, "knows 6 of 7"),
        ("/panels/3/fieldConfig/defaults/color/mode", Some(json!("rainbow")), "unknown variant `rainbow`"),
        (
            "/panels/3/fieldConfig/defaults/links/0/url",
            Some(json!("/d/cachetscope-none?a=b")),
            "cachetscope-none",
        ),
        (
            "/panels/3/targets/0/expr",
            Some(json!(format!("{delta} > bool 0 or {delta} unless"))),
            "target-promql-rule",
        ),
        (
            "/panels/3/fieldConfig/defaults",
            Some(json!({
                "unit": "s", "noValue": "-", "color": { "mode": "thresholds" },
                "thresholds": { "mode": "absolute", "steps": [{ "color": "#b93524", "value": 1 }] }
            })),
            "coloured by thresholds",
        ),
        (
            "/panels/3/fieldConfig/defaults",
            Some(json!({
                "unit": "s", "noValue": "-", "color": { "mode": "fixed", "fixedColor": "text" },
                "mappings": [{ "type": "range", "options": { "from": 1, "to": null, "result": { "color": "red" } } }]
            })),
            "only a verdict may",
        ),
        (
            "/panels/2/fieldConfig/overrides/0",
            Some(json!({
                "matcher": { "id": "byName", "options": "fail" },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": "red" } }]
            })),
            "the series `fail` looks like",
        ),
        ("/panels/4/targets/0/datasource/uid", Some(json!("${tempo}")), "is not tempo"),
        ("/panels/4/targets/0/queryType", Some(json!("search")), "unknown variant `search`"),
        ("/panels/4/targets/0/query", Some(json!("{ name = `$name` }")), "no variable `$name`"),
    ];
    for (place, value, words) in cases {
        let mut copy = sample();
        let (parent, field) = place.rsplit_once('/').unwrap();
        let parent = copy.pointer_mut(parent).unwrap_or_else(|| panic!("the sample has no {place}"));
        match (parent, value) {
            (Value::Object(object), Some(value)) => drop(object.insert(field.to_owned(), value.clone())),
            (Value::Object(object), None) => drop(object.shift_remove(field).expect("a field to take out")),
            (Value::Array(list), Some(value)) => list[field.parse::<usize>().unwrap()] = value.clone(),
            _ => panic!("{place} cannot be changed"),
        }
        refused(&format!("{place} = {value:?}"), &problems(&copy, RULES, EMPTY), words);
    }
}

#[test]
fn rules_that_break_a_rule_are_refused() {
    let cases = [
        ("interval: 15s", "evry: 15s", "evry"),
        (
            "cachetscope_deployment_duration_delta_seconds",
            "cachetscope_deployment_delta",
            "nothing is called",
        ),
        (
            "cachetscope_deployment_duration_delta_seconds)",
            "cachetscope_deployment_duration_delta_seconds",
            "target-promql-rule",
        ),
        (
            "by (deployment_environment_name, db_system_name)",
            "by (deployment_environment_name, db_system_name, x)",
            "label `x`",
        ),
        ("severity: critical", "severity: bad", "severity `bad`"),
        ("summary: nothing is heard, ", "", "no annotation `summary`"),
        ("/d/cachetscope-sample", "/d/cachetscope", "`cachetscope`, which does not exist"),
        ("alert: Silent", "alert: cachetscope:sample_delta:max", "the same name"),
    ];
    for (found, instead, words) in cases {
        let text = RULES.replace(found, instead);
        assert_ne!(text, RULES, "{found}");
        refused(instead, &problems(&sample(), &text, EMPTY), words);
    }
}

#[test]
fn a_list_of_empty_panels_that_is_wrong_is_refused() {
    let cases = [
        ("What is the verdict?", "What?", "there is no panel `What?`"),
        ("cachetscope-sample", "cachetscope-none", "on `cachetscope-none`"),
        ("verdicts are not built yet", "''", "has no reason"),
        ("because", "why", "unknown field"),
    ];
    for (found, instead, words) in cases {
        refused(instead, &problems(&sample(), RULES, &EMPTY.replace(found, instead)), words);
    }
    refused("twice", &problems(&sample(), RULES, &EMPTY.repeat(2)), "there twice");
}
