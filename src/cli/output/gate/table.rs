//! The table a person reads when a comparison is over.

use comfy_table::{Attribute, Cell as Drawn, Color};

use super::{Report, medians, went};
use crate::cli::gate::Whole;
use crate::cli::output::{label, lines, plain_table, verdict};
use crate::verdict::Verdict;

pub(super) fn render(report: &Report, color: bool) -> String {
    let findings = report.findings;
    let paint = |text: &str, code: &str| match color {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    let compared = findings.compared();
    if compared > 0 {
        out.push_str(&lines(&cells(report, color)));
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
    for (deployment, judged, request, check) in report.remarks() {
        let mark = match (check.is_unreachable(), check.is_failing()) {
            (true, _) => paint("◆", "31"),
            (_, true) if judged => paint("✕", "31"),
            _ => "·".to_owned(),
        };
        let trace = check.trace.map_or_else(String::new, |trace| format!(", trace {trace}"));
        let of = if judged { "" } else { ", the baseline" };
        out.push_str(&format!(
            "{mark} {request} on {}{of}: {}: {}{trace}\n",
            deployment.name,
            went(check),
            check.detail
        ));
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
    let counts = if compared > 0 { format!("{}, ", report.counts()) } else { String::new() };
    out.push_str(&format!("{headline}: {counts}{}{early}\n", report.effort()));
    out
}

fn cells(report: &Report, color: bool) -> comfy_table::Table {
    let several = report.is_of_several();
    let mut header = vec!["request"];
    if several {
        header.push("deployment");
    }
    header.extend(["verdict", "ratio", verdict::SCALE, "difference", "median", "pairs", ""]);
    let mut table = plain_table(&header, &[header.len() - 2]);
    if color {
        table.enforce_styling();
        table.set_header(header.iter().map(|name| Drawn::new(name).add_attribute(Attribute::Dim)));
    }
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
        let ratio = standing.latency.and_then(|judgement| judgement.assessment.ratio);
        let why = Drawn::new(verdict::why(standing));
        row.extend([
            words,
            Drawn::new(verdict::ratio(standing).unwrap_or_else(|| "–".to_owned())),
            Drawn::new(verdict::whisker(ratio)),
            Drawn::new(verdict::difference(standing).unwrap_or_else(|| "–".to_owned())),
            Drawn::new(medians(cell).unwrap_or_else(|| "–".to_owned())),
            Drawn::new(verdict::pairs(standing)),
            if color { why.fg(Color::DarkGrey) } else { why },
        ]);
        table.add_row(row);
    }
    table
}
