//! The ten days before the demo, run by run.
//!
//! - `cachet/2.4`: release 2.3.18, then 2.4.1, whose image was built anew 28 hours ago. All well.
//! - `cachet/3.x`: two builds went out, eight and two and a half days ago; the newer one takes longer
//!   to migrate on MariaDB, and under load answers fewer requests there, where the stand-ins are slower
//!   too. Its load run on SQLite met the API's rate limit.
//! - Its first try at staging failed in a migration (MariaDB); on PostgreSQL staging was rolled back.
//! - Since two days a test of schedules fails, so nothing went out. In the last run a test of
//!   components fails newly, and one of subscribers, broken by the two runs before, is mended.
//! - `pr-312`: a test failed and passed on one commit; the last run hung, its memory growing, and was
//!   ended.
//! - A test of metric points takes longer and longer. A soak test is under way.

use std::time::Duration;

use super::cases::{Suite, Title, Twists, pest, phpunit};
use super::dice::Dice;
use super::scribe::{Fate, Place, Run, Scribe, deploy_step};
use super::{Told, minutes_before};
use crate::clock::Timestamp;
use crate::demo::{ENVIRONMENT, FLAVOURS, NEWEST, OLDEST, PREVIOUS};
use crate::model::{Event, Evidence, Flavour, Process, Tests};

const MAIN: &str = "cachet/3.x";
const OLD: &str = "cachet/2.4";
pub(super) const STAGING: &str = "staging";
const IMAGE_SECONDS: f64 = 84.0;

/// A version as it was deployed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release {
    pub version: &'static str,
    /// Which image of it, from 1.
    pub build: u32,
    pub commit: &'static str,
    /// The run that made the image.
    built: Run,
    /// The run that put it where it is; another attempt at the same run, where the first one failed.
    deployed: Run,
}

impl Release {
    /// The same version from an image that this run makes.
    pub fn made_by(&self, run: Run, build: u32) -> Self {
        Release { build, built: run, deployed: run, ..*self }
    }
}

const fn run(
    pipeline: &'static str,
    number: u32,
    attempt: u32,
    branch: &'static str,
    commit: &'static str,
) -> Run {
    Run { pipeline, number, attempt, branch, commit }
}

const REBUILT: Run = run(OLD, 420, 1, "2.4", "2.4.1");
const OUT_3: Run = run(MAIN, 1_180, 1, "3.x", "202508");
const TRIED: Run = run(MAIN, 1_191, 1, "3.x", "202608");
const TRIED_AGAIN: Run = run(MAIN, 1_191, 2, "3.x", "202608");
const OUT_24: Run = run(OLD, 412, 1, "2.4", "2.4.1");
const OUT_23: Run = run(OLD, 411, 1, "2.3", "2.3.18");

/// What the stand-ins run, as it was deployed last.
pub(super) const RELEASES: [Release; 3] = [
    Release { version: OLDEST, build: 2, commit: "2.4.1", built: REBUILT, deployed: REBUILT },
    Release { version: PREVIOUS, build: 1, commit: "202508", built: OUT_3, deployed: OUT_3 },
    Release { version: NEWEST, build: 1, commit: "202608", built: TRIED, deployed: TRIED_AGAIN },
];
const FIRST_24: Release = Release { build: 1, built: OUT_24, deployed: OUT_24, ..RELEASES[0] };
const ONLY_23: Release =
    Release { version: "2.3.18", build: 1, commit: "2.3.18", built: OUT_23, deployed: OUT_23 };

const NEWLY_FAILING: Title = (r"Tests\Feature\Api\ComponentTest", "it can filter components by status");
const STILL_FAILING: Title = (r"Tests\Feature\Api\ScheduleTest", "it can update a schedule");
const MENDED: Title = (r"Tests\Unit\Models\SubscriberTest", "it finds its subscribers by name");
const FLAKY: Title = (r"Tests\Unit\Actions\Incident\CreateIncidentTest", "it dispatches its event");
const GROWING: Title = (r"Tests\Feature\Api\MetricPointTest", "it can list metric points");
const HUNG: Title = (r"Tests\Feature\Api\MetricPointTest", "it can list more than one page of metric points");

const NEWLY: &str = "Expected response status code [200] but received 500.\n\
    Failed asserting that 500 is identical to 200.\n\n\
    The following exception occurred during the last request:\n\n\
    Illuminate\\Database\\QueryException: SQLSTATE[HY000]: General error: 1 ambiguous column name: status \
    (Connection: sqlite, SQL: select * from \"components\" inner join \"component_groups\" on \
    \"components\".\"component_group_id\" = \"component_groups\".\"id\" where \"status\" = 2 limit 16)\n\n\
    at tests/Feature/Api/ComponentTest.php:118";
const STILL: &str = "Failed asserting that two strings are identical.\n--- Expected\n+++ Actual\n@@ @@\n\
    -'2026-11-21 10:00:00'\n+'2026-11-21 09:00:00'\n\nat tests/Feature/Api/ScheduleTest.php:204";
const BROKEN: &str = "Failed asserting that null is an instance of class Cachet\\Models\\Subscriber.\n\n\
    at tests/Unit/Models/SubscriberTest.php:71";
const SOMETIMES: &str = "The expected [Cachet\\Events\\Incidents\\IncidentCreated] event was dispatched 0 \
    times instead of 1 times.\nFailed asserting that 0 is identical to 1.\n\n\
    at tests/Unit/Actions/Incident/CreateIncidentTest.php:39";

/// The event that put a release where it is.
pub(super) fn deployed_by(release: &Release, place: &str) -> Event {
    release.deployed.event(Some(&deploy_step(place)))
}

/// The event that made a release's image.
pub(super) fn built_by(release: &Release) -> Event {
    release.built.event(Some("image"))
}

/// Steps of a deployment, with the median seconds of each.
pub(super) fn deploy_steps(version: &str, db: Flavour) -> [(&'static str, f64); 4] {
    let migrate = match (version, db) {
        (_, Flavour::Sqlite) => 3.1,
        // It builds an index over all components there.
        (NEWEST, Flavour::Mariadb) => 31.0,
        (_, Flavour::Postgresql) => 7.4,
        _ => 9.2,
    };
    let pull = if version.starts_with("2.") { 8.5 } else { 13.0 };
    [("pull", pull), ("migrate", migrate), ("cache", 1.7), ("start", 2.6)]
}

/// Requests a second of the status page.
fn throughput(version: &str, db: Flavour) -> f64 {
    let old = version.starts_with("2.");
    let usual = match (old, db) {
        (true, Flavour::Sqlite) => 131.0,
        (true, Flavour::Postgresql) => 84.0,
        (true, _) => 114.0,
        (false, Flavour::Sqlite) => 92.0,
        (false, Flavour::Postgresql) => 71.0,
        (false, _) => 87.0,
    };
    if (version, db) == (NEWEST, Flavour::Mariadb) { usual / 1.31 } else { usual }
}

fn place(prefix: &str, db: Flavour, environment: &'static str) -> Place {
    Place { name: format!("cachet-{prefix}-{db}"), db, environment }
}

fn demo_places(prefix: &str) -> [Place; 3] {
    FLAVOURS.map(|db| place(prefix, db, ENVIRONMENT))
}

struct Story {
    dice: Dice,
    now: Timestamp,
    told: Vec<Told>,
}

impl Story {
    /// A run that began so many hours ago, give or take ten minutes.
    fn begin(&self, run: Run, hours_ago: f64) -> Scribe {
        let id = format!("{} {} {}", run.pipeline, run.number, run.attempt);
        let minutes = 60.0 * hours_ago + 20.0 * (self.dice.unit("begin", &id) - 0.5);
        Scribe::new(self.dice, run, minutes_before(self.now, minutes))
    }

    fn end(&mut self, scribe: Scribe) {
        self.told.extend(scribe.end());
    }

    fn only_tests(&mut self, run: Run, hours_ago: f64, suite: &Suite, twists: Twists) {
        let mut scribe = self.begin(run, hours_ago);
        scribe.tests(suite, twists);
        self.end(scribe);
    }
}

/// Everything that happened before `now`, in about the order in which it was told.
pub fn past(seed: u64, now: Timestamp) -> Vec<Told> {
    let mut story = Story { dice: Dice(seed), now, told: Vec::new() };
    old_line(&mut story);
    main_line(&mut story);
    pull_request(&mut story);
    let mut soak = run(MAIN, 1_198, 1, "3.x", "1197").event(None);
    soak.name = Some("nightly soak".to_owned());
    soak.started = Some(minutes_before(now, 23.0));
    story.told.push(Told { event: soak, links: Vec::new() });
    story.told
}

fn old_line(story: &mut Story) {
    let suite = phpunit();
    let mut scribe = story.begin(OUT_23, 238.0);
    scribe.image(&ONLY_23, IMAGE_SECONDS);
    for place in &demo_places("2.3") {
        scribe.deploy(place, &ONLY_23, Fate::Success);
    }
    story.end(scribe);

    let mut scribe = story.begin(OUT_24, 214.0);
    scribe.tests(&suite, Twists::default());
    scribe.image(&FIRST_24, IMAGE_SECONDS);
    for place in &demo_places("2.4") {
        scribe.deploy(place, &FIRST_24, Fate::Success);
        scribe.load(place, &FIRST_24, throughput(FIRST_24.version, place.db), false);
    }
    for place in &demo_places("2.3") {
        scribe.remove(place, &ONLY_23);
    }
    story.end(scribe);

    let commits = ["413", "414", "415", "416", "417", "418", "419"];
    for ((number, commit), hours_ago) in
        (413..).zip(commits).zip([186.0, 163.0, 140.0, 116.0, 91.0, 67.0, 44.0])
    {
        story.only_tests(run(OLD, number, 1, "2.4", commit), hours_ago, &suite, Twists::default());
    }

    let mut scribe = story.begin(REBUILT, 28.0);
    let rebuilt = &RELEASES[0];
    scribe.tests(&suite, Twists::default());
    scribe.image(rebuilt, IMAGE_SECONDS);
    for place in &demo_places("2.4") {
        scribe.deploy(place, rebuilt, Fate::Success);
    }
    scribe.deploy(&place("2.4-staging", Flavour::Sqlite, STAGING), rebuilt, Fate::Success);
    story.end(scribe);
    story.only_tests(run(OLD, 421, 1, "2.4", "421"), 5.0, &suite, Twists::default());
}

fn main_line(story: &mut Story) {
    let suite = pest();
    let [_, previous, newest] = &RELEASES;
    // The newer a run, the longer it takes: 0.12 s at first, half a second in the end.
    let slow = |n: i32| Some((GROWING, 0.12 * 1.18_f64.powi((n - 8).max(0))));
    let green = |n: i32| Twists { slow: slow(n), ..Twists::default() };
    let staging = |db| place("3.0-staging", db, STAGING);

    let mut scribe = story.begin(OUT_3, 205.0);
    scribe.tests(&suite, green(0));
    scribe.image(previous, IMAGE_SECONDS);
    scribe.deploy(&staging(Flavour::Mariadb), previous, Fate::Success);
    scribe.deploy(&staging(Flavour::Postgresql), previous, Fate::Success);
    for place in &demo_places("3.0-202508") {
        scribe.deploy(place, previous, Fate::Success);
        scribe.load(place, previous, throughput(previous.version, place.db), false);
    }
    story.end(scribe);

    let commits = ["1181", "1182", "1183", "1184", "1185", "1186", "1187", "1188", "1189", "1190"];
    for (n, commit) in (1_i32..).zip(commits) {
        let this = run(MAIN, 1_180 + n.unsigned_abs(), 1, "3.x", commit);
        story.only_tests(this, 205.0 - 13.2 * f64::from(n), &suite, green(n));
    }

    let mut scribe = story.begin(TRIED, 62.0);
    scribe.tests(&suite, green(11));
    scribe.image(newest, IMAGE_SECONDS);
    scribe.deploy(&staging(Flavour::Mariadb), newest, Fate::MigrationFailed);
    story.end(scribe);
    let mut scribe = story.begin(TRIED_AGAIN, 60.5);
    scribe.deploy(&staging(Flavour::Mariadb), newest, Fate::Success);
    scribe.deploy(&staging(Flavour::Postgresql), newest, Fate::Success);
    for place in &demo_places("3.0-202608") {
        scribe.deploy(place, newest, Fate::Success);
        let limited = place.db == Flavour::Sqlite;
        scribe.load(place, newest, throughput(newest.version, place.db), limited);
    }
    story.end(scribe);

    let still = (STILL_FAILING, STILL);
    let (one, broken, last) = ([still], [still, (MENDED, BROKEN)], [still, (NEWLY_FAILING, NEWLY)]);
    let failing = |n, failing| Twists { failing, slow: slow(n), ..Twists::default() };
    story.only_tests(run(MAIN, 1_192, 1, "3.x", "1192"), 47.0, &suite, failing(12, &one));
    story.only_tests(run(MAIN, 1_193, 1, "3.x", "1193"), 36.0, &suite, failing(13, &one));
    let mut scribe = story.begin(run(MAIN, 1_194, 1, "3.x", "1193"), 31.0);
    scribe.deploy(&staging(Flavour::Postgresql), previous, Fate::Success);
    story.end(scribe);
    story.only_tests(run(MAIN, 1_195, 1, "3.x", "1195"), 22.0, &suite, failing(14, &broken));
    story.only_tests(run(MAIN, 1_196, 1, "3.x", "1196"), 8.0, &suite, failing(15, &broken));
    story.only_tests(run(MAIN, 1_197, 1, "3.x", "1197"), 2.2, &suite, failing(16, &last));
}

fn pull_request(story: &mut Story) {
    let suite = pest();
    let this = |number, attempt, commit| run(MAIN, number, attempt, "pr-312", commit);
    story.only_tests(this(41, 1, "pr-1"), 52.0, &suite, Twists::default());
    story.only_tests(this(42, 1, "pr-2"), 30.0, &suite, Twists::default());
    let flaky = [(FLAKY, SOMETIMES)];
    let failing = Twists { failing: &flaky, ..Twists::default() };
    story.only_tests(this(43, 1, "pr-3"), 11.0, &suite, failing);
    story.only_tests(this(43, 2, "pr-3"), 10.2, &suite, Twists::default());
    let mut scribe = story.begin(this(44, 1, "pr-4"), 3.5);
    scribe.hanging_tests(&suite, HUNG, Duration::from_secs(300));
    story.end(scribe);
}

/// What a run that fell silent left behind.
pub(super) fn why_it_hung((class, name): Title, silent: Duration, tests: &Tests) -> Evidence {
    let done = tests.cases.iter().rev().take(3).rev().map(|case| format!("  ✓ {}", case.name));
    let php = |pid, parent, command: &str, state: &str, cpu, memory_mib: u64, growth_mib: i64| Process {
        pid,
        parent: Some(parent),
        command: command.to_owned(),
        state: state.to_owned(),
        cpu_seconds: Some(cpu),
        memory_bytes: Some(memory_mib << 20),
        memory_growth_bytes: Some(growth_mib << 20),
        threads: Some(1),
        ..Process::default()
    };
    let mut busy = php(
        2_117,
        2_104,
        "php -d memory_limit=2G vendor/bin/pest --colors=never --log-junit build/pest.xml",
        "running",
        312.4,
        1_874,
        1_688,
    );
    busy.open = vec!["build/pest.xml".to_owned(), "/tmp/cachet-testing.sqlite".to_owned()];
    let mut shell = php(2_104, 1, "sh -c vendor/bin/pest", "sleeping", 0.0, 2, 0);
    shell.waits_for = Some("do_wait".to_owned());
    Evidence {
        reason: format!("silent for {}", humantime::format_duration(silent)),
        last_test: Some(format!("{class}::{name}")),
        last_output: std::iter::once(format!("   RUN  {class}")).chain(done).collect(),
        processes: vec![shell, busy],
    }
}
