//! Real parts, started for a test and ended with it.
//!
//! Each part is found by an environment variable that `scripts/real-parts.sh` prints; a missing one
//! fails the test with the command to run, since a test that skips itself proves nothing.
//!
//! This is a vocabulary for every file of these tests; not every word is in use at all times.
#![allow(dead_code)]

pub mod child;
pub mod collector;
pub mod daemon;
pub mod facts;
pub mod home;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod tempo;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long any part may take to start, stop or answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where a part is, by the name of its variable.
pub fn part(name: &str) -> PathBuf {
    match variable(name) {
        Some(path) => PathBuf::from(path),
        None => {
            panic!(
                "{name} is not set: run `make test`, which installs the real parts and says where they are"
            )
        }
    }
}

/// A variable of the environment, unless it is empty.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration; this is where they read theirs")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Polls until `probe` gives something: for what another process does, which sends no notice.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_every(Duration::from_millis(5), PATIENCE, what, probe).await
}

/// The same for a probe that costs something, or something that takes longer.
pub async fn eventually_every<T>(
    pause: Duration,
    patience: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(started.elapsed() < patience, "waited {patience:?} in vain for {what}");
        tokio::time::sleep(pause).await;
    }
}

/// Numbers that look random and are the same for the same seed (splitmix64, Steele et al. 2014).
pub struct Dice(u64);

impl Dice {
    /// Prints its seed, so that a failure can be replayed with `CACHETSCOPE_TEST_SEED`.
    pub fn new(test: &str) -> Self {
        let drawn = || uuid::Uuid::new_v4().as_u64_pair().0;
        let seed = match variable("CACHETSCOPE_TEST_SEED") {
            Some(text) => text.parse().expect("CACHETSCOPE_TEST_SEED is a number"),
            None => drawn(),
        };
        println!("{test}: CACHETSCOPE_TEST_SEED={seed}");
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
