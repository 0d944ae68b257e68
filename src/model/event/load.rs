//! What a load run measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The result of a load run, of whatever tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// What the load is called from run to run; runs of one plan are compared.
    pub plan: String,
    /// `ab`, `wrk`, `hey`, `oha`, `k6`, or any other.
    pub tool: String,
    /// How long load was put on.
    pub seconds: f64,
    /// Requests that were completed.
    pub requests: u64,
    /// Of these or beside these: those that failed, by the tool's own account (status, connection,
    /// time-out).
    #[serde(default)]
    pub errors: u64,
    /// Completed requests per second.
    pub throughput: f64,
    /// Requests per second that were asked for; absent where the tool sends as fast as answers come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<f64>,
    /// Requests under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Response times, by rising quantile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<Quantile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_mean_seconds: Option<f64>,
    /// Answers by HTTP status, where the tool tells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statuses: BTreeMap<u16, u64>,
    /// What one must know to read the figures, such as what the tool leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// One quantile of the response times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// Between 0 and 1.
    pub quantile: f64,
    pub seconds: f64,
}

impl Load {
    /// Answers 429: the target's own limit was measured, not its speed.
    pub fn rate_limited(&self) -> u64 {
        self.statuses.get(&429).copied().unwrap_or(0)
    }

    /// Of the requests that were made, how many failed; 0 to 1.
    pub fn error_ratio(&self) -> f64 {
        let all = self.requests.max(self.errors);
        if all == 0 { 0.0 } else { self.errors as f64 / all as f64 }
    }

    pub fn at(&self, quantile: f64) -> Option<f64> {
        self.latency.iter().find(|q| (q.quantile - quantile).abs() < 1e-9).map(|q| q.seconds)
    }
}
