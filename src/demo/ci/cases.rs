//! Which tests there are, how long each takes, and how one run of them goes.
//!
//! Classes are named as those of Cachet are; 2.4 has 137 tests in PHPUnit, 3.x some hundreds in Pest.

use super::dice::Dice;
use crate::model::{Case, CaseStatus, Mark, Tests};

/// Class and name.
pub(super) type Title = (&'static str, &'static str);

/// How a run differs from one in which everything is well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Twists<'a> {
    /// These fail, with a message.
    pub failing: &'a [(Title, &'static str)],
    /// This one takes about so many seconds.
    pub slow: Option<(Title, f64)>,
    /// The run is ended right before this case: neither it nor what follows is reported.
    pub ended_before: Option<Title>,
}

/// A suite's cases, in the order they run.
pub(super) struct Suite {
    pub name: &'static str,
    pub cases: Vec<(String, String)>,
    /// Median seconds of the slowest cases; most take a tenth.
    slowest: f64,
}

impl Suite {
    /// One run. `run` tells it from other runs of the suite.
    pub fn run(&self, dice: Dice, run: &str, twists: Twists) -> Tests {
        let machine = dice.around_one(0.05, "machine", run);
        let is = |title: Title, case: &(String, String)| (case.0.as_str(), case.1.as_str()) == title;
        let mut tests = Tests { suite: self.name.to_owned(), ..Tests::default() };
        for (place, case) in self.cases.iter().enumerate() {
            if twists.ended_before.is_some_and(|title| is(title, case)) {
                tests.aborted = true;
                break;
            }
            let title = format!("{}::{}", case.0, case.1);
            // The level is a case's own, whatever the seed; what differs from run to run is drawn.
            let level = || self.slowest * (0.08 + 0.92 * Dice(0).unit("level", &title).powi(4));
            let usual = twists.slow.filter(|(slow, _)| is(*slow, case)).map_or_else(level, |(_, s)| s);
            let jitter = dice.around_one(0.1, run, &title);
            let failing = twists.failing.iter().find(|(title, _)| is(*title, case));
            // A few are skipped, as everywhere, and one asserts nothing.
            let (status, mark, message) = match (failing, place % 101) {
                (Some((_, message)), _) => (CaseStatus::Fail, None, Some((*message).to_owned())),
                (None, 77) => (CaseStatus::Skip, None, Some("needs the extension redis".to_owned())),
                (None, 50) => (CaseStatus::Pass, Some(Mark::Risky), None),
                (None, _) => (CaseStatus::Pass, None, None),
            };
            let seconds = if status == CaseStatus::Skip { 0.0 } else { usual * jitter };
            tests.cases.push(Case {
                class: case.0.clone(),
                name: case.1.clone(),
                status,
                seconds: Some((machine * seconds * 1e6).round() / 1e6),
                message,
                mark,
            });
        }
        tests
    }
}

/// Each class with each of its names; `{one}` and `{many}` are what it is about.
fn grid(
    cases: &mut Vec<(String, String)>,
    class: impl Fn(&str) -> String,
    things: &[&str],
    names: &[&str],
    words: fn(&str) -> (String, String),
) {
    for thing in things {
        let (one, many) = words(thing);
        for name in names {
            cases.push((class(thing), name.replace("{one}", &one).replace("{many}", &many)));
        }
    }
}

/// `MetricPoint` → `metric points`, with this between the words.
fn spelled(thing: &str, between: &str) -> (String, String) {
    let mut one = String::new();
    for letter in thing.chars() {
        if letter.is_uppercase() && !one.is_empty() {
            one.push_str(between);
        }
        one.extend(letter.to_lowercase());
    }
    let many = match one.strip_suffix("us") {
        Some(stem) => format!("{stem}uses"),
        None => format!("{one}s"),
    };
    (one, many)
}

fn spaced(thing: &str) -> (String, String) {
    spelled(thing, " ")
}

fn snaked(thing: &str) -> (String, String) {
    spelled(thing, "_")
}

const THINGS: [&str; 9] = [
    "Component",
    "ComponentGroup",
    "Incident",
    "IncidentUpdate",
    "IncidentTemplate",
    "Metric",
    "MetricPoint",
    "Schedule",
    "Subscriber",
];

/// PHPUnit of 2.4: 137 cases.
pub(super) fn phpunit() -> Suite {
    let mut cases = Vec::new();
    let api = |thing: &str| format!(r"CachetHQ\Tests\Cachet\Api\{thing}Test");
    let names = [
        "test_can_get_all_{many}",
        "test_can_get_{one}",
        "test_cannot_get_invalid_{one}",
        "test_cannot_create_{one}_unauthorized",
        "test_cannot_create_{one}_without_data",
        "test_can_create_{one}",
        "test_can_update_{one}",
        "test_can_update_{one}_with_one_field",
        "test_can_delete_{one}",
    ];
    grid(&mut cases, api, &THINGS, &names, snaked);
    grid(&mut cases, api, &["General"], &["test_can_ping", "test_error_page"], snaked);
    let command = |verb: &'static str| {
        move |thing: &str| format!(r"CachetHQ\Tests\Cachet\Bus\Commands\{thing}\{verb}{thing}CommandTest")
    };
    for verb in ["Create", "Update", "Remove"] {
        grid(&mut cases, command(verb), &THINGS, &["test_properties_match_rules"], snaked);
    }
    let event = |thing: &str| format!(r"CachetHQ\Tests\Cachet\Bus\Events\{thing}\{thing}WasCreatedEventTest");
    grid(&mut cases, event, &THINGS, &["test_event_has_handlers", "test_is_a_{one}_event"], snaked);
    let model = |thing: &str| format!(r"CachetHQ\Tests\Cachet\Models\{thing}Test");
    grid(&mut cases, model, &THINGS, &["test_validation"], snaked);
    Suite { name: "phpunit", cases, slowest: 0.12 }
}

/// Pest of 3.x.
pub(super) fn pest() -> Suite {
    let mut cases = Vec::new();
    let api = |thing: &str| format!(r"Tests\Feature\Api\{thing}Test");
    let names = [
        "it can list {many}",
        "it can list more than one page of {many}",
        "it sorts {many} by name by default",
        "it can sort {many} by id",
        "it can filter {many} by name",
        "it can filter {many} by status",
        "it can include the relations of {many}",
        "it can get a {one}",
        "it answers 404 for a missing {one}",
        "it cannot create a {one} without a token",
        "it cannot create a {one} without the ability",
        "it cannot create a {one} with bad data",
        "it can create a {one}",
        "it cannot update a {one} without a token",
        "it can update a {one}",
        "it can update a {one} with one field",
        "it cannot delete a {one} without a token",
        "it can delete a {one}",
    ];
    grid(&mut cases, api, &THINGS, &names, spaced);
    grid(
        &mut cases,
        api,
        &["Status"],
        &["it is operational without incidents", "it tells the worst"],
        spaced,
    );
    for verb in ["Create", "Update", "Delete"] {
        let action = |thing: &str| format!(r"Tests\Unit\Actions\{thing}\{verb}{thing}Test");
        let names = ["it stores the {one}", "it dispatches its event", "it refuses what is incomplete"];
        grid(&mut cases, action, &THINGS, &names, spaced);
    }
    let model = |thing: &str| format!(r"Tests\Unit\Models\{thing}Test");
    let names = [
        "it has a factory",
        "it casts its attributes",
        "it hides from guests what is not visible",
        "it is ordered",
        "it finds its {many} by name",
    ];
    grid(&mut cases, model, &THINGS, &names, spaced);
    let page = |thing: &str| format!(r"Tests\Feature\Filament\{thing}ResourceTest");
    let names = ["it renders the list of {many}", "it renders the form", "it saves the form"];
    grid(&mut cases, page, &THINGS, &names, spaced);
    Suite { name: "pest", cases, slowest: 0.34 }
}

/// A few requests at what was just deployed.
pub(super) fn smoke() -> Suite {
    let mut cases = Vec::new();
    let smoke = |thing: &str| format!(r"Tests\Smoke\{thing}Test");
    grid(&mut cases, smoke, &THINGS, &["it lists {many}", "it shows a {one}"], spaced);
    Suite { name: "smoke", cases, slowest: 0.2 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn suites_have_the_size_of_the_real_ones_and_no_case_twice() {
        for (suite, expected) in [(phpunit(), 137), (pest(), 317), (smoke(), 18)] {
            let distinct: HashSet<_> = suite.cases.iter().collect();
            assert_eq!((suite.cases.len(), distinct.len()), (expected, expected), "{}", suite.name);
        }
    }

    #[test]
    fn words_are_spelled_as_people_do() {
        assert_eq!(spaced("MetricPoint"), ("metric point".to_owned(), "metric points".to_owned()));
        assert_eq!(snaked("IncidentUpdate").1, "incident_updates");
        assert_eq!(spaced("Status").1, "statuses");
    }
}
