//! Latencies as they could be, and as they were, for the simulation of `verdict`.
//!
//! `tests/data/cachet-rounds.csv.gz` holds 320 rounds of nine real Cachet deployments (three versions
//! on three databases, six requests): `round,unix_ns,version,db,request,replicate,ms,status`.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::OnceLock;

use cachetscope::verdict::{Dependence, Differences, shift};

/// Sample noise of the models that are made up: a coefficient of variation of 10 %.
const SIGMA: f64 = 0.099_75;

/// SplitMix64 (Steele, Lea and Flood 2014), with normal numbers.
pub struct Rng {
    state: u64,
    spare: Option<f64>,
}

impl Rng {
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Rng { state: seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15), spare: None };
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn normal(&mut self) -> f64 {
        if let Some(z) = self.spare.take() {
            return z;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// Student's t with 3 degrees of freedom, scaled to a standard deviation of 1.
    fn heavy(&mut self) -> f64 {
        let chi: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / chi.sqrt()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Log-normal, each sample on its own.
    Lognormal,
    /// Student's t with 3 degrees of freedom, on logarithms.
    Heavy,
    /// Log-normal, on a level that all deployments share and that wanders.
    Drifting,
    /// Each deployment's samples follow AR(1) with φ = 0.3.
    Ar1,
    /// Blocks of the rounds of real deployments.
    Real,
}

impl Model {
    pub const ALL: [Model; 5] = [Model::Lognormal, Model::Heavy, Model::Drifting, Model::Ar1, Model::Real];

    pub fn name(self) -> &'static str {
        match self {
            Model::Lognormal => "iid log-normal",
            Model::Heavy => "heavy-tailed",
            Model::Drifting => "drifting",
            Model::Ar1 => "AR(1) 0.3",
            Model::Real => "real rounds",
        }
    }
}

/// The cells of one comparison, round by round: logarithms of (later, earlier), all versions equal.
pub struct Family {
    model: Model,
    rng: Rng,
    level: f64,
    memory: Vec<(f64, f64)>,
    /// Of real rounds: the series and sign of each cell, and the place in the present block.
    series: Vec<(usize, f64)>,
    block: (usize, usize),
}

const BLOCK: usize = 20;

impl Family {
    pub fn new(model: Model, cells: usize, seed: u64, stream: u64) -> Self {
        let mut rng = Rng::new(seed, stream);
        let memory = (0..cells).map(|_| (SIGMA * rng.normal(), SIGMA * rng.normal())).collect();
        let pool = real().len();
        let series =
            (0..cells).map(|_| (rng.below(pool), if rng.uniform() < 0.5 { -1.0 } else { 1.0 })).collect();
        Family { model, rng, level: 0.0, memory, series, block: (0, 0) }
    }

    pub fn round(&mut self, into: &mut Vec<(f64, f64)>) {
        into.clear();
        let rng = &mut self.rng;
        match self.model {
            Model::Lognormal => {
                into.extend((0..self.memory.len()).map(|_| (SIGMA * rng.normal(), SIGMA * rng.normal())))
            }
            Model::Heavy => {
                into.extend((0..self.memory.len()).map(|_| (SIGMA * rng.heavy(), SIGMA * rng.heavy())))
            }
            Model::Drifting => {
                // Wanders by ± 20 % or so within some 100 rounds.
                self.level = 0.99 * self.level + 0.03 * rng.normal();
                let level = self.level;
                into.extend(
                    (0..self.memory.len())
                        .map(|_| (level + SIGMA * rng.normal(), level + SIGMA * rng.normal())),
                );
            }
            Model::Ar1 => {
                let fresh = SIGMA * (1.0_f64 - 0.09).sqrt();
                for (v, p) in &mut self.memory {
                    *v = 0.3 * *v + fresh * rng.normal();
                    *p = 0.3 * *p + fresh * rng.normal();
                    into.push((*v, *p));
                }
            }
            Model::Real => {
                let pool = real();
                if self.block.1 == 0 {
                    self.block = (rng.below(pool[0].len() - BLOCK + 1), BLOCK);
                }
                let at = self.block.0 + BLOCK - self.block.1;
                self.block.1 -= 1;
                into.extend(self.series.iter().map(|(series, sign)| (sign * pool[*series][at], 0.0)));
            }
        }
    }
}

/// Paired log differences of real versions on one flavour and request, each series centred at 0, so
/// that its noise is real and its versions are equal.
pub fn real() -> &'static [Vec<f64>] {
    static SERIES: OnceLock<Vec<Vec<f64>>> = OnceLock::new();
    SERIES.get_or_init(|| {
        let mut text = String::new();
        let packed: &[u8] = include_bytes!("../data/cachet-rounds.csv.gz");
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        // Only the first visit to a deployment in a round counts.
        let mut first: BTreeMap<(&str, &str, &str, u32), (u64, f64)> = BTreeMap::new();
        for line in text.lines().skip(1) {
            let [round, at, version, db, request, _, ms, _] =
                line.split(',').collect::<Vec<_>>().try_into().unwrap();
            let visit = (at.parse().unwrap(), ms.parse().unwrap());
            let key = (db, request, version, round.parse().unwrap());
            let kept = first.entry(key).or_insert(visit);
            if visit.0 < kept.0 {
                *kept = visit;
            }
        }
        let mut rounds: BTreeMap<(&str, &str, &str), Vec<f64>> = BTreeMap::new();
        // The first rounds warm up.
        for ((db, request, version, _), (_, ms)) in first.into_iter().filter(|((.., round), _)| *round >= 3) {
            rounds.entry((db, request, version)).or_default().push(f64::ln(ms));
        }
        let mut series = Vec::new();
        for ((db, request, version), later) in &rounds {
            for ((.., other), earlier) in rounds.range((*db, *request, "")..(*db, *request, *version)) {
                assert!(other < version && later.len() == earlier.len());
                let d: Vec<f64> = later.iter().zip(earlier).map(|(v, p)| v - p).collect();
                let d = Differences::new(d).unwrap();
                let centre = shift(&d, Dependence::NONE).unwrap().at95.value;
                series.push(d.as_slice().iter().map(|x| x - centre).collect());
            }
        }
        series
    })
}
