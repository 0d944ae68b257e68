//! Numbers that look random: hashes of a seed and of what they are for.

use std::f64::consts::TAU;

use sha2::{Digest, Sha256};

/// Cheap to copy; throws the same for the same words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    /// In [0, 1), twice.
    fn units(&self, what: &str, of: &str) -> [f64; 2] {
        let mut hash = Sha256::new();
        hash.update(self.0.to_le_bytes());
        hash.update(what);
        hash.update([0]);
        hash.update(of);
        let digest = hash.finalize();
        [0, 8].map(|at| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest[at..at + 8]);
            // 53 bits are all that an f64 holds.
            (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
        })
    }

    /// In [0, 1).
    pub fn unit(&self, what: &str, of: &str) -> f64 {
        self.units(what, of)[0]
    }

    /// Around 1, log-normal with this spread, never beyond three of it.
    pub fn around_one(&self, spread: f64, what: &str, of: &str) -> f64 {
        let [a, b] = self.units(what, of);
        // Box–Muller; 1 − a lies in (0, 1], so the logarithm is finite.
        let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (TAU * b).cos();
        (spread * normal.clamp(-3.0, 3.0)).exp()
    }
}
