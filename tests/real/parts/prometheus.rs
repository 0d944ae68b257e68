//! A real Prometheus: the configuration that is shipped, with targets and rules beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::part;
use super::process::{Process, ask};

/// The labels of a series, with its name.
pub type Labels = BTreeMap<String, String>;

pub struct Prometheus {
    dir: PathBuf,
    pub address: SocketAddr,
    process: Option<Process>,
}

/// Points of time and value, or just the one asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: Labels,
    pub points: Vec<(f64, f64)>,
}

impl Prometheus {
    /// `targets` is a file for `file_sd_configs`.
    pub fn prepare(dir: &Path, address: SocketAddr, targets: &str) -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let rules = dir.join("rules");
        std::fs::create_dir_all(&rules).expect("a folder for rules");
        std::fs::copy(project.join("otel-collector/prometheus.yaml"), dir.join("prometheus.yaml"))
            .expect("the configuration can be copied");
        std::fs::write(dir.join("targets.yaml"), targets).expect("a file of targets");
        for file in std::fs::read_dir(project.join("grafana/rules")).expect("there are rules") {
            let path = file.expect("a file of rules").path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                std::fs::copy(&path, rules.join(path.file_name().expect("a file has a name")))
                    .expect("a copy of rules");
            }
        }
        Prometheus { dir: dir.to_owned(), address, process: None }
    }

    /// Again after a kill, too: its data stay.
    pub async fn start(&mut self) -> Result<(), String> {
        let mut command = Command::new(part("CACHETSCOPE_TEST_PROMETHEUS"));
        command
            .arg(format!("--config.file={}", self.dir.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", self.dir.join("tsdb").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .args(["--web.enable-otlp-receiver", "--enable-feature=exemplar-storage"]);
        let mut process = Process::start("prometheus", &self.dir, &mut command);
        process.ready(self.address, "/-/ready").await?;
        self.process = Some(process);
        Ok(())
    }

    pub fn kill(&mut self) {
        self.process.take().expect("Prometheus runs").kill();
    }

    /// At this time, or now.
    pub async fn query(&self, expr: &str, at: Option<f64>) -> Result<Vec<Series>, String> {
        let at = at.map(|at| at.to_string());
        let mut parameters = vec![("query", expr)];
        parameters.extend(at.as_deref().map(|at| ("time", at)));
        ask(self.address, "/api/v1/query", &parameters).await.map(|answer| series(&answer))
    }

    /// From `start` to `end` in seconds since 1970, a point in every `step` seconds.
    pub async fn query_range(
        &self,
        expr: &str,
        start: f64,
        end: f64,
        step: u32,
    ) -> Result<Vec<Series>, String> {
        let (start, end, step) = (start.to_string(), end.to_string(), step.to_string());
        let parameters = [("query", expr), ("start", &*start), ("end", &*end), ("step", &*step)];
        ask(self.address, "/api/v1/query_range", &parameters).await.map(|answer| series(&answer))
    }

    /// The values that a label has, sorted; those of the series which the selector selects.
    pub async fn label_values(&self, label: &str, selector: Option<&str>) -> Result<Vec<String>, String> {
        let parameters: Vec<_> = selector.map(|selector| ("match[]", selector)).into_iter().collect();
        let answer = ask(self.address, &format!("/api/v1/label/{label}/values"), &parameters).await?;
        let values = answer["data"].as_array().into_iter().flatten();
        Ok(values.filter_map(|value| value.as_str().map(str::to_owned)).collect())
    }

    /// The traces that exemplars of these series lead to.
    pub async fn exemplar_traces(&self, expr: &str, start: f64, end: f64) -> Result<Vec<String>, String> {
        let (start, end) = (start.to_string(), end.to_string());
        let parameters = [("query", expr), ("start", &*start), ("end", &*end)];
        let answer = ask(self.address, "/api/v1/query_exemplars", &parameters).await?;
        let found = answer["data"].as_array().into_iter().flatten();
        let exemplars = found.flat_map(|series| series["exemplars"].as_array().into_iter().flatten());
        Ok(exemplars.filter_map(|one| one["labels"]["trace_id"].as_str().map(str::to_owned)).collect())
    }

    /// Every rule, as `/api/v1/rules` has it.
    pub async fn rules(&self) -> Result<Vec<Value>, String> {
        let answer = ask(self.address, "/api/v1/rules", &[]).await?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    }
}

fn series(answer: &Value) -> Vec<Series> {
    let data = &answer["data"];
    let point = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
    if data["resultType"] == "scalar" {
        let points = point(&data["result"]).into_iter().collect();
        return vec![Series { labels: Labels::new(), points }];
    }
    let result = data["result"].as_array().into_iter().flatten();
    let one = |found: &Value| Series {
        labels: serde_json::from_value(found["metric"].clone()).unwrap_or_default(),
        points: match found["values"].as_array() {
            Some(values) => values.iter().filter_map(point).collect(),
            None => point(&found["value"]).into_iter().collect(),
        },
    };
    result.map(one).collect()
}
