//! Markdown of a comparison, for a pull request's comment: the answer, what regressed and how surely, and
//! everything else folded away. Whoever reads it has no documentation at hand.

use super::{Report, medians, went};
use crate::cli::gate::{Cell, FIRST_PAIRS, Gate, WARM_UP_ROUNDS, Whole};
use crate::cli::output::{Delivery, escape, label, verdict};
use crate::verdict::{Measure, Verdict};

pub(super) fn render(report: &Report) -> String {
    let findings = report.findings;
    let mut out = format!("### {} cachetscope: {}\n\n", report.symbol(), escape(&report.headline()));
    let compared = findings.compared();
    if compared > 0 {
        out.push_str(&format!("{}, {}.", report.counts(), report.effort()));
        let early = report.early();
        if !early.is_empty() {
            out.push_str(&format!(" It ended early: {}.", escape(&early)));
        }
        out.push_str("\n\n");
    } else if !report.early().is_empty() {
        out.push_str(&format!("It ended early: {}.\n\n", escape(&report.early())));
    }
    for (judged, earlier) in report.pairs() {
        let about =
            format!("**{}** {} on {}", escape(&label(judged)), code(judged.version.as_str()), judged.db);
        match earlier {
            Some(earlier) => {
                let on = if earlier.db == judged.db { String::new() } else { format!(" on {}", earlier.db) };
                let name = escape(&label(earlier));
                out.push_str(&format!(
                    "- {about}, against **{name}** {}{on}\n",
                    code(earlier.version.as_str())
                ));
            }
            None => out.push_str(&format!("- {about}: no baseline\n")),
        }
    }
    let told = [Verdict::Regressed, Verdict::Improved];
    let changed: Vec<&Cell> = told.iter().flat_map(|of| findings.of(*of)).collect();
    if !changed.is_empty() {
        out.push_str("\n| | request | database | time, new to old | difference | how sure |\n");
        out.push_str("| --- | --- | --- | --- | --- | --- |\n");
        changed.iter().for_each(|cell| out.push_str(&changed_row(cell)));
    }
    remarks(report, &mut out);
    if let Some(words) = undecided(report) {
        out.push_str(&format!("\n{words}\n"));
    }
    if compared > 0 {
        all(report, &mut out);
    }
    match report.delivery {
        Delivery::Delivered { refused: 0, .. } => {}
        // Whoever reads the comment sits at another machine, so the file's path is left out.
        Delivery::Spooled { items, reason, .. } => out.push_str(&format!(
            "\n_Telemetry: {items} items wait, and the next `probe --once` on this machine delivers them: {}_\n",
            escape(reason)
        )),
        trouble => out.push_str(&format!("\n_Telemetry: {}_\n", escape(&trouble.to_string()))),
    }
    out
}

fn changed_row(cell: &Cell) -> String {
    let standing = &cell.standing;
    let ratio = verdict::ratio(standing).map(|ratio| format!("× {ratio}"));
    let difference = [verdict::difference(standing), medians(cell).map(|m| format!("median {m}"))];
    let elsewhere =
        standing.across.interaction.filter(|other| other.ratio.low > 1.0 || other.ratio.high < 1.0);
    let elsewhere = elsewhere.filter(|_| standing.measure == Measure::Latency).map(|other| {
        let ratio = other.ratio;
        format!(
            "only here: × {:.2} ({:.2} to {:.2}) of the change elsewhere",
            ratio.value, ratio.low, ratio.high
        )
    });
    let sure = [
        Some(format!("{} pairs", verdict::pairs(standing))),
        verdict::p(standing),
        Some(verdict::why(standing)),
        elsewhere,
    ];
    let joined = |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
    format!(
        "| {} {} | {} | {} | {} | {} | {} |\n",
        verdict::symbol(standing.verdict),
        verdict::words(standing),
        code(&standing.request),
        standing.db,
        ratio.unwrap_or_else(|| "–".to_owned()),
        joined(&difference),
        joined(&sure)
    )
}

/// Checks that did not always hold.
fn remarks(report: &Report, out: &mut String) {
    let mut heading = "\n";
    for (deployment, judged, request, check) in report.remarks() {
        let mark = match (check.is_unreachable(), check.is_failing()) {
            (true, _) => "◆",
            (_, true) if judged => "✕",
            _ => "·",
        };
        let of = if judged { "" } else { " (the baseline)" };
        let trace = check.trace.map_or_else(String::new, |trace| format!(" (trace `{trace}`)"));
        out.push_str(heading);
        heading = "";
        out.push_str(&format!(
            "- {mark} {} on **{}**{of} {}: {}{trace}\n",
            code(request),
            escape(&deployment.name),
            went(check),
            escape(&check.detail)
        ));
    }
}

/// What a verdict that is none means for who waits for it.
fn undecided(report: &Report) -> Option<String> {
    let strict = report.gate == Some(Gate::Strict);
    match report.findings.whole() {
        Whole::Undecided if strict => Some(
            "The gate is strict: it passes only where every request was shown to be as fast as before. More rounds \
             narrow the intervals: give it longer, or fewer requests."
                .to_owned(),
        ),
        Whole::Undecided => {
            Some("Nothing is known against this version, but there were too few rounds to tell.".to_owned())
        }
        Whole::NoBaseline => Some(
            "No earlier version runs on the same database in the same environment, so only the checks were made."
                .to_owned(),
        ),
        Whole::Regressed | Whole::Passed => None,
    }
}

fn all(report: &Report, out: &mut String) {
    let several = report.is_of_several();
    let findings = report.findings;
    out.push_str(&format!(
        "\n<details><summary>All {}</summary>\n\n",
        super::plural(findings.compared(), "comparison")
    ));
    let (head, rule) = if several { ("deployment | ", " --- |") } else { ("", "") };
    out.push_str(&format!(
        "| request | {head}verdict | time, new to old | difference | median | pairs | why |\n\
         | --- |{rule} --- | --- | --- | --- | ---: | --- |\n"
    ));
    for cell in findings.cells.iter().filter(|cell| cell.is_compared()) {
        let standing = &cell.standing;
        let deployment = if several { format!("{} | ", escape(&standing.deployment)) } else { String::new() };
        let dash = || "–".to_owned();
        out.push_str(&format!(
            "| {} | {deployment}{} {} | {} | {} | {} | {} | {} |\n",
            code(&standing.request),
            verdict::symbol(standing.verdict),
            verdict::words(standing),
            verdict::ratio(standing).map_or_else(dash, |ratio| format!("× {ratio}")),
            verdict::difference(standing).unwrap_or_else(dash),
            medians(cell).unwrap_or_else(dash),
            verdict::pairs(standing),
            verdict::why(standing)
        ));
    }
    let new = report.new_requests();
    if !new.is_empty() {
        let new: Vec<String> = new.iter().map(|name| code(name)).collect();
        out.push_str(&format!("\nWithout a baseline, since they are new: {}\n", new.join(", ")));
    }
    let floors = findings.cells.first().map(|cell| &cell.standing);
    let (percent, ms) = floors.map_or((5.0, 1.0), |s| (1e2 * s.floor_ratio, 1e3 * s.floor_seconds));
    out.push_str(&format!(
        "\n</details>\n\n<details><summary>How this was judged</summary>\n\n\
         Each round asks both versions the same request within moments of each other, in random order; the two times \
         are one pair. The first {WARM_UP_ROUNDS} rounds warm up and are not judged. In brackets are 95 % intervals.\n\n\
         - **regressed**, **improved**: a difference was found, was seen again on fresh pairs, is significant among all \
         {FIRST_PAIRS} or more pairs after correction for all comparisons, and is larger than {percent:.0} % and {ms:.0} \
         ms. The chance that any of these verdicts is false is at most 3 %.\n\
         - **unchanged**: any difference is smaller than {percent:.0} %, or than {ms:.0} ms (90 % interval).\n\
         - **inconclusive**: neither is shown yet. **insufficient**: too few pairs. **invalid**: too many rounds could \
         not be used.\n\n</details>\n"
    ));
}

fn code(text: &str) -> String {
    // A backtick would end it.
    if text.contains('`') { escape(text) } else { format!("`{}`", text.replace('|', "\\|")) }
}
