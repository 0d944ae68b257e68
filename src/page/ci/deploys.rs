//! Deployments as step bars on one time scale, each beside the version before it.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::link;
use crate::history;
use crate::model::{CiResult, Flavour, TraceId};
use crate::page::format::{Count, Percent, Secs, SecsDelta, Time};

/// Deployments that are told of, the newest.
const DEPLOYS_MAX: usize = 40;
/// Step names that have a colour of their own.
const COLORS: usize = 7;

/// Deployments of the last 400 days.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeployHistory {
    /// Newest first, at most 40.
    pub deployments: Vec<Deployed>,
    /// How many there are in all.
    pub known: Count,
}

/// One deployment that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployed {
    pub deployment: String,
    pub version: String,
    #[schema(value_type = String, example = "mysql")]
    pub db: Flavour,
    pub environment: String,
    /// When it ended.
    pub at: Time,
    /// Null when its beginning is not known.
    pub seconds: Option<f64>,
    pub result: CiResult,
    pub steps: Vec<DeployedStep>,
    /// The version just before it on the same flavour and environment; null when none is known.
    pub previous_version: Option<String>,
    pub previous_seconds: Option<f64>,
    /// Against the version before; negative when it was faster. An indication: one deployment each.
    pub delta_seconds: Option<f64>,
    /// 0.1 is a tenth longer.
    pub delta_ratio: Option<f64>,
    /// A higher version was deployed there before: this one.
    pub rolled_back_from: Option<String>,
    /// The same version was deployed there before, from another image.
    pub is_rebuild: bool,
    pub digest: Option<String>,
    pub commit: Option<String>,
    pub pipeline: String,
    pub run: String,
    /// Where the CI shows it.
    pub url: Option<String>,
    #[schema(value_type = String)]
    pub trace: TraceId,
}

/// A part of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeployedStep {
    pub name: String,
    /// After the beginning of the deployment.
    pub offset_seconds: f64,
    pub seconds: f64,
    /// Null where nobody told.
    pub result: Option<CiResult>,
    /// Against the same step of the version before.
    pub delta_seconds: Option<f64>,
}

impl DeployHistory {
    pub fn new(deploys: &[history::Deployed]) -> Self {
        DeployHistory {
            deployments: deploys.iter().take(DEPLOYS_MAX).map(Deployed::new).collect(),
            known: deploys.len().into(),
        }
    }

    /// Names of steps in the order of the newest deployments, those that have a colour.
    pub fn legend(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for step in self.deployments.iter().flat_map(|d| &d.steps) {
            if names.len() < COLORS && !names.contains(&step.name.as_str()) {
                names.push(&step.name);
            }
        }
        names
    }

    /// Whether there are steps without a colour of their own.
    pub fn other_steps(&self, legend: &[&str]) -> bool {
        let mut names = self.deployments.iter().flat_map(|d| &d.steps).map(|step| step.name.as_str());
        names.any(|name| !legend.contains(&name))
    }

    pub fn bar<'a>(&'a self, deployed: &'a Deployed, legend: &'a [&'a str]) -> Bar<'a> {
        let full = self.deployments.iter().map(Deployed::extent).fold(0.0, f64::max);
        Bar { deployed, legend, full }
    }

    pub fn several_environments(&self) -> bool {
        self.deployments.windows(2).any(|pair| pair[0].environment != pair[1].environment)
    }
}

impl Deployed {
    fn new(d: &history::Deployed) -> Self {
        Deployed {
            deployment: d.deployment.clone(),
            version: d.version.to_string(),
            db: d.db,
            environment: d.environment.clone(),
            at: Time(d.at),
            seconds: d.seconds,
            result: d.result,
            steps: d
                .steps
                .iter()
                .map(|step| DeployedStep {
                    name: step.name.clone(),
                    offset_seconds: step.offset_seconds,
                    seconds: step.seconds,
                    result: step.result,
                    delta_seconds: step.previous_seconds.map(|before| step.seconds - before),
                })
                .collect(),
            previous_version: d.previous.as_ref().map(|p| p.version.to_string()),
            previous_seconds: d.previous.as_ref().and_then(|p| p.seconds),
            delta_seconds: d.delta_seconds(),
            delta_ratio: d.delta_ratio(),
            rolled_back_from: d.rolled_back_from.as_ref().map(ToString::to_string),
            is_rebuild: d.is_rebuild,
            digest: d.digest.clone(),
            commit: d.commit.clone(),
            pipeline: d.pipeline.clone(),
            run: d.run.clone(),
            url: link(d.url.as_ref()),
            trace: d.place.trace,
        }
    }

    pub fn succeeded(&self) -> bool {
        self.result == CiResult::Success
    }

    /// In one or two words.
    pub fn word(&self) -> &'static str {
        result_word(self.result)
    }

    pub fn symbol(&self) -> &'static str {
        match self.result {
            CiResult::Success => "pass",
            CiResult::Skip => "skipped",
            CiResult::Failure | CiResult::Error => "fail",
            CiResult::Timeout | CiResult::Cancellation => "unreachable",
        }
    }

    pub fn took(&self) -> Option<Secs> {
        self.seconds.map(Secs)
    }

    /// `+13 s (+16 %)`, where there is something to compare with.
    pub fn delta(&self) -> Option<String> {
        Some(format!("{} ({})", SecsDelta(self.delta_seconds?), Percent(self.delta_ratio?)))
    }

    /// The step that did not succeed.
    pub fn failed_step(&self) -> Option<&DeployedStep> {
        self.steps.iter().find(|step| step.result.is_some_and(CiResult::is_bad))
    }

    fn extent(&self) -> f64 {
        let steps = self.steps.iter().map(|step| step.offset_seconds + step.seconds);
        steps.fold(self.seconds.unwrap_or(0.0), f64::max)
    }
}

/// How something ended, as people say it.
pub(super) fn result_word(result: CiResult) -> &'static str {
    match result {
        CiResult::Success => "deployed",
        CiResult::Failure | CiResult::Error => "failed",
        CiResult::Timeout => "timed out",
        CiResult::Cancellation => "cancelled",
        CiResult::Skip => "skipped",
    }
}

impl DeployedStep {
    pub fn took(&self) -> Secs {
        Secs(self.seconds)
    }

    /// How much it grew or shrank, where that can be seen at all.
    pub fn delta(&self) -> Option<SecsDelta> {
        let least = (self.seconds * 0.1).max(0.3);
        self.delta_seconds.filter(|delta| delta.abs() >= least && !self.is_bad()).map(SecsDelta)
    }

    pub fn is_bad(&self) -> bool {
        self.result.is_some_and(CiResult::is_bad)
    }

    /// The class of its colour.
    pub fn color(&self, legend: &[&str]) -> usize {
        legend.iter().position(|name| *name == self.name).unwrap_or(COLORS)
    }
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 14.0;

/// One deployment: its steps one after the other, on the time scale of all that are shown.
pub struct Bar<'a> {
    deployed: &'a Deployed,
    legend: &'a [&'a str],
    full: f64,
}

impl HtmlSafe for Bar<'_> {}
impl fmt::Display for Bar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let x =
            |seconds: f64| if self.full > 0.0 { (seconds / self.full).clamp(0.0, 1.0) * WIDTH } else { 0.0 };
        write!(
            f,
            "<svg class=\"steps\" role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" preserveAspectRatio=\"none\"><title>{}</title>\
             <rect class=\"rest\" x=\"0\" y=\"2\" width=\"{:.2}\" height=\"10\"/>",
            Label(self.deployed),
            x(self.deployed.extent())
        )?;
        for step in &self.deployed.steps {
            let (from, to) = (x(step.offset_seconds), x(step.offset_seconds + step.seconds));
            // A gap of a pixel parts neighbours of like colour.
            let width = (to - from - 1.0).max(0.6);
            write!(
                f,
                "<rect class=\"c{}\" x=\"{from:.2}\" y=\"0\" width=\"{width:.2}\" height=\"{HEIGHT}\"/>",
                step.color(self.legend)
            )?;
        }
        f.write_str("</svg>")
    }
}

/// Numbers only: names of steps come from outside and stand beside the bar.
struct Label<'a>(&'a Deployed);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Count::from(self.0.steps.len()).of("step"))?;
        self.0.steps.iter().enumerate().try_for_each(|(i, step)| {
            f.write_char(if i == 0 { ':' } else { ',' })?;
            write!(f, " {}", step.took())
        })
    }
}
