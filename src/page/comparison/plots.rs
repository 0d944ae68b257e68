//! The pairs of a comparison in the order of their rounds: a dot each, with the floor of relevance and the
//! estimate's interval.
//!
//! Order and not time: extra rounds come in bursts, and a night without rounds would press them all
//! together. The statistics know the order alone.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

use super::pairing::Pair;
use crate::compare::Standing;
use crate::page::format::{Count, Ns, Range};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 264.0;
/// Where dots are: room for the axis, and for what failed above and below.
const LEFT: f64 = 66.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 246.0;
/// Ticks of the axis, in percent; those that fit are drawn.
const TICKS: [f64; 11] = [-75.0, -50.0, -33.0, -20.0, -10.0, 0.0, 10.0, 20.0, 50.0, 100.0, 300.0];

pub struct Rounds<'a> {
    pairs: &'a [Pair],
    /// Of the ratio, where it is known.
    estimate: Option<Range>,
    /// ln of the ratio above which a difference matters.
    floor: f64,
    /// ln of the ratio at the upper edge; its inverse is at the lower.
    reach: f64,
}

impl<'a> Rounds<'a> {
    pub fn new(pairs: &'a [Pair], standing: &Standing, earlier_median: Option<Ns>) -> Option<Self> {
        if pairs.is_empty() {
            return None;
        }
        let estimate = standing.latency.as_ref().and_then(|j| j.assessment.ratio).map(Range::from);
        // Both floors must be passed; the larger one is the one that counts.
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let of_seconds = earlier_median
            .filter(|ns| ns.0 > 0)
            .map_or(0.0, |ns| (standing.floor_seconds * 1e9 / ns.0 as f64).ln_1p());
        let floor = standing.floor_ratio.ln_1p().max(of_seconds);
        let mut sizes: Vec<f64> = pairs.iter().filter_map(|p| p.log_ratio).map(f64::abs).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        let usual = sizes.get(sizes.len().saturating_sub(1) * 97 / 100).copied().unwrap_or(0.0);
        let told = estimate.map_or(0.0, |r| r.low.ln().abs().max(r.high.ln().abs()));
        let reach = (usual * 1.15).max(floor.min(0.7) * 1.5).max(told * 1.1).max(0.05);
        Some(Rounds { pairs, estimate, floor, reach })
    }

    /// The floor in percent.
    pub fn floor_percent(&self) -> String {
        format!("±{:.0} %", self.floor.exp_m1() * 100.0)
    }

    pub fn failed(&self) -> usize {
        self.pairs.iter().filter(|p| p.log_ratio.is_none()).count()
    }

    /// Dots that lie beyond an edge and are drawn at it.
    pub fn beyond(&self) -> usize {
        self.pairs.iter().filter_map(|p| p.log_ratio).filter(|d| d.abs() > self.reach).count()
    }

    fn x(&self, i: usize) -> f64 {
        let step = (WIDTH - LEFT - 10.0) / self.pairs.len().max(2) as f64;
        LEFT + 8.0 + (i as f64 + 0.5) * step
    }

    fn y(&self, log: f64) -> f64 {
        let part = (log / self.reach).clamp(-1.0, 1.0);
        (TOP + BOTTOM) / 2.0 - part * (BOTTOM - TOP) / 2.0
    }

    fn band(&self, f: &mut fmt::Formatter<'_>, class: &str, low: f64, high: f64) -> fmt::Result {
        let (top, bottom) = (self.y(high), self.y(low));
        write!(
            f,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            WIDTH - LEFT,
            (bottom - top).max(1.0)
        )
    }
}

impl HtmlSafe for Rounds<'_> {}
impl fmt::Display for Rounds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<svg class=\"plot rounds\" role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\"><title>{}</title>",
            self.label()
        )?;
        self.band(f, "band", -self.floor, self.floor)?;
        if let Some(r) = self.estimate {
            self.band(f, "interval", r.low.ln(), r.high.ln())?;
        }
        let mut last = f64::INFINITY;
        for percent in TICKS {
            let log = (percent / 100.0_f64).ln_1p();
            let y = self.y(log);
            // Those that would be written over each other are left out, but never zero.
            let zero_y = self.y(0.0);
            let crowded = last - y < 24.0 || (percent != 0.0 && (y - zero_y).abs() < 24.0);
            if log.abs() > self.reach || (crowded && percent != 0.0) {
                continue;
            }
            last = y;
            let class = if percent == 0.0 { "zero" } else { "grid" };
            let sign = if percent > 0.0 {
                "+"
            } else if percent < 0.0 {
                "−"
            } else {
                ""
            };
            write!(
                f,
                "<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{sign}{:.0} %</text>",
                LEFT - 6.0,
                y + 4.0,
                percent.abs()
            )?;
        }
        let (mut dots, mut warm, mut failed, mut edges) =
            (String::new(), String::new(), String::new(), String::new());
        for (i, pair) in self.pairs.iter().enumerate() {
            let x = self.x(i);
            match (pair.log_ratio, pair.later_ns, pair.earlier_ns) {
                (Some(d), ..) if pair.warm_up => {
                    let y = self.y(d);
                    write!(warm, "M{:.1} {y:.1}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0", x - 3.0)?;
                }
                (Some(d), ..) if d.abs() > self.reach => {
                    // A triangle that points to where the dot would be.
                    let (y, by) = (self.y(d), if d > 0.0 { 6.0 } else { -6.0 });
                    write!(edges, "M{:.1} {:.1}h7l-3.5 {:.1}z", x - 3.5, y + by, -by)?;
                }
                (Some(d), ..) => write!(dots, "M{x:.1} {:.1}h0", self.y(d))?,
                (None, later, earlier) => {
                    let at = |y: f64| format!("M{:.1} {:.1}l6 6m0 -6l-6 6", x - 3.0, y - 3.0);
                    if later.is_none() {
                        failed.push_str(&at(TOP - 9.0));
                    }
                    if earlier.is_none() {
                        failed.push_str(&at(BOTTOM + 10.0));
                    }
                }
            }
        }
        for (class, d) in [("dots", dots), ("warm", warm), ("edge", edges), ("failed", failed)] {
            if !d.is_empty() {
                write!(f, "<path class=\"{class}\" d=\"{d}\"/>")?;
            }
        }
        if let Some(r) = self.estimate {
            let y = self.y(r.value.ln());
            write!(f, "<path class=\"estimate\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/>")?;
        }
        f.write_str("</svg>")
    }
}

impl Rounds<'_> {
    /// The picture in words.
    fn label(&self) -> String {
        let known = self.pairs.iter().filter_map(|p| p.log_ratio);
        let slower = known.clone().filter(|d| *d > 0.0).count();
        let mut text =
            format!("{}, the later version slower in {slower}", Count::from(self.pairs.len()).of("pair"));
        if let Some(r) = self.estimate {
            let _ = write!(text, "; 95 % interval {}", r.percents(1));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::RoundId;
    use crate::page::deltas::tests::standing;
    use crate::page::format::Time;
    use crate::verdict::Verdict;

    fn pair(i: i64, log_ratio: Option<f64>) -> Pair {
        Pair {
            at: Time(Timestamp(i)),
            round: RoundId([0; 8]),
            later_ns: log_ratio.map(|_| Ns(1)),
            earlier_ns: Some(Ns(1)),
            log_ratio,
            warm_up: i < 3,
        }
    }

    #[test]
    fn all_is_within_the_frame_and_what_is_not_is_marked() {
        let mut pairs: Vec<Pair> = (0..200).map(|i| pair(i, Some(0.1 * (i % 7 - 3) as f64))).collect();
        pairs.push(pair(200, Some(6.0)));
        pairs.push(pair(201, Some(-6.0)));
        pairs.push(pair(202, None));
        let standing = standing("incidents", Verdict::Regressed);
        let rounds = Rounds::new(&pairs, &standing, Some(Ns(10_000_000))).unwrap();
        assert_eq!((rounds.beyond(), rounds.failed(), rounds.floor_percent()), (2, 1, "±10 %".to_owned()));
        let svg = rounds.to_string();
        assert_eq!(svg.matches("h0").count(), 197);
        assert_eq!(svg.matches("a3 3 0 1 0 6 0").count(), 3);
        for class in ["edge", "failed", "zero", "band", "interval", "estimate"] {
            assert!(svg.contains(&format!("class=\"{class}\"")), "{class} in {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn one_pair_is_a_picture_and_none_is_not() {
        let standing = standing("incidents", Verdict::Insufficient);
        assert!(Rounds::new(&[], &standing, None).is_none());
        let pairs = [pair(9, Some(0.0))];
        let svg = Rounds::new(&pairs, &standing, None).unwrap().to_string();
        assert!(svg.contains("1 pair, the later version slower in 0"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
