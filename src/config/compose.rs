//! Variants → suites: what the variants of one suite must agree on, and the order of a round.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::problem::{Fault, Sink};
use super::suite::SuiteFile;
use crate::model::{Suite, Variant};

/// Suites in the order of their names, variants in the order of their files. A disagreement is
/// reported in the later of the two files.
pub(super) fn compose(files: Vec<(SuiteFile, Sink)>) -> (Vec<Suite>, Vec<Sink>) {
    let mut by_name: BTreeMap<String, Vec<(SuiteFile, Sink)>> = BTreeMap::new();
    for (file, sink) in files {
        by_name.entry(file.suite.clone()).or_default().push((file, sink));
    }
    let mut suites = Vec::new();
    let mut sinks = Vec::new();
    for (name, variants) in by_name {
        for (index, (file, sink)) in variants.iter().enumerate() {
            for (other, _) in &variants[..index] {
                judge_overlap(sink, file, other);
            }
            judge_rounds(sink, file, &variants[0].0);
        }
        if let Some((first, sink)) = variants.first() {
            let (schedule, jitter) = (first.schedule.clone(), first.jitter);
            let order =
                merge_orders(&variants.iter().map(|(file, _)| names(&file.variant)).collect::<Vec<_>>());
            let order = order.unwrap_or_else(|(before, after)| {
                let at = variants.last().map_or(first.suite_at, |(file, _)| file.suite_at);
                let sink = variants.last().map_or(sink, |(_, sink)| sink);
                sink.report(
                    at,
                    Fault::new(format!(
                        "the variants of suite `{name}` disagree about the order: one asks `{before}` before `{after}`, another after it"
                    ))
                    .hint("a round visits all variants request by request, so shared names need one order"),
                );
                Vec::new()
            });
            let (files, used): (Vec<_>, Vec<_>) = variants.into_iter().unzip();
            let variants = files.into_iter().map(|file| Arc::new(file.variant)).collect();
            suites.push(Suite { name, schedule, jitter, variants, order });
            sinks.extend(used);
        }
    }
    (suites, sinks)
}

fn judge_overlap(sink: &Sink, file: &SuiteFile, other: &SuiteFile) {
    let (suite, theirs) = (&file.suite, &other.variant.file);
    if file.variant.applies_to.overlaps(&other.variant.applies_to) {
        let fault = Fault::new(format!(
            "variants of suite `{suite}` overlap: `{}` here and `{}` in {theirs}",
            file.variant.applies_to, other.variant.applies_to
        ));
        let hint =
            match theirs.strip_prefix(super::EMBEDDED).or(file.variant.file.strip_prefix(super::EMBEDDED)) {
                Some(shipped) => format!("name your file {shipped} to replace the shipped variant"),
                None => "a version may match one variant only".to_owned(),
            };
        sink.report(file.applies_at, fault.hint(hint));
    }
}

/// Schedule and jitter belong to the suite, so the first variant's are those of all.
fn judge_rounds(sink: &Sink, file: &SuiteFile, other: &SuiteFile) {
    let (suite, theirs) = (&file.suite, &other.variant.file);
    const ONE: &str = "a suite is one set of rounds: give all variants the same";
    if file.schedule != other.schedule {
        let fault = format!(
            "variants of suite `{suite}` have different schedules: `{}` here and `{}` in {theirs}",
            file.schedule, other.schedule
        );
        sink.report(file.schedule_at, Fault::new(fault).hint(ONE));
    }
    if file.jitter != other.jitter {
        let [here, there] = [file.jitter, other.jitter].map(humantime::format_duration);
        let fault = format!(
            "variants of suite `{suite}` have different jitters: {here} here and {there} in {theirs}"
        );
        sink.report(file.jitter_at.unwrap_or(file.suite_at), Fault::new(fault).hint(ONE));
    }
}

fn names(variant: &Variant) -> Vec<&str> {
    variant.requests.iter().map(|request| request.name.as_str()).collect()
}

/// One order that keeps each of the given ones; among those free to go next, the one that was
/// mentioned first. The error is a pair that is wanted both ways round.
fn merge_orders(orders: &[Vec<&str>]) -> Result<Vec<String>, (String, String)> {
    let mut waiting: Vec<&str> = Vec::new();
    for name in orders.iter().flatten() {
        if !waiting.contains(name) {
            waiting.push(name);
        }
    }
    let mut merged: Vec<String> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        // Free is what no order wants after something that still waits.
        let blocker = |name: &str| {
            orders.iter().find_map(|order| {
                let before = order.iter().take_while(|n| **n != name);
                order.contains(&name).then(|| before.copied().find(|n| waiting.contains(n))).flatten()
            })
        };
        match waiting.iter().position(|name| blocker(name).is_none()) {
            Some(free) => merged.push(waiting.remove(free).to_owned()),
            None => {
                let after = waiting[0];
                let before = blocker(after).unwrap_or(after);
                return Err((before.to_owned(), after.to_owned()));
            }
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(orders: &[&[&str]]) -> Result<String, (String, String)> {
        let orders: Vec<Vec<&str>> = orders.iter().map(|order| order.to_vec()).collect();
        merge_orders(&orders).map(|order| order.join(" "))
    }

    #[test]
    fn each_variants_order_is_kept() {
        assert_eq!(merged(&[&["a", "b", "c"], &["a", "x", "c", "y"]]), Ok("a b x c y".to_owned()));
        assert_eq!(merged(&[&["b"], &["a", "b"]]), Ok("a b".to_owned()));
        assert_eq!(merged(&[&["a"], &[], &["z", "a"]]), Ok("z a".to_owned()));
    }

    #[test]
    fn a_contradiction_names_a_pair() {
        let error = merged(&[&["a", "b"], &["b", "a"]]).unwrap_err();
        assert_eq!(error, ("b".to_owned(), "a".to_owned()));
    }
}
