//! Markdown for a pull request's comment: the table, then what needs someone.

use super::{Delivery, Report, label, milliseconds, remarks, summary, symbol, tally, times};
use crate::model::Outcome;

pub(super) fn render(report: &Report) -> String {
    let mut out = format!("### cachetscope probe: {}\n\n", summary(report.runs));
    out.push_str("| deployment | version | database | outcome | requests | median | slowest |\n");
    out.push_str("| --- | --- | --- | --- | ---: | ---: | ---: |\n");
    for run in report.runs {
        let (good, all) = tally(run);
        let (median, slowest) = match times(run) {
            Some((median, sample, slowest)) => (
                milliseconds(median),
                format!("{} ({})", milliseconds(slowest), escape(&sample.request.name)),
            ),
            None => ("–".to_owned(), "–".to_owned()),
        };
        out.push_str(&format!(
            "| {} | {} | {} | {} {} | {good}/{all} | {median} | {slowest} |\n",
            escape(&label(&run.deployment)),
            escape(run.deployment.version.as_str()),
            run.deployment.db,
            symbol(run.outcome),
            run.outcome,
        ));
    }
    let mut heading = "\n";
    for run in report.runs {
        for remark in remarks(run) {
            // Why a request was skipped is told in our own words, never in a target's.
            let detail = match remark.outcome {
                Outcome::Skipped => own(&remark.detail),
                _ => escape(&remark.detail),
            };
            out.push_str(heading);
            heading = "";
            out.push_str(&format!(
                "- {} **{}** {} {}: {} (trace `{}`)\n",
                symbol(remark.outcome),
                escape(&run.deployment.name),
                escape(&remark.requests),
                remark.outcome,
                detail,
                run.trace
            ));
        }
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

/// Our own words, whose backticks set names apart. Within them a backslash would be shown.
fn own(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // One that is not closed is no code.
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    let code = |(place, part): (usize, &&str)| match place % 2 {
        0 => escape(part),
        _ => format!("`{part}`"),
    };
    parts.iter().enumerate().map(code).collect()
}

/// What comes from a target must not become markup or break the table.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '@' | '!' | '~' | '$' => {
                out.extend(['\\', c])
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::fixture;

    #[test]
    fn what_a_target_says_stays_text() {
        let mut run = fixture::run("http://127.0.0.1:8101", &[("ping", "/", Outcome::Fail, 1)]);
        "found `</td><img src=x>` | @team #1 **now**\n# done".clone_into(&mut run.samples[0].detail);
        let delivery = Delivery::Lost { reason: "disk_full".to_owned() };
        let markdown = render(&Report { runs: &[run], delivery: &delivery, exit_code: 1 });
        let remark = markdown.lines().find(|line| line.starts_with("- ")).unwrap();
        assert!(
            remark.contains(r"found \`\</td\>\<img src=x\>\` \| \@team \#1 \*\*now\*\* \# done (trace"),
            "{remark}"
        );
        assert!(
            markdown.ends_with("\n_Telemetry: LOST, it could be neither delivered nor kept: disk\\_full_\n")
        );
    }

    #[test]
    fn names_in_our_own_words_are_code() {
        assert_eq!(own("it needs `an_id` of <x>"), r"it needs `an_id` of \<x\>");
        assert_eq!(own("half `open_"), r"half \`open\_");
    }
}
