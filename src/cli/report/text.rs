//! The report in a terminal: each answer with its number, and below it the tables it rests on.
//! Colours only repeat what words and symbols say.

use comfy_table::{Attribute, Cell as Drawn, Color};

use super::grids::{Grid, Tone, grids, tame};
use super::{Answers, Topic};
use crate::cli::output::{lines, plain_table};

/// Columns that sentences take.
const WIDTH: usize = 96;
const INDENT: &str = "   ";

pub(super) fn render(answers: &Answers, topics: &[Topic], color: bool) -> String {
    let paint = |text: &str, code: &str| match color {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let title =
        if answers.title.is_empty() { String::new() } else { format!(" · {}", tame(&answers.title)) };
    let at = answers.at.0.to_utc().format("%Y-%m-%d %H:%M:%S UTC");
    let mut out = format!("{}{title} · {at}\n", paint("cachetscope report", "1"));
    for topic in topics {
        let Some(question) = answers.question(*topic) else { continue };
        out.push_str(&format!("\n{}  {}\n", *topic as usize + 1, paint(&question.question, "2")));
        let mark = if question.attention { format!("{} ", paint("✕", "31")) } else { String::new() };
        let answer = tame(&question.answer);
        let answer = if question.answered { paint(&answer, "1") } else { answer };
        out.push_str(&format!("{INDENT}{mark}{answer}\n"));
        for line in wrapped(&tame(&question.note)) {
            out.push_str(&format!("{INDENT}{}\n", paint(&line, "2")));
        }
        for grid in grids(answers, *topic) {
            out.push('\n');
            lines(&drawn(&grid, color)).lines().for_each(|line| out.push_str(&format!("{INDENT}{line}\n")));
            if let Some(more) = &grid.more {
                out.push_str(&format!("{INDENT}{}\n", paint(more, "2")));
            }
        }
    }
    out
}

fn drawn(grid: &Grid, color: bool) -> comfy_table::Table {
    let mut table = plain_table(&grid.header, &grid.numbers);
    if color {
        table.enforce_styling();
        table.set_header(grid.header.iter().map(|name| Drawn::new(name).add_attribute(Attribute::Dim)));
    }
    for row in &grid.rows {
        table.add_row(row.iter().map(|cell| match cell.tone {
            Tone::Plain => Drawn::new(&cell.text),
            Tone::Good => Drawn::new(&cell.text).fg(Color::Green),
            Tone::Warn => Drawn::new(&cell.text).fg(Color::Yellow),
            Tone::Bad => Drawn::new(&cell.text).fg(Color::Red),
            Tone::Quiet => Drawn::new(&cell.text).add_attribute(Attribute::Dim),
        }));
    }
    table
}

/// Lines of at most [`WIDTH`] columns, broken between words but not between a number and its unit; a
/// longer word has a line of its own.
fn wrapped(text: &str) -> Vec<String> {
    let mut whole = text.to_owned();
    for unit in ["ms", "s", "min", "h", "d", "%", "samples"] {
        for end in [" ", ",", ";", ".", ")"] {
            whole = whole.replace(&format!(" {unit}{end}"), &format!("\u{a0}{unit}{end}"));
        }
    }
    let mut lines = vec![String::new()];
    for word in whole.split(' ') {
        let Some(line) = lines.last_mut() else { continue };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words() {
        let text = format!("{} {} b", "a ".repeat(40).trim(), "x".repeat(120));
        let lines = wrapped(&text);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrapped(""), [""]);
        let age = wrapped(&format!("{} 55 min ago", "x".repeat(92)));
        assert_eq!(age[1], "55 min ago");
    }
}
