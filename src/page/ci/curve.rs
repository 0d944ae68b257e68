//! Response time by quantile as lines: this version over the one before, on one scale. Inline SVG
//! whose colours come from the style sheet.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

use crate::model::Quantile;
use crate::page::format::Secs;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 96.0;
const LEFT: f64 = 4.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 16.0;
/// Where the axis is named. The tail is stretched: it is what a load run is looked at for.
const TICKS: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

pub struct Curve<'a> {
    now: &'a [Quantile],
    before: &'a [Quantile],
    most: f64,
    last: f64,
}

impl<'a> Curve<'a> {
    /// `None` when there are not two points to draw a line through.
    pub fn new(now: &'a [Quantile], before: &'a [Quantile]) -> Option<Self> {
        let drawn = |q: &&Quantile| is_drawn(q);
        if now.iter().filter(drawn).count() < 2 {
            return None;
        }
        let all = || now.iter().chain(before).filter(drawn);
        let most = all().map(|q| q.seconds).fold(0.0, f64::max);
        let last = all().map(|q| q.quantile).fold(0.0, f64::max);
        (most > 0.0).then_some(Curve { now, before, most, last })
    }

    fn x(&self, quantile: f64) -> f64 {
        let place = |q: f64| -(1.0 - q).log10();
        let (from, to) = (place(0.5), place(self.last).max(place(0.9)));
        LEFT + (place(quantile) - from) / (to - from) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, seconds: f64) -> f64 {
        HEIGHT - BOTTOM - seconds / self.most * (HEIGHT - TOP - BOTTOM)
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, class: &str, quantiles: &[Quantile]) -> fmt::Result {
        let mut points = String::new();
        for q in quantiles.iter().filter(|q| is_drawn(q)) {
            write!(points, "{:.1},{:.1} ", self.x(q.quantile), self.y(q.seconds))?;
        }
        write!(f, "<polyline class=\"{class}\" points=\"{}\"/>", points.trim_end())
    }
}

fn is_drawn(q: &Quantile) -> bool {
    (0.5..=0.9999).contains(&q.quantile) && q.seconds.is_finite() && q.seconds >= 0.0
}

impl HtmlSafe for Curve<'_> {}
impl fmt::Display for Curve<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<svg class=\"curve\" role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\"><title>response time by percentile, from 0 to {0}</title>\
             <path class=\"floor\" d=\"M0 {1:.1}H{WIDTH}M0 {2:.1}H{WIDTH}\"/><text x=\"2\" y=\"{3:.1}\">{0}</text>",
            Secs(self.most),
            self.y(0.0) + 0.5,
            self.y(self.most) + 0.5,
            self.y(self.most) - 3.0
        )?;
        for (quantile, name) in TICKS.into_iter().filter(|(q, _)| *q <= self.last + 1e-9) {
            let x = self.x(quantile);
            let anchor = if quantile <= 0.5 {
                "start"
            } else if x > WIDTH - 24.0 {
                "end"
            } else {
                "middle"
            };
            let x = if anchor == "end" { WIDTH - 2.0 } else { x };
            write!(f, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>", HEIGHT - 3.0)?;
        }
        if self.before.iter().filter(|q| is_drawn(q)).count() > 1 {
            self.line(f, "before", self.before)?;
        }
        self.line(f, "now", self.now)?;
        f.write_str("</svg>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(values: &[(f64, f64)]) -> Vec<Quantile> {
        values.iter().map(|&(quantile, seconds)| Quantile { quantile, seconds }).collect()
    }

    #[test]
    fn both_lines_are_on_one_scale_and_within_the_frame() {
        let now = quantiles(&[(0.1, 0.01), (0.5, 0.02), (0.95, 0.1), (0.99, 0.4), (1.0, 9.0)]);
        let before = quantiles(&[(0.5, 0.02), (0.99, 0.2)]);
        let svg = Curve::new(&now, &before).unwrap().to_string();
        let lines: Vec<Vec<(f64, f64)>> = svg
            .split("points=\"")
            .skip(1)
            .map(|part| {
                let points = part.split('"').next().unwrap().split(' ');
                points
                    .map(|p| p.split_once(',').unwrap())
                    .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                    .collect()
            })
            .collect();
        assert_eq!((lines.len(), lines[0].len(), lines[1].len()), (2, 2, 3), "{svg}");
        assert_eq!(lines[0][0], lines[1][0], "p50 is the same in both");
        assert!(lines[0][1].1 > lines[1][2].1, "the slower one is higher up");
        for (x, y) in lines.into_iter().flatten() {
            assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{x} {y}");
        }
    }

    #[test]
    fn one_point_is_no_line() {
        assert!(Curve::new(&quantiles(&[(0.5, 0.02), (1.0, 2.0)]), &[]).is_none());
        assert!(Curve::new(&quantiles(&[(0.5, 0.0), (0.9, 0.0)]), &[]).is_none());
    }
}
