/** The page: `draw(dashboard, options)` draws one dashboard, `see()` tells what a reader sees of it. */
import { ThemeContext, createTheme, dateTime, locationUtil, rangeUtil, setTimeZoneResolver } from '@grafana/data';
import type { GrafanaTheme2, TimeRange } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { ErrorBoundary, GlobalStyles, Icon, PanelChrome } from '@grafana/ui';
import type { ReactNode } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom';
import type { Dashboard, Options, Panel, Seen } from './dashboard';
import { configured, transformed } from './frames';
import { type Placed, layout } from './layout';
import { type Drawn, visualizations } from './panels';
import { type Mark, type Sources, kindOf, sources } from './query';
import './style.css';
import { type Chosen, type Replace, choose, replacer } from './variables';

const MARGIN = 16;

declare global {
  interface Window {
    draw: typeof draw;
    see: typeof see;
  }
}
Object.assign(window, { draw, see });

let drawn: Seen[] = [];

/** Draws one dashboard, and returns its height. */
async function draw(dashboard: Dashboard, options: Options): Promise<number> {
  setTimeZoneResolver(() => 'utc');
  locationUtil.initialize({ config: { appSubUrl: '' } as any, getVariablesUrlParams: () => ({}), getTimeRangeForUrl: () => ({}) as any });
  await initPluginTranslations('grafana');

  const theme = createTheme({ colors: { mode: options.theme } });
  const problems: Seen[] = [];
  const failed = (panel: string, e: unknown) =>
    void problems.push({ dashboard: dashboard.uid, panel, type: 'dashboard', error: (e as Error).message });
  const root = createRoot(document.getElementById('root')!, { onUncaughtError: (e) => failed('page', e) });
  // Texts on canvases and measured widths need the fonts before they are drawn.
  flushSync(() =>
    root.render(
      <ThemeContext.Provider value={theme}>
        <GlobalStyles />
      </ThemeContext.Provider>,
    ),
  );
  await Promise.all(['400 14px Inter', '500 14px Inter', '400 14px "Roboto Mono"'].map((font) => document.fonts.load(font)));

  const range = rangeUtil.convertRawToRange(
    {
      from: options.from ?? dashboard.time?.from ?? 'now-6h',
      to: options.to ?? dashboard.time?.to ?? 'now',
    },
    'utc',
  );
  const from = sources();
  const chosen = await choose(dashboard, options, range, from).catch((e) => (failed('variables', e), []));
  const replace = replacer(chosen, range, dashboard);
  const marks = await marksOf(dashboard, range, from, replace).catch((e) => (failed('annotations', e), []));

  const { placed, height } = layout(dashboard.panels, window.innerWidth - 2 * MARGIN);
  const shown = await Promise.all(placed.map((place) => look(place, { dashboard, range, theme, chosen, marks, from })));
  flushSync(() =>
    root.render(
      <ThemeContext.Provider value={theme}>
        <GlobalStyles />
        <MemoryRouter>
          <div
            className={`page ${options.theme}`}
            style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary, padding: MARGIN }}
          >
            <Head dashboard={dashboard} chosen={chosen} range={range} theme={theme} siblings={options.siblings} />
            {problems.map((p) => (
              <Problem key={p.panel} words={`${p.panel}: ${p.error}`} />
            ))}
            <div style={{ position: 'relative', height }}>
              {shown.map(({ place, drawn, seen }) => (
                <div
                  key={place.panel.id}
                  data-panel={place.panel.id}
                  style={{ position: 'absolute', left: place.left, top: place.top, width: place.width, height: place.height }}
                >
                  {place.panel.type === 'row' ? (
                    <Row panel={place.panel} replace={replace} />
                  ) : (
                    <Chrome place={place} drawn={drawn} seen={seen} replace={replace} />
                  )}
                </div>
              ))}
            </div>
          </div>
        </MemoryRouter>
      </ThemeContext.Provider>,
    ),
  );
  drawn = [...problems, ...shown.map((s) => s.seen)];
  return document.getElementById('root')!.offsetHeight;
}

/** What a reader sees, once the page is still: of tables also how much of them fits into their panels. */
function see(): Seen[] {
  for (const seen of drawn.filter((s) => s.rows)) {
    const panel = document.querySelector(`[data-panel="${seen.id}"]`);
    const { right, bottom } = panel!.getBoundingClientRect();
    const inside = (e: Element) => e.getBoundingClientRect().right <= right + 1 && e.getBoundingClientRect().bottom <= bottom + 1;
    const tops = [...panel!.querySelectorAll('[role=gridcell]')].filter((e) => e.getBoundingClientRect().bottom <= bottom + 1);
    seen.fits = {
      rows: new Set(tops.map((e) => e.getBoundingClientRect().top)).size,
      columns: [...panel!.querySelectorAll('[role=columnheader]')].filter(inside).length,
    };
  }
  return drawn;
}

interface Scene {
  dashboard: Dashboard;
  range: TimeRange;
  theme: GrafanaTheme2;
  chosen: Chosen[];
  marks: Mark[];
  from: Sources;
}

interface Shown {
  place: Placed;
  drawn?: Drawn;
  seen: Seen;
}

/** Asks for a panel's data and decides what it shows; never fails, since a failure is to be seen in the panel. */
async function look(place: Placed, { dashboard, theme, chosen, marks, from, range }: Scene): Promise<Shown> {
  const { panel } = place;
  const own = ownRange(panel, range);
  const replace = replacer(chosen, own, dashboard, own !== range);
  const seen: Seen = { dashboard: dashboard.uid, panel: replace(panel.title), id: panel.id, type: panel.type };
  if (panel.type === 'row') return { place, seen };
  try {
    const visualization = visualizations[panel.type];
    if (!visualization) throw new Error(`panel type ${panel.type} is not drawn; known are ${Object.keys(visualizations).join(', ')}, row`);
    if (panel.repeat) throw new Error('repeated panels are not drawn');
    if (panel.libraryPanel) throw new Error('library panels are not drawn');
    const answered = await from.ask(panel, own, Math.round(place.width - 2 * MARGIN), replace);
    const { frames, fieldConfig } = configured(await transformed(answered.frames, panel, replace), panel, theme, replace);
    const within = marks.filter((m) => m.time >= own.from.valueOf() && m.time <= own.to.valueOf());
    const drawn = visualization({ panel, frames, fieldConfig, theme, range: own, replace, marks: within, exemplars: answered.exemplars });
    const links = [...(panel.links ?? []).map((l) => ({ title: replace(l.title), url: replace(l.url) })), ...(drawn.seen.links ?? [])];
    const unique = [...new Map(links.map((l) => [`${l.title} ${l.url}`, l])).values()];
    return { place, drawn, seen: { ...seen, ...drawn.seen, links: unique.length ? unique : undefined } };
  } catch (e) {
    return { place, seen: { ...seen, error: (e as Error).message } };
  }
}

/** A panel may look at another time than its dashboard. */
function ownRange(panel: Panel, range: TimeRange): TimeRange {
  const own = panel.timeFrom
    ? rangeUtil.convertRawToRange({ from: `now-${panel.timeFrom.replace(/^now-/, '')}`, to: 'now' }, 'utc')
    : range;
  if (!panel.timeShift) return own;
  const shift = rangeUtil.intervalToMs(panel.timeShift);
  const [from, to] = [dateTime(own.from).subtract(shift, 'ms'), dateTime(own.to).subtract(shift, 'ms')];
  return { from, to, raw: { from, to } };
}

async function marksOf(dashboard: Dashboard, range: TimeRange, from: Sources, replace: Replace): Promise<Mark[]> {
  const list = (dashboard.annotations?.list ?? []).filter((a) => a.enable !== false && !a.builtIn);
  return (
    await Promise.all(
      list.map(async (a) => {
        const kind = kindOf(a.datasource, undefined);
        if (kind !== 'prometheus') throw new Error(`${a.name}: annotations of ${kind} are not drawn; known is prometheus`);
        return from.annotations(a, range, replace);
      }),
    )
  ).flat();
}

function Chrome({ place, drawn, seen, replace }: Shown & { replace: Replace }) {
  const { panel, width, height } = place;
  const note =
    panel.timeFrom && !panel.hideTimeOverride ? (
      <span className="panel-note">
        <Icon name="clock-nine" size="sm" /> Last {panel.timeFrom.replace(/^now-/, '')}
      </span>
    ) : null;
  const links = panel.links?.length ? (
    <span className="panel-note">
      <Icon name="external-link-alt" size="sm" />
    </span>
  ) : null;
  return (
    <PanelChrome
      width={width}
      height={height}
      title={seen.panel}
      description={panel.description ? replace(panel.description) : undefined}
      titleItems={
        <>
          {links}
          {note}
        </>
      }
      displayMode={panel.transparent ? 'transparent' : 'default'}
      padding={panel.type === 'table' || panel.type === 'text' ? 'none' : 'md'}
      statusMessage={seen.error}
    >
      {(w, h) => {
        if (!drawn || seen.error) return <Problem words={seen.error ?? 'nothing was drawn'} />;
        return <Guard seen={seen}>{drawn.draw(w, h)}</Guard>;
      }}
    </PanelChrome>
  );
}

/** What throws while it is drawn is a problem of its panel, not of the page. */
function Guard({ seen, children }: { seen: Seen; children: ReactNode }) {
  return (
    <ErrorBoundary onError={(e) => void (seen.error = e.message)}>
      {({ error }) => (error ? <Problem words={error.message} /> : <>{children}</>)}
    </ErrorBoundary>
  );
}

const Problem = ({ words }: { words: string }) => <div className="problem">✕ {words}</div>;

const Row = ({ panel, replace }: { panel: Panel; replace: Replace }) => (
  <div className="grid-row">
    <Icon name={panel.collapsed ? 'angle-right' : 'angle-down'} size="lg" /> {replace(panel.title)}
    {panel.collapsed && panel.panels?.length ? <span className="quiet">({panel.panels.length} panels)</span> : null}
  </div>
);

interface HeadProps {
  dashboard: Dashboard;
  chosen: Chosen[];
  range: TimeRange;
  theme: GrafanaTheme2;
  siblings: Options['siblings'];
}

/** Title, choices, links and time, as on a dashboard's top. */
function Head({ dashboard, chosen, range, theme, siblings }: HeadProps) {
  const links = (dashboard.links ?? []).flatMap((link) =>
    link.type === 'dashboards' && !link.asDropdown
      ? siblings.filter((s) => link.tags?.every((t) => s.tags.includes(t))).map((s) => s.title)
      : [link.title],
  );
  return (
    <header style={{ borderColor: theme.colors.border.weak }}>
      <div className="head-line">
        <span className="quiet">Dashboards</span> <Icon name="angle-right" /> <h1>{dashboard.title}</h1>
        <span className="grow" />
        <span className="box">
          <Icon name="clock-nine" /> {rangeUtil.describeTimeRange(range.raw as any)} <span className="quiet">UTC</span>
        </span>
      </div>
      <div className="head-line">
        {chosen
          .filter((c) => c.variable.hide !== 2 && c.variable.type !== 'constant')
          .map((c) => (
            <span key={c.variable.name} className="variable">
              {c.variable.hide !== 1 && <span className="label">{c.variable.label || c.variable.name}</span>}
              <span className="box">
                {c.text || <span className="quiet">none</span>} <Icon name="angle-down" />
              </span>
            </span>
          ))}
        <span className="grow" />
        {links.map((title) => (
          <span key={title} className="box">
            <Icon name="apps" size="sm" /> {title}
          </span>
        ))}
      </div>
    </header>
  );
}
