//! The table a person reads in a terminal, and below it what needs someone.

use comfy_table::{Attribute, Cell, Color};

use super::{label, lines, milliseconds, plain_table, remarks, summary, symbol, tally, times};
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
    let mut cells = vec![
        Cell::new(label(&run.deployment)),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Sample;
    use crate::otlp::fixture;

    fn run(name: &str, samples: &[(&str, &str, Outcome, u32)]) -> Run {
        let mut run = fixture::run("http://127.0.0.1:8101", samples);
        let deployment = Arc::make_mut(&mut run.deployment);
        name.clone_into(&mut deployment.name);
        deployment.tls.insecure = name.starts_with("insecure");
        run
    }

    fn runs() -> Vec<Run> {
        use Outcome::{Fail, Pass, Skipped, Unreachable};
        let well = run("insecure", &[("ping", "/", Pass, 1), ("status", "/", Pass, 2)]);
        let mut bad =
            run("bad", &[("ping", "/", Pass, 1), ("incidents", "/", Fail, 2), ("a", "/", Skipped, 0)]);
        bad.samples[1].attempts[0].phases.0[4] = 1_200_000_000;
        "it needs `a`".clone_into(&mut bad.samples[2].detail);
        let mut gone = run("gone", &[("ping", "/", Unreachable, 1)]);
        gone.samples[0].attempts[0].status = None;
        "connection refused".clone_into(&mut gone.samples[0].detail);
        let skipped = |name: &str| Sample {
            request: fixture::request(name, "/"),
            outcome: Skipped,
            attempts: Vec::new(),
            detail: "after `ping` was unreachable".to_owned(),
        };
        gone.samples.extend(["status", "components", "component", "groups"].map(skipped));
        vec![well, bad, gone]
    }

    #[test]
    fn numbers_stand_below_each_other_and_trouble_below_the_table() {
        insta::assert_snapshot!(render(&runs(), false));
    }

    #[test]
    fn colour_is_added_to_words_and_never_instead_of_them() {
        let colored = render(&runs(), true);
        assert!(colored.contains("\x1b[31m✕\x1b[0m bad: fail"), "{colored}");
        let plain = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap().replace_all(&colored, "").into_owned();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&plain), words(&render(&runs(), false)));
    }

    #[test]
    fn suites_are_named_when_there_are_several() {
        let mut runs = runs();
        let round = Arc::make_mut(&mut runs[1].round);
        "cachet-writes".clone_into(&mut round.suite);
        let table = render(&runs, false);
        assert!(table.starts_with("suite          deployment"), "{table}");
        assert!(table.contains("✕ bad cachet-writes: fail, trace "), "{table}");
    }
}
