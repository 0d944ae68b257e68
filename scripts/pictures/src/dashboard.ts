/** What is read of a dashboard's JSON (classic model, schemaVersion 41). */
import type { DataLink, DataTransformerConfig, FieldConfigSource } from '@grafana/data';

export interface Source {
  type?: string;
  uid?: string;
}

export interface Target {
  refId: string;
  datasource?: Source;
  hide?: boolean;
  /** of Prometheus */
  expr?: string;
  legendFormat?: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  range?: boolean;
  interval?: string;
  exemplar?: boolean;
  /** of Tempo */
  queryType?: string;
  query?: string;
  tableType?: 'traces' | 'spans';
  limit?: number;
  spss?: number;
}

export interface Panel {
  id: number;
  type: string;
  title?: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: Source;
  targets?: Target[];
  transformations?: DataTransformerConfig[];
  fieldConfig?: FieldConfigSource;
  options?: any;
  links?: DataLink[];
  transparent?: boolean;
  interval?: string;
  maxDataPoints?: number;
  timeFrom?: string;
  timeShift?: string;
  hideTimeOverride?: boolean;
  repeat?: string;
  libraryPanel?: unknown;
  collapsed?: boolean;
  panels?: Panel[];
}

export interface Variable {
  name: string;
  label?: string;
  type: string;
  hide?: 0 | 1 | 2;
  query?: string | { query: string };
  current?: { text?: string | string[]; value?: string | string[] };
  options?: Array<{ text: string; value: string }>;
  regex?: string;
  sort?: number;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string | null;
}

export interface Annotation {
  name: string;
  enable?: boolean;
  hide?: boolean;
  builtIn?: number;
  datasource?: Source;
  iconColor?: string;
  expr?: string;
  step?: string;
  useValueForTime?: boolean | string;
  titleFormat?: string;
  textFormat?: string;
}

export interface Dashboard {
  uid: string;
  title: string;
  tags?: string[];
  time?: { from: string; to: string };
  timezone?: string;
  links?: Array<{ type: string; title: string; tags?: string[]; url?: string; asDropdown?: boolean }>;
  annotations?: { list?: Annotation[] };
  templating?: { list?: Variable[] };
  panels: Panel[];
}

/** What the command line says, besides the dashboard. */
export interface Options {
  from?: string;
  to?: string;
  theme: 'light' | 'dark';
  variables: Record<string, string>;
  /** The other dashboards, for links to them by tag. */
  siblings: Array<{ title: string; tags: string[] }>;
}

/** What a reader sees of one panel, as text: a line of `--print`. */
export interface Seen {
  dashboard: string;
  panel: string;
  id?: number;
  type: string;
  /** Why it could not be drawn; then the process exits 1. */
  error?: string;
  /** It has nothing to show, and says `text`. */
  empty?: boolean;
  text?: string;
  /** stat, bargauge: one for each value; the title is empty where none is drawn. */
  values?: Array<{ title: string; text: string; color?: string }>;
  /** timeseries */
  series?: Array<{ name: string; last: string; points: number }>;
  annotations?: string[];
  exemplars?: number;
  /** table: texts by column, in the order of rows that is drawn. */
  columns?: string[];
  rows?: string[][];
  /** How many of them are within the panel; to see the rest, one scrolls. */
  fits?: { rows: number; columns: number };
  /** Where the panel and its values link to, without repeats. */
  links?: Array<{ title: string; url: string }>;
}
