/**
 * Draws a dashboard of every kind of panel from answers that are known, and reads what a reader would see.
 * Started by `make pictures-test`.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

const SCRIPT = join(import.meta.dirname, '../pictures.sh');
const FROM = 1_800_000_000; // seconds, as is TO; the clock of the answers
const TO = FROM + 600;

const PROMETHEUS = { type: 'prometheus', uid: '${datasource}' };
const TEMPO = { type: 'tempo', uid: 'tempo' };

/** What Prometheus knows: by expression the labels and the value at each second. */
const SERIES = {
  'took{db=~"mysql|postgresql"}': [
    [{ db: 'mysql', version: 'v2' }, () => 0.25],
    [{ db: 'postgresql', version: 'v2' }, () => 0.5],
  ],
  'verdict{db=~"mysql|postgresql"}': [
    [{ db: 'mysql', version: 'v2' }, () => 1],
    [{ db: 'postgresql', version: 'v2' }, () => 0],
  ],
  'rate(requests[1m])': [[{ __name__: 'requests', db: 'mysql' }, (t) => t - FROM]],
  'deployed_at * 1000': [[{ version: 'v2' }, () => (FROM + 300) * 1000]],
  nothing: [],
};

const TRACES = [1, 2].map((i) => ({
  traceID: `trace${i}`,
  rootServiceName: 'ci',
  rootTraceName: 'run',
  startTimeUnixNano: `${FROM + i}000000000`,
  durationMs: 1500 * i,
  spanSets: [
    {
      matched: 1,
      spans: [
        {
          spanID: `span${i}`,
          startTimeUnixNano: `${FROM + i}000000000`,
          durationNanos: '2500000',
          attributes: [{ key: 'test.case.name', value: { stringValue: `case ${i}` } }],
        },
      ],
    },
  ],
}));

const panel = (type, title, targets, more = {}) => ({
  type,
  title,
  datasource: PROMETHEUS,
  targets: targets.map((t, i) => ({ refId: 'AB'[i], ...t })),
  ...more,
});
const table = (expr) => ({ expr, instant: true, format: 'table' });
const PANELS = [
  panel('stat', 'one value', [{ expr: 'took{db=~"$db"}', instant: true, legendFormat: '{{db}}' }], {
    fieldConfig: {
      defaults: { unit: 's', decimals: 1, color: { mode: 'fixed', fixedColor: '#010203' } },
      overrides: [
        {
          matcher: { id: 'byName', options: 'mysql' },
          properties: [
            { id: 'unit', value: 'percentunit' },
            { id: 'displayName', value: '${__field.labels.db} ${__field.labels.version}' },
          ],
        },
      ],
    },
  }),
  panel('stat', 'no value', [{ expr: 'nothing', instant: true }], {
    fieldConfig: { defaults: { noValue: 'tell a deployment' }, overrides: [] },
  }),
  panel('timeseries', 'a line', [{ expr: 'rate(requests[$__rate_interval])', legendFormat: '__auto' }]),
  panel('table', 'joined', [table('took{db=~"$db"}'), table('verdict{db=~"$db"}')], {
    transformations: [
      { id: 'merge', options: {} },
      {
        id: 'organize',
        options: { excludeByName: { Time: true }, renameByName: { 'Value #A': 'took', 'Value #B': 'verdict' }, indexByName: {} },
      },
    ],
    fieldConfig: {
      defaults: {},
      overrides: [
        {
          matcher: { id: 'byName', options: 'verdict' },
          properties: [{ id: 'mappings', value: [{ type: 'value', options: { 1: { text: '▲ regressed' }, 0: { text: '= unchanged' } } }] }],
        },
        {
          matcher: { id: 'byName', options: 'db' },
          properties: [{ id: 'links', value: [{ title: 'look', url: '/d/x?${db:queryparam}&v=${__data.fields.verdict}' }] }],
        },
      ],
    },
    options: { sortBy: [{ displayName: 'took', desc: true }] },
  }),
  panel('table', 'spans', [{ queryType: 'traceql', query: '{ true } | select(span.test.case.name)', tableType: 'spans' }], {
    datasource: TEMPO,
  }),
  panel('text', 'words', [], { options: { mode: 'markdown', content: 'on **$db**' } }),
  panel('piechart', 'unknown panel', [table('nothing')]),
  panel('table', 'unknown transformation', [table('nothing')], { transformations: [{ id: 'magic', options: {} }] }),
  panel('table', 'unknown property', [table('nothing')], {
    fieldConfig: { defaults: {}, overrides: [{ matcher: { id: 'byName', options: 'x' }, properties: [{ id: 'colour', value: 1 }] }] },
  }),
  panel('stat', 'refused query', [{ expr: 'sum(' }]),
];

const DASHBOARD = {
  uid: 'sample',
  title: 'Sample',
  schemaVersion: 41,
  tags: [],
  time: { from: `${FROM * 1000}`, to: `${TO * 1000}` },
  annotations: {
    list: [
      {
        name: 'Deployments',
        enable: true,
        datasource: PROMETHEUS,
        expr: 'deployed_at * 1000',
        useValueForTime: true,
        titleFormat: 'Deployed {{version}}',
      },
    ],
  },
  templating: {
    list: [
      { name: 'datasource', type: 'datasource', query: 'prometheus', hide: 2, current: { text: 'Prometheus', value: 'prometheus' } },
      {
        name: 'db',
        type: 'query',
        query: { query: 'label_values(took, db)' },
        multi: true,
        includeAll: true,
        allValue: 'mysql|postgresql',
        current: { text: 'All', value: '$__all' },
      },
    ],
  },
  panels: PANELS.map((p, i) => ({ id: i + 1, gridPos: { x: 12 * (i % 2), y: 6 * Math.floor(i / 2), w: 12, h: 6 }, ...p })),
};

let server, folder, url;
const asked = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pictures-'));
  await writeFile(join(folder, 'sample.json'), JSON.stringify(DASHBOARD));
  server = createServer((request, response) => {
    const { pathname, searchParams: q } = new URL(request.url, 'http://x');
    const answer = (body, status = 200) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (pathname === '/api/search') return answer({ traces: TRACES });
    if (pathname.startsWith('/api/v1/label/')) return answer({ data: ['mysql', 'postgresql'] });
    const query = q.get('query');
    asked.push(query);
    const found = SERIES[query];
    if (!found) return answer({ status: 'error', error: `no such expression: ${query}` }, 400);
    const at = (from, to, step) => Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step);
    if (pathname.endsWith('/query'))
      return answer({ data: { resultType: 'vector', result: found.map(([metric, f]) => ({ metric, value: [TO, String(f(TO))] })) } });
    const times = at(...['start', 'end', 'step'].map((name) => Number(q.get(name))));
    return answer({
      data: { resultType: 'matrix', result: found.map(([metric, f]) => ({ metric, values: times.map((t) => [t, String(f(t))]) })) },
    });
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  url = `http://127.0.0.1:${server.address().port}`;
});

after(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

function pictures(...args) {
  return new Promise((done) =>
    execFile(SCRIPT, ['--prometheus', url, '--tempo', url, ...args], (e, stdout, stderr) => done({ code: e?.code ?? 0, stdout, stderr })),
  );
}

test('a reader sees each panel, and why one could not be drawn', async () => {
  const { code, stdout, stderr } = await pictures('--print', '--out', folder, join(folder, 'sample.json'));
  const seen = Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .map((s) => [s.panel, s]),
  );
  assert.equal(Object.keys(seen).length, PANELS.length, stderr);

  assert.deepEqual(seen['one value'].values, [
    { title: 'mysql v2', text: '25.0%', color: '#010203' },
    { title: 'postgresql', text: '500.0 ms', color: '#010203' },
  ]);
  assert.equal(seen['no value'].empty, true);
  assert.equal(seen['no value'].values[0].text, 'tell a deployment');
  assert.deepEqual(seen['a line'].series, [{ name: '{__name__="requests", db="mysql"}', last: '600', points: 41 }]);
  assert.deepEqual(seen['a line'].annotations, [`${new Date((FROM + 300) * 1000).toISOString()} Deployed v2`]);
  assert.deepEqual(seen.joined.columns, ['db', 'version', 'took', 'verdict']);
  assert.deepEqual(seen.joined.rows, [
    ['postgresql', 'v2', '0.500', '= unchanged'],
    ['mysql', 'v2', '0.250', '▲ regressed'],
  ]);
  assert.deepEqual(seen.joined.fits, { rows: 2, columns: 4 });
  assert.deepEqual(
    seen.joined.links.map((l) => decodeURI(l.url)),
    ['/d/x?var-db=$__all&v== unchanged', '/d/x?var-db=$__all&v=▲ regressed'],
  );
  assert.deepEqual(seen.spans.columns, ['Trace Service', 'Trace Name', 'Span ID', 'Start time', 'test.case.name', 'Duration']);
  assert.deepEqual(
    seen.spans.rows.map((row) => row.slice(4)),
    [
      ['case 2', '2.50 ms'],
      ['case 1', '2.50 ms'],
    ],
  );
  assert.equal(seen.words.text, 'on **mysql|postgresql**');

  assert.match(seen['unknown panel'].error, /panel type piechart is not drawn; known are stat/);
  assert.match(seen['unknown transformation'].error, /transformation magic is not drawn; @grafana\/data has noop/);
  assert.match(seen['unknown property'].error, /override of colour: Grafana knows displayName/);
  assert.equal(seen['refused query'].error, 'query A: prometheus answered 400: no such expression: sum(');
  assert.equal(code, 1);
  assert.equal(stderr.split('\n').filter((line) => line.startsWith('pictures: ') && line.includes('sample.json: ')).length, 4, stderr);

  const png = await readFile(join(folder, 'sample.png'));
  assert.equal(png.toString('latin1', 1, 4), 'PNG');
  assert.equal(png.readUInt32BE(16), 1600);
  assert.ok(png.readUInt32BE(20) > 5 * 6 * 38, 'the picture is as high as its panels');
});

test('chosen values of a variable reach the query as a regular expression', async () => {
  asked.length = 0;
  await pictures('--print', '--var', 'db=mysql', join(folder, 'sample.json'));
  assert.ok(asked.includes('took{db=~"mysql"}'), asked.join('\n'));
});

test('wrong arguments are told before anything is drawn', async () => {
  const file = join(folder, 'sample.json');
  for (const [args, words] of [
    [['--theme', 'blue', file], /--theme is blue; it is light or dark/],
    [['--var', 'x', file], /--var is x; it is NAME=VALUE/],
    [['--var', 'x=1', file], /--var x: no dashboard that was named has such a variable/],
    [[join(folder, 'absent.json')], /ENOENT.*absent\.json/],
    [[], /no dashboard is named/],
  ]) {
    const { code, stderr } = await pictures(...args);
    assert.equal(code, 2);
    assert.match(stderr, words);
  }
});
