//! Which suite is due when, and what became of the ticks that were not met.
//!
//! A tick that passed while the daemon was down or asleep is missed; one that comes while the round
//! before it still runs is skipped as overlapping; one that starts late says so. All are counted:
//! a schedule that silently drifts looks healthy.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Timestamp, nanos};
use crate::model::Suite;

/// A round that starts this much after its time is late.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// Missed ticks that are counted one by one at most; a daemon that slept for a year need not
/// count each second of it.
const MISSED_MAX: u64 = 100_000;

#[derive(Debug, Default)]
pub struct Timetable(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    suite: Suite,
    offset: Duration,
    /// The next tick, without the offset; `None` when there is none any more.
    next: Option<Timestamp>,
    running: bool,
}

/// What a suite's tick came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    pub suite: String,
    /// The time on the schedule (with the suite's own shift) that this round stands for.
    pub scheduled: Timestamp,
    /// Time to the next tick: the round's deadline.
    pub period: Duration,
    /// Whether to run it; not when the round before it has not ended.
    pub overlaps: bool,
    pub late: bool,
    /// Ticks before this one that nobody saw.
    pub missed: u64,
}

impl Timetable {
    /// Takes over suites as they are now. A suite that was there keeps its next tick, unless its
    /// schedule changed; `last_round` says where a new one left off in an earlier process.
    pub fn set(
        &mut self,
        suites: &[Suite],
        origin: &str,
        now: Timestamp,
        last_round: impl Fn(&str) -> Option<Timestamp>,
    ) {
        let mut entries = BTreeMap::new();
        for suite in suites {
            let offset = offset(suite, origin);
            let entry = match self.0.remove(&suite.name) {
                Some(known) if known.suite.schedule == suite.schedule => {
                    Entry { suite: suite.clone(), offset, ..known }
                }
                known => {
                    let left_off = last_round(&suite.name).map(|t| t.minus(offset)).filter(|t| *t < now);
                    let from = match &known {
                        None => left_off.unwrap_or(now.minus(offset)),
                        Some(_) => now.minus(offset),
                    };
                    let running = known.is_some_and(|k| k.running);
                    Entry { suite: suite.clone(), offset, next: suite.schedule.next_after(from), running }
                }
            };
            entries.insert(suite.name.clone(), entry);
        }
        self.0 = entries;
    }

    /// The ticks that are due. Each is given once; the caller runs it and says [`Timetable::ended`].
    pub fn due(&mut self, now: Timestamp) -> Vec<Tick> {
        let mut ticks = Vec::new();
        for (name, entry) in &mut self.0 {
            let Some(mut tick) = entry.next.filter(|next| next.plus(entry.offset) <= now) else { continue };
            let mut missed = 0;
            // Only the newest tick that has passed is run: to catch up would bunch what was meant
            // to be spread.
            while let Some(next) = entry.suite.schedule.next_after(tick) {
                entry.next = Some(next);
                if next.plus(entry.offset) > now {
                    break;
                }
                tick = next;
                missed += 1;
                if missed >= MISSED_MAX {
                    tick = now.minus(entry.offset);
                    entry.next = entry.suite.schedule.next_after(tick);
                    break;
                }
            }
            if entry.next.is_some_and(|next| next <= tick) {
                entry.next = None;
            }
            let scheduled = tick.plus(entry.offset);
            ticks.push(Tick {
                suite: name.clone(),
                scheduled,
                period: entry.suite.schedule.period_at(tick),
                overlaps: entry.running,
                late: now.since(scheduled) > LATE_AFTER,
                missed,
            });
            entry.running = true;
        }
        ticks
    }

    pub fn ended(&mut self, suite: &str) {
        if let Some(entry) = self.0.get_mut(suite) {
            entry.running = false;
        }
    }

    pub fn suite(&self, name: &str) -> Option<&Suite> {
        self.0.get(name).map(|entry| &entry.suite)
    }

    /// Suites whose round is under way.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, entry)| entry.running).map(|(name, _)| name.as_str())
    }

    /// The next tick of a suite, with its own shift.
    pub fn next_of(&self, suite: &str) -> Option<Timestamp> {
        let entry = self.0.get(suite)?;
        entry.next.map(|next| next.plus(entry.offset))
    }

    pub fn is_running(&self, suite: &str) -> bool {
        self.0.get(suite).is_some_and(|entry| entry.running)
    }

    /// Each suite, with the period of its schedule about now.
    pub fn suites(&self) -> impl Iterator<Item = (&Suite, Duration)> {
        self.0.values().map(|entry| {
            let period = entry.next.map_or(Duration::MAX, |next| entry.suite.schedule.period_at(next));
            (&entry.suite, period)
        })
    }

    /// When to look again.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.0.values().filter_map(|e| e.next.map(|next| next.plus(e.offset))).min()
    }
}

/// A fixed part of the suite's jitter, by hash: the whole round shifts, so its pairs stay together.
fn offset(suite: &Suite, origin: &str) -> Duration {
    let jitter = nanos(suite.jitter).unsigned_abs();
    if jitter == 0 {
        return Duration::ZERO;
    }
    let id = crate::model::RoundId::new(origin, &suite.name, Timestamp(0));
    Duration::from_nanos(id.hash_of(&["jitter"]) % jitter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Schedule;

    const S: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn suite(name: &str, period: Duration, jitter: Duration) -> Suite {
        let schedule = Schedule::every(period);
        Suite { name: name.to_owned(), schedule, jitter, variants: Vec::new(), order: Vec::new() }
    }

    fn timetable(now: Timestamp, last: Option<Timestamp>) -> Timetable {
        let mut timetable = Timetable::default();
        timetable.set(&[suite("cachet", 30 * S, Duration::ZERO)], "store", now, |_| last);
        timetable
    }

    #[test]
    fn a_tick_is_given_once() {
        let mut timetable = timetable(at(100), None);
        assert_eq!(timetable.next_wake(), Some(at(120)));
        assert_eq!(timetable.due(at(119)), []);
        let ticks = timetable.due(at(120));
        let expected = Tick {
            suite: "cachet".into(),
            scheduled: at(120),
            period: 30 * S,
            overlaps: false,
            late: false,
            missed: 0,
        };
        assert_eq!(ticks, [expected]);
        timetable.ended("cachet");
        assert_eq!(timetable.due(at(121)), []);
        assert_eq!(timetable.next_wake(), Some(at(150)));
    }

    #[test]
    fn missed_late_and_overlapping_ticks_are_told_apart() {
        let mut timetable = timetable(at(100), None);
        let slept = &timetable.due(at(215))[0];
        assert_eq!((slept.scheduled, slept.missed, slept.late, slept.overlaps), (at(210), 3, true, false));
        let overlapping = &timetable.due(at(240))[0];
        assert_eq!((overlapping.missed, overlapping.late, overlapping.overlaps), (0, false, true));
        timetable.ended("cachet");
        assert!(!timetable.due(at(270))[0].overlaps);
    }

    #[test]
    fn ticks_missed_while_the_daemon_was_down_are_counted() {
        let mut timetable = timetable(at(100), Some(at(30)));
        let tick = &timetable.due(at(100))[0];
        assert_eq!((tick.scheduled, tick.missed), (at(90), 1));
    }

    #[test]
    fn a_reload_keeps_the_next_tick_and_a_changed_schedule_starts_anew() {
        let mut timetable = timetable(at(100), None);
        timetable.set(&[suite("cachet", 30 * S, Duration::ZERO)], "store", at(130), |_| None);
        assert_eq!(timetable.next_wake(), Some(at(120)));
        timetable.set(&[suite("cachet", 60 * S, Duration::ZERO)], "store", at(130), |_| None);
        assert_eq!(timetable.next_wake(), Some(at(180)));
    }

    #[test]
    fn jitter_shifts_the_whole_round_by_a_fixed_part() {
        let mut timetable = Timetable::default();
        timetable.set(&[suite("cachet", 30 * S, 10 * S)], "store", at(100), |_| None);
        let first = timetable.next_wake().unwrap();
        assert!(first > at(120) - 20 * S && first < at(130));
        let scheduled = timetable.due(first)[0].scheduled;
        assert_eq!(timetable.next_wake(), Some(scheduled.plus(30 * S)));
    }

    impl std::ops::Sub<Duration> for Timestamp {
        type Output = Timestamp;
        fn sub(self, d: Duration) -> Timestamp {
            self.minus(d)
        }
    }
}
