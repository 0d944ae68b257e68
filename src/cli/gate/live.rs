//! What who watches sees on stderr: on a terminal a table that is drawn anew after each round, elsewhere a
//! line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use comfy_table::{Attribute, Cell as Drawn};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::output::{lines, plain_table, verdict};
use super::Plan;
use super::pace::rounded;
use super::session::View;
use crate::compare::Standing;
use crate::verdict::Verdict;

/// Between two pictures on a terminal, and between two lines elsewhere.
const DRAW_EVERY: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Live {
    /// Only where a person looks.
    bar: Option<ProgressBar>,
    color: bool,
    /// Whether the deployment has to be told.
    several: bool,
    last: Option<Instant>,
}

impl Live {
    pub fn new(color: bool, plan: &Plan) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        // The announcement counts as the first line.
        Live { last: bar.is_none().then(Instant::now), bar, color, several: plan.pairing.judged > 1 }
    }

    /// A sentence that stays.
    pub fn say(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{words}")),
            None => eprintln!("{words}"),
        }
    }

    /// Whether the next view is shown.
    pub fn is_due(&self) -> bool {
        let every = if self.bar.is_some() { DRAW_EVERY } else { SAY_EVERY };
        self.last.is_none_or(|last| last.elapsed() >= every)
    }

    pub fn show(&mut self, view: &View<'_>) {
        if let Some((name, wait)) = &view.waits {
            self.say(&format!("{name} allows no more requests: the next round waits for {}", rounded(*wait)));
        }
        if !self.is_due() {
            return;
        }
        self.last = Some(Instant::now());
        match &self.bar {
            Some(bar) => bar.set_message(self.picture(view)),
            None => self.say(&progress(view)),
        }
    }

    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn picture(&self, view: &View<'_>) -> String {
        let (height, width) = console::Term::stderr().size();
        let most = usize::from(height).saturating_sub(4).max(1);
        let mut rows: Vec<&Standing> =
            view.standings.iter().filter(|standing| standing.against.is_some()).collect();
        let more = rows.len().saturating_sub(most);
        if more > 0 {
            // What moves first; the order of asking within.
            rows.sort_by_key(|standing| {
                let quiet = matches!(standing.verdict, Verdict::Unchanged | Verdict::Insufficient);
                (standing.verdict != Verdict::Regressed, quiet)
            });
            rows.truncate(most.saturating_sub(1));
        }
        let mut picture = [true, false]
            .into_iter()
            .map(|whiskers| self.table(&rows, whiskers))
            .find(|table| table.lines().all(|line| console::measure_text_width(line) <= usize::from(width)))
            .unwrap_or_else(|| self.table(&rows, false));
        if more > 0 {
            picture.push_str(&format!("and {} more\n", more + 1));
        }
        picture.push_str(&progress(view));
        let cut = |line| console::truncate_str(line, usize::from(width), "…").into_owned();
        picture.lines().map(cut).collect::<Vec<_>>().join("\n")
    }

    fn table(&self, rows: &[&Standing], whiskers: bool) -> String {
        let mut header = vec!["request", "verdict", "ratio"];
        if self.several {
            header.insert(1, "deployment");
        }
        if whiskers {
            header.push(verdict::SCALE);
        }
        header.extend(["pairs", ""]);
        let mut table = plain_table(&header, &[header.len() - 2]);
        if self.color {
            table.enforce_styling();
            table.set_header(header.iter().map(|name| Drawn::new(name).add_attribute(Attribute::Dim)));
        }
        for standing in rows {
            let words = format!("{} {}", verdict::symbol(standing.verdict), verdict::words(standing));
            let words = match verdict::shade(standing.verdict).filter(|_| self.color) {
                Some(color) => Drawn::new(words).fg(color),
                None => Drawn::new(words),
            };
            let mut cells = vec![Drawn::new(&standing.request), words];
            if self.several {
                cells.insert(1, Drawn::new(&standing.deployment));
            }
            cells.push(Drawn::new(verdict::ratio(standing).unwrap_or_default()));
            if whiskers {
                let ratio = standing.latency.and_then(|judgement| judgement.assessment.ratio);
                cells.push(Drawn::new(verdict::whisker(ratio)));
            }
            let needed = standing.judgement().map_or(0, |judgement| judgement.rounds_needed);
            let next = if needed > 0 { format!("next look in {needed}") } else { String::new() };
            cells.extend([Drawn::new(verdict::pairs(standing)), Drawn::new(next)]);
            table.add_row(cells);
        }
        lines(&table)
    }
}

/// One line: how far it is, and what is known.
fn progress(view: &View<'_>) -> String {
    let compared = view.standings.iter().filter(|standing| standing.against.is_some());
    let mut counts: Vec<String> = Vec::new();
    for of in Verdict::ALL {
        let n = compared.clone().filter(|standing| standing.verdict == of).count();
        if n > 0 {
            counts.push(format!("{n} {}", verdict::word(of)));
        }
    }
    let rounds = if view.rounds < view.planned {
        format!("round {} of {}, about {} left", view.rounds, view.planned, rounded(view.left))
    } else if view.candidates > 0 {
        format!("round {}, {} to be confirmed", view.rounds, view.candidates)
    } else {
        format!("round {}, not clear yet", view.rounds)
    };
    format!("{rounds}: {}", if counts.is_empty() { "warming up".to_owned() } else { counts.join(", ") })
}
