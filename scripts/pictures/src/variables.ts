/** Template variables: what they stand for, and their place in texts and queries. */
import { formatLabels, formattedValueToString, getFieldDisplayName, getFrameDisplayName, stringToJsRegex } from '@grafana/data';
import type { DataFrame, DisplayValue, Field, ScopedVars, TimeRange } from '@grafana/data';
import type { Dashboard, Options, Variable } from './dashboard';
import type { Sources } from './query';

/** A variable with what is chosen. */
export interface Chosen {
  variable: Variable;
  /** What the drop-down shows. */
  text: string;
  /** The chosen values; of All without an `allValue`, every choice. */
  values: string[];
  /** The `allValue` of All: it is taken as it is, not escaped. */
  all?: string;
  /** As `var-name=` in a URL. */
  url: string[];
}

type Quote = (values: string[], severalAllowed: boolean) => string;

/** Fills in `$name`, `${name}`, `${name:format}` and `[[name]]`; what it does not know stays. */
export type Replace = (text: string | undefined, scoped?: ScopedVars, format?: string | Quote) => string;

const ALL = '$__all';
const escapeRegex = (s: string) => s.replace(/[\\$^*{}[\]+?.()|/]/g, '\\$&');
const several = (values: string[]) => (values.length > 1 ? `{${values.join(',')}}` : values.join(''));

const quotes: Record<string, Quote> = {
  csv: (v) => v.join(','),
  raw: (v) => v.join(','),
  pipe: (v) => v.join('|'),
  regex: (v) => (v.length > 1 ? `(${v.map(escapeRegex).join('|')})` : v.map(escapeRegex).join('')),
  json: (v) => JSON.stringify(v),
  doublequote: (v) => v.map((x) => `"${x}"`).join(','),
  singlequote: (v) => v.map((x) => `'${x}'`).join(','),
  percentencode: (v) => encodeURIComponent(several(v)),
  uriencode: (v) => encodeURI(several(v)),
};

/** In PromQL a variable of several choices is a regular expression, within a string. */
export const inPromql: Quote = (values, severalAllowed) => {
  if (!severalAllowed) return values.join('').replace(/["\\]/g, '\\$&');
  const escaped = values.map((v) => v.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&'));
  return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
};

/** In TraceQL too, but nothing is escaped: Tempo's data source joins the values and no more. */
export const inTraceql: Quote = (values) => values.join('|');

const REFERENCE = /\$(\w+)|\[\[(\w+)(?::(\w+))?\]\]|\$\{(\w+)((?:\.\w+|\[[^\]]*\])*)(?::([^}]+))?\}/g;

/** `ownTime`: for a panel with a time of its own. There Grafana 13 knows no `__url_time_range`, only `__from` and `__to`. */
export function replacer(chosen: Chosen[], range: TimeRange, dashboard: Dashboard, ownTime = false): Replace {
  const inUrl = (c: Chosen) => c.url.map((v) => `var-${c.variable.name}=${encodeURIComponent(v)}`).join('&');

  const builtIn: Record<string, (format?: string) => string> = {
    __from: (f) => instant(range.from, f),
    __to: (f) => instant(range.to, f),
    __url_time_range: () =>
      ownTime ? '' : `from=${encodeURIComponent(String(range.raw.from))}&to=${encodeURIComponent(String(range.raw.to))}`,
    __all_variables: () => chosen.map(inUrl).join('&'),
    __dashboard: () => dashboard.title,
    __org: () => '1',
    __timezone: () => 'utc',
  };
  const instant = (at: TimeRange['from'], format?: string) =>
    format === 'date:seconds' ? String(at.unix()) : format?.startsWith('date') ? at.toISOString() : String(at.valueOf());

  return (text, scoped, format) =>
    (text ?? '').replace(REFERENCE, (whole, plain, square, squareFormat, curly, path, curlyFormat) => {
      const name: string = plain ?? square ?? curly;
      const how: string | Quote | undefined = squareFormat ?? curlyFormat ?? format;
      const quote = typeof how === 'function' ? how : (quotes[how ?? ''] ?? several);
      const ofRow = fromRow(name, path ?? '', scoped);
      if (ofRow !== undefined) return quote([ofRow], false);
      if (scoped?.[name]) return String(scoped[name]?.value);
      const found = chosen.find((c) => c.variable.name === name);
      if (!found) return builtIn[name]?.(typeof how === 'string' ? how : undefined) ?? whole;
      if (how === 'queryparam') return inUrl(found);
      if (how === 'text') return found.text;
      return found.all ?? quote(found.values, Boolean(found.variable.multi || found.variable.includeAll));
    });
}

interface Context {
  frame: DataFrame;
  field: Field;
  rowIndex?: number;
  calculatedValue?: DisplayValue;
}

/** `${__data.fields["name"]}`, `${__field.…}`, `${__series.name}` and `${__value.…}`. */
function fromRow(name: string, path: string, scoped?: ScopedVars): string | undefined {
  const context = scoped?.__dataContext?.value as Context | undefined;
  if (!context || !name.startsWith('__')) return undefined;
  const { frame, field, rowIndex, calculatedValue } = context;
  const steps = [...path.matchAll(/\.(\w+)|\["?(.*?)"?\]/g)].map((m) => m[1] ?? m[2]);
  const shown = (of: Field, kind?: string) => {
    if (rowIndex === undefined) return calculatedValue ? part(calculatedValue, kind) : '';
    const raw = of.values[rowIndex];
    return kind === 'raw' || !of.display ? String(raw ?? '') : part(of.display(raw), kind);
  };
  switch (name) {
    case '__data': {
      const [what, key, kind] = steps;
      if (what !== 'fields') return undefined;
      const other = frame.fields.find((f, i) => f.name === key || getFieldDisplayName(f, frame) === key || String(i) === key);
      return other ? shown(other, kind) : '';
    }
    case '__field':
      if (steps[0] === 'labels') return steps[1] ? (field.labels?.[steps[1]] ?? '') : formatLabels(field.labels ?? {}, '', true);
      return steps[0] === 'name' ? field.name : getFieldDisplayName(field, frame);
    case '__series':
      return getFrameDisplayName(frame);
    case '__value':
      if (steps[0] !== 'time') return shown(field, steps[0] ?? 'raw');
      return String(frame.fields.find((f) => f.type === 'time')?.values[rowIndex ?? 0] ?? '');
    default:
      return undefined;
  }
}

const part = (value: DisplayValue, kind?: string) =>
  kind === 'numeric' || kind === 'raw' ? String(value.numeric) : kind === 'text' ? value.text : formattedValueToString(value);

/** Resolves the variables in their order, since a later one's query may name an earlier one. */
export async function choose(dashboard: Dashboard, options: Options, range: TimeRange, sources: Sources): Promise<Chosen[]> {
  const chosen: Chosen[] = [];
  const list = dashboard.templating?.list ?? [];
  for (const variable of list) {
    const replace = replacer(chosen, range, dashboard);
    const wanted = options.variables[variable.name]?.split(',') ?? [variable.current?.value ?? []].flat();
    const query = typeof variable.query === 'string' ? variable.query : (variable.query?.query ?? '');
    const one = (value: string, text = value): Chosen => ({ variable, text, values: [value], url: [value] });
    switch (variable.type) {
      case 'constant':
        chosen.push(one(query));
        break;
      case 'textbox':
        chosen.push(one(wanted[0] ?? query));
        break;
      case 'datasource':
        chosen.push(one(wanted[0] ?? query, [variable.current?.text ?? []].flat()[0]));
        break;
      case 'custom':
        chosen.push(pick(variable, wanted, choicesOfText(replace(query))));
        break;
      case 'interval':
        chosen.push(pick(variable, wanted, choicesOfText(query)));
        break;
      case 'query': {
        const found = await sources.choices(replace(query, undefined, inPromql), range);
        chosen.push(pick(variable, wanted, sorted(filtered(found, replace(variable.regex)), variable.sort ?? 0)));
        break;
      }
      default:
        throw new Error(
          `variable ${variable.name}: type ${variable.type} is not drawn; known are query, custom, constant, textbox, interval, datasource`,
        );
    }
  }
  return chosen;
}

interface Choice {
  text: string;
  value: string;
}

function pick(variable: Variable, wanted: string[], choices: Choice[]): Chosen {
  const known = choices.filter((c) => wanted.includes(c.value) || wanted.includes(c.text));
  // As Grafana does when what was chosen is no choice any more: the first one, which is All where that is allowed.
  if (variable.includeAll && (wanted.includes(ALL) || wanted.includes('All') || !known.length)) {
    return { variable, text: 'All', values: choices.map((c) => c.value), all: variable.allValue || undefined, url: [ALL] };
  }
  const picked = known.length ? (variable.multi ? known : known.slice(0, 1)) : choices.slice(0, 1);
  const values = picked.map((c) => c.value);
  return { variable, text: picked.map((c) => c.text).join(' + '), values, url: values };
}

const choicesOfText = (text: string): Choice[] =>
  text
    .split(/(?<!\\),/)
    .filter((s) => s.trim())
    .map((s) => {
      const [label, value] = s.trim().split(/\s+:\s+/);
      return { text: label, value: value ?? label };
    });

/** The variable's own regular expression keeps what it matches, or what its group captures. */
function filtered(values: string[], regex: string): Choice[] {
  const unique = (list: Choice[]) => [...new Map(list.map((c) => [c.value, c])).values()];
  if (!regex) return unique(values.map((value) => ({ text: value, value })));
  const pattern = stringToJsRegex(regex);
  return unique(
    values.flatMap((value) => {
      const match = value.match(new RegExp(pattern.source, pattern.flags.replace('g', '')));
      if (!match) return [];
      const kept = match.groups?.value ?? match[1] ?? match[0];
      return [{ text: match.groups?.text ?? kept, value: kept }];
    }),
  );
}

/** 0 as found; then by alphabet, number, alphabet without case, and in natural order, each up and down. */
function sorted(choices: Choice[], sort: number): Choice[] {
  if (!sort) return choices;
  const number = (c: Choice) => parseFloat(c.text.match(/\d+(\.\d+)?/)?.[0] ?? '-1');
  const orders: Array<(a: Choice, b: Choice) => number> = [
    (a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0),
    (a, b) => number(a) - number(b),
    (a, b) => a.text.toLowerCase().localeCompare(b.text.toLowerCase()),
    (a, b) => a.text.localeCompare(b.text, undefined, { numeric: true, sensitivity: 'base' }),
  ];
  const up = [...choices].sort(orders[Math.floor((sort - 1) / 2)]);
  return sort % 2 ? up : up.reverse();
}
