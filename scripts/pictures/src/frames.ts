/** From a panel's frames to what its visualization shows: transformations, then field configuration. */
import {
  type DataFrame,
  type DataTransformerInfo,
  type FieldConfigSource,
  type GrafanaTheme2,
  FieldColorModeId,
  FieldConfigOptionsRegistry,
  FieldType,
  applyFieldOverrides,
  displayNameOverrideProcessor,
  fieldMatchers,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';
import type { Panel } from './dashboard';
import type { Replace } from './variables';

standardTransformersRegistry.setInit(() => {
  const unique = new Map((Object.values(standardTransformers) as DataTransformerInfo[]).map((t) => [t.id, t]));
  unique.set('seriesToColumns', { ...standardTransformers.joinByFieldTransformer, id: 'seriesToColumns' } as DataTransformerInfo);
  return [...unique.values()].map(
    (t) => ({ id: t.id, name: t.name, description: t.description, transformation: async () => t, editor: () => null }) as any,
  );
});

export async function transformed(frames: DataFrame[], panel: Panel, replace: Replace): Promise<DataFrame[]> {
  for (const { id, topic } of panel.transformations ?? []) {
    // The registry passes frames through a transformation that it does not know.
    if (!standardTransformersRegistry.getIfExists(id) || topic)
      throw new Error(
        `transformation ${id} is not drawn; @grafana/data has ${standardTransformersRegistry
          .list()
          .map((t) => t.id)
          .join(', ')}`,
      );
  }
  return lastValueFrom(transformDataFrame(panel.transformations ?? [], frames, { interpolate: replace as any }));
}

const numeric = (field: { type: FieldType }) => field.type === FieldType.number;
const always = () => true;

/** Grafana's standard field options, with the kind of fields that take each default. */
const STANDARD: Record<string, (field: { type: FieldType }) => boolean> = {
  displayName: always,
  description: always,
  unit: always,
  noValue: always,
  links: always,
  actions: always,
  color: always,
  mappings: always,
  thresholds: always,
  filterable: always,
  min: numeric,
  max: numeric,
  decimals: numeric,
  fieldMinMax: numeric,
};

/** What Grafana's panels set where a dashboard is silent. */
const CUSTOM: Record<string, Record<string, unknown>> = {
  timeseries: {
    drawStyle: 'line',
    lineInterpolation: 'linear',
    lineWidth: 1,
    fillOpacity: 0,
    gradientMode: 'none',
    lineStyle: { fill: 'solid' },
    barAlignment: 0,
    barWidthFactor: 0.6,
    spanNulls: false,
    insertNulls: false,
    showPoints: 'auto',
    pointSize: 5,
    stacking: { mode: 'none', group: 'A' },
    axisPlacement: 'auto',
    axisLabel: '',
    axisColorMode: 'text',
    axisBorderShow: false,
    axisCenteredZero: false,
    scaleDistribution: { type: 'linear' },
    hideFrom: { tooltip: false, viz: false, legend: false },
    thresholdsStyle: { mode: 'off' },
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
};

function withDefaults(panel: Panel): FieldConfigSource {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  const color = { mode: panel.type === 'timeseries' ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds };
  const thresholds = {
    mode: 'absolute',
    steps: [
      { color: 'green', value: null },
      { color: 'red', value: 80 },
    ],
  };
  const source = structuredClone({
    defaults: { color, thresholds, mappings: [], ...defaults, custom: { ...CUSTOM[panel.type], ...defaults.custom } },
    overrides,
  }) as FieldConfigSource;
  // In JSON the first step's value is null, since −∞ cannot be written there.
  const steps = [
    source.defaults.thresholds,
    ...source.overrides.flatMap((o) => o.properties.filter((p) => p.id === 'thresholds').map((p) => p.value)),
  ];
  for (const step of steps.flatMap((t) => t?.steps ?? [])) step.value ??= -Infinity;
  return source;
}

function registryOf(source: FieldConfigSource): FieldConfigOptionsRegistry {
  const overridden = source.overrides.flatMap((o) => o.properties.map((p) => p.id));
  const custom = new Set([
    ...Object.keys(source.defaults.custom ?? {}).map((key) => `custom.${key}`),
    ...overridden.filter((id) => id.startsWith('custom.')),
  ]);
  const unknown = overridden.find((id) => !STANDARD[id] && !custom.has(id));
  if (unknown) throw new Error(`override of ${unknown}: Grafana knows ${Object.keys(STANDARD).join(', ')} and custom.…`);
  const item = (id: string, path: string, isCustom: boolean, shouldApply: (field: any) => boolean) => ({
    id,
    path,
    name: id,
    isCustom,
    shouldApply,
    settings: { expandTemplateVars: id === 'displayName' },
    editor: () => null,
    override: () => null,
    process: id === 'displayName' ? displayNameOverrideProcessor : (value: unknown) => value,
  });
  return new FieldConfigOptionsRegistry(
    () =>
      [
        ...Object.entries(STANDARD).map(([id, shouldApply]) => item(id, id, false, shouldApply)),
        ...[...custom].map((id) => item(id, id.slice('custom.'.length), true, always)),
      ] as any,
  );
}

export function configured(
  frames: DataFrame[],
  panel: Panel,
  theme: GrafanaTheme2,
  replace: Replace,
): { frames: DataFrame[]; fieldConfig: FieldConfigSource } {
  const fieldConfig = withDefaults(panel);
  for (const { matcher } of fieldConfig.overrides) {
    if (!fieldMatchers.getIfExists(matcher.id)) throw new Error(`override matcher ${matcher.id} is unknown to @grafana/data`);
  }
  const fieldConfigRegistry = registryOf(fieldConfig);
  return {
    frames: applyFieldOverrides({
      data: frames,
      fieldConfig,
      fieldConfigRegistry,
      replaceVariables: replace as any,
      theme,
      timeZone: 'utc',
    }),
    fieldConfig,
  };
}
