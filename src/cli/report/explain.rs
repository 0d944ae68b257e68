//! Every number that a verdict used, for one request on one database.

use super::grids::tame;
use crate::cli::output::{escape, lines, plain_table};
use crate::compare::Standing;
use crate::page::deltas::{label, symbol};
use crate::page::{Numbers, why};

/// Those of this request on this database; of none, what there is instead.
pub fn find<'a>(standings: &'a [Standing], request: &str, db: &str) -> anyhow::Result<Vec<&'a Standing>> {
    let found: Vec<&Standing> =
        standings.iter().filter(|s| s.request == request && s.db.as_str() == db).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let list = |of: &dyn Fn(&Standing) -> String| {
        let mut names: Vec<String> = standings.iter().map(of).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    };
    anyhow::ensure!(!standings.is_empty(), "nothing is compared yet: the first round begins it");
    anyhow::bail!(
        "no verdict is known on `{request}` on `{db}`; there are the requests {} on {}",
        list(&|s| s.request.clone()),
        list(&|s| s.db.to_string())
    )
}

fn head(standing: &Standing) -> String {
    let Standing { request, db, deployment, version, environment, suite, .. } = standing;
    let against = standing
        .against
        .as_ref()
        .map_or_else(String::new, |against| format!(" against {} ({})", against.version, against.deployment));
    tame(&format!("{request} on {db}: {version} ({deployment}){against}, {environment}, suite {suite}"))
}

fn verdict(standing: &Standing) -> String {
    let words = label(standing.verdict, standing.measure, standing.rule);
    format!("{} {words}", symbol(standing.verdict))
}

pub fn text(standings: &[&Standing], color: bool) -> String {
    let bold = |text: &str| if color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = String::new();
    for standing in standings {
        if !out.is_empty() {
            out.push('\n');
        }
        let since = standing.since.to_utc().format("%Y-%m-%d %H:%M:%S UTC");
        out.push_str(&format!("{}\n{} since {since}\n", bold(&head(standing)), bold(&verdict(standing))));
        out.push_str(&format!("{}\n\n", tame(&why(standing))));
        let numbers = Numbers(standing);
        let mut table = plain_table(&["", "latency", "errors", ""], &[]);
        for row in numbers.rows() {
            table.add_row([row.name.to_owned(), row.latency, row.errors, row.meaning]);
        }
        if standing.latency.is_some() {
            out.push_str(&lines(&table));
            out.push('\n');
        }
        let mut table = plain_table(&["", ""], &[]);
        for (name, fact) in numbers.facts() {
            table.add_row([name.to_owned(), tame(&fact)]);
        }
        out.push_str(lines(&table).trim_start_matches('\n'));
    }
    out
}

pub fn markdown(standings: &[&Standing]) -> String {
    let mut out = String::new();
    for standing in standings {
        out.push_str(&format!("## {}\n\n", escape(&head(standing))));
        out.push_str(&format!("**{}** — {}\n\n", verdict(standing), escape(&tame(&why(standing)))));
        let numbers = Numbers(standing);
        if standing.latency.is_some() {
            out.push_str("| | latency | errors | |\n| --- | --- | --- | --- |\n");
            for row in numbers.rows() {
                out.push_str(&format!(
                    "| {} | {} | {} | {} |\n",
                    row.name, row.latency, row.errors, row.meaning
                ));
            }
            out.push('\n');
        }
        for (name, fact) in numbers.facts() {
            out.push_str(&format!("- {name}: {}\n", escape(&tame(&fact))));
        }
        out.push('\n');
    }
    out
}
