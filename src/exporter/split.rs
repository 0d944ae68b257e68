//! Takes an encoded request apart: to get below a size the collector accepts, and to find the
//! smallest part that it refuses.
//!
//! Pure. Items keep their bytes and their order; only the messages around them are written anew.

use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::otlp::Signal;
use crate::otlp::envelope::{Envelope, MetricGroup, Points, ResourceGroup, ScopeGroup};

/// Spans, data points or log records in an encoded request; `None` when it is no such request.
pub fn count(signal: Signal, body: &Bytes) -> Option<usize> {
    count_items(signal, &Envelope::decode(body.clone()).ok()?).ok()
}

/// The first half and the rest, each a request under the same resources and scopes. `None` when
/// there are fewer than two items, or the body is no such request.
pub fn split(signal: Signal, body: &Bytes) -> Option<(Vec<u8>, Vec<u8>)> {
    let envelope = Envelope::decode(body.clone()).ok()?;
    let items = count_items(signal, &envelope).ok()?;
    if items < 2 {
        return None;
    }
    let mut left = items / 2;
    let (first, rest) = cut_all(envelope.resources, &mut left, |r, left| cut_resource(signal, r, left));
    let encode = |resources| Envelope { resources }.encode_to_vec();
    Some((encode(first), encode(rest)))
}

fn count_items(signal: Signal, envelope: &Envelope) -> Result<usize, DecodeError> {
    let scopes = envelope.resources.iter().flat_map(|resource| &resource.scopes);
    if signal != Signal::Metrics {
        return Ok(scopes.map(|scope| scope.items.len()).sum());
    }
    let metrics = scopes.flat_map(|scope| &scope.items).map(|item| MetricGroup::decode(item.clone()));
    metrics.map(|metric| Ok(metric?.points().map_or(0, |p| p.points.len()))).sum()
}

/// What goes into the first half, of which `left` items are still missing, and what does not.
type Cut<T> = (Option<T>, Option<T>);

fn cut_resource(signal: Signal, mut resource: ResourceGroup, left: &mut usize) -> Cut<ResourceGroup> {
    let scopes = std::mem::take(&mut resource.scopes);
    let halves = cut_all(scopes, left, |scope, left| cut_scope(signal, scope, left));
    with_head(&resource, halves, |head, scopes| head.scopes = scopes)
}

fn cut_scope(signal: Signal, mut scope: ScopeGroup, left: &mut usize) -> Cut<ScopeGroup> {
    let items = std::mem::take(&mut scope.items);
    let halves = match signal {
        Signal::Metrics => cut_all(items, left, cut_metric),
        Signal::Traces | Signal::Logs => cut_all(items, left, cut_one),
    };
    with_head(&scope, halves, |head, items| head.items = items)
}

fn cut_metric(item: Bytes, left: &mut usize) -> Cut<Bytes> {
    let mut metric = MetricGroup::decode(item).unwrap_or_default();
    let Some(Points { points, .. }) = metric.points_mut() else { return (None, None) };
    let halves = cut_all(std::mem::take(points), left, cut_one);
    let (first, rest) = with_head(&metric, halves, |head, points| {
        if let Some(of_kind) = head.points_mut() {
            of_kind.points = points;
        }
    });
    let encode = |metric: MetricGroup| metric.encode_to_vec().into();
    (first.map(encode), rest.map(encode))
}

fn cut_one(item: Bytes, left: &mut usize) -> Cut<Bytes> {
    if *left == 0 {
        return (None, Some(item));
    }
    *left -= 1;
    (Some(item), None)
}

fn cut_all<T>(list: Vec<T>, left: &mut usize, cut: impl Fn(T, &mut usize) -> Cut<T>) -> (Vec<T>, Vec<T>) {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for element in list {
        let (a, b) = cut(element, left);
        first.extend(a);
        rest.extend(b);
    }
    (first, rest)
}

/// Each half that is not empty, under a copy of the head they shared.
fn with_head<T: Clone, I>(
    head: &T,
    (first, rest): (Vec<I>, Vec<I>),
    fill: impl Fn(&mut T, Vec<I>),
) -> Cut<T> {
    let under_head = |items: Vec<I>| {
        (!items.is_empty()).then(|| {
            let mut half = head.clone();
            fill(&mut half, items);
            half
        })
    };
    (under_head(first), under_head(rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::otlp::{encode_run, fixture};

    /// Each item under all that it is under, in order: a metric's points one by one.
    fn items(signal: Signal, body: &[u8]) -> Vec<Vec<u8>> {
        let mut items = Vec::new();
        for mut resource in Envelope::decode(body).unwrap().resources {
            for mut scope in std::mem::take(&mut resource.scopes) {
                for item in std::mem::take(&mut scope.items) {
                    let parts = if signal == Signal::Metrics { points(item) } else { vec![item] };
                    for part in parts {
                        let scope = ScopeGroup { items: vec![part], ..scope.clone() };
                        let resource = ResourceGroup { scopes: vec![scope], ..resource.clone() };
                        items.push(resource.encode_to_vec());
                    }
                }
            }
        }
        items
    }

    fn points(metric: Bytes) -> Vec<Bytes> {
        let mut metric = MetricGroup::decode(metric).unwrap();
        let Some(of_kind) = metric.points_mut() else { return Vec::new() };
        let points = std::mem::take(&mut of_kind.points);
        let alone = |point| {
            let mut metric = metric.clone();
            metric.points_mut().unwrap().points.push(point);
            metric.encode_to_vec().into()
        };
        points.into_iter().map(alone).collect()
    }

    /// Splits until nothing can be split, and checks each step.
    fn check_to_the_end(signal: Signal, body: Vec<u8>) -> Vec<Vec<u8>> {
        let all = items(signal, &body);
        let body = Bytes::from(body);
        assert_eq!(count(signal, &body), Some(all.len()));
        let Some((first, rest)) = split(signal, &body) else {
            assert!(all.len() < 2);
            return all;
        };
        let halves = (items(signal, &first), items(signal, &rest));
        assert_eq!(halves.0.len(), all.len() / 2);
        assert_eq!([halves.0, halves.1].concat(), all);
        [check_to_the_end(signal, first), check_to_the_end(signal, rest)].concat()
    }

    proptest! {
        #[test]
        fn spans_and_records_are_kept_in_order(a in fixture::any_run(), b in fixture::any_run()) {
            let (a, b) = (encode_run(&a, &fixture::resource()), encode_run(&b, &fixture::resource()));
            let traces = [a.traces.body, b.traces.body].concat();
            prop_assert_eq!(items(Signal::Traces, &traces), check_to_the_end(Signal::Traces, traces.clone()));
            let logs = [a.logs, b.logs].into_iter().flatten().flat_map(|l| l.body).collect::<Vec<_>>();
            prop_assert_eq!(items(Signal::Logs, &logs), check_to_the_end(Signal::Logs, logs.clone()));
        }

        #[test]
        fn points_are_kept_in_order(points in 1..40_u32) {
            let body = fixture::metrics(points, usize::MAX).remove(0).body;
            prop_assert_eq!(items(Signal::Metrics, &body), check_to_the_end(Signal::Metrics, body.clone()));
        }

        #[test]
        fn garbage_is_not_split(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            for signal in Signal::ALL {
                if let Some((first, rest)) = split(signal, &Bytes::from(garbage.clone())) {
                    let all = items(signal, &garbage).len();
                    prop_assert_eq!(items(signal, &first).len() + items(signal, &rest).len(), all);
                }
            }
        }
    }

    #[test]
    fn a_real_decoder_reads_the_halves_of_metrics() {
        use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
        let body = Bytes::from(fixture::metrics(3, usize::MAX).remove(0).body);
        let (first, rest) = split(Signal::Metrics, &body).unwrap();
        let names = |body: &[u8]| {
            let request = ExportMetricsServiceRequest::decode(body).unwrap();
            let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
            metrics.iter().map(|m| (m.name.clone(), m.unit.clone(), m.data.is_some())).collect::<Vec<_>>()
        };
        let gauge = ("cachetscope.probe.up".to_owned(), String::new(), true);
        let histogram = ("http.client.request.duration".to_owned(), "s".to_owned(), true);
        assert_eq!(names(&first), [gauge]);
        assert_eq!(names(&rest), [histogram]);
    }
}
