//! What deployments and wrapped commands tell.

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::CiResult;

/// What a deployment did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    #[serde(default, skip_serializing_if = "Action::is_deploy")]
    pub action: Action,
    /// Where it answers: with this it joins the fleet, if the fleet file allows its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub url: Option<Url>,
    /// What it consisted of, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<DeployStep>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[default]
    Deploy,
    /// It is gone, and leaves the fleet.
    Remove,
}

impl Action {
    pub fn is_deploy(&self) -> bool {
        *self == Action::Deploy
    }
}

/// One part of a deployment: pull, migrate, start, and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployStep {
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// How long after the beginning of the deployment it began; right after the step before it unless
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<CiResult>,
}

/// What a wrapped command used, with all its descendants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Of the command itself; absent when a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Resident memory of the whole tree at its highest, as sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

/// Why a wrapped command was ended, and what it was doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// In words: silent for how long, or over its time limit.
    pub reason: String,
    /// The last test that had started, as far as the output tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_test: Option<String>,
    /// The last lines of its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_output: Vec<String>,
    /// The process tree, parents before children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
}

/// One process of the tree when it was ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<i32>,
    /// Its command line, with what looks like a secret taken out.
    pub command: String,
    /// In words: running, sleeping, waiting for the disk, stopped, zombie.
    pub state: String,
    /// What it waits for, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// How much its memory grew while the tree was silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_growth_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Open files and sockets, as far as they can be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
}
