//! A version against the one before it on each of its deployments, and how that is kept over a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::member::Member;
use crate::clock::Timestamp;
use crate::verdict::{Settings, Verdict, Watch};

/// So long is it remembered how the comparisons of a deployment stood that is not there: discovery may miss
/// it for a while, also right after a restart. What had been looked at must not be looked at again, nor
/// must a confirmed verdict be lost.
const AWAY_MAX: Duration = Duration::from_hours(6);

/// A version against the one before it on each of its deployments.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) watch: Watch,
    /// By deployment: its build, and the place of the member it is compared with.
    pub(super) rungs: BTreeMap<String, Rung>,
    /// By deployment: those of which a side is not there now.
    pub(super) away: BTreeMap<String, Builds>,
    /// Since when each request on each deployment has its verdict.
    pub(super) since: BTreeMap<(String, String), (Verdict, Timestamp)>,
    /// Since when it cannot be measured.
    pub(super) disturbed: BTreeMap<(String, String), Timestamp>,
}

#[derive(Debug)]
pub(super) struct Rung {
    pub(super) later: usize,
    pub(super) earlier: usize,
    /// The newest round that was judged.
    pub(super) as_of: Timestamp,
    /// By request; those that both are asked.
    pub(super) cells: BTreeMap<String, Cell>,
}

/// A comparison without its samples, to be kept over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    pub suite: String,
    pub environment: String,
    pub version: String,
    pub(super) watch: Watch,
    /// By deployment.
    pub(super) builds: BTreeMap<String, Builds>,
    /// (deployment, request, verdict, since when)
    pub(super) since: Vec<(String, String, Verdict, Timestamp)>,
}

/// Two builds that are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Builds {
    pub(super) later: String,
    pub(super) earlier: String,
    /// Rounds up to and with this one are in the watch.
    pub(super) as_of: Timestamp,
}

impl Builds {
    pub fn is_remembered(&self, now: Timestamp) -> bool {
        now.since(self.as_of) <= AWAY_MAX
    }
}

impl Comparison {
    pub fn new(settings: Settings) -> Self {
        Comparison {
            watch: Watch::new(settings),
            rungs: BTreeMap::new(),
            away: BTreeMap::new(),
            since: BTreeMap::new(),
            disturbed: BTreeMap::new(),
        }
    }

    /// Goes on where it was, but for deployments of which one side is another build by now. Of these, and
    /// of those that are new here, the stored rounds are judged from the first on.
    pub fn restore(&mut self, saved: Saved, members: &[Member], now: Timestamp) {
        self.watch = saved.watch;
        self.since = saved.since.into_iter().map(|(d, r, verdict, at)| ((d, r), (verdict, at))).collect();
        for (deployment, builds) in saved.builds {
            match self.rungs.get_mut(&deployment) {
                Some(rung)
                    if members[rung.later].build == builds.later
                        && members[rung.earlier].build == builds.earlier =>
                {
                    rung.as_of = builds.as_of;
                }
                None if builds.is_remembered(now) => {
                    self.away.insert(deployment, builds);
                }
                _ => {
                    self.watch.forget(&deployment);
                    self.since.retain(|(d, _), _| *d != deployment);
                }
            }
        }
    }
}
