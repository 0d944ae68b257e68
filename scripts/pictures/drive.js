/**
 * Serves the built page with Prometheus and Tempo beside it, has Chromium draw each dashboard, and writes a PNG
 * or, with --print, a line of JSON for each panel. Started by scripts/pictures.sh.
 */
import { createServer } from 'node:http';
import { mkdir, readFile } from 'node:fs/promises';
import { basename, extname, join, normalize } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const USAGE = `usage: scripts/pictures.sh --prometheus URL --tempo URL [option]… DASHBOARD.json…
  --from, --to TIME   instead of the dashboard's own, e.g. now-1h
  --var NAME=VALUE    chooses for a variable; several values with commas; may be given again
  --theme light|dark  light
  --out DIR           where the PNGs go (grafana/pictures); with --print only when given
  --print             what a reader sees, as a line of JSON for each panel
  --width PIXELS      1600
exit: 0 all was drawn, 1 something could not be (it says so in the picture and on stderr), 2 usage`;

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.woff': 'font/woff' };

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        prometheus: { type: 'string' }, tempo: { type: 'string' }, from: { type: 'string' }, to: { type: 'string' }, out: { type: 'string' },
        var: { type: 'string', multiple: true, default: [] }, theme: { type: 'string', default: 'light' }, print: { type: 'boolean', default: false },
        width: { type: 'string', default: '1600' }, help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    for (const name of ['prometheus', 'tempo']) if (!values[name]) throw new Error(`--${name} URL is missing`);
    if (!positionals.length) throw new Error('no dashboard is named');
    if (!['light', 'dark'].includes(values.theme)) throw new Error(`--theme is ${values.theme}; it is light or dark`);
    if (!(Number(values.width) >= 400)) throw new Error(`--width is ${values.width}; it is a number of pixels, 400 or more`);
    const variables = Object.fromEntries(values.var.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new Error(`--var is ${pair}; it is NAME=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }));
    return { ...values, variables, files: positionals, width: Number(values.width), out: values.out ?? (values.print ? undefined : 'grafana/pictures') };
  } catch (e) {
    console.error(`pictures: ${e.message}\n${USAGE}`);
    process.exit(2);
  }
}

/** On one origin, so that the page may ask both without CORS. */
async function serve({ prometheus, tempo }) {
  const folders = { '/public/build/': join(import.meta.dirname, 'node_modules/@grafana/ui/dist/public/'), '/': join(import.meta.dirname, 'dist/') };
  const backends = { '/prometheus/': prometheus, '/tempo/': tempo };
  const server = createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url, 'http://page');
    try {
      const backend = Object.keys(backends).find((prefix) => pathname.startsWith(prefix));
      if (backend) {
        const answer = await fetch(backends[backend].replace(/\/$/, '') + pathname.slice(backend.length - 1) + search);
        const body = Buffer.from(await answer.arrayBuffer());
        response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' }).end(body);
        return;
      }
      const [prefix, folder] = Object.entries(folders).find(([prefix]) => pathname.startsWith(prefix));
      const file = normalize(pathname === '/' ? '/index.html' : pathname.slice(prefix.length - 1));
      const body = await readFile(join(folder, file));
      response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(body);
    } catch (e) {
      const away = e.cause?.code ? `${e.cause.code}` : e.message;
      response.writeHead(e.code === 'ENOENT' ? 404 : 502).end(`${pathname}: ${away}`);
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return server;
}

const { files, variables, width, theme, from, to, out, print, ...urls } = options();
const dashboards = await Promise.all(files.map(async (file) => ({ file, dashboard: JSON.parse(await readFile(file, 'utf8')) })));
const siblings = dashboards.map(({ dashboard }) => ({ title: dashboard.title, tags: dashboard.tags ?? [] }));
const server = await serve(urls);
const browser = await chromium.launch({
  executablePath: process.env.CACHETSCOPE_TEST_CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--hide-scrollbars', '--font-render-hinting=none'],
});
let wrong = 0;
const complain = (words) => {
  wrong += 1;
  console.error(`pictures: ${words}`);
};
try {
  if (out) await mkdir(out, { recursive: true });
  for (const { file, dashboard } of dashboards) {
    const page = await browser.newPage({ viewport: { width, height: 1000 }, timezoneId: 'UTC', locale: 'en-US', colorScheme: theme });
    page.on('pageerror', (e) => complain(`${file}: page: ${e.message}`));
    if (process.env.PICTURES_DEBUG) page.on('console', (m) => console.error(`${file}: ${m.type()}: ${m.text()}`));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const settled = await page.evaluate(async ([dashboard, options]) => {
      window.seen = await window.draw(dashboard, options);
      return window.seen.length;
    }, [dashboard, { from, to, theme, variables, siblings }]);
    if (!settled) complain(`${file}: it has no panels`);
    // Icons are fetched when they are first drawn; legends and tables measure themselves and draw again.
    await page.waitForLoadState('networkidle');
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const seen = await page.evaluate(() => window.seen);
    for (const s of seen.filter((s) => s.error)) complain(`${file}: ${s.panel}: ${s.error}`);
    if (print) for (const s of seen) console.log(JSON.stringify(s));
    if (out) {
      const png = join(out, `${basename(file, '.json')}${theme === 'dark' ? '-dark' : ''}.png`);
      await page.screenshot({ path: png, fullPage: true, animations: 'disabled' });
      console.error(`pictures: ${png}`);
    }
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
process.exitCode = wrong ? 1 : 0;
