//! Data points, gathered into requests of bounded size.
//!
//! Everything that adds up is cumulative with a fixed start time, so a point that is lost or sent
//! twice does no harm, and a restart is no reset as long as the store keeps the sums.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Exemplar as ExemplarMessage, HistogramDataPoint, NumberDataPoint,
    exemplar, number_data_point,
};
use prost::Message;

use super::Encoded;
use super::attributes::{Attributes, pairs};
use super::envelope::{self, MetricGroup, Points};
use super::names::{Kind, Metric};
use super::resource::Resource;
use crate::clock::Timestamp;
use crate::model::{SpanId, TraceId};

/// Value of a gauge or counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Number::Int(number)
    }
}
impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Number::Float(number)
    }
}

/// One measurement behind a histogram, and the span it came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    pub time: Timestamp,
    /// In the metric's unit.
    pub value: f64,
    pub trace: TraceId,
    pub span: SpanId,
}

/// A histogram as it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramPoint {
    /// When the series was created.
    pub start: Timestamp,
    pub time: Timestamp,
    /// In the metric's unit.
    pub sum: f64,
    pub count: u64,
    /// One for each bound of the metric, and one for what is above. With any other number of them
    /// (a series kept from before the bounds changed) the point is sent without buckets.
    pub buckets: Vec<u64>,
    pub exemplars: Vec<Exemplar>,
}

/// Gathers points, and seals a request whenever it would outgrow the limit. The points of one
/// metric are together within a request.
pub struct MetricBatch {
    resource: Resource,
    max_bytes: usize,
    overhead_bytes: usize,
    groups: Vec<(&'static Metric, Vec<Bytes>)>,
    bytes: usize,
    sealed: Vec<Encoded>,
}

/// Tag and length of a point, at most.
const POINT_OVERHEAD: usize = 6;
/// Tags and lengths of a metric around its points, at most.
const METRIC_OVERHEAD: usize = 32;

impl MetricBatch {
    /// Requests take at most `max_bytes`, unless a single point is larger.
    pub fn new(resource: &Resource, max_bytes: usize) -> Self {
        let overhead_bytes = envelope::overhead_bytes(resource);
        MetricBatch {
            resource: resource.clone(),
            max_bytes,
            overhead_bytes,
            groups: Vec::new(),
            bytes: overhead_bytes,
            sealed: Vec::new(),
        }
    }

    /// For a metric of [`Kind::Gauge`].
    pub fn gauge(
        &mut self,
        metric: &'static Metric,
        attributes: Attributes,
        time: Timestamp,
        value: impl Into<Number>,
    ) {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        self.push(metric, number(attributes, None, time, Some(value.into())));
    }

    /// For a metric of [`Kind::Counter`]; `start` is when the series was created.
    pub fn counter(
        &mut self,
        metric: &'static Metric,
        attributes: Attributes,
        start: Timestamp,
        time: Timestamp,
        value: impl Into<Number>,
    ) {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.push(metric, number(attributes, Some(start), time, Some(value.into())));
    }

    /// For a metric of [`Kind::Histogram`].
    pub fn histogram(&mut self, metric: &'static Metric, attributes: Attributes, point: HistogramPoint) {
        debug_assert!(matches!(metric.kind, Kind::Histogram(_)), "{}", metric.name);
        self.push(metric, histogram(metric, attributes, point, 0));
    }

    /// The first point of a series: nothing yet, at its start time. Prometheus computes increases
    /// between points, so without it the first count of a series would be lost.
    pub fn zero(&mut self, metric: &'static Metric, attributes: Attributes, start: Timestamp) {
        let point = match metric.kind {
            Kind::Gauge => number(attributes, None, start, Some(Number::Int(0))),
            Kind::Counter => number(attributes, Some(start), start, Some(Number::Int(0))),
            Kind::Histogram(_) => histogram(metric, attributes, nothing(metric, start, start), 0),
        };
        self.push(metric, point);
    }

    /// The last point of a series that ended: no value from here on. Prometheus makes a stale marker
    /// of it, so that the series does not linger for five minutes.
    pub fn ended(
        &mut self,
        metric: &'static Metric,
        attributes: Attributes,
        start: Timestamp,
        time: Timestamp,
    ) {
        let flag = DataPointFlags::NoRecordedValueMask as u32;
        let point = match metric.kind {
            Kind::Gauge => number(attributes, None, time, None),
            Kind::Counter => number(attributes, Some(start), time, None),
            // Buckets and sum stay, empty, since each of them is a series of its own in Prometheus.
            Kind::Histogram(_) => histogram(metric, attributes, nothing(metric, start, time), flag),
        };
        self.push(metric, point);
    }

    /// The requests that are full, to be handed on while more points are added.
    pub fn take_sealed(&mut self) -> Vec<Encoded> {
        std::mem::take(&mut self.sealed)
    }

    /// All that has not been taken.
    pub fn finish(mut self) -> Vec<Encoded> {
        self.seal();
        self.sealed
    }

    fn push(&mut self, metric: &'static Metric, point: Vec<u8>) {
        let heading = metric.name.len() + metric.unit.len() + metric.description.len() + METRIC_OVERHEAD;
        let cost = point.len() + POINT_OVERHEAD;
        if !self.groups.is_empty() && self.bytes + heading + cost > self.max_bytes {
            self.seal();
        }
        self.bytes += cost;
        match self.groups.iter_mut().rfind(|(m, _)| m.name == metric.name) {
            Some((_, points)) => points.push(point.into()),
            None => {
                self.bytes += heading;
                self.groups.push((metric, vec![point.into()]));
            }
        }
    }

    fn seal(&mut self) {
        self.bytes = self.overhead_bytes;
        let groups = std::mem::take(&mut self.groups);
        let items: usize = groups.iter().map(|(_, points)| points.len()).sum();
        if items == 0 {
            return;
        }
        let metrics = groups.into_iter().map(|(m, points)| group(m, points).encode_to_vec().into()).collect();
        self.sealed.push(Encoded {
            items: u32::try_from(items).unwrap_or(u32::MAX),
            body: envelope::wrap(&self.resource, metrics),
        });
    }
}

fn group(metric: &Metric, points: Vec<Bytes>) -> MetricGroup {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let mut group = MetricGroup {
        name: metric.name.to_owned(),
        description: metric.description.to_owned(),
        unit: metric.unit.to_owned(),
        ..MetricGroup::default()
    };
    match metric.kind {
        Kind::Gauge => group.gauge = Some(Points { points, ..Points::default() }),
        Kind::Counter => group.sum = Some(Points { points, temporality: cumulative, monotonic: true }),
        Kind::Histogram(_) => {
            group.histogram = Some(Points { points, temporality: cumulative, monotonic: false });
        }
    }
    group
}

/// No value means that none was recorded.
fn number(
    attributes: Attributes,
    start: Option<Timestamp>,
    time: Timestamp,
    value: Option<Number>,
) -> Vec<u8> {
    let point = NumberDataPoint {
        attributes: pairs(attributes),
        start_time_unix_nano: start.map_or(0, Timestamp::unix_nanos),
        time_unix_nano: time.unix_nanos(),
        flags: if value.is_none() { DataPointFlags::NoRecordedValueMask as u32 } else { 0 },
        value: value.map(|number| match number {
            Number::Int(int) => number_data_point::Value::AsInt(int),
            Number::Float(float) => number_data_point::Value::AsDouble(float),
        }),
        ..NumberDataPoint::default()
    };
    point.encode_to_vec()
}

fn histogram(metric: &Metric, attributes: Attributes, point: HistogramPoint, flags: u32) -> Vec<u8> {
    let bounds = match metric.kind {
        Kind::Histogram(bounds) if point.buckets.len() == bounds.len() + 1 => bounds,
        _ => &[],
    };
    let message = HistogramDataPoint {
        attributes: pairs(attributes),
        start_time_unix_nano: point.start.unix_nanos(),
        time_unix_nano: point.time.unix_nanos(),
        count: point.count,
        sum: Some(point.sum),
        bucket_counts: if bounds.is_empty() { Vec::new() } else { point.buckets },
        explicit_bounds: bounds.to_vec(),
        exemplars: point.exemplars.iter().map(exemplar_message).collect(),
        flags,
        ..HistogramDataPoint::default()
    };
    message.encode_to_vec()
}

fn exemplar_message(exemplar: &Exemplar) -> ExemplarMessage {
    ExemplarMessage {
        filtered_attributes: Vec::<KeyValue>::new(),
        time_unix_nano: exemplar.time.unix_nanos(),
        span_id: exemplar.span.0.to_vec(),
        trace_id: exemplar.trace.0.to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
    }
}

/// A histogram of nothing, with the metric's buckets.
fn nothing(metric: &Metric, start: Timestamp, time: Timestamp) -> HistogramPoint {
    let buckets = match metric.kind {
        Kind::Histogram(bounds) if !bounds.is_empty() => vec![0; bounds.len() + 1],
        _ => Vec::new(),
    };
    HistogramPoint { start, time, buckets, ..HistogramPoint::default() }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::Metric as MetricMessage;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;

    use super::super::fixture::{metrics, resource};
    use super::super::names::{self, PHASE_DURATION, PROBE_RUNS, PROBE_UP, REQUEST_DURATION};
    use super::super::{BOUNDS_SECONDS, BUCKETS};
    use super::*;

    fn decode(encoded: &Encoded) -> Vec<MetricMessage> {
        let mut request = ExportMetricsServiceRequest::decode(encoded.body.as_slice()).unwrap();
        assert_eq!(request.resource_metrics.len(), 1);
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
    }

    fn only(batch: MetricBatch) -> Vec<MetricMessage> {
        let sealed = batch.finish();
        assert_eq!(sealed.len(), 1);
        decode(&sealed[0])
    }

    fn on(deployment: &'static str) -> Attributes {
        vec![(names::DEPLOYMENT.into(), deployment.into())]
    }

    #[test]
    fn a_histogram_carries_buckets_start_and_exemplars() {
        let mut batch = MetricBatch::new(&resource(), 1 << 19);
        let mut buckets = vec![0; BUCKETS];
        buckets[3] = 2;
        let exemplar =
            Exemplar { time: Timestamp(40), value: 0.003, trace: TraceId([1; 16]), span: SpanId([2; 8]) };
        let point = HistogramPoint {
            start: Timestamp(10),
            time: Timestamp(50),
            sum: 0.006,
            count: 2,
            buckets,
            exemplars: vec![exemplar],
        };
        batch.histogram(&REQUEST_DURATION, on("a"), point);
        let metrics = only(batch);
        assert_eq!(
            (metrics[0].name.as_str(), metrics[0].unit.as_str()),
            ("http.client.request.duration", "s")
        );
        let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert_eq!(histogram.aggregation_temporality, AggregationTemporality::Cumulative as i32);
        let point = &histogram.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (10, 50));
        assert_eq!((point.count, point.sum, point.bucket_counts[3]), (2, Some(0.006), 2));
        assert_eq!(point.explicit_bounds, BOUNDS_SECONDS);
        assert_eq!(point.exemplars[0].trace_id, [1; 16]);
        assert_eq!(point.exemplars[0].span_id, [2; 8]);
        assert_eq!(point.exemplars[0].value, Some(exemplar::Value::AsDouble(0.003)));
    }

    #[test]
    fn points_of_one_metric_are_together() {
        let mut batch = MetricBatch::new(&resource(), 1 << 19);
        for deployment in ["a", "b"] {
            batch.gauge(&PROBE_UP, on(deployment), Timestamp(9), 1);
            batch.counter(&PROBE_RUNS, on(deployment), Timestamp(1), Timestamp(9), 7);
        }
        let metrics = only(batch);
        assert_eq!(metrics.len(), 2);
        let (Some(Data::Gauge(gauge)), Some(Data::Sum(sum))) = (&metrics[0].data, &metrics[1].data) else {
            panic!("{metrics:?}")
        };
        assert_eq!((gauge.data_points.len(), sum.data_points.len()), (2, 2));
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Cumulative as i32);
        assert_eq!(sum.data_points[1].value, Some(number_data_point::Value::AsInt(7)));
    }

    #[test]
    fn a_series_begins_with_nothing_at_its_start() {
        let mut batch = MetricBatch::new(&resource(), 1 << 19);
        batch.zero(&PROBE_RUNS, on("a"), Timestamp(5));
        batch.zero(&REQUEST_DURATION, on("a"), Timestamp(5));
        batch.zero(&PHASE_DURATION, on("a"), Timestamp(5));
        let metrics = only(batch);
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(0)));
        for (metric, buckets) in metrics[1..].iter().zip([BUCKETS, 0]) {
            let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metrics:?}") };
            let point = &histogram.data_points[0];
            assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 5));
            assert_eq!((point.count, point.sum, point.flags), (0, Some(0.0), 0));
            assert_eq!(point.bucket_counts, vec![0; buckets]);
        }
    }

    #[test]
    fn a_series_ends_with_the_flag_and_keeps_its_buckets() {
        let flag = DataPointFlags::NoRecordedValueMask as u32;
        let mut batch = MetricBatch::new(&resource(), 1 << 19);
        batch.ended(&PROBE_UP, on("a"), Timestamp(1), Timestamp(9));
        batch.ended(&REQUEST_DURATION, on("a"), Timestamp(1), Timestamp(9));
        let metrics = only(batch);
        let (Some(Data::Gauge(gauge)), Some(Data::Histogram(histogram))) =
            (&metrics[0].data, &metrics[1].data)
        else {
            panic!("{metrics:?}")
        };
        assert_eq!((gauge.data_points[0].flags, &gauge.data_points[0].value), (flag, &None));
        assert_eq!(histogram.data_points[0].flags, flag);
        assert_eq!(histogram.data_points[0].bucket_counts.len(), BUCKETS);
    }

    #[test]
    fn buckets_of_another_time_are_left_out() {
        let mut batch = MetricBatch::new(&resource(), 1 << 19);
        let point = HistogramPoint { count: 3, sum: 1.0, buckets: vec![3, 0], ..HistogramPoint::default() };
        batch.histogram(&REQUEST_DURATION, on("a"), point);
        let metrics = only(batch);
        let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("{metrics:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.bucket_counts.len(), point.explicit_bounds.len()), (3, 0, 0));
    }

    #[test]
    fn requests_stay_below_the_limit_and_lose_nothing() {
        let max = 16 * 1024;
        let sealed = metrics(500, max);
        assert!(sealed.len() > 10, "{} requests", sealed.len());
        let mut points = 0;
        for encoded in &sealed {
            assert!(encoded.body.len() <= max, "{} bytes", encoded.body.len());
            let metrics = decode(encoded);
            assert!(metrics.len() <= 2);
            let of = |data: &Data| match data {
                Data::Gauge(gauge) => gauge.data_points.len(),
                Data::Histogram(histogram) => histogram.data_points.len(),
                other => panic!("{other:?}"),
            };
            let here: usize = metrics.iter().map(|m| of(m.data.as_ref().unwrap())).sum();
            assert_eq!(here, encoded.items as usize);
            points += here;
        }
        assert_eq!(points, 1_000);
        let largest = sealed.iter().map(|e| e.body.len()).max().unwrap();
        assert!(largest > max * 9 / 10, "the largest has only {largest} bytes");
    }

    #[test]
    fn a_batch_without_points_is_no_request() {
        assert_eq!(MetricBatch::new(&resource(), 1_000).finish(), []);
    }
}
