//! A suite with only the requests that are compared, and those that these cannot do without.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Deployment, Request, Suite, Variant};

/// The suite with the wanted requests of each variant, and with those whose answers hold what they need.
pub fn narrowed(suite: &Suite, wanted: impl Fn(&Variant, &str) -> bool) -> Suite {
    let variants: Vec<Arc<Variant>> = suite
        .variants
        .iter()
        .map(|variant| {
            let requests = needed(&variant.requests, |name| wanted(variant, name));
            Arc::new(Variant { requests, ..variant.as_ref().clone() })
        })
        .collect();
    let is_asked = |name: &&String| variants.iter().any(|v| v.requests.iter().any(|r| r.name == **name));
    let order = suite.order.iter().filter(is_asked).cloned().collect();
    Suite { variants, order, ..suite.clone() }
}

/// What is needed is captured by an earlier request, so going backwards finds all of it.
fn needed(requests: &[Arc<Request>], wanted: impl Fn(&str) -> bool) -> Vec<Arc<Request>> {
    let mut places: BTreeSet<&str> = BTreeSet::new();
    let mut kept: Vec<Arc<Request>> = Vec::new();
    for request in requests.iter().rev() {
        let yields = request.captures.iter().any(|capture| places.contains(capture.name.as_str()));
        if yields || wanted(&request.name) {
            let headers = request.headers.iter().flat_map(|(_, value)| value.places());
            places.extend(request.path.places().chain(headers));
            places.extend(request.body.iter().flat_map(|body| body.places()));
            kept.push(request.clone());
        }
    }
    kept.reverse();
    kept
}

/// Names of the requests that both are asked.
pub fn common(suite: &Suite, a: &Deployment, b: &Deployment) -> BTreeSet<String> {
    let (a, b) = (asked(suite, a), asked(suite, b));
    a.intersection(&b).cloned().collect()
}

/// Names of the requests that a deployment is asked.
pub fn asked(suite: &Suite, deployment: &Deployment) -> BTreeSet<String> {
    let variant = suite.variant_for(&deployment.version);
    let requests = variant.into_iter().flat_map(|variant| variant.requests_for(deployment));
    requests.map(|request| request.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Source};

    #[test]
    fn what_a_request_needs_is_asked_too() {
        let suites = crate::config::load(Source::Shipped, &Env::default()).unwrap().suites;
        let suite = suites.iter().find(|suite| suite.name == "cachet").unwrap();
        let narrow = narrowed(suite, |_, name| ["incident", "ping"].contains(&name));
        assert_eq!(narrow.order, ["ping", "incidents", "incident"]);
        for variant in &narrow.variants {
            let names: Vec<&str> = variant.requests.iter().map(|r| r.name.as_str()).collect();
            assert_eq!(names, narrow.order, "{}", variant.file);
        }
        assert_eq!(narrowed(suite, |_, _| true).order, suite.order);
    }
}
