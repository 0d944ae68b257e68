//! Questions one, two and five of the five, as sentences with their numbers. Counts are exact; what
//! compares two versions is called indicative, for it rests on one run of each.

use super::deploys::result_word;
use super::suites::TestRun;
use super::{near, pipeline_of};
use crate::history::{Deployed, Loaded, SuiteHistory};
use crate::model::CiResult;
use crate::page::answers::Question;
use crate::page::format::{Count, Percent, Rate, Secs, SecsDelta, Share, Time};

/// By so much a change has to be larger than the one that is spoken of to be told besides.
const WORTH_TELLING: f64 = 0.05;
/// Characters of a test's name in a sentence.
const NAME_MAX: usize = 60;

/// What passed and failed in the newest run of the largest suite, what of it newly, and how the other
/// suites and branches fare. A small suite that runs all the time says little.
pub fn tests(suites: &[SuiteHistory], now: Time) -> Question {
    const QUESTION: &str = "Tests";
    let size = |suite: &SuiteHistory| suite.runs.iter().map(|run| run.counts.total()).max();
    let largest = suites.iter().max_by_key(|suite| size(suite)).map(|suite| &suite.scope.suite);
    let Some(place) = suites.iter().position(|suite| Some(&suite.scope.suite) == largest) else {
        return Question::open(
            QUESTION,
            "no test run yet",
            "cachetscope run --step test … or cachetscope record tests … tells of one.",
        );
    };
    let newest = &suites[place];
    let others: Vec<&SuiteHistory> = suites.iter().filter(|suite| suite.scope != newest.scope).collect();
    let run = TestRun::new(newest.last());
    let head = newest.scope.head();
    let mut notes = vec![failing(newest, &run)];
    let several_suites = others.iter().any(|other| other.scope.suite != newest.scope.suite);
    let suite = if several_suites { format!("{} in ", newest.scope.suite) } else { String::new() };
    let took = run.took().map(|took| format!(", {took}")).unwrap_or_default();
    let age = run.at.age(&now);
    let pipeline = pipeline_of(&run.pipeline, newest.scope.branch.as_deref());
    notes.push(format!("{suite}run {} of {pipeline} {age} ago{took}", run.run));
    notes.retain(|note| !note.is_empty());
    let mut note = notes.join("; ");
    note.push('.');
    let bad_others: Vec<&&SuiteHistory> =
        others.iter().filter(|other| TestRun::new(other.last()).is_bad()).collect();
    if !others.is_empty() {
        let several_databases = others.iter().any(|other| other.scope.db != newest.scope.db);
        let what = match (several_suites, several_databases) {
            (true, _) => "suites and branches",
            (false, true) => "branches and databases",
            (false, false) => "branches",
        };
        note += &match (bad_others.len(), others.len()) {
            (0, 1) => " The other one passes.".to_owned(),
            (0, n) => format!(" All {n} other {what} pass."),
            (bad, n) => format!(" The last run of {bad} of {n} other {what} did not pass."),
        };
    }
    let (bad, total) = (run.counts.bad(), run.counts.total());
    let mut answer = match run.word() {
        "pass" if total == 0 => format!("no test was run on {head}"),
        "pass" => format!("all {} pass on {head}", Count(total - run.counts.skip)),
        "fail" if bad == 0 => format!("the run failed on {head}"),
        "fail" => format!("{} of {} fail on {head}", Count(bad), Count(total)),
        word => format!("{word} on {head}"),
    };
    if let (false, Some(other)) = (run.is_bad(), bad_others.first()) {
        let (suite, head) = (&other.scope.suite, other.scope.head());
        answer += &match bad_others.len() {
            1 => format!("; {suite} does not on {head}"),
            n => format!("; {suite} does not on {head}, nor {} more", n - 1),
        };
    }
    Question {
        question: QUESTION.into(),
        answer,
        note,
        answered: true,
        attention: run.is_bad() || !bad_others.is_empty(),
        evidence: Some("/#tests".into()),
    }
}

/// What is to be said of the cases of a suite's last run.
fn failing(suite: &SuiteHistory, run: &TestRun) -> String {
    let mut parts = Vec::new();
    if run.is_cut_short() {
        parts.push(match &run.ended_for {
            Some(reason) => reason.clone(),
            None if run.aborted => "its report is cut off".to_owned(),
            None => "it did not come to its end".to_owned(),
        });
        if let Some(test) = &run.last_test {
            parts.push(format!("last test {}", cut(test)));
        }
        if run.counts.total() > 0 {
            parts.push(format!("{} until then", run.rest()));
        }
    }
    let new = &suite.newly_failing;
    match new.as_slice() {
        [] => {}
        [one] => parts.push(format!("1 newly ({})", cut(&one.title))),
        [one, rest @ ..] => {
            parts.push(format!("{} newly ({} and {} more)", new.len(), cut(&one.title), rest.len()));
        }
    }
    for (n, word) in
        [(suite.still_failing.len(), "still"), (suite.fixed.len(), "fixed"), (suite.flaky.len(), "flaky")]
    {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    if parts.is_empty() {
        return match run.counts.skip {
            0 => "none flaky".to_owned(),
            n => format!("{} skipped, none flaky", Count(n)),
        };
    }
    parts.join(", ")
}

/// A name that does not fill the sentence.
fn cut(name: &str) -> String {
    let near = near(name);
    let more = near.chars().count().saturating_sub(NAME_MAX);
    match near.char_indices().nth(more) {
        Some((start, _)) if more > 0 => format!("…{}", &near[start..]),
        _ => near.to_owned(),
    }
}

/// How long the latest version took to deploy, against the one before.
pub fn deploying(deploys: &[Deployed], now: Time) -> Question {
    const QUESTION: &str = "Deploying the latest";
    let told: Vec<&Deployed> = deploys.iter().filter(|d| d.result != CiResult::Skip).collect();
    let latest = told.iter().map(|d| &d.version).max();
    let of_latest: Vec<&Deployed> = told.iter().copied().filter(|d| Some(&d.version) == latest).collect();
    // Of each place, what became of it last; a failure is said first.
    let failed = of_latest.iter().find(|d| d.is_last && d.result.is_bad());
    let Some(&newest) = failed.or(of_latest.first()) else {
        return Question::open(
            QUESTION,
            "no deployment event yet",
            "cachetscope run --step deploy … or cachetscope record deploy … tells of one.",
        );
    };
    let several = told.windows(2).any(|pair| pair[0].environment != pair[1].environment);
    let on = |d: &Deployed| match several {
        true => format!("{} in {}", d.db, d.environment),
        false => d.db.to_string(),
    };
    let ago = |d: &Deployed| format!("{} ago", Time(d.at).age(&now));
    let place = format!("{} on {}", newest.version, on(newest));
    let bad = newest.result.is_bad();
    let (answer, mut note) = match newest.seconds {
        _ if bad => {
            let good = of_latest.iter().find(|d| d.succeeded()).map(|d| {
                let took = d.seconds.map(|s| format!(" in {}", Secs(s))).unwrap_or_default();
                format!(" It was deployed on {}{took} {}.", on(d), ago(d))
            });
            let good = good.unwrap_or_else(|| " No deployment of it succeeded so far.".to_owned());
            let note = format!("{}{}.{good}", ago(newest), where_it_failed(newest));
            (format!("{} for {place}", result_word(newest.result)), note)
        }
        Some(seconds) => {
            let most = grew_most(newest, &of_latest);
            let most = most.map(|(d, ratio, seconds)| {
                format!(" It grew most on {}: {} ({}).", on(d), Secs(seconds), Percent(ratio))
            });
            let note = compared(newest, &ago(newest)) + most.as_deref().unwrap_or_default();
            (format!("{} for {place}", Secs(seconds)), note)
        }
        None => (format!("{place} is deployed"), format!("{}; its beginning was not told.", ago(newest))),
    };
    if let Some(d) = told.iter().find(|d| d.is_last && d.rolled_back_from.as_ref() == latest) {
        note += &format!(" Rolled back to {} on {}, {}.", d.version, on(d), ago(d));
    }
    Question {
        question: QUESTION.into(),
        answer,
        note,
        answered: true,
        attention: bad,
        evidence: Some("/#deploying".into()),
    }
}

/// ` at migrate after 41 s`, as far as it is known.
fn where_it_failed(deployed: &Deployed) -> String {
    let step = deployed.steps.iter().find(|step| step.result.is_some_and(CiResult::is_bad));
    let at = step.map(|step| format!(" at {}", cut(&step.name))).unwrap_or_default();
    let after = deployed.seconds.map(|s| format!(" after {}", Secs(s))).unwrap_or_default();
    at + &after
}

/// Where it grew clearly more than with the one that is spoken of; with ratio and seconds.
fn grew_most<'a>(newest: &Deployed, of_latest: &[&'a Deployed]) -> Option<(&'a Deployed, f64, f64)> {
    let others = of_latest.iter().filter(|d| d.is_last && d.succeeded() && d.key != newest.key);
    let grown = others.filter_map(|d| Some((*d, d.delta_ratio()?, d.seconds?)));
    let least = newest.delta_ratio().unwrap_or(0.0).max(0.0) + WORTH_TELLING;
    grown.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, ratio, _)| *ratio >= least)
}

fn compared(deployed: &Deployed, age: &str) -> String {
    let (Some(previous), Some(delta), Some(ratio)) =
        (&deployed.previous, deployed.delta_seconds(), deployed.delta_ratio())
    else {
        return format!("{age}. There is no version before it on {} to compare with.", deployed.db);
    };
    let change = match ratio {
        r if r.abs() < 0.005 => format!("As long as {}", previous.version),
        r => {
            let word = if r > 0.0 { "longer" } else { "shorter" };
            format!("{} ({}) {word} than {}", Secs(delta.abs()), Percent(ratio), previous.version)
        }
    };
    let grown = deployed.grown_step().filter(|(_, seconds)| *seconds >= 0.1 && delta > 0.0);
    let grown = grown.map(|(name, seconds)| format!("; {} grew most ({})", cut(name), SecsDelta(seconds)));
    format!("{change}{}. Indicative: one deployment each, {age}.", grown.unwrap_or_default())
}

/// What the latest version achieves under load, against the one before.
pub fn throughput(loads: &[Loaded], now: Time) -> Question {
    const QUESTION: &str = "Throughput of the latest";
    let latest = loads.iter().map(|run| &run.version).max();
    let of_latest = || loads.iter().filter(|run| Some(&run.version) == latest);
    let Some(newest) = of_latest().next() else {
        return Question::open(QUESTION, "no load run yet", "cachetscope record load … tells of one.");
    };
    // What failed measured something else, and one that met the rate limit is spoken of only where there
    // is no other.
    let good = || of_latest().filter(|run| run.failure().is_none());
    let failed = of_latest().find(|run| run.is_last && run.failure().is_some());
    let Some(run) = good().find(|run| run.load.rate_limited() == 0).or_else(|| good().next()) else {
        let (plan, age) = (cut(&newest.load.plan), Time(newest.at).age(&now));
        let why = newest.failure().unwrap_or_default();
        return Question {
            question: QUESTION.into(),
            answer: format!("no load run of {} succeeded", newest.version),
            note: format!("plan {plan} on {}, {age} ago: {why}.", newest.db),
            answered: true,
            attention: true,
            evidence: Some("/#throughput".into()),
        };
    };
    let p95 = run.load.at(0.95).map(|s| format!("p95 {}", Secs(s)));
    let growth = run.latency_deltas().into_iter().find(|d| (d.quantile - 0.95).abs() < 1e-9);
    let growth = growth.map(|d| format!(" ({})", Percent(d.ratio))).unwrap_or_default();
    let mut parts = Vec::new();
    let mut rest = String::new();
    match (&run.previous, run.hindrance(), run.throughput_delta()) {
        (_, Some(hindrance), _) => rest = format!(" Not compared: {hindrance}."),
        (Some(previous), None, Some(delta)) => {
            parts.push(format!("{} against {}", Percent(delta), previous.version));
            rest = " Indicative: one run each.".to_owned();
        }
        _ if run.load.rate_limited() == 0 => {
            rest = " No version before it was measured with this plan.".to_owned()
        }
        _ => {}
    }
    parts.extend(p95.map(|p95| format!("{p95}{growth}")));
    parts.push(match run.load.error_ratio() {
        0.0 => "no errors".to_owned(),
        ratio => format!("{} failed", Share(ratio)),
    });
    if run.load.rate_limited() > 0 && run.previous.is_none() {
        let n = Count(run.load.rate_limited());
        rest = format!(" {n} answers were 429: it measured the rate limit, not the version.");
    }
    let lost = of_latest().filter(|other| other.is_last && other.key != run.key);
    let lost = lost.filter_map(|other| Some((other, other.throughput_delta()?)));
    let lost = lost.min_by(|a, b| a.1.total_cmp(&b.1));
    let least = run.throughput_delta().unwrap_or(0.0).min(0.0) - WORTH_TELLING;
    if let Some((other, delta)) = lost.filter(|(_, delta)| *delta <= least) {
        let (db, plan) = (other.db, cut(&other.load.plan));
        rest += &format!(" It lost most on {db}, plan {plan}: {}.", Percent(delta));
    }
    if let Some((failed, why)) = failed.and_then(|failed| Some((failed, failed.failure()?))) {
        let (db, plan, age) = (failed.db, cut(&failed.load.plan), Time(failed.at).age(&now));
        rest += &format!(" On {db}, plan {plan}, {age} ago, {why}.");
    }
    let age = Time(run.at).age(&now);
    let note = format!("{}; plan {}, {age} ago.{rest}", parts.join(", "), cut(&run.load.plan));
    Question {
        question: QUESTION.into(),
        answer: format!("{} requests/s for {} on {}", Rate(run.load.throughput), run.version, run.db),
        note,
        answered: true,
        attention: failed.is_some(),
        evidence: Some("/#throughput".into()),
    }
}
