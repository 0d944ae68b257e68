/** Asks Prometheus and Tempo, and makes of their answers the frames that Grafana's data sources make. */
import { FieldType, findCommonLabels, getFieldDisplayName, rangeUtil } from '@grafana/data';
import type { DataFrame, Field, Labels, TimeRange } from '@grafana/data';
import type { Annotation, Panel, Source, Target } from './dashboard';
import { type Replace, inPromql, inTraceql } from './variables';

/** The scrape interval of the provisioned data source, in ms: `$__rate_interval` is four of it at least. */
const SCRAPE = 15_000;
/** Prometheus refuses more points than this. */
const MAX_POINTS = 11_000;

export type Sources = ReturnType<typeof sources>;

async function json(url: string, parameters: Record<string, string | undefined>): Promise<any> {
  const query = new URLSearchParams(Object.entries(parameters).filter((p): p is [string, string] => p[1] !== undefined));
  const answer = await fetch(`${url}?${query}`);
  const body = await answer.text();
  if (!answer.ok) {
    let why = body;
    try {
      why = JSON.parse(body).error ?? body;
    } catch {
      // Tempo says it in plain text.
    }
    throw new Error(`${url.split('/')[1]} answered ${answer.status}: ${why.trim() || answer.statusText}`);
  }
  return JSON.parse(body);
}

const seconds = (ms: number) => String(ms / 1000);

/** What kind a panel's or query's data source is, whatever name its uid goes by. */
export function kindOf(source: Source | undefined, of: Source | undefined): string {
  const mixed = !source?.uid || source.uid === '-- Mixed --';
  const { type, uid } = (mixed ? of : source) ?? {};
  return type ?? uid ?? 'prometheus';
}

export function sources() {
  /** The values that a query variable offers. */
  async function choices(query: string, range: TimeRange): Promise<string[]> {
    const span = { start: seconds(range.from.valueOf()), end: seconds(range.to.valueOf()) };
    const labels = query.match(/^label_values\((?:([\s\S]+),\s*)?([a-zA-Z_]\w*)\)\s*$/);
    if (labels) {
      const [, selector, label] = labels;
      return (await json(`/prometheus/api/v1/label/${label}/values`, { ...span, 'match[]': selector })).data;
    }
    const metrics = query.match(/^metrics\((.*)\)\s*$/);
    if (metrics) {
      const names: string[] = (await json('/prometheus/api/v1/label/__name__/values', span)).data;
      return names.filter((name) => new RegExp(metrics[1]).test(name));
    }
    const expression = query.match(/^query_result\(([\s\S]+)\)\s*$/);
    if (expression) {
      const { result } = (await json('/prometheus/api/v1/query', { query: expression[1], time: span.end })).data;
      return result.map((r: any) => `${nameOf(r.metric)} ${r.value[1]} ${r.value[0] * 1000}`);
    }
    throw new Error(`variable query ${query}: known are label_values(…), query_result(…) and metrics(…)`);
  }

  /** All queries of a panel that are not hidden; `width` in pixels is how many points it can show. */
  async function ask(panel: Panel, range: TimeRange, width: number, replace: Replace): Promise<Required<Answer>> {
    const targets = (panel.targets ?? []).filter((t) => !t.hide);
    const answers = await Promise.all(
      targets.map(async (target) => {
        const kind = kindOf(target.datasource, panel.datasource);
        try {
          if (kind === 'tempo') return await traceql(target, range, replace);
          if (kind === 'prometheus') return await promql(target, panel, range, width, replace);
          throw new Error(`data source ${kind} is not drawn; known are prometheus and tempo`);
        } catch (e) {
          throw new Error(`query ${target.refId}: ${(e as Error).message}`);
        }
      }),
    );
    const asTable = (frame: DataFrame) => targets.some((t) => t.refId === frame.refId && t.format === 'table' && t.expr !== undefined);
    const all = answers.flatMap((a) => a.frames);
    return {
      frames: [...all.filter((f) => !asTable(f)), ...tables(all.filter(asTable))],
      exemplars: answers.flatMap((a) => a.exemplars ?? []),
    };
  }

  /** The points in time that a dashboard's annotation marks, with their text. */
  async function annotations(annotation: Annotation, range: TimeRange, replace: Replace): Promise<Mark[]> {
    const step = rangeUtil.intervalToMs(annotation.step || '60s');
    const frames = await rangeQuery(replace(annotation.expr, undefined, inPromql), range, step);
    const marks = frames.flatMap((frame) => {
      const [times, values] = frame.fields;
      const labels = values.labels ?? {};
      const text =
        legend(annotation.titleFormat || annotation.name, labels) +
        (annotation.textFormat ? `: ${legend(annotation.textFormat, labels)}` : '');
      if (annotation.useValueForTime === true || annotation.useValueForTime === 'on') {
        return [...new Set<number>(values.values)].map((time) => ({ time, text }));
      }
      // Points without a gap between them are one event, which begins at the first.
      return times.values
        .filter((time: number, i: number) => values.values[i] && !(i && values.values[i - 1] && time - times.values[i - 1] <= step))
        .map((time: number) => ({ time, text }));
    });
    const within = marks.filter((m) => m.time >= range.from.valueOf() && m.time <= range.to.valueOf());
    return within.map((m) => ({ ...m, color: annotation.iconColor ?? 'rgba(0, 211, 255, 1)' })).sort((a, b) => a.time - b.time);
  }

  return { choices, ask, annotations };
}

export interface Mark {
  time: number;
  text: string;
  color: string;
}

/** A measured request with a trace, at its place among the series. */
export interface Exemplar {
  time: number;
  value: number;
}

interface Answer {
  frames: DataFrame[];
  exemplars?: Exemplar[];
}

async function promql(target: Target, panel: Panel, range: TimeRange, width: number, replace: Replace): Promise<Answer> {
  const least = replace(target.interval) || replace(panel.interval).replace('>', '');
  const scrape = least ? rangeUtil.intervalToMs(least) : SCRAPE;
  const span = range.to.valueOf() - range.from.valueOf();
  const points = panel.maxDataPoints ?? width;
  const { intervalMs } = rangeUtil.calculateInterval(range, points, `${scrape}ms`);
  const step = Math.max(intervalMs, Math.ceil(span / MAX_POINTS / 1000) * 1000);
  const rate = Math.max(step + scrape, 4 * scrape);
  const builtIn = {
    __interval: rangeUtil.secondsToHms(step / 1000),
    __interval_ms: step,
    __rate_interval: rangeUtil.secondsToHms(rate / 1000),
    __rate_interval_ms: rate,
    __range: `${Math.round(span / 1000)}s`,
    __range_s: Math.round(span / 1000),
    __range_ms: span,
  };
  const scoped = Object.fromEntries(Object.entries(builtIn).map(([name, value]) => [name, { value, text: value }]));
  const query = replace(target.expr, scoped, inPromql);
  if (!query.trim()) throw new Error('it has no expression');
  const frames: DataFrame[] = [];
  if (target.range || !target.instant) frames.push(...(await rangeQuery(query, range, step)));
  if (target.instant) {
    const { data } = await json('/prometheus/api/v1/query', { query, time: seconds(range.to.valueOf()) });
    const result = data.resultType === 'scalar' ? [{ metric: {}, value: data.result }] : data.result;
    frames.push(...result.map((r: any) => series(r.metric, [r.value])));
  }
  const exemplars = target.exemplar && !target.instant ? await exemplarsOf(query, range, step) : [];
  named(frames, target, query);
  // An answer without series is a frame without fields: it keeps its place among the panel's queries.
  if (!frames.length) frames.push({ refId: target.refId, fields: [], length: 0 });
  return { frames: frames.map((f) => ({ ...f, refId: target.refId })), exemplars };
}

async function rangeQuery(query: string, range: TimeRange, step: number): Promise<DataFrame[]> {
  const aligned = (ms: number) => seconds(Math.floor(ms / step) * step);
  const { data } = await json('/prometheus/api/v1/query_range', {
    query,
    start: aligned(range.from.valueOf()),
    end: aligned(range.to.valueOf()),
    step: seconds(step),
  });
  return data.result.map((r: any) => series(r.metric, r.values, step));
}

function series(labels: Labels, points: Array<[number, string]>, step?: number): DataFrame {
  return {
    length: points.length,
    meta: { type: (step ? 'timeseries-multi' : 'numeric-multi') as any },
    fields: [
      { name: 'Time', type: FieldType.time, config: step ? { interval: step } : {}, values: points.map(([at]) => Math.round(at * 1000)) },
      { name: labels.__name__ ?? 'Value', type: FieldType.number, config: {}, labels, values: points.map(([, v]) => number(v)) },
    ],
  };
}

/** Parses a sample as Prometheus writes it: `+Inf` and `NaN` are numbers too. */
const number = (text: string) => (/^[+-]?Inf$/.test(text) ? (text[0] === '-' ? -Infinity : Infinity) : parseFloat(text));

const nameOf = ({ __name__ = '', ...labels }: Labels) =>
  `${__name__}{${Object.entries(labels)
    .map(([k, v]) => `${k}="${v}"`)
    .join(', ')}}`;

const legend = (format: string, labels: Labels) => format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => labels[label] ?? '');

/** Gives series the names that their legend format asks for. */
function named(frames: DataFrame[], target: Target, query: string) {
  const values = (f: DataFrame) => f.fields[1];
  const common = frames.length > 1 ? findCommonLabels(frames.map((f) => values(f).labels ?? {})) : {};
  for (const frame of frames) {
    const field = values(frame);
    const labels = field.labels ?? {};
    let name = nameOf(labels);
    if (target.legendFormat === '__auto' && Object.keys(labels).length) {
      // @grafana/data names it by the labels in which the series differ.
      name = labels.__name__ ? getFieldDisplayName({ ...field, name: 'Value' }, frame, frames, common) : '';
    } else if (target.legendFormat && target.legendFormat !== '__auto') {
      name = legend(target.legendFormat, labels);
    }
    if (name === '{}') name = query;
    if (!name) continue;
    frame.name = name;
    field.config = { ...field.config, displayNameFromDS: name };
  }
}

/** `format: table`: the series of each query become the rows of one frame, with a column for each label. */
function tables(frames: DataFrame[]): DataFrame[] {
  if (frames.length <= 1 && !frames[0]?.length) return frames;
  const queries = [...new Set(frames.map((f) => f.refId))];
  return queries.map((refId) => {
    const rows = frames.filter((f) => f.refId === refId && f.length);
    const labels = [...new Set(rows.flatMap((f) => Object.keys(f.fields[1].labels ?? {}).sort()))];
    const times = rows.flatMap((f) => f.fields[0].values);
    const order = times.map((_, i) => i).sort((a, b) => times[a] - times[b] || a - b);
    const column = (name: string, type: FieldType, values: unknown[], config = {}): Field => ({
      name,
      type,
      config,
      values: order.map((i) => values[i]),
    });
    return {
      refId,
      length: times.length,
      fields: [
        column('Time', FieldType.time, times),
        ...labels.map((name) =>
          column(
            name,
            FieldType.string,
            rows.flatMap((f) => Array(f.length).fill(f.fields[1].labels?.[name] ?? '')),
            { filterable: true },
          ),
        ),
        column(
          queries.length > 1 ? `Value #${refId}` : 'Value',
          FieldType.number,
          rows.flatMap((f) => f.fields[1].values),
        ),
      ],
    };
  });
}

/** Exemplars of a query's series. Of those in one step, as Grafana does, the greatest and what lies two standard deviations apart. */
async function exemplarsOf(query: string, range: TimeRange, step: number): Promise<Exemplar[]> {
  const { data } = await json('/prometheus/api/v1/query_exemplars', {
    query,
    start: seconds(range.from.valueOf()),
    end: seconds(range.to.valueOf()),
  });
  const all: Exemplar[] = data.flatMap((one: any) => one.exemplars.map((e: any) => ({ time: e.timestamp * 1000, value: number(e.value) })));
  const mean = all.reduce((sum, e) => sum + e.value, 0) / all.length;
  const deviation = Math.sqrt(all.reduce((sum, e) => sum + (e.value - mean) ** 2, 0) / all.length);
  const lowest = new Map<number, number>();
  return all
    .sort((a, b) => b.value - a.value)
    .filter(({ time, value }) => {
      const at = Math.floor(time / step);
      const kept = !lowest.has(at) || lowest.get(at)! - value > 2 * deviation;
      if (kept) lowest.set(at, value);
      return kept;
    });
}

const link = (title: string) => [
  {
    title,
    url: '',
    internal: { datasourceUid: 'tempo', datasourceName: 'Tempo', query: { query: '${__value.raw}', queryType: 'traceql' } },
  },
];

/** A search; its frame has the columns that Grafana's Tempo data source gives it. */
async function traceql(target: Target, range: TimeRange, replace: Replace): Promise<Answer> {
  if (target.queryType !== 'traceql') throw new Error(`queryType ${target.queryType} of Tempo is not drawn; known is traceql`);
  const { traces = [] } = await json('/tempo/api/search', {
    q: replace(target.query, undefined, inTraceql),
    limit: String(target.limit ?? 20),
    spss: String(target.spss ?? 3),
    start: String(range.from.unix()),
    end: String(range.to.unix()),
  });
  const newest = [...traces].sort((a: any, b: any) => Number(BigInt(b.startTimeUnixNano) - BigInt(a.startTimeUnixNano)));
  const fields = target.tableType === 'spans' ? spanColumns(newest) : traceColumns(newest);
  const name = target.tableType === 'spans' ? 'Spans' : 'Traces';
  return {
    frames: [{ refId: target.refId, name, length: fields[0].values.length, meta: { preferredVisualisationType: 'table' }, fields }],
  };
}

const ms = (nanoseconds: string) => Number(BigInt(nanoseconds) / 1_000n) / 1000;

function traceColumns(traces: any[]): Field[] {
  const column = (name: string, displayNameFromDS: string, type: FieldType, value: (t: any) => unknown, config = {}): Field => ({
    name,
    type,
    config: { displayNameFromDS, ...config },
    values: traces.map(value),
  });
  return [
    column('traceID', 'Trace ID', FieldType.string, (t) => t.traceID, {
      unit: 'string',
      custom: { width: 200 },
      links: link('Trace: ${__value.raw}'),
    }),
    column('startTime', 'Start time', FieldType.time, (t) => ms(t.startTimeUnixNano), { custom: { width: 200 } }),
    column('traceService', 'Service', FieldType.string, (t) => t.rootServiceName ?? ''),
    column('traceName', 'Name', FieldType.string, (t) => t.rootTraceName ?? ''),
    column('traceDuration', 'Duration', FieldType.number, (t) => t.durationMs || '<1ms', { unit: 'ms', custom: { width: 120 } }),
  ];
}

function spanColumns(traces: any[]): Field[] {
  const spans = traces.flatMap((trace) =>
    (trace.spanSets ?? (trace.spanSet ? [trace.spanSet] : [])).flatMap((set: any) =>
      set.spans.map((span: any) => ({
        trace,
        span,
        attributes: new Map([...(set.attributes ?? []), ...(span.attributes ?? [])].map((a: any) => [a.key, attribute(a.value)])),
      })),
    ),
  );
  const keys = [...new Set(spans.flatMap((s) => [...s.attributes.keys()]))].sort((a, b) => a.localeCompare(b));
  const column = (
    name: string,
    displayNameFromDS: string,
    type: FieldType,
    value: (s: (typeof spans)[number]) => unknown,
    config = {},
  ): Field => ({ name, type, config: { displayNameFromDS, ...config }, values: spans.map(value) });
  return [
    column('traceIdHidden', 'traceIdHidden', FieldType.string, (s) => s.trace.traceID, { custom: { hideFrom: { viz: true } } }),
    column('traceService', 'Trace Service', FieldType.string, (s) => s.trace.rootServiceName ?? '', { custom: { width: 200 } }),
    column('traceName', 'Trace Name', FieldType.string, (s) => s.trace.rootTraceName ?? '', { custom: { width: 200 } }),
    column('spanID', 'Span ID', FieldType.string, (s) => s.span.spanID, {
      unit: 'string',
      custom: { width: 200 },
      links: link('Span: ${__value.raw}'),
    }),
    column('time', 'Start time', FieldType.time, (s) => ms(s.span.startTimeUnixNano)),
    column('name', 'Name', FieldType.string, (s) => s.span.name, { custom: { hideFrom: { viz: !spans.some((s) => s.span.name) } } }),
    ...keys.map((key) => column(key, key, FieldType.string, (s) => s.attributes.get(key))),
    column('duration', 'Duration', FieldType.number, (s) => Number(s.span.durationNanos), { unit: 'ns', custom: { width: 120 } }),
  ];
}

/** Like the data source, it leaves a cell empty for false and an empty string. */
const attribute = (value: any) => value.stringValue || value.intValue || value.doubleValue || value.boolValue || undefined;
