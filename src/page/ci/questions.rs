//! Questions one, two and five of the five, as sentences with their numbers. Counts are exact; what
//! compares two versions is called indicative, for it rests on one run of each.

use super::deploys::result_word;
use super::near;
use super::suites::TestRun;
use crate::history::{Deployed, Loaded, SuiteHistory};
use crate::model::CiResult;
use crate::page::answers::Question;
use crate::page::format::{Count, Percent, Rate, Secs, SecsDelta, Share, Time};

/// Characters of a test's name in a sentence.
const NAME_MAX: usize = 60;

/// What passed and failed in the newest run, what of it newly, and how the other branches fare.
pub fn tests(suites: &[SuiteHistory], now: Time) -> Question {
    const QUESTION: &str = "Tests";
    let Some((newest, others)) = suites.split_first() else {
        return Question::open(
            QUESTION,
            "no test run yet",
            "cachetscope run --step test … or cachetscope record tests … tells of one.",
        );
    };
    let run = TestRun::new(newest.last());
    let head = newest.scope.head();
    let mut notes = vec![failing(newest, &run)];
    let several_suites = others.iter().any(|other| other.scope.suite != newest.scope.suite);
    let suite = if several_suites { format!("{} in ", newest.scope.suite) } else { String::new() };
    let took = run.took().map(|took| format!(", {took}")).unwrap_or_default();
    let age = run.at.age(&now);
    notes.push(format!("{suite}run {} of {}/{head} {age} ago{took}", run.run, run.pipeline));
    notes.retain(|note| !note.is_empty());
    let mut note = notes.join("; ");
    note.push('.');
    if !others.is_empty() {
        let bad = others.iter().filter(|other| TestRun::new(other.last()).is_bad()).count();
        let what = if several_suites { "suites and branches" } else { "branches" };
        note += &match (bad, others.len()) {
            (0, 1) => " The other one passes.".to_owned(),
            (0, n) => format!(" All {n} other {what} pass."),
            (1, 1) => " The other one fails too.".to_owned(),
            (bad, n) => format!(" The last run of {bad} of {n} other {what} did not pass."),
        };
    }
    let (bad, total) = (run.counts.bad(), run.counts.total());
    let answer = match run.word() {
        "pass" if total == 0 => format!("no test was run on {head}"),
        "pass" => format!("all {} pass on {head}", Count(total - run.counts.skip)),
        "fail" if bad == 0 => format!("the run failed on {head}"),
        "fail" => format!("{} of {} fail on {head}", Count(bad), Count(total)),
        word => format!("{word} on {head}"),
    };
    Question {
        question: QUESTION.into(),
        answer,
        note,
        answered: true,
        attention: run.is_bad(),
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
    let Some(latest) = deploys.iter().map(|d| &d.version).max() else {
        return Question::open(
            QUESTION,
            "no deployment event yet",
            "cachetscope run --step deploy … or cachetscope record deploy … tells of one.",
        );
    };
    let of_latest = || deploys.iter().filter(|d| d.version == *latest);
    // Of each place, what became of it last; a failure is said first.
    let Some(newest) = of_latest().find(|d| d.is_last && d.result.is_bad()).or_else(|| of_latest().next())
    else {
        return Question::open(QUESTION, "no deployment event yet", "");
    };
    let place = format!("{} on {}", newest.version, newest.db);
    let age = Time(newest.at).age(&now);
    let back = deploys.iter().find(|d| d.is_last && d.rolled_back_from.as_ref() == Some(latest));
    let back =
        back.map(|d| format!("Rolled back to {} on {}, {} ago. ", d.version, d.db, Time(d.at).age(&now)));
    let bad = newest.result.is_bad();
    let (answer, note) = if bad {
        let step = newest.steps.iter().find(|step| step.result.is_some_and(CiResult::is_bad));
        let at = step.map(|step| format!(" at {}", cut(&step.name))).unwrap_or_default();
        let after = newest.seconds.map(|s| format!(" after {}", Secs(s))).unwrap_or_default();
        let good = of_latest().find(|d| d.succeeded()).map(|d| {
            let took = d.seconds.map(|s| format!(" in {}", Secs(s))).unwrap_or_default();
            format!(" It was deployed on {}{took} {} ago.", d.db, Time(d.at).age(&now))
        });
        let good = good.unwrap_or_else(|| " No deployment of it succeeded so far.".to_owned());
        (format!("{} for {place}", result_word(newest.result)), format!("{age} ago{at}{after}.{good}"))
    } else {
        match newest.seconds {
            Some(seconds) => (format!("{} for {place}", Secs(seconds)), compared(newest, &age.to_string())),
            None => (format!("{place} is deployed"), format!("{age} ago; its beginning was not told.")),
        }
    };
    Question {
        question: QUESTION.into(),
        answer,
        note: format!("{}{note}", back.as_deref().unwrap_or_default()),
        answered: true,
        attention: bad || back.is_some(),
        evidence: Some("/#deploying".into()),
    }
}

fn compared(deployed: &Deployed, age: &str) -> String {
    let (Some(previous), Some(delta), Some(ratio)) =
        (&deployed.previous, deployed.delta_seconds(), deployed.delta_ratio())
    else {
        return format!("{age} ago. There is no version before it on {} to compare with.", deployed.db);
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
    format!("{change}{}. Indicative: one deployment each, {age} ago.", grown.unwrap_or_default())
}

/// What the latest version achieves under load, against the one before.
pub fn throughput(loads: &[Loaded], now: Time) -> Question {
    const QUESTION: &str = "Throughput of the latest";
    let latest = loads.iter().map(|run| &run.version).max();
    let of_latest = || loads.iter().filter(|run| Some(&run.version) == latest);
    // One that measured the rate limit is spoken of only where there is no other.
    let Some(run) = of_latest().find(|run| run.load.rate_limited() == 0).or_else(|| of_latest().next())
    else {
        return Question::open(QUESTION, "no load run yet", "cachetscope record load … tells of one.");
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
    let age = Time(run.at).age(&now);
    let note = format!("{}; plan {}, {age} ago.{rest}", parts.join(", "), cut(&run.load.plan));
    Question {
        question: QUESTION.into(),
        answer: format!("{} requests/s for {} on {}", Rate(run.load.throughput), run.version, run.db),
        note,
        answered: true,
        attention: false,
        evidence: Some("/#throughput".into()),
    }
}
