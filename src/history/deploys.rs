//! Deployments beside that of the version before them on the same flavour and environment.

use super::{ended, growth};
use crate::clock::Timestamp;
use crate::model::{CiResult, Deploy, Event, EventRow, Flavour, TraceParent, Version};

/// One deployment that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployed {
    pub key: i64,
    pub deployment: String,
    pub version: Version,
    pub db: Flavour,
    pub environment: String,
    pub digest: Option<String>,
    pub commit: Option<String>,
    /// When it ended.
    pub at: Timestamp,
    /// `None` when its beginning is not known.
    pub seconds: Option<f64>,
    pub result: CiResult,
    pub steps: Vec<StepTime>,
    /// The newest success of the version just before it, on the same flavour and environment.
    pub previous: Option<Previous>,
    /// A higher version was deployed under the same name or URL before it: this one.
    pub rolled_back_from: Option<Version>,
    /// The same version was deployed there before, from another image.
    pub is_rebuild: bool,
    /// No later deployment of the same name and version is known, whatever became of it.
    pub is_last: bool,
    pub pipeline: String,
    pub run: String,
    pub url: Option<String>,
    pub place: TraceParent,
}

/// A part of a deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    pub name: String,
    /// After the beginning of the deployment.
    pub offset_seconds: f64,
    pub seconds: f64,
    pub result: Option<CiResult>,
    /// The same step of the version before.
    pub previous_seconds: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    pub version: Version,
    pub at: Timestamp,
    pub seconds: Option<f64>,
}

impl Deployed {
    pub fn succeeded(&self) -> bool {
        self.result == CiResult::Success
    }

    /// How much longer than the version before it took; negative when it was faster.
    pub fn delta_seconds(&self) -> Option<f64> {
        Some(self.seconds? - self.previous.as_ref()?.seconds?)
    }

    pub fn delta_ratio(&self) -> Option<f64> {
        growth(self.seconds?, self.previous.as_ref()?.seconds?)
    }

    /// By name, in order; a step that was taken twice is added up.
    pub fn seconds_by_step(&self) -> Vec<(String, f64)> {
        let mut steps: Vec<(String, f64)> = Vec::new();
        for step in &self.steps {
            match steps.iter_mut().find(|(name, _)| *name == step.name) {
                Some((_, seconds)) => *seconds += step.seconds,
                None => steps.push((step.name.clone(), step.seconds)),
            }
        }
        steps
    }

    /// The step that grew the most, and by how much; `None` when none grew.
    pub fn grown_step(&self) -> Option<(&str, f64)> {
        let grown = self.steps.iter().filter_map(|step| Some((step, step.seconds - step.previous_seconds?)));
        let (step, seconds) = grown.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (seconds > 0.0).then_some((step.name.as_str(), seconds))
    }
}

/// `rows` are deploy events newest first; what is under way or says that something was removed is
/// left out.
pub(super) fn compare(rows: &[EventRow]) -> Vec<Deployed> {
    let mut known: Vec<(&EventRow, Known)> =
        rows.iter().filter_map(|row| Some((row, Known::of(row)?))).collect();
    known.sort_by_key(|(row, _)| std::cmp::Reverse((ended(row), row.received)));
    (0..known.len())
        .map(|place| {
            let (row, this) = &known[place];
            let (later, earlier) = (&known[..place], &known[place + 1..]);
            deployed(row, this, earlier, later)
        })
        .collect()
}

/// What a deploy event must say to be compared.
struct Known<'a> {
    event: &'a Event,
    deploy: &'a Deploy,
    name: String,
    version: &'a Version,
    db: Flavour,
    result: CiResult,
}

impl<'a> Known<'a> {
    fn of(row: &'a EventRow) -> Option<Known<'a>> {
        let event = &row.event;
        let deploy = event.deploy.as_ref().filter(|deploy| deploy.action.is_deploy())?;
        event.finished?;
        Some(Known {
            event,
            deploy,
            name: event.deployment_name()?,
            version: event.version.as_ref()?,
            db: event.db?,
            result: event.result?,
        })
    }

    fn is_beside(&self, other: &Known) -> bool {
        self.db == other.db && self.event.environment() == other.event.environment()
    }

    fn is_same_place(&self, other: &Known) -> bool {
        self.name == other.name || (self.deploy.url.is_some() && self.deploy.url == other.deploy.url)
    }
}

fn deployed(
    row: &EventRow,
    this: &Known,
    earlier: &[(&EventRow, Known)],
    later: &[(&EventRow, Known)],
) -> Deployed {
    let succeeded = |(_, other): &&(&EventRow, Known)| other.result == CiResult::Success;
    // The version just before by precedence; of its deployments the newest.
    let lower =
        earlier.iter().filter(succeeded).filter(|(_, o)| o.is_beside(this) && o.version < this.version);
    let before = lower.fold(None, |best: Option<&(&EventRow, Known)>, other| match best {
        Some(best) if best.1.version >= other.1.version => Some(best),
        _ => Some(other),
    });
    let here = earlier.iter().filter(succeeded).find(|(_, other)| other.is_same_place(this));
    let mut after = 0.0;
    let steps = this.deploy.steps.iter().map(|step| {
        let offset_seconds = step.offset_seconds.unwrap_or(after);
        after = offset_seconds + step.seconds;
        let same = before.and_then(|(_, b)| b.deploy.steps.iter().find(|other| other.name == step.name));
        StepTime {
            name: step.name.clone(),
            offset_seconds,
            seconds: step.seconds,
            result: step.result,
            previous_seconds: same.map(|other| other.seconds),
        }
    });
    Deployed {
        key: row.key,
        deployment: this.name.clone(),
        version: this.version.clone(),
        db: this.db,
        environment: this.event.environment().to_owned(),
        digest: this.event.digest.clone(),
        commit: this.event.commit.clone(),
        at: ended(row),
        seconds: row.seconds(),
        result: this.result,
        steps: steps.collect(),
        previous: before.map(|(row, other)| Previous {
            version: other.version.clone(),
            at: ended(row),
            seconds: row.seconds(),
        }),
        rolled_back_from: here.filter(|(_, o)| o.version > this.version).map(|(_, o)| o.version.clone()),
        is_rebuild: here.is_some_and(|(_, other)| {
            let digests = (&other.event.digest, &this.event.digest);
            other.version == this.version && matches!(digests, (Some(a), Some(b)) if a != b)
        }),
        is_last: !later
            .iter()
            .any(|(_, o)| o.name == this.name && o.version == this.version && o.is_beside(this)),
        pipeline: this.event.pipeline.clone(),
        run: this.event.run.clone(),
        url: this.event.url.clone(),
        place: this.event.as_parent(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::DeployStep;

    fn row(n: i64, name: &str, version: &str, db: Flavour, seconds: u64) -> EventRow {
        let at = Timestamp(n * 3_600_000_000_000);
        let mut event = Event::new("test", "deploy", &n.to_string());
        event.step = Some("deploy".to_owned());
        (event.started, event.finished) = (Some(at), Some(at.plus(Duration::from_secs(seconds))));
        event.result = Some(CiResult::Success);
        event.version = Version::parse(version);
        (event.db, event.deployment) = (Some(db), Some(name.to_owned()));
        event.deploy = Some(Deploy {
            steps: vec![
                DeployStep { name: "pull".into(), seconds: 10.0, offset_seconds: None, result: None },
                DeployStep {
                    name: "migrate".into(),
                    seconds: seconds as f64 - 10.0,
                    offset_seconds: None,
                    result: None,
                },
            ],
            ..Deploy::default()
        });
        EventRow { key: n, started: at, received: at, event }
    }

    use Flavour::{Mysql, Sqlite};

    #[test]
    fn the_delta_is_against_the_version_before_on_the_same_flavour() {
        let rows = [
            row(4, "c", "3.0.0", Mysql, 93),
            row(3, "b", "2.4.1", Sqlite, 20),
            row(2, "b", "2.4.1", Mysql, 80),
            row(1, "a", "2.3.18", Mysql, 50),
        ];
        let deployed = compare(&rows);
        let newest = &deployed[0];
        assert_eq!(newest.previous.as_ref().unwrap().version.as_str(), "2.4.1");
        assert_eq!(newest.delta_seconds(), Some(13.0));
        assert!((newest.delta_ratio().unwrap() - 0.1625).abs() < 1e-9);
        assert_eq!(newest.grown_step(), Some(("migrate", 13.0)));
        assert_eq!(newest.steps[1].offset_seconds, 10.0);
        assert_eq!(deployed[1].previous, None, "nothing was on sqlite before");
    }

    #[test]
    fn an_older_version_elsewhere_is_no_rollback_but_at_the_same_place_it_is() {
        let beside = compare(&[row(2, "old", "2.4.1", Mysql, 20), row(1, "new", "3.0.0", Mysql, 20)]);
        assert_eq!(beside[0].rolled_back_from, None);
        let back = compare(&[row(2, "one", "2.4.1", Mysql, 20), row(1, "one", "3.0.0", Mysql, 20)]);
        assert_eq!(back[0].rolled_back_from.as_ref().map(Version::as_str), Some("3.0.0"));
        assert!(back[0].previous.is_none());
    }

    #[test]
    fn the_same_version_from_another_image_is_a_rebuild() {
        let mut rows = [row(2, "a", "3.0.0", Mysql, 20), row(1, "a", "3.0.0", Mysql, 20)];
        rows[0].event.digest = Some("sha256:b".to_owned());
        rows[1].event.digest = Some("sha256:a".to_owned());
        let deployed = compare(&rows);
        assert!(deployed[0].is_rebuild && !deployed[1].is_rebuild);
        assert!(deployed[0].is_last && !deployed[1].is_last);
    }

    #[test]
    fn a_failed_deployment_is_nobodys_previous() {
        let mut rows = [row(2, "b", "3.0.0", Mysql, 20), row(1, "a", "2.4.1", Mysql, 30)];
        rows[1].event.result = Some(CiResult::Failure);
        assert_eq!(compare(&rows)[0].previous, None);
    }
}
