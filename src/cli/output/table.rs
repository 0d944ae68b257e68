//! The table a person reads in a terminal.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::{Report, milliseconds, remarks, summary, symbol, tally, times};
use crate::model::{Outcome, Run};

pub(super) fn render(report: &Report, color: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let several_suites = report.runs.windows(2).any(|pair| pair[0].round.suite != pair[1].round.suite);
    let mut header = vec!["deployment", "version", "database", "outcome", "requests", "median", "slowest"];
    if several_suites {
        header.insert(0, "suite");
    }
    table.set_header(header.into_iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
    for run in report.runs {
        table.add_row(row(run, several_suites));
    }
    for column in 4..7 {
        if let Some(column) = table.column_mut(column + usize::from(several_suites)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }

    let mut out: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let described: Vec<&Run> = report.runs.iter().filter(|run| !remarks(run).is_empty()).collect();
    if !described.is_empty() {
        out.push('\n');
    }
    for run in described {
        for (sample, detail) in remarks(run) {
            out.push_str(&format!(
                "{} {} {}: {}\n    {detail}\n    trace {}\n",
                paint(symbol(sample.outcome), sample.outcome, color),
                run.deployment.name,
                sample.request.name,
                sample.outcome,
                run.trace
            ));
        }
    }
    out.push_str(&format!("\n{}\n", summary(report.runs)));
    out
}

fn row(run: &Run, with_suite: bool) -> Vec<Cell> {
    let (good, all) = tally(run);
    let outcome = Cell::new(format!("{} {}", symbol(run.outcome), run.outcome));
    let outcome = match shade(run.outcome) {
        Some(color) => outcome.fg(color),
        None => outcome,
    };
    let (median, slowest) = match times(run) {
        Some((median, sample, slowest)) => {
            (milliseconds(median), format!("{} ({})", milliseconds(slowest), sample.request.name))
        }
        None => ("–".to_owned(), "–".to_owned()),
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
