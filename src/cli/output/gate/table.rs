//! The table a person reads when a comparison is over.

use comfy_table::{Attribute, Cell as Drawn, Color};

use super::{Remark, Report, medians, went};
use crate::cli::gate::Whole;
use crate::cli::output::{label, lines, plain_table, verdict};
use crate::verdict::Verdict;

pub(super) fn render(report: &Report, color: bool, width: Option<usize>) -> String {
    let findings = report.findings;
    let paint = |text: &str, code: &str| match color {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    let compared = findings.compared();
    if compared > 0 {
        // What a narrow terminal has no room for is left out, what helps least first.
        let all = (0..=Optional::ALL.len()).rev().map(|n| &Optional::ALL[..n]);
        let mut drawn = all.map(|columns| lines(&cells(report, color, columns)));
        let fits = |table: &String| {
            width.is_none_or(|width| table.lines().all(|line| console::measure_text_width(line) <= width))
        };
        let narrowest = || lines(&cells(report, color, &[]));
        out.push_str(&drawn.find(fits).unwrap_or_else(narrowest));
        out.push('\n');
    }
    for (judged, earlier) in report.pairs() {
        let about = format!("{} {} on {}", label(judged), judged.version, judged.db);
        match earlier {
            Some(earlier) if earlier.db == judged.db => {
                out.push_str(&format!("{about} against {} {}\n", label(earlier), earlier.version));
            }
            Some(earlier) => {
                out.push_str(&format!(
                    "{about} against {} {} on {}\n",
                    label(earlier),
                    earlier.version,
                    earlier.db
                ));
            }
            None => out.push_str(&format!("{} {about}: no baseline\n", verdict::symbol(Verdict::NoBaseline))),
        }
    }
    let new = report.new_requests();
    if !new.is_empty() {
        out.push_str(&format!("– no baseline for requests that are new: {}\n", new.join(", ")));
    }
    for Remark { deployment, judged, requests, check } in report.remarks() {
        let mark = match (check.is_unreachable(), check.is_failing()) {
            (true, _) => paint("◆", "31"),
            (_, true) if judged => paint("✕", "31"),
            _ => "·".to_owned(),
        };
        let trace = check.trace.map_or_else(String::new, |trace| format!(", trace {trace}"));
        let of = if judged { "" } else { ", the baseline" };
        out.push_str(&format!("{mark} {requests} on {}{of}: {}{trace}\n", deployment.name, went(check)));
    }
    out.push('\n');
    let code = match findings.whole() {
        Whole::Regressed => "1;31",
        Whole::Passed => "1;32",
        Whole::Undecided | Whole::NoBaseline => "1",
    };
    let headline = paint(&format!("{} {}", report.symbol(), report.headline()), code);
    let early = report.early();
    let early = if early.is_empty() { early } else { format!("; {early}") };
    out.push_str(&format!("{headline} · {}{early}\n", report.counts()));
    out
}

/// Columns that a narrow terminal does without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Optional {
    Difference,
    Whisker,
    Why,
    Median,
}

impl Optional {
    /// What helps most comes first.
    const ALL: &[Optional] = &[Optional::Difference, Optional::Whisker, Optional::Why, Optional::Median];
}

fn cells(report: &Report, color: bool, optional: &[Optional]) -> comfy_table::Table {
    let (several, with) = (report.is_of_several(), |column| optional.contains(&column));
    let mut header = vec!["request"];
    if several {
        header.push("deployment");
    }
    header.extend(["verdict", "ratio"]);
    if with(Optional::Whisker) {
        header.push(verdict::SCALE);
    }
    if with(Optional::Difference) {
        header.push("difference");
    }
    if with(Optional::Median) {
        header.push("median");
    }
    header.push("pairs");
    let pairs = header.len() - 1;
    if with(Optional::Why) {
        header.push("");
    }
    let mut table = plain_table(&header, &[pairs]);
    if color {
        table.enforce_styling();
        table.set_header(header.iter().map(|name| Drawn::new(name).add_attribute(Attribute::Dim)));
    }
    let dash = || "–".to_owned();
    for cell in report.findings.cells.iter().filter(|cell| cell.is_compared()) {
        let standing = &cell.standing;
        let words = format!("{} {}", verdict::symbol(standing.verdict), verdict::words(standing));
        let words = match verdict::shade(standing.verdict) {
            Some(shade) => Drawn::new(words).fg(shade),
            None => Drawn::new(words),
        };
        let mut row = vec![Drawn::new(&standing.request)];
        if several {
            row.push(Drawn::new(&standing.deployment));
        }
        row.extend([words, Drawn::new(verdict::ratio(standing).unwrap_or_else(dash))]);
        if with(Optional::Whisker) {
            row.push(Drawn::new(verdict::whisker(verdict::told_ratio(standing))));
        }
        if with(Optional::Difference) {
            row.push(Drawn::new(verdict::difference(standing).unwrap_or_else(dash)));
        }
        if with(Optional::Median) {
            row.push(Drawn::new(medians(cell).unwrap_or_else(dash)));
        }
        row.push(Drawn::new(verdict::pairs(standing)));
        if with(Optional::Why) {
            let why = Drawn::new(verdict::brief(standing));
            row.push(if color { why.fg(Color::DarkGrey) } else { why });
        }
        table.add_row(row);
    }
    table
}
