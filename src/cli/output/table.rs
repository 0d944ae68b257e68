//! The table a person reads in a terminal, and below it what needs someone.

use comfy_table::{Attribute, Cell, Color};

use super::{lines, milliseconds, plain_table, remarks, summary, symbol, tally, times};
use crate::model::{Outcome, Run};

pub(super) fn render(runs: &[Run], color: bool) -> String {
    let several_suites = runs.windows(2).any(|pair| pair[0].round.suite != pair[1].round.suite);
    let mut header =
        vec!["deployment", "version", "database", "outcome", "requests", "median", "slowest", ""];
    if several_suites {
        header.insert(0, "suite");
    }
    let numbers = [4, 5, 6].map(|column| column + usize::from(several_suites));
    let mut table = plain_table(&header, &numbers);
    if color {
        table.enforce_styling();
        table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
    }
    for run in runs {
        table.add_row(row(run, several_suites));
    }

    let mut out = lines(&table);
    out.push('\n');
    for run in runs {
        let remarks = remarks(run);
        if remarks.is_empty() {
            continue;
        }
        let suite = if several_suites { format!(" {}", run.round.suite) } else { String::new() };
        let mark = paint(symbol(run.outcome), run.outcome, color);
        out.push_str(&format!(
            "{mark} {}{suite}: {}, trace {}\n",
            run.deployment.name, run.outcome, run.trace
        ));
        for remark in remarks {
            out.push_str(&format!("    {} {}: {}\n", remark.requests, remark.outcome, remark.detail));
        }
        out.push('\n');
    }
    out.push_str(&format!("{}\n", summary(runs)));
    out
}

fn row(run: &Run, with_suite: bool) -> Vec<Cell> {
    let (good, all) = tally(run);
    let outcome = Cell::new(format!("{} {}", symbol(run.outcome), run.outcome));
    let outcome = match shade(run.outcome) {
        Some(color) => outcome.fg(color),
        None => outcome,
    };
    let (median, slowest, name) = match times(run) {
        Some((median, sample, slowest)) => {
            (milliseconds(median), milliseconds(slowest), sample.request.name.as_str())
        }
        None => ("–".to_owned(), "–".to_owned(), ""),
    };
    let insecure = if run.deployment.tls.insecure { " (insecure)" } else { "" };
    let mut cells = vec![
        Cell::new(format!("{}{insecure}", run.deployment.name)),
        Cell::new(&run.deployment.version),
        Cell::new(run.deployment.db),
        outcome,
        Cell::new(format!("{good}/{all}")),
        Cell::new(median),
        Cell::new(slowest),
        Cell::new(name),
    ];
    if with_suite {
        cells.insert(0, Cell::new(&run.round.suite));
    }
    cells
}

fn shade(outcome: Outcome) -> Option<Color> {
    match outcome {
        Outcome::Pass => Some(Color::Green),
        Outcome::Degraded => Some(Color::Yellow),
        Outcome::Skipped => None,
        Outcome::Fail | Outcome::Unreachable => Some(Color::Red),
    }
}

fn paint(text: &str, outcome: Outcome, color: bool) -> String {
    let code = match shade(outcome) {
        Some(Color::Green) => "32",
        Some(Color::Yellow) => "33",
        Some(_) => "31",
        None => return text.to_owned(),
    };
    if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
