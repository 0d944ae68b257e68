//! The five questions, answered as far as there is data, and in no case further.
//!
//! Until verdicts exist nothing here may sound like one: medians are compared and called
//! indicative, with their numbers of samples and without an interval.

use serde::Serialize;
use utoipa::ToSchema;

use super::format::{Count, Ns, Percent};
use super::requests::{FACTOR_MIN, RequestTable, SAMPLES_MIN, ratio};
use crate::model::Flavour;

/// One of the five questions, with its answer in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Question {
    pub question: &'static str,
    pub answer: String,
    /// What the answer rests on, or what would fill it.
    pub note: String,
    pub answered: bool,
    /// Where its evidence is: a path on this server; null when there is none yet.
    pub evidence: Option<String>,
}

/// How much longer a request takes on one flavour than on the fastest, within one environment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Factor {
    pub request: String,
    pub environment: String,
    #[schema(value_type = String, example = "postgresql")]
    pub db: Flavour,
    pub median_ns: Ns,
    pub samples: Count,
    #[schema(value_type = String, example = "sqlite")]
    pub fastest_db: Flavour,
    pub fastest_median_ns: Ns,
    pub fastest_samples: Count,
    pub factor: f64,
}

/// How much longer a request takes on the latest version than on the previous one, by medians of
/// samples that were not paired: an indication, never a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Change {
    pub request: String,
    pub environment: String,
    #[schema(value_type = String, example = "mariadb")]
    pub db: Flavour,
    pub median_ns: Ns,
    pub samples: Count,
    pub previous_median_ns: Ns,
    pub previous_samples: Count,
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
                median_ns: Ns(slowest.0),
                samples: slowest.2.samples,
                fastest_db: fastest.1,
                fastest_median_ns: Ns(fastest.0),
                fastest_samples: fastest.2.samples,
                factor: ratio(slowest.0, fastest.0),
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
                let old = previous.within(before, environment).find(|(other, _)| *other == db);
                let Some((_, old)) = old else { continue };
                let (Some(now), Some(then)) = (cell.comparable(), old.comparable()) else { continue };
                let factor = ratio(now, then);
                if largest.as_ref().is_none_or(|change| factor > change.factor) {
                    largest = Some(Change {
                        request: row.request.clone(),
                        environment: environment.to_owned(),
                        db,
                        median_ns: Ns(now),
                        samples: cell.samples,
                        previous_median_ns: Ns(then),
                        previous_samples: old.samples,
                        factor,
                    });
                }
            }
        }
    }
    largest
}

/// The five cards, in their order.
pub fn questions(
    latest: &RequestTable,
    previous: &RequestTable,
    factor: Option<&Factor>,
    rise: Option<&Change>,
) -> Vec<Question> {
    let empty = |question, answer: &str, note: &str| Question {
        question,
        answer: answer.into(),
        note: note.into(),
        answered: false,
        evidence: None,
    };
    vec![
        empty("Unit tests", "no test run yet", "Test runs from CI will fill this; none is taken in so far."),
        empty(
            "Deploying the latest",
            "no deployment event yet",
            "Deployment events from CI will fill this; none is taken in so far.",
        ),
        slow_database(latest, factor),
        slower_than_before(latest, previous, rise),
        empty(
            "Throughput of the latest",
            "no load run yet",
            "Load runs will fill this; none has been made so far.",
        ),
    ]
}

fn slow_database(latest: &RequestTable, factor: Option<&Factor>) -> Question {
    let question = "Which database is slow";
    let evidence = Some("/#requests".to_owned());
    match factor {
        Some(f) if f.factor >= FACTOR_MIN => Question {
            question,
            answer: format!("{} on {}", f.request, f.db),
            note: format!(
                "{:.1}× the fastest, {}: {} against {}. Indicative: medians of {} and {} samples, no interval yet.",
                f.factor, f.fastest_db, f.median_ns, f.fastest_median_ns, f.samples, f.fastest_samples
            ),
            answered: true,
            evidence,
        },
        Some(f) => Question {
            question,
            answer: "none stands out".into(),
            note: format!(
                "The largest factor is {:.2}×, {} on {}. Indicative: medians of {} and {} samples, no interval yet.",
                f.factor, f.request, f.db, f.samples, f.fastest_samples
            ),
            answered: true,
            evidence,
        },
        None => {
            let note = if latest.columns.len() < 2 {
                "It takes the latest version on two databases of one environment.".to_owned()
            } else {
                format!(
                    "It takes {SAMPLES_MIN} samples of one request on two databases within the last hour."
                )
            };
            Question { question, answer: "not known yet".into(), note, answered: false, evidence: None }
        }
    }
}

fn slower_than_before(latest: &RequestTable, previous: &RequestTable, rise: Option<&Change>) -> Question {
    let question = "Slower than before";
    let answer = "nothing is judged yet".to_owned();
    let note = match (rise, &latest.version, &previous.version) {
        (Some(c), _, Some(before)) if c.factor > 1.0 => format!(
            "No verdict. The largest rise of unpaired medians is {} on {}: {} against {before}, {} and {} samples.",
            c.request,
            c.db,
            Percent(c.factor - 1.0),
            c.samples,
            c.previous_samples
        ),
        (Some(_), _, Some(before)) => format!("No verdict. No unpaired median rose against {before}."),
        (None, Some(_), Some(_)) => {
            format!("It takes {SAMPLES_MIN} samples of one request on both versions within the last hour.")
        }
        _ => "It takes two versions on the same database.".to_owned(),
    };
    Question { question, answer, note, answered: false, evidence: rise.map(|_| "/#requests".to_owned()) }
}
