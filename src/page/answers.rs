//! The five questions, answered as far as there is data, and in no case further.
//!
//! Where verdicts exist, they answer (`judged`). Until then nothing here may sound like one: medians are
//! compared and called indicative, with their numbers of samples and without an interval.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ci;
use super::deltas::{DeltaTable, Shared};
use super::format::{Count, Ns, Percent, Time};
use super::judged;
use super::requests::{FACTOR_MIN, RequestTable, ratio};
use crate::history::History;
use crate::model::{Flavour, SAMPLES_MIN};

pub const SLOW_DATABASE: &str = "Which database is slow";
pub const SLOWER_THAN_BEFORE: &str = "Slower than before";

/// One of the five questions, with its answer in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Question {
    pub question: String,
    pub answer: String,
    /// What the answer rests on, or what would fill it.
    pub note: String,
    pub answered: bool,
    /// Someone should look at it.
    pub attention: bool,
    /// Where its evidence is: a path on this server; null when there is none yet.
    pub evidence: Option<String>,
}

/// How much longer a request takes on one flavour than on the fastest, within one environment: paired
/// within rounds, with an interval; or by medians, an indication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Factor {
    pub request: String,
    pub environment: String,
    #[schema(value_type = String, example = "postgresql")]
    pub db: Flavour,
    #[schema(value_type = String, example = "sqlite")]
    pub fastest_db: Flavour,
    pub factor: f64,
    /// The 95 % interval; null of medians.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Rounds that both sides share; null of medians.
    pub rounds: Option<Count>,
    /// Time to that of the request that is declared to touch no database.
    pub to_control: Option<Shared>,
    /// The medians; null where rounds were paired.
    pub medians: Option<Medians>,
}

/// What a factor rests on that was not paired.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Medians {
    pub median_ns: Ns,
    pub samples: Count,
    pub fastest_median_ns: Ns,
    pub fastest_samples: Count,
}

/// How much longer a request takes on the latest version than on the previous one, by medians of
/// samples that were not paired: an indication, never a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub request: String,
    pub environment: String,
    #[schema(value_type = String, example = "mariadb")]
    pub db: Flavour,
    pub median_ns: Ns,
    pub samples: Count,
    pub previous_version: String,
    pub previous_median_ns: Ns,
    pub previous_samples: Count,
    /// It is no longer probed: its samples are those of its last hour.
    pub previous_retired: bool,
    pub factor: f64,
}

/// The largest factor of one request between two flavours.
pub fn largest_factor(table: &RequestTable) -> Option<Factor> {
    let environments = table.environments();
    let factors = table.rows.iter().flat_map(|row| {
        environments.iter().filter_map(move |environment| {
            let cells = table.within(row, environment);
            let comparable = cells.filter_map(|(db, cell)| Some((cell.comparable()?, db, cell)));
            let slowest = comparable.clone().max_by_key(|c| c.0)?;
            let fastest = comparable.min_by_key(|c| c.0)?;
            (slowest.1 != fastest.1).then(|| Factor {
                request: row.request.clone(),
                environment: (*environment).to_owned(),
                db: slowest.1,
                fastest_db: fastest.1,
                factor: ratio(slowest.0, fastest.0),
                low: None,
                high: None,
                rounds: None,
                to_control: None,
                medians: Some(Medians {
                    median_ns: Ns(slowest.0),
                    samples: slowest.2.samples,
                    fastest_median_ns: Ns(fastest.0),
                    fastest_samples: fastest.2.samples,
                }),
            })
        })
    });
    factors.max_by(|a, b| a.factor.total_cmp(&b.factor))
}

/// The largest rise of one request from the previous version to the latest, on the same flavour in
/// the same environment.
pub fn largest_rise(latest: &RequestTable, previous: &RequestTable) -> Option<Change> {
    let mut largest: Option<Change> = None;
    for row in &latest.rows {
        let Some(before) = previous.rows.iter().find(|r| r.request == row.request) else { continue };
        for environment in latest.environments() {
            for (db, cell) in latest.within(row, environment) {
                let old = previous.columns.iter().zip(&before.cells);
                let mut old = old.filter(|(column, _)| column.environment == environment && column.db == db);
                let Some((column, Some(old))) = old.next() else { continue };
                let (Some(now), Some(then)) = (cell.comparable(), old.comparable()) else { continue };
                let factor = ratio(now, then);
                if largest.as_ref().is_none_or(|change| factor > change.factor) {
                    largest = Some(Change {
                        request: row.request.clone(),
                        environment: environment.to_owned(),
                        db,
                        median_ns: Ns(now),
                        samples: cell.samples,
                        previous_version: column.version.clone(),
                        previous_median_ns: Ns(then),
                        previous_samples: old.samples,
                        previous_retired: column.retired,
                        factor,
                    });
                }
            }
        }
    }
    largest
}

impl Question {
    /// One that cannot be answered yet, and what would fill it.
    pub fn open(question: &str, answer: &str, note: impl Into<String>) -> Self {
        Question {
            question: question.into(),
            answer: answer.into(),
            note: note.into(),
            answered: false,
            attention: false,
            evidence: None,
        }
    }
}

/// The five cards, in their order.
pub fn questions(
    latest: &RequestTable,
    previous: &RequestTable,
    factor: Option<&Factor>,
    rise: Option<&Change>,
    deltas: &[DeltaTable],
    history: &History,
    now: Time,
) -> Vec<Question> {
    let paired = factor.and_then(|factor| judged::slow_database(factor, deltas));
    let judged = judged::slower(deltas, now);
    vec![
        ci::questions::tests(&history.suites, now),
        ci::questions::deploying(&history.deploys, now),
        paired.unwrap_or_else(|| slow_database(latest, factor)),
        judged.unwrap_or_else(|| slower_than_before(latest, previous, rise)),
        ci::questions::throughput(&history.loads, now),
    ]
}

fn slow_database(latest: &RequestTable, factor: Option<&Factor>) -> Question {
    let Some((f, m)) = factor.and_then(|f| Some((f, f.medians?))) else {
        let note = if latest.columns.len() < 2 {
            "It takes the latest version on two databases of one environment.".to_owned()
        } else {
            format!("It takes {SAMPLES_MIN} samples of one request on two databases within the last hour.")
        };
        return Question::open(SLOW_DATABASE, "not known yet", note);
    };
    let indicative =
        format!("Indicative: medians of {} and {} samples, no interval yet.", m.samples, m.fastest_samples);
    let (answer, note) = if f.factor >= FACTOR_MIN {
        let (now, least) = (m.median_ns, m.fastest_median_ns);
        let note =
            format!("{:.1}× the fastest, {}: {now} against {least}. {indicative}", f.factor, f.fastest_db);
        (format!("{} on {}", f.request, f.db), note)
    } else {
        let note = format!("The largest factor is {:.2}×, {} on {}. {indicative}", f.factor, f.request, f.db);
        ("none stands out".into(), note)
    };
    Question {
        question: SLOW_DATABASE.into(),
        answer,
        note,
        answered: true,
        attention: false,
        evidence: Some("/#requests".to_owned()),
    }
}

fn slower_than_before(latest: &RequestTable, previous: &RequestTable, rise: Option<&Change>) -> Question {
    let note = match rise {
        Some(c) if c.factor > 1.0 => format!(
            "No verdict. The largest rise of unpaired medians is {} on {}: {} against {}{}, {} and {} samples.",
            c.request,
            c.db,
            Percent(c.factor - 1.0),
            c.previous_version,
            if c.previous_retired { " (retired, so there are no pairs)" } else { "" },
            c.samples,
            c.previous_samples
        ),
        Some(_) => "No verdict. No unpaired median rose against the previous version.".to_owned(),
        None if latest.shares_a_column(previous) => {
            format!("It takes {SAMPLES_MIN} samples of one request on both versions within the last hour.")
        }
        None => "It takes two versions on one database of one environment.".to_owned(),
    };
    let evidence = rise.map(|_| "/#requests".to_owned());
    Question { evidence, ..Question::open(SLOWER_THAN_BEFORE, "nothing is judged yet", note) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::board::Probed;
    use crate::page::requests::RequestTable;
    use crate::store::{DeploymentRow, RequestTimes};

    /// (environment, flavour, request, median in ms, samples, failures)
    type Row = (&'static str, Flavour, &'static str, u64, u32, u32);

    fn table(version: &str, rows: &[Row]) -> RequestTable {
        let probed: Vec<Probed> = rows
            .iter()
            .map(|&(environment, db, request, ms, samples, failures)| Probed {
                row: DeploymentRow {
                    key: 0,
                    name: format!("{environment}-{db}-{request}"),
                    version: crate::model::Version::parse(version).unwrap(),
                    db,
                    environment: environment.into(),
                    digest: String::new(),
                    url: String::new(),
                    reported: String::new(),
                    retired: None,
                },
                rank: 0,
                runs: Vec::new(),
                reason: None,
                times: vec![RequestTimes {
                    request: request.into(),
                    samples,
                    failures,
                    median_ns: Some(ms * 1_000_000),
                    p90_ns: None,
                    recent_ns: Vec::new(),
                    last: crate::model::Outcome::Pass,
                }],
            })
            .collect();
        RequestTable::new(probed.iter(), 1_000)
    }

    use Flavour::{Mariadb, Postgresql, Sqlite};

    #[test]
    fn the_largest_factor_is_within_one_environment() {
        let table = table(
            "3.0.0",
            &[
                ("staging", Sqlite, "incidents", 10, 20, 0),
                ("staging", Postgresql, "incidents", 16, 30, 0),
                ("production", Mariadb, "incidents", 90, 20, 0),
                ("staging", Sqlite, "ping", 3, 20, 0),
                ("staging", Postgresql, "ping", 4, 20, 0),
            ],
        );
        let factor = largest_factor(&table).unwrap();
        assert_eq!(
            (factor.request.as_str(), factor.db, factor.fastest_db),
            ("incidents", Postgresql, Sqlite)
        );
        let medians = factor.medians.unwrap();
        assert_eq!((medians.samples, medians.fastest_samples), (Count(30), Count(20)));
        assert!((factor.factor - 1.6).abs() < 1e-9);
        let question = slow_database(&table, Some(&factor));
        assert_eq!(question.answer, "incidents on postgresql");
        assert_eq!(
            question.note,
            "1.6× the fastest, sqlite: 16.0 ms against 10.0 ms. Indicative: medians of 30 and 20 samples, no \
             interval yet."
        );
    }

    #[test]
    fn few_samples_and_error_pages_answer_nothing() {
        let few = table("3.0.0", &[("s", Sqlite, "a", 10, 20, 0), ("s", Postgresql, "a", 90, 9, 0)]);
        let failing = table("3.0.0", &[("s", Sqlite, "a", 1, 20, 3), ("s", Postgresql, "a", 90, 20, 0)]);
        for table in [few, failing] {
            assert_eq!(largest_factor(&table), None);
            let question = slow_database(&table, None);
            assert!(!question.answered && question.note.contains("10 samples"), "{question:?}");
        }
    }

    #[test]
    fn a_small_factor_stands_out_nowhere() {
        let table = table("3.0.0", &[("s", Sqlite, "a", 100, 20, 0), ("s", Mariadb, "a", 109, 20, 0)]);
        assert_eq!(slow_database(&table, largest_factor(&table).as_ref()).answer, "none stands out");
        assert!(table.rows[0].cells.iter().flatten().all(|cell| !cell.slowest));
    }

    #[test]
    fn a_rise_is_told_and_never_judged() {
        let latest = table("3.0.0", &[("s", Sqlite, "a-b", 12, 20, 0), ("s", Mariadb, "a-b", 10, 20, 0)]);
        let before = table("2.4.1", &[("s", Sqlite, "a-b", 10, 30, 0), ("s", Postgresql, "a-b", 1, 20, 0)]);
        let rise = largest_rise(&latest, &before);
        let question = slower_than_before(&latest, &before, rise.as_ref());
        assert!(!question.answered);
        assert_eq!(question.answer, "nothing is judged yet");
        assert_eq!(
            question.note,
            "No verdict. The largest rise of unpaired medians is a-b on sqlite: +20 % against 2.4.1, 20 and 30 \
             samples."
        );
        let none = slower_than_before(&before, &latest, largest_rise(&before, &latest).as_ref());
        assert_eq!(none.note, "No verdict. No unpaired median rose against the previous version.");
    }

    #[test]
    fn without_data_each_question_says_what_would_fill_it() {
        let nothing = RequestTable::new([].iter(), 1);
        let now = Time(crate::clock::Timestamp(0));
        for question in questions(&nothing, &nothing, None, None, &[], &History::default(), now) {
            assert!(!question.answered && !question.note.is_empty() && question.evidence.is_none());
        }
    }
}
