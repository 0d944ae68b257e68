//! The small runs that appear while the demo runs: a smoke test of 2.4, now and then its image anew on
//! staging.

use std::time::Duration;

use super::Told;
use super::cases::{Title, Twists, smoke};
use super::dice::Dice;
use super::scribe::{Fate, Place, Run, Scribe};
use super::story::{RELEASES, STAGING};
use crate::clock::Timestamp;
use crate::model::Flavour;

/// The number of the first one, well behind those of the past.
const FIRST_NUMBER: u32 = 430;
/// One in so many fails a test; never one that deploys.
const FAILS_EVERY: u32 = 5;
/// One in so many changes the image, and deploys it: else rebuilds would be all there is to see.
const DEPLOYS_EVERY: u32 = 10;
/// Nothing but the base of the image changes.
const IMAGE_SECONDS: f64 = 3.0;
const SOMETIMES_BROKEN: Title = (r"Tests\Smoke\IncidentTest", "it lists incidents");
const WHY: &str = "Expected response status code [200] but received 503.\n\
    Failed asserting that 503 is identical to 200.\n\nat tests/Smoke/IncidentTest.php:24";

/// The `n`th run, from 0, if it begins at `began`: what is told how long after that. Nothing is told
/// before it happened.
pub fn run(seed: u64, n: u32, began: Timestamp) -> Vec<(Duration, Vec<Told>)> {
    let this =
        Run { pipeline: "cachet/2.4", number: FIRST_NUMBER + n, attempt: 1, branch: "2.4", commit: "421" };
    let mut start = this.event(None);
    start.started = Some(began);
    let broken = [(SOMETIMES_BROKEN, WHY)];
    let failing: &[_] = if n % FAILS_EVERY == FAILS_EVERY - 1 { &broken } else { &[] };
    let mut scribe = Scribe::new(Dice(seed), this, began);
    scribe.tests(&smoke(), Twists { failing, ..Twists::default() });
    if n.is_multiple_of(DEPLOYS_EVERY) {
        // Images of the past are the first and the second.
        let image = RELEASES[0].made_by(this, 3 + n / DEPLOYS_EVERY);
        scribe.image(&image, IMAGE_SECONDS);
        let place =
            Place { name: "cachet-2.4-staging-sqlite".to_owned(), db: Flavour::Sqlite, environment: STAGING };
        scribe.deploy(&place, &image, Fate::Success);
    }
    let mut told = vec![(Duration::ZERO, vec![Told { event: start, links: Vec::new() }])];
    for one in scribe.end() {
        let ended = one.event.finished.map_or(Duration::ZERO, |finished| finished.since(began));
        told.push((ended, vec![one]));
    }
    told
}
