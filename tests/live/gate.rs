//! One run of the gate, and what it said.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Cell;
use crate::wikis::Wikis;

/// More than the gate allows itself.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// No collector is there, which is no part of this.
const COMMAND: &str = "probe --once --suite mediawiki --baseline previous --gate --gate-timeout 15m \
                       --output json --delivery-timeout 1s --log error --color never";

pub struct Verdicts {
    pub exit_code: i32,
    standings: Vec<Value>,
    /// For the message of a failure.
    pub stderr: String,
}

impl Verdicts {
    /// Runs it over all deployments, and prints what it used.
    pub async fn ask(wikis: &Wikis, what: &str) -> Self {
        let started = Instant::now();
        let mut command = wikis.home.command(COMMAND.split_whitespace());
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("the gate still runs after {PATIENCE:?}")).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error} in:\n{}\n{stderr}", String::from_utf8_lossy(&output.stdout))
        });
        let standings = json["cells"].as_array().cloned().unwrap_or_default();
        let verdicts = Verdicts { exit_code: output.status.code().unwrap_or(-1), standings, stderr };
        println!(
            "live: {what}: exit {}, {} after {} rounds, {:.0} s, load {}",
            verdicts.exit_code,
            json["ended"].as_str().unwrap_or_default(),
            json["rounds"],
            started.elapsed().as_secs_f64(),
            load()
        );
        print!("{}", verdicts.table());
        verdicts
    }

    pub fn regressed(&self) -> Vec<Cell> {
        let regressed = self.standings.iter().filter(|standing| standing["verdict"] == "regressed");
        regressed
            .map(|standing| Cell { request: text(standing, "request"), db: text(standing, "db") })
            .collect()
    }

    fn table(&self) -> String {
        self.standings.iter().map(line).collect()
    }
}

/// Processes that ran or waited to, on average over a minute: of a quiet machine about 1.
fn load() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').next().unwrap_or_default().to_owned()
}

fn text(standing: &Value, field: &str) -> String {
    standing[field].as_str().unwrap_or_default().to_owned()
}

fn line(standing: &Value) -> String {
    let assessment = &standing["latency"]["assessment"];
    let (ratio, seconds) = (&assessment["ratio"], &assessment["seconds"]);
    let number = |of: &Value, field: &str| of[field].as_f64().unwrap_or(f64::NAN);
    format!(
        "live:   {:<14} {:<10} {:<12} {:.3} ({:.3} to {:.3}), {:+.2} ms, {} pairs, p {:.1e}, rho {:.2}, {}\n",
        text(standing, "request"),
        text(standing, "db"),
        text(standing, "verdict"),
        number(ratio, "value"),
        number(ratio, "low"),
        number(ratio, "high"),
        number(seconds, "value") * 1e3,
        assessment["pairs"],
        number(assessment, "p"),
        number(assessment, "rho"),
        text(standing, "rule"),
    )
}
