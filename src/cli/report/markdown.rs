//! The report as Markdown: for a pull request's comment or the summary page of a CI's run.

use super::grids::{Cell, Grid, grids, tame};
use super::{Answers, Topic};
use crate::cli::output::escape;

pub(super) fn render(answers: &Answers, topics: &[Topic]) -> String {
    let title = if answers.title.is_empty() { String::new() } else { format!(": {}", text(&answers.title)) };
    let mut out = format!("## cachetscope report{title}\n\n");
    out.push_str("| | question | answer | |\n| ---: | --- | --- | --- |\n");
    let asked = || topics.iter().filter_map(|topic| Some((*topic, answers.question(*topic)?)));
    for (topic, question) in asked() {
        let mark = if question.attention { "✕ " } else { "" };
        let answer = text(&question.answer);
        let answer = if question.answered { format!("**{answer}**") } else { answer };
        let number = topic as usize + 1;
        out.push_str(&format!(
            "| {number} | {} | {mark}{answer} | {} |\n",
            text(&question.question),
            text(&question.note)
        ));
    }
    for (topic, question) in asked() {
        let grids = grids(answers, topic);
        if grids.is_empty() {
            continue;
        }
        out.push_str(&format!("\n### {}\n", text(&question.question)));
        grids.iter().for_each(|grid| out.push_str(&table(grid)));
    }
    out.push_str(&format!("\n_Read {}._\n", answers.at.0.to_utc().format("%Y-%m-%d %H:%M:%S UTC")));
    out
}

fn text(text: &str) -> String {
    escape(&tame(text))
}

fn table(grid: &Grid) -> String {
    let rule = |place: usize| if grid.numbers.contains(&place) { "---:" } else { "---" };
    let rules: Vec<&str> = (0..grid.header.len()).map(rule).collect();
    let mut out = format!("\n| {} |\n| {} |\n", grid.header.join(" | "), rules.join(" | "));
    for row in &grid.rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    if let Some(more) = &grid.more {
        out.push_str(&format!("\n{}\n", text(more)));
    }
    out
}

/// A name in a code span where that holds it as it is: a backtick would end it, and a bar the cell.
fn cell(cell: &Cell) -> String {
    if cell.code && !cell.text.is_empty() && !cell.text.contains(['`', '|', '\n']) {
        format!("`{}`", cell.text)
    } else {
        escape(&cell.text)
    }
}
