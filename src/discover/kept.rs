//! What a source told, kept over its bad moments. Pure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::Look;
use crate::clock::Timestamp;
use crate::config::discover::Source;
use crate::model::Deployment;

/// How many refreshes something may be missing before it is gone.
const GRACE_REFRESHES: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Kept {
    members: Vec<Member>,
    /// When it answered last.
    good: Option<Timestamp>,
    /// Why it does not answer now.
    failure: Option<String>,
    notices: Vec<String>,
}

#[derive(Debug)]
struct Member {
    deployment: Arc<Deployment>,
    missing: Option<Instant>,
}

impl Kept {
    /// Whether it was asked at all.
    pub fn is_known(&self) -> bool {
        self.good.is_some() || self.failure.is_some()
    }

    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.members.iter().map(|member| &member.deployment)
    }

    /// What a person should know, the failure first.
    pub fn notices(&self) -> Vec<String> {
        let failure = self.failure.as_ref().map(|why| match self.good {
            None => format!("{why}; nothing is known of its targets yet"),
            Some(at) => {
                let (count, at) = (self.members.len(), at.to_utc().format("%Y-%m-%d %H:%M UTC"));
                let plural = if count == 1 { "" } else { "s" };
                format!("{why}; what it said at {at} stays in force ({count} target{plural})")
            }
        });
        failure.into_iter().chain(self.notices.iter().cloned()).collect()
    }

    /// Takes over what a look came to; what changes is logged.
    pub fn take(&mut self, source: &Source, look: Result<Look, String>, now: Instant, at: Timestamp) {
        let Look { deployments, restarting, notices, .. } = match look {
            Ok(look) => look,
            Err(why) => {
                if self.failure.as_ref() != Some(&why) {
                    tracing::warn!(%source, why, "discovery fails; what it said last stays in force");
                }
                self.failure = Some(why);
                return;
            }
        };
        if self.failure.take().is_some() {
            tracing::info!(%source, "discovery works again");
        }
        for notice in notices.iter().filter(|notice| !self.notices.contains(notice)) {
            tracing::warn!(%source, notice, "discovery");
        }
        self.notices = notices;
        self.good = Some(at);
        self.replace(deployments, &restarting, now, source.refresh());
    }

    /// What is missing stays for a while, unless its name or its place is another's now.
    fn replace(&mut self, found: Vec<Deployment>, restarting: &[String], now: Instant, refresh: Duration) {
        let names: HashSet<&str> = found.iter().map(|d| d.name.as_str()).collect();
        let urls: HashSet<&Url> = found.iter().map(|d| &d.url).collect();
        let grace = refresh * GRACE_REFRESHES;
        let is_there = |member: &Member| restarting.contains(&member.deployment.name);
        let in_time = |member: &Member| member.missing.is_none_or(|since| now.duration_since(since) < grace);
        let stays = |member: &Member| {
            !names.contains(member.deployment.name.as_str())
                && !urls.contains(&member.deployment.url)
                && (is_there(member) || in_time(member))
        };
        let missing = self.members.drain(..).filter(stays).map(|member| {
            let since = if is_there(&member) { None } else { member.missing.or(Some(now)) };
            Member { missing: since, ..member }
        });
        let missing: Vec<Member> = missing.collect();
        let present = found.into_iter().map(|d| Member { deployment: d.into(), missing: None });
        self.members = present.chain(missing).collect();
        // The same whatever the order in which it was told.
        self.members.sort_by(|a, b| {
            let key = |m: &Member| (m.deployment.name.clone(), m.deployment.url.clone());
            key(a).cmp(&key(b))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::discover::{FileSd, Source};
    use crate::config::{self, Env};

    fn deployment(name: &str, url: &str) -> Deployment {
        let given =
            config::AdHoc { url, version: "2.4.1", db: "mysql", name: Some(name), ..Default::default() };
        config::ad_hoc(&given, &Env::default()).unwrap()
    }

    fn source() -> Source {
        let refresh = Duration::from_secs(10);
        Source::FileSd(FileSd { patterns: Vec::new(), refresh, label_prefix: String::new() })
    }

    struct Case {
        kept: Kept,
        start: Instant,
    }

    impl Case {
        fn new() -> Self {
            Case { kept: Kept::default(), start: Instant::now() }
        }

        /// The names that are in force after a look at this second.
        fn after(&mut self, second: u64, found: Result<&[(&str, &str)], &str>) -> Vec<String> {
            let look = found.map_err(str::to_owned).map(|found| Look {
                deployments: found.iter().map(|(name, url)| deployment(name, url)).collect(),
                ..Look::default()
            });
            let at = Timestamp(1_795_442_520_000_000_000);
            self.kept.take(&source(), look, self.start + Duration::from_secs(second), at);
            self.kept.deployments().map(|d| format!("{} {}", d.name, d.url)).collect()
        }
    }

    const A: (&str, &str) = ("a", "http://a/");
    const B: (&str, &str) = ("b", "http://b/");

    #[test]
    fn what_is_missing_stays_for_two_refreshes() {
        let mut case = Case::new();
        assert_eq!(case.after(0, Ok(&[B, A])), ["a http://a/", "b http://b/"]);
        assert_eq!(case.after(10, Ok(&[A])).len(), 2);
        assert_eq!(case.after(20, Ok(&[A])).len(), 2);
        assert_eq!(case.after(25, Ok(&[A, B])).len(), 2, "it came back");
        assert_eq!(case.after(35, Ok(&[A])).len(), 2, "and its time begins anew");
        assert_eq!(case.after(54, Ok(&[A])).len(), 2);
        assert_eq!(case.after(55, Ok(&[A])), ["a http://a/"]);
    }

    #[test]
    fn what_restarts_again_and_again_stays() {
        let mut case = Case::new();
        case.after(0, Ok(&[A, B]));
        for second in [10, 100, 1_000] {
            let restarting = vec!["a".to_owned(), "unknown".to_owned()];
            let look = Look { restarting, ..Look::default() };
            case.kept.take(&source(), Ok(look), case.start + Duration::from_secs(second), Timestamp(0));
        }
        assert_eq!(case.kept.deployments().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(case.after(1_010, Ok(&[])).len(), 1);
        assert_eq!(case.after(1_030, Ok(&[])).len(), 0);
    }

    #[test]
    fn what_is_replaced_goes_at_once() {
        let mut case = Case::new();
        case.after(0, Ok(&[A, B]));
        assert_eq!(case.after(1, Ok(&[("a", "http://c/"), B])), ["a http://c/", "b http://b/"]);
        assert_eq!(case.after(2, Ok(&[("new", "http://b/")])), ["a http://c/", "new http://b/"]);
    }

    #[test]
    fn a_source_that_fails_keeps_what_it_told_however_long() {
        let mut case = Case::new();
        assert!(!case.kept.is_known());
        assert!(case.after(0, Err("answered 503")).is_empty());
        assert_eq!(case.kept.notices(), ["answered 503; nothing is known of its targets yet"]);
        assert_eq!(case.after(10, Ok(&[A])).len(), 1);
        assert!(case.kept.notices().is_empty());
        assert_eq!(case.after(9_999, Err("answered 503")).len(), 1);
        let notice = "answered 503; what it said at 2026-11-23 14:02 UTC stays in force (1 target)";
        assert_eq!(case.kept.notices(), [notice]);
        assert_eq!(case.after(10_000, Ok(&[])).len(), 1, "its time begins with the first answer without it");
        assert_eq!(case.after(10_020, Ok(&[])).len(), 0);
    }
}
