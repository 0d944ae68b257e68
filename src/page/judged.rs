//! The third and the fourth question, answered by verdicts: short, with certainty and numbers of pairs.
//! Pure; page, JSON and `report` say the same sentences.

use super::answers::{Factor, Question, SLOW_DATABASE, SLOWER_THAN_BEFORE};
use super::deltas::{Delta, DeltaRow, DeltaTable, TABLES, Tally, disturbed};
use super::format::{Count, Percent, SecsDelta, Time, signed};
use super::requests::FACTOR_MIN;
use crate::model::SAMPLES_MIN;
use crate::verdict::{Measure, Rule, Verdict};

/// Further regressions that are named.
const NAMED_MAX: usize = 2;
/// A cell with where it stands.
#[derive(Clone, Copy)]
struct Found<'a> {
    row: &'a DeltaRow,
    delta: &'a Delta,
    /// Environments must be told apart.
    several: bool,
}

impl Found<'_> {
    /// `mysql`, or `mysql in staging`.
    fn place(&self) -> String {
        let Delta { db, environment, .. } = self.delta;
        if self.several { format!("{db} in {environment}") } else { db.to_string() }
    }

    /// `incidents is 12 % slower on mysql`.
    fn sentence(&self) -> String {
        let (request, place) = (&self.delta.request, self.place());
        match (self.delta.measure, self.delta.ratio) {
            (Measure::Errors, _) => format!("{request} fails more often on {place}"),
            (_, Some(ratio)) if ratio.value >= 2.0 => {
                format!("{request} takes {:.1}× as long on {place}", ratio.value)
            }
            (_, Some(ratio)) => {
                format!("{request} is {:.0} % slower on {place}", (ratio.value - 1.0) * 100.0)
            }
            (_, None) => format!("{request} is slower on {place}"),
        }
    }

    /// `incidents on mysql (+12 %)`.
    fn name(&self) -> String {
        let change = match (self.delta.measure, self.delta.ratio) {
            (Measure::Latency, Some(ratio)) => Percent(ratio.value - 1.0).to_string(),
            (Measure::Latency, None) => "time".to_owned(),
            (Measure::Errors, _) => "errors".to_owned(),
        };
        format!("{} on {} ({change})", self.delta.request, self.place())
    }

    /// How large and how sure.
    fn certainty(&self, now: Time) -> String {
        let delta = self.delta;
        let size = match (delta.failure_rise, delta.ratio, delta.seconds) {
            (Some(rise), ..) => {
                let value = signed(rise.value * 100.0, 0);
                format!("{value} points of its requests ({}), ", rise.points(0))
            }
            (None, Some(ratio), seconds) => {
                let size = if ratio.value >= 2.0 { ratio.times() } else { ratio.percents(0) };
                let seconds = seconds.map(|s| format!("{}, ", SecsDelta(s.value))).unwrap_or_default();
                format!("{size}, {seconds}")
            }
            (None, None, _) => String::new(),
        };
        let against = delta.against_version.as_deref().unwrap_or("the version before");
        let age = delta.since.age(&now);
        format!("{size}{} against {against}, confirmed {age} ago", delta.pairs.of("pair"))
    }

    /// Whether it is the database's doing.
    fn spread(&self) -> Option<String> {
        let judged = self.row.judged().count();
        let regressed = self.row.deltas().filter(|d| d.is_regressed()).count();
        let worse_here = self.delta.interaction.is_some_and(|i| i.ratio.low > 1.0);
        match (judged, regressed) {
            (2.., 1) if worse_here => Some(format!("Only on {}.", self.delta.db)),
            (2.., n) if n == judged => Some(format!("On all {n} databases.")),
            _ => None,
        }
    }
}

fn found(tables: &[DeltaTable]) -> impl Iterator<Item = Found<'_>> {
    let several = tables.len() > 1;
    let rows = tables.iter().flat_map(|table| &table.rows);
    rows.flat_map(move |row| row.judged().map(move |delta| Found { row, delta, several }))
}

/// Which requests got slower; `None` where nothing is compared yet.
pub fn slower(tables: &[DeltaTable], now: Time) -> Option<Question> {
    let all: Vec<Found<'_>> = found(tables).collect();
    let tally = Tally::of(all.iter().map(|f| f.delta));
    if all.is_empty() {
        return None;
    }
    let mut regressed: Vec<Found<'_>> = all.iter().copied().filter(|f| f.delta.is_regressed()).collect();
    // Failures before times; first what is at least the largest, so that a wide interval is no headline.
    let size = |f: &Found<'_>| f.delta.failure_rise.or(f.delta.ratio).map_or(0.0, |range| range.low);
    regressed
        .sort_by(|a, b| (b.delta.measure).cmp(&a.delta.measure).then_with(|| size(b).total_cmp(&size(a))));
    let question = SLOWER_THAN_BEFORE.to_owned();
    let evidence = Some(TABLES.to_owned());
    let Some((worst, others)) = regressed.split_first() else {
        let decided = tally.unchanged.0 + tally.improved.0;
        let answered = decided > 0;
        let answer = if answered { "no regression confirmed" } else { "nothing is decided yet" };
        let note = calm(&all, &tally);
        return Some(Question {
            question,
            answer: answer.into(),
            note,
            answered,
            attention: false,
            evidence,
        });
    };
    let mut note = format!("{}.", worst.certainty(now));
    if let Some(spread) = worst.spread() {
        note = format!("{note} {spread}");
    }
    if !others.is_empty() {
        let mut names: Vec<String> = others.iter().take(NAMED_MAX).map(Found::name).collect();
        if let Some(more) = others.len().checked_sub(NAMED_MAX).filter(|n| *n > 0) {
            names.push(format!("{more} more"));
        }
        note = format!("{note} Also {}.", joined(&names));
    }
    note = format!("{note} {}", rest(&all, &tally));
    let evidence = if others.is_empty() { Some(worst.delta.path()) } else { evidence };
    Some(Question { question, answer: worst.sentence(), note, answered: true, attention: true, evidence })
}

/// What there is to say where nothing regressed.
fn calm(all: &[Found<'_>], tally: &Tally) -> String {
    let mut note = rest(all, tally);
    let mut improved: Vec<Found<'_>> =
        all.iter().copied().filter(|f| f.delta.verdict == Verdict::Improved).collect();
    let size = |f: &Found<'_>| f.delta.ratio.map_or(1.0, |range| range.value);
    improved.sort_by(|a, b| size(a).total_cmp(&size(b)));
    if let Some((best, others)) = improved.split_first() {
        let more = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
        note = format!("{note} Improved: {}{more}.", best.name());
    }
    note
}

/// `38 of 48 cells unchanged, 8 not decided yet, about 12 rounds to go.`
fn rest(all: &[Found<'_>], tally: &Tally) -> String {
    let mut parts = vec![format!("{} of {} unchanged", tally.unchanged, tally.judged().of("cell"))];
    let is_open = |d: &Delta| matches!(d.verdict, Verdict::Inconclusive | Verdict::Insufficient);
    let open = || all.iter().map(|f| f.delta).filter(|d| is_open(d));
    if !tally.undecided().is_zero() {
        let mut part = format!("{} not decided yet", tally.undecided());
        let confirming = open().filter(|d| d.rule == Rule::Confirming).count();
        if confirming > 0 {
            part = format!("{part} ({confirming} being confirmed)");
        }
        parts.push(part);
        let needed = |verdict| {
            let needed = open().filter(move |d| d.verdict == verdict).map(|d| d.rounds_needed);
            needed.max().filter(|rounds| !rounds.is_zero())
        };
        // Too few pairs end with a verdict; a further look need not.
        if let Some(rounds) = needed(Verdict::Insufficient) {
            parts.push(format!("about {} to go", rounds.of("round")));
        } else if let Some(rounds) = needed(Verdict::Inconclusive) {
            parts.push(format!("looked at again within {}", rounds.of("round")));
        }
    }
    if !tally.invalid.is_zero() {
        let why = all.iter().find(|f| f.delta.verdict == Verdict::Invalid);
        let why = disturbed(why.and_then(|f| f.delta.disturbance));
        parts.push(format!("{} not measurable ({why})", tally.invalid));
    }
    format!("{}.", parts.join(", "))
}

fn joined(names: &[String]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.concat(),
    }
}

/// The largest factor between two databases, paired within rounds: what is at least the largest, so that a
/// wide interval is no headline. `None` where none is known.
pub fn largest_factor(tables: &[DeltaTable]) -> Option<Factor> {
    let factors = tables.iter().flat_map(DeltaTable::deltas).filter_map(|delta| {
        let (to, fastest_db) = (delta.to_fastest?, delta.fastest_db?);
        (fastest_db != delta.db && to.rounds.0 >= SAMPLES_MIN).then(|| Factor {
            request: delta.request.clone(),
            environment: delta.environment.clone(),
            db: delta.db,
            fastest_db,
            factor: to.ratio.value,
            low: Some(to.ratio.low),
            high: Some(to.ratio.high),
            rounds: Some(to.rounds),
            to_control: delta.to_control.filter(|c| c.rounds.0 >= SAMPLES_MIN),
            medians: None,
        })
    });
    factors.max_by(|a, b| a.low.unwrap_or(0.0).total_cmp(&b.low.unwrap_or(0.0)))
}

/// What verdicts say of the third and the fourth question, for versions that somebody chose: the number
/// behind the third, and both in words.
pub fn versions(tables: &[DeltaTable], now: Time) -> (Option<Factor>, [Question; 2]) {
    let factor = largest_factor(tables);
    let open = |question| Question::open(question, "nothing to compare", "No stored round visited both.");
    let slow = factor.as_ref().and_then(|factor| slow_database(factor, tables));
    let slow = slow.unwrap_or_else(|| open(SLOW_DATABASE));
    (factor, [slow, slower(tables, now).unwrap_or_else(|| open(SLOWER_THAN_BEFORE))])
}

/// Which database is slow, by a factor that was paired within rounds.
pub fn slow_database(f: &Factor, tables: &[DeltaTable]) -> Option<Question> {
    let (low, high, rounds) = (f.low?, f.high?, f.rounds?);
    let stands_out = f.factor >= FACTOR_MIN && low > 1.0;
    let sure = format!("{low:.2} to {high:.2}×, {}", rounds.of("round"));
    let (answer, mut note) = if stands_out {
        let answer = format!("{} on {}", f.request, f.db);
        (answer, format!("{:.1}× the fastest, {} ({sure}).", f.factor, f.fastest_db))
    } else {
        let note = format!("The largest factor is {:.2}× ({sure}): {} on {}.", f.factor, f.request, f.db);
        ("none stands out".to_owned(), note)
    };
    if let Some(share) = f.share().filter(|_| stands_out) {
        note = format!("{note} {share}.");
    }
    let alone = found(tables).filter(|f| f.delta.is_regressed());
    let alone: Vec<String> = alone
        .filter(|f| f.spread().is_some_and(|s| s.starts_with("Only")))
        .map(|f| format!("{} only on {}", f.delta.request, f.place()))
        .take(NAMED_MAX)
        .collect();
    if !alone.is_empty() {
        note = format!("{note} Regressed: {}.", joined(&alone));
    }
    Some(Question {
        question: SLOW_DATABASE.into(),
        answer,
        note,
        answered: true,
        attention: false,
        evidence: Some("/#requests".to_owned()),
    })
}

impl Factor {
    /// What of the time is beyond a request that touches no database.
    pub fn share(&self) -> Option<String> {
        let to = self.to_control.filter(|to| to.ratio.value > 1.0)?;
        let share = to.ratio.map(|ratio| (1.0 - 1.0 / ratio).max(0.0) * 100.0);
        Some(format!(
            "{:.0} % of its time there ({:.0} to {:.0} %) is above the control request's",
            share.value, share.low, share.high
        ))
    }
}

/// How often a comparison of a deployment with itself was wrong, in words; never as a bare ratio.
pub fn own_words(own: &super::OwnComparisons) -> String {
    let (all, wrong) = (Count(own.comparisons), Count(own.false_verdicts));
    if all.is_zero() {
        return "no comparison of a version with itself is over yet; each takes 240 pairs of rounds".into();
    }
    let percent = |part: f64| {
        let decimals = usize::from(part < 0.1);
        format!("{:.decimals$} %", part * 100.0)
    };
    let truth = match own.false_verdicts {
        0 => format!("lies below {}", percent(own.high)),
        _ => format!("lies between {} and {}", percent(own.low), percent(own.high)),
    };
    format!(
        "{wrong} of {} of a version with itself found a difference; the truth {truth} (95 %)",
        all.of("comparison")
    )
}

#[cfg(test)]
#[path = "judged_tests.rs"]
mod tests;
