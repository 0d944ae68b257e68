//! Lines and bars drawn by the server, as inline SVG without any style of its own: colours come
//! from the style sheet by class, so that both colour schemes and print are served alike.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use serde::Serialize;
use utoipa::ToSchema;

use super::format::Ns;
use crate::model::{Phase, Phases};

/// Rounds that a line shows.
pub const ROUNDS_MAX: usize = 40;

const WIDTH: f64 = 150.0;
const HEIGHT: f64 = 34.0;
/// Room for the stroke at the sides and the top, and for the marks at the bottom.
const MARGIN: f64 = 3.0;
const FLOOR: f64 = 7.0;

/// What goes from the bottom to the top of a line; shared by all lines that are to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Scale {
    pub low_ns: u64,
    pub high_ns: u64,
}

impl Scale {
    /// From the least value to a little above the 95th percentile: one spike, cut off at the top,
    /// does not flatten everything else.
    pub fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        let at = |percent: usize| values.get(values.len().saturating_sub(1) * percent / 100).copied();
        let (low, high) = (at(0).unwrap_or(0), at(95).unwrap_or(0));
        // Noise of less than a tenth is drawn as the little it is.
        let span = (high - low).max(high / 10).max(1);
        Scale { low_ns: low.saturating_sub(span / 10), high_ns: high.saturating_add(span / 5) }
    }

    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    fn y(self, value: u64) -> f64 {
        let span = self.high_ns.saturating_sub(self.low_ns).max(1) as f64;
        let part = value.saturating_sub(self.low_ns) as f64 / span;
        HEIGHT - FLOOR - part.min(1.0) * (HEIGHT - FLOOR - MARGIN)
    }
}

/// One round on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Point {
    /// Median of the round's answered first attempts; null when nothing was answered.
    pub median_ns: Option<Ns>,
    /// A check failed, or nothing was reached.
    pub broken: bool,
}

/// The last rounds of one deployment, oldest first, the newest at the right edge.
pub struct Line<'a> {
    pub points: &'a [Point],
    pub scale: Scale,
    /// What one point is: `round`, `sample`.
    pub of: &'static str,
}

impl HtmlSafe for Line<'_> {}
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = &self.points[self.points.len().saturating_sub(ROUNDS_MAX)..];
        write!(
            f,
            "<svg class=\"spark\" role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\
             <title>{}</title>",
            self.label(points)
        )?;
        write!(f, "<path class=\"floor\" d=\"M0 {0}H{WIDTH}\"/>", HEIGHT - 0.5)?;
        let step = (WIDTH - 2.0 * MARGIN) / (ROUNDS_MAX - 1) as f64;
        let x = |i: usize| WIDTH - MARGIN - step * (points.len() - 1 - i) as f64;
        let mut marks = String::new();
        let mut open = String::new();
        let mut stretches = Vec::new();
        for (i, point) in points.iter().enumerate() {
            if point.broken {
                write!(marks, "M{:.1} {HEIGHT}v-5", x(i))?;
            }
            match point.median_ns {
                Some(Ns(ns)) => write!(open, "{:.1},{:.1} ", x(i), self.scale.y(ns))?,
                None => stretches.push(std::mem::take(&mut open)),
            }
        }
        stretches.push(open);
        for stretch in stretches.iter().filter(|s| !s.is_empty()) {
            write!(f, "<polyline points=\"{}\"/>", stretch.trim_end())?;
        }
        if let Some((i, Ns(ns))) = points.iter().enumerate().rev().find_map(|(i, p)| Some((i, p.median_ns?)))
        {
            write!(f, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"1.8\"/>", x(i), self.scale.y(ns))?;
        }
        if !marks.is_empty() {
            write!(f, "<path class=\"broken\" d=\"{marks}\"/>")?;
        }
        f.write_str("</svg>")
    }
}

impl Line<'_> {
    /// The line in words, for those who do not see it.
    fn label(&self, points: &[Point]) -> String {
        let answered = || points.iter().filter_map(|p| p.median_ns);
        let mut text = format!("last {}", super::format::Count::from(points.len()).of(self.of));
        if let (Some(least), Some(most)) = (answered().min(), answered().max()) {
            let _ = write!(text, ": {least} to {most}");
        }
        match points.iter().filter(|p| p.broken).count() {
            0 => {}
            n => {
                let _ = write!(text, ", {n} of them broken");
            }
        }
        text
    }
}

/// One request's time by phase, on a scale shared with its neighbours.
pub struct Bar {
    pub phases: Phases,
    /// What the full width stands for.
    pub full_ns: u64,
}

const BAR_WIDTH: f64 = 260.0;
const BAR_HEIGHT: f64 = 12.0;

impl HtmlSafe for Bar {}
impl fmt::Display for Bar {
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<svg class=\"bar\" role=\"img\" viewBox=\"0 0 {BAR_WIDTH} {BAR_HEIGHT}\" width=\"{BAR_WIDTH}\" \
             height=\"{BAR_HEIGHT}\" preserveAspectRatio=\"none\"><title>{}</title>",
            words(&self.phases)
        )?;
        let mut left = 0.0;
        for (phase, ns) in Phase::ALL.into_iter().zip(self.phases.0) {
            let width = (ns as f64 / self.full_ns.max(1) as f64 * BAR_WIDTH).min(BAR_WIDTH - left);
            if width > 0.0 {
                write!(
                    f,
                    "<rect class=\"p-{phase}\" x=\"{left:.2}\" y=\"0\" width=\"{width:.2}\" height=\"{BAR_HEIGHT}\"/>"
                )?;
            }
            left += width;
        }
        f.write_str("</svg>")
    }
}

/// `dns 0.00 ms, connect 0.21 ms, …`
fn words(phases: &Phases) -> String {
    let parts = Phase::ALL.into_iter().zip(phases.0).map(|(phase, ns)| format!("{phase} {}", Ns(ns)));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[Option<u64>]) -> String {
        let points: Vec<Point> =
            values.iter().map(|v| Point { median_ns: v.map(Ns), broken: v.is_none() }).collect();
        let scale = Scale::of(values.iter().flatten().copied());
        Line { points: &points, scale, of: "round" }.to_string()
    }

    #[test]
    fn a_round_without_an_answer_breaks_the_line_and_is_marked() {
        let svg = line(&[Some(10_000_000), Some(12_000_000), None, Some(11_000_000)]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("class=\"broken\"").count(), 1);
        assert!(svg.contains("<title>last 4 rounds: 10.0 ms to 12.0 ms, 1 of them broken</title>"), "{svg}");
    }

    #[test]
    fn no_round_at_all_draws_nothing() {
        let svg = line(&[]);
        assert!(
            svg.contains("last 0 rounds") && !svg.contains("polyline") && !svg.contains("circle"),
            "{svg}"
        );
    }

    #[test]
    fn only_the_last_forty_are_drawn_and_all_within_the_frame() {
        let values: Vec<_> = (0..100).map(|i| Some(if i == 90 { u64::MAX } else { i })).collect();
        let svg = line(&values);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(points.split(' ').count(), ROUNDS_MAX);
        for pair in points.split(' ') {
            let (x, y) = pair.split_once(',').unwrap();
            assert!((0.0..=WIDTH).contains(&x.parse().unwrap()), "{pair}");
            assert!((0.0..=HEIGHT).contains(&y.parse().unwrap()), "{pair}");
        }
    }

    #[test]
    fn one_spike_does_not_flatten_the_rest() {
        let mut values = vec![10_000; 39];
        values.push(90_000_000);
        assert!(Scale::of(values).high_ns < 20_000);
    }

    #[test]
    fn a_bar_is_as_wide_as_its_share_and_never_overflows() {
        let bar = |full_ns| Bar { phases: Phases([0, 25, 0, 0, 50, 25]), full_ns }.to_string();
        let svg = bar(200);
        assert!(svg.contains("<rect class=\"p-wait\" x=\"32.50\" y=\"0\" width=\"65.00\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(bar(50).contains("width=\"0.00\"") || bar(50).matches("<rect").count() == 2);
    }
}
