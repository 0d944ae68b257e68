//! Rules and their cases, by Prometheus's own promtool.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::dashboards::{files, project};
use crate::parts::part;

fn promtool(arguments: &[&str], files: &[PathBuf]) -> Output {
    let mut command = Command::new(part("CACHETSCOPE_TEST_PROMTOOL"));
    command
        .args(arguments)
        .args(files)
        .current_dir(project().join("grafana/rules"))
        .output()
        .expect("promtool runs")
}

fn paths(folder: &str) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> =
        files(folder, "yaml").into_iter().map(|file| project().join(file.name)).collect();
    assert!(!paths.is_empty(), "{folder} is empty");
    paths
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn promtool_accepts_every_rule() {
    let output = promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &paths("grafana/rules"));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn rules_do_what_their_cases_say() {
    let output = promtool(&["test", "rules"], &paths("grafana/rules/tests"));
    assert!(output.status.success(), "{}", said(&output));
}
