/** The visualizations: what each shows, and what of it a reader sees as text. */
import {
  type DataFrame,
  type Field,
  type FieldConfigSource,
  type FieldDisplay,
  type GrafanaTheme2,
  type TimeRange,
  FieldType,
  ReducerID,
  VizOrientation,
  applyNullInsertThreshold,
  cacheFieldDisplayNames,
  formattedValueToString,
  getDisplayProcessor,
  getDisplayValueAlignmentFactors,
  getFieldDisplayName,
  getFieldDisplayValues,
  nullToValue,
  reduceField,
  renderMarkdown,
  textUtil,
} from '@grafana/data';
import { BarGauge, BigValue, BigValueGraphMode, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import type { ReactNode } from 'react';
import type { Panel, Seen } from './dashboard';
import { Marks } from './marks';
import type { Exemplar, Mark } from './query';
import type { Replace } from './variables';

export interface Data {
  panel: Panel;
  frames: DataFrame[];
  fieldConfig: FieldConfigSource;
  range: TimeRange;
  theme: GrafanaTheme2;
  replace: Replace;
  marks: Mark[];
  exemplars: Exemplar[];
}

export interface Drawn {
  draw: (width: number, height: number) => ReactNode;
  seen: Partial<Seen>;
}

/** By panel type. What is not here is shown as an error. */
export const visualizations: Record<string, (data: Data) => Drawn> = { stat, bargauge, timeseries, table, text };

const REDUCE = { values: false, calcs: [ReducerID.lastNotNull], fields: '' };

/** Grafana's own words for a panel without data are those of `noValue`. */
function nothing({ fieldConfig }: Data): Drawn {
  const text = fieldConfig.defaults.noValue || 'No data';
  return {
    draw: () => <div className="panel-empty">{text}</div>,
    seen: { empty: true, text },
  };
}

/** One value for each field, or for each row; `named` says whether their names are drawn. */
function single(data: Data, sparkline: boolean, named: (value: FieldDisplay, count: number) => boolean) {
  const { panel, frames, fieldConfig, theme, replace } = data;
  const values = getFieldDisplayValues({
    data: frames,
    fieldConfig,
    theme,
    sparkline,
    timeZone: 'utc',
    replaceVariables: replace as any,
    reduceOptions: { ...REDUCE, ...panel.options?.reduceOptions },
    percentChange: panel.options?.showPercentChange,
  });
  const seen: Partial<Seen> = {
    values: values.map((value) => ({
      title: (named(value, values.length) && value.display.title) || '',
      text: formattedValueToString(value.display),
      color: value.display.color,
    })),
    links: values.flatMap((v) => (v.hasLinks && v.getLinks ? v.getLinks().map((l) => ({ title: l.title, url: l.href })) : [])),
    empty: !values.some((v) => v.view) || undefined,
  };
  return { values, seen };
}

function stat(data: Data): Drawn {
  const { panel, theme, frames } = data;
  const options = {
    graphMode: BigValueGraphMode.Area,
    colorMode: 'value',
    justifyMode: 'auto',
    textMode: 'auto',
    wideLayout: true,
    orientation: VizOrientation.Auto,
    percentChangeColorMode: 'standard',
    ...panel.options,
  };
  const named = (_: FieldDisplay, count: number) =>
    ['value_and_name', 'name'].includes(options.textMode) || (options.textMode === 'auto' && count > 1);
  const { values, seen } = single(data, options.graphMode !== BigValueGraphMode.None, named);
  return {
    seen,
    draw: (width, height) => (
      <VizRepeater
        getValues={() => values}
        getAlignmentFactors={getDisplayValueAlignmentFactors}
        itemSpacing={3}
        autoGrid
        renderCounter={0}
        source={frames}
        width={width}
        height={height}
        orientation={options.orientation}
        renderValue={({ value, alignmentFactors, width, height, count }) => (
          <BigValue
            value={value.display}
            count={count}
            sparkline={value.sparkline}
            alignmentFactors={alignmentFactors}
            width={width}
            height={height}
            theme={theme}
            colorMode={options.colorMode}
            graphMode={options.graphMode}
            justifyMode={options.justifyMode}
            textMode={options.textMode}
            text={options.text}
            disableWideLayout={!options.wideLayout}
            percentChangeColorMode={options.percentChangeColorMode}
            hasLinks={value.hasLinks}
          />
        )}
      />
    ),
  };
}

function bargauge(data: Data): Drawn {
  const { panel, theme, frames } = data;
  const options = {
    displayMode: 'gradient',
    valueMode: 'color',
    namePlacement: 'auto',
    showUnfilled: true,
    orientation: VizOrientation.Auto,
    minVizWidth: 8,
    minVizHeight: 16,
    maxVizHeight: 300,
    ...panel.options,
  };
  const named = (value: FieldDisplay, count: number) => count > 1 || Boolean(value.field.displayName);
  const { values, seen } = single(data, false, named);
  const spacing = options.displayMode === 'lcd' ? 2 : 10;
  return {
    seen,
    draw: (width, height) => (
      <VizRepeater
        getValues={() => values}
        getAlignmentFactors={getDisplayValueAlignmentFactors}
        itemSpacing={spacing}
        renderCounter={0}
        source={frames}
        width={width}
        height={height}
        orientation={options.orientation}
        minVizWidth={options.minVizWidth}
        minVizHeight={options.minVizHeight}
        maxVizHeight={options.maxVizHeight}
        renderValue={({ value, alignmentFactors, orientation, width, height, count }) => {
          const processor = value.view?.getFieldDisplayProcessor(value.colIndex ?? 0);
          return (
            <BarGauge
              value={named(value, count) ? value.display : { ...value.display, title: undefined }}
              field={value.field}
              display={processor ?? undefined}
              theme={theme}
              text={options.text}
              itemSpacing={spacing}
              lcdCellWidth={12}
              width={width}
              height={height}
              orientation={orientation}
              alignmentFactors={alignmentFactors}
              displayMode={options.displayMode}
              showUnfilled={options.showUnfilled}
              valueDisplayMode={options.valueMode}
              namePlacement={options.namePlacement}
            />
          );
        }}
      />
    ),
  };
}

function timeseries(data: Data): Drawn {
  const { panel, theme, range, marks, exemplars } = data;
  const frames = graphable(data.frames, range, theme);
  if (!frames.length) return nothing(data);
  const options = {
    ...panel.options,
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [], ...panel.options?.legend },
  };
  const series = frames.flatMap((frame) => frame.fields.filter((f) => f.type === FieldType.number).map((field) => ({ frame, field })));
  const last = (field: Field) =>
    formattedValueToString(
      (field.display ?? getDisplayProcessor({ field, theme }))(reduceField({ field, reducers: [ReducerID.lastNotNull] }).lastNotNull),
    );
  return {
    seen: {
      series: series.map(({ frame, field }) => ({
        name: getFieldDisplayName(field, frame, frames),
        last: last(field),
        points: field.values.filter((v) => v != null).length,
      })),
      exemplars: exemplars.length || undefined,
      annotations: marks.length ? marks.map((m) => `${new Date(m.time).toISOString()} ${m.text}`) : undefined,
    },
    draw: (width, height) => (
      <TimeSeries
        frames={frames}
        structureRev={1}
        timeRange={range}
        timeZone="utc"
        width={width}
        height={height}
        legend={options.legend}
        options={options}
      >
        {(config: any) => <Marks config={config} marks={marks} exemplars={exemplars} />}
      </TimeSeries>
    ),
  };
}

/** As Grafana's panel: frames with a time and a number, gaps made visible, and the palette's colours in order. */
function graphable(frames: DataFrame[], range: TimeRange, theme: GrafanaTheme2): DataFrame[] {
  cacheFieldDisplayNames(frames);
  let index = 0;
  return frames.flatMap((frame) => {
    if (!frame.fields.some((f) => f.type === FieldType.time) || !frame.fields.some((f) => f.type === FieldType.number)) return [];
    const whole = nullToValue(
      applyNullInsertThreshold({ frame, refFieldPseudoMin: range.from.valueOf(), refFieldPseudoMax: range.to.valueOf() }),
    );
    const fields = whole.fields.map((field) => {
      if (field.type !== FieldType.number) return field;
      const copy: Field = {
        ...field,
        values: field.values.map((v) => (Number.isFinite(v) ? v : null)),
        state: { ...field.state, seriesIndex: index++ },
      };
      copy.display = getDisplayProcessor({ field: copy, theme, timeZone: 'utc' });
      return copy;
    });
    return [{ ...whole, fields, length: whole.length }];
  });
}

function table(data: Data): Drawn {
  const { panel, range, fieldConfig } = data;
  const options = { showHeader: true, cellHeight: 'sm', frameIndex: 0, ...panel.options };
  const frame = data.frames[options.frameIndex] ?? data.frames[0];
  if (data.frames.length > 1) throw new Error(`${data.frames.length} tables, of which Grafana shows one at a time: merge or join them`);
  const shown = frame?.fields.filter((f) => !f.config.custom?.hideFrom?.viz && f.type !== FieldType.nestedFrames) ?? [];
  if (!shown.length || !frame.length) return nothing(data);
  const rows = inOrder(frame, options.sortBy?.[0]);
  const cell = (field: Field, value: unknown) => (field.display ? formattedValueToString(field.display(value)) : String(value ?? ''));
  return {
    seen: {
      columns: shown.map((f) => getFieldDisplayName(f, frame, data.frames)),
      rows: rows.map((i) => shown.map((f) => cell(f, f.values[i]))),
      links: shown
        .flatMap((f) => (f.config.links?.length ? rows.flatMap((i) => f.getLinks!({ valueRowIndex: i })) : []))
        .map((l) => ({ title: l.title, url: l.href })),
    },
    draw: (width, height) => (
      <TableNG
        data={frame}
        width={width}
        height={height}
        noHeader={!options.showHeader}
        showTypeIcons={options.showTypeIcons}
        sortBy={options.sortBy}
        sortByBehavior="initial"
        cellHeight={options.cellHeight}
        timeRange={range}
        fieldConfig={fieldConfig}
        noValue={fieldConfig.defaults.noValue}
        enablePagination={options.enablePagination ?? options.footer?.enablePagination}
        frozenColumns={options.frozenColumns?.left}
        maxRowHeight={options.maxRowHeight}
        enableVirtualization={false}
        transparent={panel.transparent}
        structureRev={1}
      />
    ),
  };
}

/** The table sorts what it draws by itself; its text follows. */
function inOrder(frame: DataFrame, by?: { displayName: string; desc?: boolean }): number[] {
  const rows = Array.from({ length: frame.length }, (_, i) => i);
  const field = by && frame.fields.find((f) => getFieldDisplayName(f, frame) === by.displayName);
  if (!field) return rows;
  const compare = (a: any, b: any) =>
    typeof a === 'number' && typeof b === 'number'
      ? a - b
      : String(a ?? '').localeCompare(String(b ?? ''), undefined, { numeric: true, sensitivity: 'base' });
  return rows.sort((a, b) => compare(field.values[a], field.values[b]) * (by.desc ? -1 : 1));
}

function text({ panel, replace }: Data): Drawn {
  const { mode = 'markdown', content = '' } = panel.options ?? {};
  const filled = replace(content, undefined, 'html');
  const html = mode === 'markdown' ? renderMarkdown(filled) : mode === 'html' ? textUtil.sanitizeTextPanelContent(filled) : undefined;
  return {
    seen: { text: filled },
    draw: (width, height) => (
      <div className="panel-text" style={{ width, height }}>
        {html === undefined ? <pre>{filled}</pre> : <div className="markdown-html" dangerouslySetInnerHTML={{ __html: html }} />}
      </div>
    ),
  };
}
