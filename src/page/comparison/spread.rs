//! The times of two versions on one scale: a histogram each, one above the other, with their medians.

use std::fmt;

use askama::filters::HtmlSafe;

use crate::page::format::Ns;

const WIDTH: f64 = 640.0;
/// Of one histogram, its name and the axis below both.
const PANEL: f64 = 94.0;
const HEAD: f64 = 27.0;
const AXIS: f64 = 26.0;
/// As many as the samples can fill: of few, narrow bars would show noise.
const BINS: (f64, f64) = (14.0, 56.0);
/// Grid lines, about.
const TICKS: f64 = 5.0;

/// Both sides sorted; the earlier one is empty where there is none.
pub struct Spread<'a> {
    later: &'a [u64],
    earlier: &'a [u64],
    low: f64,
    high: f64,
    bins: usize,
}

impl<'a> Spread<'a> {
    pub fn new(later: &'a [u64], earlier: &'a [u64]) -> Option<Self> {
        let at = |sorted: &[u64], percent: usize| {
            sorted.get(sorted.len().saturating_sub(1) * percent / 100).map(|ns| ms(*ns))
        };
        let low = [later, earlier].into_iter().filter_map(|s| at(s, 0)).reduce(f64::min)?;
        // A stall of seconds must not press all else into one bin: what is beyond is told in words.
        let high = [later, earlier].into_iter().filter_map(|s| at(s, 97)).reduce(f64::max)?;
        let span = (high - low).max(high * 0.1).max(1e-3);
        let most = later.len().max(earlier.len()) as f64;
        let bins = (2.6 * most.sqrt()).clamp(BINS.0, BINS.1) as usize;
        Some(Spread { later, earlier, low: (low - span * 0.04).max(0.0), high: high + span * 0.12, bins })
    }

    fn x(&self, ms: f64) -> f64 {
        ((ms - self.low) / (self.high - self.low)).clamp(0.0, 1.0) * WIDTH
    }

    fn is_paired(&self) -> bool {
        !self.earlier.is_empty()
    }

    fn height(&self) -> f64 {
        (if self.is_paired() { 2.0 } else { 1.0 }) * (HEAD + PANEL) + AXIS
    }

    /// Numbers beyond the right edge: of the later and of the earlier.
    pub fn beyond(&self) -> (usize, usize) {
        let beyond = |sorted: &[u64]| sorted.len() - sorted.partition_point(|ns| ms(*ns) <= self.high);
        (beyond(self.later), beyond(self.earlier))
    }

    pub fn end(&self) -> Ns {
        Ns(ns(self.high))
    }

    fn bins(&self, sorted: &[u64]) -> Vec<usize> {
        let mut bins = vec![0; self.bins];
        let width = (self.high - self.low) / self.bins as f64;
        for ms in sorted.iter().map(|ns| ms(*ns)).filter(|ms| *ms <= self.high) {
            bins[(((ms - self.low) / width) as usize).min(self.bins - 1)] += 1;
        }
        bins
    }

    /// Steps of 1, 2 or 5.
    fn ticks(&self) -> (f64, Vec<f64>) {
        let rough = (self.high - self.low) / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil();
        let ticks = (0..20).map(|i| (first + f64::from(i)) * step);
        (step, ticks.take_while(|tick| *tick <= self.high).collect())
    }

    fn panel(
        &self,
        f: &mut fmt::Formatter<'_>,
        top: f64,
        class: &str,
        sorted: &[u64],
        other: Option<f64>,
    ) -> fmt::Result {
        let bins = self.bins(sorted);
        // Shares and not numbers: the sides may differ by a few failures.
        let most = bins.iter().copied().max().unwrap_or(0).max(1) as f64;
        let (floor, width) = (top + HEAD + PANEL, WIDTH / self.bins as f64);
        write!(f, "<path class=\"floor\" d=\"M0 {floor:.1}H{WIDTH}\"/><path class=\"{class}\" d=\"")?;
        for (i, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = *count as f64 / most * PANEL;
            let x = i as f64 * width + 0.5;
            write!(f, "M{x:.1} {floor:.1}v-{height:.1}h{:.1}v{height:.1}z", width - 1.0)?;
        }
        f.write_str("\"/>")?;
        let Some(median) = middle(sorted) else { return Ok(()) };
        let x = self.x(median);
        write!(f, "<path class=\"median\" d=\"M{x:.1} {:.1}V{floor:.1}\"/>", top + HEAD - 6.0)?;
        if let Some(other) = other {
            let x = self.x(other);
            write!(f, "<path class=\"other\" d=\"M{x:.1} {:.1}V{floor:.1}\"/>", top + HEAD)?;
        }
        let (at, anchor) = if x > WIDTH * 0.7 { (x - 5.0, "end") } else { (x + 5.0, "start") };
        write!(
            f,
            "<text class=\"told\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">median {}</text>",
            top + HEAD - 8.0,
            Ns(ns(median))
        )
    }
}

fn middle(sorted: &[u64]) -> Option<f64> {
    sorted.get(sorted.len().saturating_sub(1) / 2).map(|ns| ms(*ns))
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; not negative")]
fn ns(ms: f64) -> u64 {
    (ms * 1e6) as u64
}

impl HtmlSafe for Spread<'_> {}
impl fmt::Display for Spread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.height();
        write!(
            f,
            "<svg class=\"plot spread\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\"><title>{}</title>",
            self.label()
        )?;
        let (step, ticks) = self.ticks();
        let decimals = if step < 0.1 { 2 } else { usize::from(step < 1.0) };
        let bottom = height - AXIS;
        for tick in ticks {
            let x = self.x(tick);
            let anchor = if x < 20.0 {
                "start"
            } else if x > WIDTH - 30.0 {
                "end"
            } else {
                "middle"
            };
            write!(
                f,
                "<path class=\"grid\" d=\"M{x:.1} {HEAD}V{bottom:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{tick:.decimals$} ms</text>",
                height - 7.0
            )?;
        }
        let (later, earlier) = (middle(self.later), middle(self.earlier));
        self.panel(f, 0.0, "now", self.later, earlier)?;
        if self.is_paired() {
            self.panel(f, HEAD + PANEL, "before", self.earlier, later)?;
        }
        f.write_str("</svg>")
    }
}

impl Spread<'_> {
    /// The picture in words.
    fn label(&self) -> String {
        let side = |sorted: &[u64]| {
            let at = |percent: usize| Ns(sorted[(sorted.len() - 1) * percent / 100]);
            format!("median {}, nine of ten within {} to {}", at(50), at(5), at(95))
        };
        match (self.later, self.earlier) {
            ([], []) => "no sample".to_owned(),
            ([], earlier) => format!("before: {}", side(earlier)),
            (later, []) => side(later),
            (later, earlier) => format!("now: {}; before: {}", side(later), side(earlier)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_on_one_scale_and_a_stall_does_not_press_them() {
        let earlier: Vec<u64> = (0..100).map(|i| 10_000_000 + i * 20_000).collect();
        let mut later: Vec<u64> = earlier.iter().map(|ns| ns + 3_000_000).collect();
        later.push(5_000_000_000);
        let spread = Spread::new(&later, &earlier).unwrap();
        assert_eq!(spread.beyond(), (1, 0));
        assert!(spread.end().0 < 20_000_000);
        let svg = spread.to_string();
        assert!(svg.contains("median 14.0 ms</text>") && svg.contains("median 11.0 ms</text>"), "{svg}");
        assert_eq!(svg.matches("class=\"other\"").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn equal_times_and_one_side_are_drawn_and_nothing_is_not() {
        let svg = Spread::new(&[7_000_000; 30], &[]).unwrap().to_string();
        assert!(svg.contains("median 7.0 ms") && !svg.contains("NaN"), "{svg}");
        assert!(Spread::new(&[], &[]).is_none());
        let svg = Spread::new(&[], &[0, 0]).unwrap().to_string();
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
