//! The comparisons of one suite: rounds in, standings out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::across::{self, Group};
use super::cell::{Cell, Judged, Times, together};
use super::comparison::{Builds, Comparison, Rung, Saved};
use super::member::{Member, Seen, predecessor};
use super::standing::{Across, Against, Standing};
use crate::clock::Timestamp;
use crate::model::RoundId;
use crate::verdict::{
    Answer, CellKey, Disturbance, Family, Judgement, Measure, Rule, Seen as OwnSeen, SelfComparison,
    Settings, Tally, Touched, Verdict, Visit, Watch,
};

/// Pairs within which a fresh version is to be judged for the first time: its first confirmation. Rounds
/// are made for it at once, unless so many were lost already.
const FIRST_PAIRS: usize = 60;
/// A candidate whose confirmation is further away than this waits for scheduled rounds.
const HURRY_MAX: u64 = 120;
/// Rounds that are known by their id, so that none enters twice: who reads stored rounds may hold some of
/// them in a queue as well.
const ENTERED_MAX: usize = 512;

/// What names a comparison: an environment and a version, or nothing where pairs were chosen.
type Key = (String, String);

/// The comparisons of one suite over its living deployments.
#[derive(Debug)]
pub struct Ladder {
    suite: String,
    members: Vec<Member>,
    /// Of each member in its place, the comparison in which it is the later one.
    families: Vec<Key>,
    comparisons: BTreeMap<Key, Comparison>,
    /// By build and request.
    times: HashMap<String, BTreeMap<String, Times>>,
    /// Each deployment against itself, by build.
    own: HashMap<String, SelfComparison>,
    host: Option<Disturbance>,
    /// By environment and version; of those that no round has touched since.
    across: BTreeMap<(String, String), Group>,
    /// The newest rounds it has taken in.
    entered: VecDeque<RoundId>,
    /// Comparisons of which no deployment is there now.
    away: Vec<Saved>,
}

/// A verdict that is no longer what it was.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictChange {
    pub from: Verdict,
    pub at: Timestamp,
    /// As it is now.
    pub standing: Standing,
}

impl Ladder {
    /// Of these members, with what was saved of those that are still the same builds.
    pub fn new(
        suite: &str,
        settings: Settings,
        members: Vec<Member>,
        saved: Vec<Saved>,
        now: Timestamp,
    ) -> Self {
        let pairs: Vec<(usize, usize)> = (0..members.len())
            .filter_map(|later| {
                let before = predecessor(&members[later], &members)?;
                Some((later, members.iter().position(|m| m.build == before.build)?))
            })
            .collect();
        let families = members.iter().map(|m| (m.environment.clone(), m.version.to_string())).collect();
        let mut ladder = Self::over(suite, settings, members, families, &pairs, now);
        let mut saved: HashMap<Key, Saved> =
            saved.into_iter().map(|s| ((s.environment.clone(), s.version.clone()), s)).collect();
        for (family, comparison) in &mut ladder.comparisons {
            if let Some(saved) = saved.remove(family) {
                comparison.restore(saved, &ladder.members, now);
            }
        }
        ladder.away =
            saved.into_values().filter(|s| s.builds.values().any(|b| b.is_remembered(now))).collect();
        ladder.away.sort_by(|a, b| (&a.environment, &a.version).cmp(&(&b.environment, &b.version)));
        ladder
    }

    /// Of chosen pairs, each the places of a later and an earlier member, whatever their versions and
    /// flavours are. All are one comparison, whose cells share the chance of a false verdict. A member is
    /// the later one of one pair at most: its last.
    pub fn of_pairs(
        suite: &str,
        settings: Settings,
        members: Vec<Member>,
        pairs: &[(usize, usize)],
        now: Timestamp,
    ) -> Self {
        let families = vec![Key::default(); members.len()];
        Self::over(suite, settings, members, families, pairs, now)
    }

    fn over(
        suite: &str,
        settings: Settings,
        members: Vec<Member>,
        families: Vec<Key>,
        pairs: &[(usize, usize)],
        now: Timestamp,
    ) -> Self {
        let mut comparisons: BTreeMap<Key, Comparison> = BTreeMap::new();
        for (at, before) in pairs {
            let (Some(member), Some(earlier)) = (members.get(*at), members.get(*before)) else { continue };
            let since = member.since.max(earlier.since);
            let cells = member.requests.iter().filter(|(name, _)| earlier.rules(name).is_some());
            let cells = cells.map(|(name, rules)| {
                let fresh = now.since(since) <= rules.age_max;
                (name.clone(), Cell::new(*rules, fresh))
            });
            let as_of = Timestamp(i64::MIN);
            let rung = Rung { later: *at, earlier: *before, as_of, cells: cells.collect() };
            let comparison =
                comparisons.entry(families[*at].clone()).or_insert_with(|| Comparison::new(settings));
            comparison.rungs.insert(member.name.clone(), rung);
        }
        let own = members.iter().map(|m| (m.build.clone(), SelfComparison::new(&m.name, settings))).collect();
        Ladder {
            suite: suite.to_owned(),
            members,
            families,
            comparisons,
            times: HashMap::new(),
            own,
            host: None,
            across: BTreeMap::new(),
            entered: VecDeque::new(),
            away: Vec::new(),
        }
    }

    /// Takes over the comparisons of deployments with themselves that are under way in another ladder.
    pub fn inherit(&mut self, before: Ladder) {
        for (build, own) in before.own {
            if let Some(mine) = self.own.get_mut(&build) {
                *mine = own;
            }
        }
    }

    pub fn suite(&self) -> &str {
        &self.suite
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What must be kept to go on after a restart.
    pub fn save(&self) -> Vec<Saved> {
        let saved = self.comparisons.iter().map(|((environment, version), comparison)| {
            let builds = comparison.rungs.iter().map(|(name, rung)| {
                let build = |at: usize| self.members[at].build.clone();
                let (later, earlier) = (build(rung.later), build(rung.earlier));
                (name.clone(), Builds { later, earlier, as_of: rung.as_of })
            });
            let away = comparison.away.iter().map(|(name, builds)| (name.clone(), builds.clone()));
            let since = comparison.since.iter();
            Saved {
                suite: self.suite.clone(),
                environment: environment.clone(),
                version: version.clone(),
                watch: comparison.watch.clone(),
                builds: builds.chain(away).collect(),
                since: since.map(|((d, r), (verdict, at))| (d.clone(), r.clone(), *verdict, *at)).collect(),
            }
        });
        saved.chain(self.away.iter().cloned()).collect()
    }

    /// Takes in a round that is read from the store: oldest first, each once. What was judged before it
    /// was saved is not judged again.
    pub fn replay(&mut self, seen: &Seen) -> Vec<VerdictChange> {
        self.enter(seen, seen.scheduled, |as_of| seen.scheduled > as_of)
    }

    /// Takes in a round that has just ended; returns whose verdict it changed, and which comparisons of a
    /// deployment with itself it ended. It is judged whatever the clock says: that may have been set back.
    pub fn take(
        &mut self,
        seen: &Seen,
        host: Option<Disturbance>,
        now: Timestamp,
    ) -> (Vec<VerdictChange>, Tally) {
        self.host = host;
        if self.entered.contains(&seen.round) {
            return (Vec::new(), Tally::default());
        }
        let changes = self.enter(seen, now, |_| true);
        (changes, self.own(seen))
    }

    /// `is_new`: whether it is to be judged of builds whose comparison is as of then.
    fn enter(
        &mut self,
        seen: &Seen,
        at: Timestamp,
        is_new: impl Fn(Timestamp) -> bool,
    ) -> Vec<VerdictChange> {
        self.entered.push_back(seen.round);
        if self.entered.len() > ENTERED_MAX {
            self.entered.pop_front();
        }
        let visits = by_build(seen);
        for member in self.members.iter().filter(|m| visits.contains_key(m.build.as_str())) {
            self.across.remove(&group_of(member));
        }
        for (build, requests) in &visits {
            for (request, visit) in requests {
                if let Answer::Passed(time) = visit[0].answer {
                    let seconds = time.as_secs_f32();
                    match self.times.get_mut(*build).and_then(|times| times.get_mut(*request)) {
                        Some(times) => times.take(seen.round, seconds),
                        None => {
                            let of_build = self.times.entry((*build).to_owned()).or_default();
                            of_build.entry((*request).to_owned()).or_default().take(seen.round, seconds);
                        }
                    }
                }
            }
        }
        let mut changes = Vec::new();
        for key in self.comparisons.keys().cloned().collect::<Vec<_>>() {
            changes.extend(self.enter_one(&key, seen, &visits, at, &is_new));
        }
        changes
    }

    fn enter_one(
        &mut self,
        key: &Key,
        seen: &Seen,
        visits: &Visits<'_>,
        at: Timestamp,
        is_new: impl Fn(Timestamp) -> bool,
    ) -> Vec<VerdictChange> {
        let Some(comparison) = self.comparisons.get_mut(key) else { return Vec::new() };
        let Comparison { watch, rungs, .. } = comparison;
        let mut judged: BTreeSet<usize> = BTreeSet::new();
        for rung in rungs.values_mut() {
            let (later, earlier) = (&self.members[rung.later].build, &self.members[rung.earlier].build);
            // A suite's round visits both, or it is none of this pair.
            let (Some(later), Some(earlier)) = (visits.get(later.as_str()), visits.get(earlier.as_str()))
            else {
                continue;
            };
            if is_new(rung.as_of) {
                rung.as_of = seen.scheduled.max(rung.as_of);
                judged.insert(rung.later);
            }
            for (request, cell) in &mut rung.cells {
                let of = |visits| HashMap::get(visits, request.as_str()).map_or(&[][..], Vec::as_slice);
                cell.window.take(seen.round, of(later), of(earlier));
            }
        }
        if judged.is_empty() {
            return Vec::new();
        }
        let host = self.host;
        let touched: Vec<Touched<'_>> = rungs
            .iter()
            .filter(|(_, rung)| judged.contains(&rung.later))
            .flat_map(|(deployment, rung)| {
                rung.cells.iter().map(move |(request, cell)| Touched {
                    request,
                    deployment,
                    window: &cell.window,
                    host,
                })
            })
            .collect();
        let mut changed: Vec<CellKey> = watch.round(&touched).into_iter().map(|change| change.key).collect();
        changed.dedup_by(|a, b| a.request == b.request && a.deployment == b.deployment);
        let standings = changed.iter().filter_map(|key| {
            let standing = self.standing(&key.deployment, &key.request, false)?;
            Some((key.clone(), standing))
        });
        let standings: Vec<(CellKey, Standing)> = standings.collect();
        standings.into_iter().filter_map(|(cell, standing)| self.note(key, cell, standing, at)).collect()
    }

    /// Dates a verdict, and tells of it where it differs from the one before.
    fn note(
        &mut self,
        key: &Key,
        cell: CellKey,
        mut standing: Standing,
        at: Timestamp,
    ) -> Option<VerdictChange> {
        let known = self.comparisons.get_mut(key)?.since.entry((cell.deployment, cell.request));
        let known = known.or_insert((Verdict::Insufficient, standing.since));
        if known.0 == standing.verdict {
            return None;
        }
        let from = std::mem::replace(known, (standing.verdict, at)).0;
        standing.since = at;
        Some(VerdictChange { from, at, standing })
    }

    fn own(&mut self, seen: &Seen) -> Tally {
        let mut tally = Tally::default();
        let visits = by_build(seen);
        for member in &self.members {
            let (Some(visits), Some(own)) =
                (visits.get(member.build.as_str()), self.own.get_mut(&member.build))
            else {
                continue;
            };
            let seen_of: Vec<OwnSeen<'_>> = member
                .requests
                .iter()
                .filter_map(|(request, rules)| {
                    let visit = *visits.get(request.as_str())?.first()?;
                    Some(OwnSeen { request, visit, rules })
                })
                .collect();
            tally.add(own.round(seen.round, &seen_of));
        }
        tally
    }

    /// How every request stands on every deployment, in the order of the members.
    pub fn standings(&mut self, now: Timestamp) -> Vec<Standing> {
        self.judge();
        self.compare_across();
        let mut standings = Vec::new();
        let places: Vec<(usize, String)> = self
            .members
            .iter()
            .enumerate()
            .flat_map(|(at, member)| member.requests.iter().map(move |(request, _)| (at, request.clone())))
            .collect();
        for (at, request) in places {
            let (name, key) = (self.members[at].name.clone(), self.families[at].clone());
            let Some(mut standing) = self.standing(&name, &request, true) else { continue };
            if let Some(comparison) = self.comparisons.get_mut(&key) {
                if standing.rule == Rule::Disturbed {
                    // The verdict below it stands, and is as old as before when the disturbance is over.
                    standing.since = *comparison.disturbed.entry((name, request)).or_insert(now);
                    standings.push(standing);
                    continue;
                }
                comparison.disturbed.remove(&(name.clone(), request.clone()));
                // What is not told of is dated all the same.
                let known =
                    comparison.since.entry((name, request)).or_insert((standing.verdict, standing.since));
                if known.0 != standing.verdict {
                    *known = (standing.verdict, now);
                }
                standing.since = known.1;
            }
            standings.push(standing);
        }
        standings
    }

    /// Judges each cell anew that a round has touched since it was judged.
    pub fn judge(&mut self) {
        for comparison in self.comparisons.values_mut() {
            let Comparison { watch, rungs, .. } = comparison;
            let family = watch.family();
            for (deployment, rung) in rungs {
                for (request, cell) in &mut rung.cells {
                    if cell.known(family.cells, self.host).is_none() {
                        cell.judged = Some(judge(watch, &family, deployment, request, cell, self.host));
                    }
                }
            }
        }
    }

    fn standing(&self, deployment: &str, request: &str, whole: bool) -> Option<Standing> {
        let at = self.members.iter().position(|m| m.name == deployment)?;
        let member = &self.members[at];
        let rules = member.rules(request)?;
        let comparison = self.comparisons.get(&self.families[at]);
        let family = comparison.map(|c| c.watch.family());
        let rung = comparison.and_then(|c| c.rungs.get(deployment));
        let cell = rung.and_then(|rung| rung.cells.get(request));
        let since = comparison.and_then(|c| c.since.get(&(deployment.to_owned(), request.to_owned())));
        let mut standing = Standing {
            suite: self.suite.clone(),
            request: request.to_owned(),
            deployment: deployment.to_owned(),
            version: member.version.to_string(),
            db: member.db,
            environment: member.environment.clone(),
            against: None,
            rolled_back: member.rolled_back,
            verdict: Verdict::NoBaseline,
            measure: Measure::Latency,
            rule: Rule::NoBaseline,
            since: since.map_or(member.since, |(_, at)| *at),
            latency: None,
            errors: None,
            cells: family.map_or(0, |family| family.cells),
            floor_ratio: rules.floors.ratio,
            floor_seconds: rules.floors.difference.as_secs_f64(),
            pair_gap_seconds: rules.pair_gap_max.as_secs_f64(),
            warm_up_ratio: cell.and_then(|cell| cell.window.warm_up_ratio()),
            lost: cell.map(|cell| cell.window.lost).unwrap_or_default(),
            across: match whole {
                true => self.across_of(&group_of(member), deployment, request),
                false => Across::default(),
            },
        };
        if let (Some(comparison), Some(family), Some(rung), Some(cell)) = (comparison, family, rung, cell) {
            let earlier = &self.members[rung.earlier];
            standing.against =
                Some(Against { deployment: earlier.name.clone(), version: earlier.version.to_string() });
            standing.rolled_back |= earlier.since > member.since;
            let watch = &comparison.watch;
            let judged = cell.known(family.cells, self.host);
            let judged =
                judged.unwrap_or_else(|| judge(watch, &family, deployment, request, cell, self.host));
            let Judged { latency, errors, .. } = judged;
            (standing.verdict, standing.measure, standing.rule) = together(&latency, &errors);
            (standing.latency, standing.errors) = (Some(latency), Some(errors));
        }
        Some(standing)
    }

    fn across_of(&self, key: &(String, String), deployment: &str, request: &str) -> Across {
        let group = self.across.get(key);
        let known = group.and_then(|group| group.get(&(deployment.to_owned(), request.to_owned())));
        known.cloned().unwrap_or_default()
    }

    /// Brings up to date what databases have to do with the requests of each version.
    fn compare_across(&mut self) {
        let keys: BTreeSet<(String, String)> = self.members.iter().map(group_of).collect();
        for key in keys {
            if self.across.contains_key(&key) {
                continue;
            }
            let places = (0..self.members.len()).filter(|at| group_of(&self.members[*at]) == key);
            let places: Vec<usize> = places.collect();
            let beside: Vec<&Member> = places.iter().map(|at| &self.members[*at]).collect();
            let comparison = places.first().and_then(|at| self.comparisons.get(&self.families[*at]));
            let group = across::group(&beside, &self.times, |deployment, request| {
                let cell = comparison?.rungs.get(deployment)?.cells.get(request)?;
                Some(cell.window.all().by_round())
            });
            self.across.insert(key, group);
        }
    }

    /// For whom rounds should be made at once, by deployment (both sides of each pair), with how many:
    /// candidates that are near their confirmation, and versions too fresh to have been judged.
    pub fn wanted(&self) -> BTreeMap<String, u64> {
        let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
        let mut want = |rung: &Rung, rounds: u64| {
            for at in [rung.later, rung.earlier] {
                let most = wanted.entry(self.members[at].name.clone()).or_default();
                *most = rounds.max(*most);
            }
        };
        for comparison in self.comparisons.values() {
            for (cell, pairs) in comparison.watch.wanted() {
                if let Some(rung) = comparison.rungs.get(&cell.deployment).filter(|_| pairs <= HURRY_MAX) {
                    want(rung, pairs);
                }
            }
            for rung in comparison.rungs.values() {
                let missing = rung.cells.values().filter_map(|cell| {
                    let lost = cell.window.lost;
                    let spent = lost.missing + lost.unusable + lost.apart;
                    let pairs = cell.window.pairs();
                    (pairs < FIRST_PAIRS && spent < FIRST_PAIRS as u64).then(|| (FIRST_PAIRS - pairs) as u64)
                });
                if let Some(most) = missing.max() {
                    want(rung, most);
                }
            }
        }
        wanted
    }

    /// How many cells wait for their confirmation.
    pub fn candidates(&self) -> usize {
        self.comparisons.values().map(|comparison| comparison.watch.wanted().len()).sum()
    }

    /// How long a window reaches back at most: what must be read to replay it.
    pub fn reach(&self) -> Duration {
        let rules = self.members.iter().flat_map(|m| &m.requests).map(|(_, rules)| rules.age_max);
        rules.max().unwrap_or_default()
    }
}

/// Environment and version: what one comparison is of.
fn group_of(member: &Member) -> (String, String) {
    (member.environment.clone(), member.version.to_string())
}

fn judge(
    watch: &Watch,
    family: &Family,
    deployment: &str,
    request: &str,
    cell: &Cell,
    host: Option<Disturbance>,
) -> Judged {
    let touched = Touched { request, deployment, window: &cell.window, host };
    let of = |measure| {
        watch
            .judgement_in(family, &touched, measure)
            .unwrap_or_else(|| Judgement::none(measure, &cell.window))
    };
    let (latency, errors) = (of(Measure::Latency), of(Measure::Errors));
    Judged { newest: cell.window.newest(), cells: family.cells, host, latency, errors }
}

/// By build and request, in the order of the visits.
type Visits<'a> = HashMap<&'a str, HashMap<&'a str, Vec<Visit>>>;

fn by_build(seen: &Seen) -> Visits<'_> {
    let mut visits = Visits::new();
    for visited in &seen.visits {
        let of_build = visits.entry(visited.build.as_str()).or_default();
        of_build.entry(visited.request.as_str()).or_default().push(visited.visit);
    }
    visits
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "edge_tests.rs"]
mod edge_tests;
