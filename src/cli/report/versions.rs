//! What stands below questions three and four: factors between databases, and deltas between versions.

use std::cmp::Reverse;

use super::Answers;
use super::grids::{Cell, Grid, Tone, code, plain, quiet, toned};
use crate::compare::Standing;
use crate::page::deltas::{Delta, DeltaTable, severity};
use crate::page::own_words;
use crate::verdict::Verdict;

/// Rows of one list.
const ROWS_MAX: usize = 20;
/// A factor below this is no finding, and only counted.
const FACTOR_MIN: f64 = 1.1;

/// Puts chosen comparisons in the place of those of the latest versions.
pub fn choose(answers: &mut Answers, standings: &[Standing], between: Option<&[String]>) {
    let mut versions: Vec<(String, String)> = Vec::new();
    for standing in standings {
        let version = (standing.environment.clone(), standing.version.clone());
        // They come newest version first, as the store lists deployments.
        let is_first = || versions.iter().all(|(environment, _)| *environment != standing.environment);
        if !versions.contains(&version) && (between.is_some() || is_first()) {
            versions.push(version);
        }
    }
    answers.deltas = DeltaTable::all(&versions, standings);
    let (factor, questions) = crate::page::versions(&answers.deltas, answers.at);
    (answers.slow_database, answers.unpaired_rise) = (factor, None);
    for (place, question) in questions.into_iter().enumerate() {
        if let Some(known) = answers.questions.get_mut(2 + place) {
            *known = question;
        }
    }
}

/// How a verdict stands out: only what is confirmed does.
fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Regressed => Tone::Bad,
        Verdict::Improved => Tone::Good,
        Verdict::Invalid => Tone::Warn,
        Verdict::Unchanged => Tone::Plain,
        Verdict::Inconclusive | Verdict::Insufficient | Verdict::NoBaseline => Tone::Quiet,
    }
}

fn place(delta: &Delta, several: bool) -> Cell {
    match several {
        true => plain(format!("{} in {}", delta.db, delta.environment)),
        false => plain(delta.db),
    }
}

/// Each request of the latest versions against the version before, what needs someone first.
pub fn deltas(answers: &Answers) -> Grid {
    let several = answers.deltas.len() > 1;
    let mut all: Vec<&Delta> =
        answers.deltas.iter().flat_map(DeltaTable::deltas).filter(|delta| delta.is_judged()).collect();
    let size = |delta: &Delta| delta.ratio.map_or(0.0, |ratio| ratio.value.ln().abs());
    all.sort_by(|a, b| {
        let key = |delta: &Delta| Reverse(severity(delta.verdict, delta.measure));
        key(a).cmp(&key(b)).then_with(|| size(b).total_cmp(&size(a)))
    });
    let told = all.iter().take(ROWS_MAX).map(|delta| {
        vec![
            toned(format!("{} {}", delta.symbol(), delta.label()), tone(delta.verdict)),
            code(&delta.request),
            place(delta, several),
            plain(delta.change().unwrap_or_else(|| "–".to_owned())),
            quiet(delta.detail()),
            quiet(delta.against_version.as_deref().unwrap_or("–")),
            quiet(format!("{} ago", delta.since.age(&answers.at))),
        ]
    });
    let rows: Vec<Vec<Cell>> = told.collect();
    let left = all.len() - rows.len();
    let mut more = own_words(&answers.own_comparisons);
    if left > 0 {
        let calm = all[rows.len()..].iter().all(|delta| delta.verdict == Verdict::Unchanged);
        more = format!("and {left} more{}; {more}", if calm { ", all unchanged" } else { "" });
    }
    Grid {
        header: vec![
            "verdict",
            "request",
            "database",
            "change",
            "95 %, difference, pairs",
            "against",
            "since",
        ],
        numbers: vec![3],
        rows,
        more: Some(more),
    }
}

/// How much longer each request takes than on the fastest database, the longest first.
pub fn factors(answers: &Answers) -> Grid {
    let several = answers.deltas.len() > 1;
    let deltas = answers.deltas.iter().flat_map(DeltaTable::deltas);
    let mut all: Vec<(&Delta, _)> = deltas
        .filter_map(|delta| Some((delta, delta.to_fastest.filter(|_| delta.fastest_db != Some(delta.db))?)))
        .collect();
    all.sort_by(|(_, a), (_, b)| b.ratio.value.total_cmp(&a.ratio.value));
    let found = all.iter().take_while(|(_, to)| to.ratio.value >= FACTOR_MIN).take(ROWS_MAX);
    let rows: Vec<Vec<Cell>> = found
        .map(|(delta, to)| {
            let fastest = delta.fastest_db.map(|db| db.to_string()).unwrap_or_default();
            let only_here = delta.interaction.filter(|i| i.ratio.low > 1.0 && delta.is_regressed());
            vec![
                code(&delta.request),
                place(delta, several),
                plain(format!("{:.2}×", to.ratio.value)),
                quiet(format!("{}, {}", to.ratio.times(), to.rounds.of("round"))),
                quiet(fastest),
                plain(delta.to_control.map_or_else(|| "–".to_owned(), |c| format!("{:.1}×", c.ratio.value))),
                plain(only_here.map_or("", |_| "regressed here only, or most")),
            ]
        })
        .collect();
    let near = all.iter().filter(|(_, to)| to.ratio.value < FACTOR_MIN).count();
    let cut = all.len() - near - rows.len();
    let cut = if cut > 0 { format!("{cut} more, and ") } else { String::new() };
    Grid {
        header: vec!["request", "database", "factor", "95 %", "fastest", "control", ""],
        numbers: vec![2, 5],
        rows,
        more: (near > 0).then(|| format!("{cut}{near} within {FACTOR_MIN}× of the fastest")),
    }
}
