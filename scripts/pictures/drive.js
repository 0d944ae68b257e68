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

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        prometheus: { type: 'string' },
        tempo: { type: 'string' },
        from: { type: 'string' },
        to: { type: 'string' },
        out: { type: 'string' },
        var: { type: 'string', multiple: true, default: [] },
        theme: { type: 'string', default: 'light' },
        print: { type: 'boolean', default: false },
        width: { type: 'string', default: '1600' },
        help: { type: 'boolean', short: 'h' },
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
    const variables = Object.fromEntries(
      values.var.map((pair) => {
        const at = pair.indexOf('=');
        if (at < 1) throw new Error(`--var is ${pair}; it is NAME=VALUE`);
        return [pair.slice(0, at), pair.slice(at + 1)];
      }),
    );
    return {
      ...values,
      variables,
      files: positionals,
      width: Number(values.width),
      out: values.out ?? (values.print ? undefined : 'grafana/pictures'),
    };
  } catch (e) {
    console.error(`pictures: ${e.message}\n${USAGE}`);
    process.exit(2);
  }
}

/** What @grafana/ui asks for by URL: its icons, and the fonts that Grafana ships beside it. */
const modules = join(import.meta.dirname, 'node_modules');
const font = (name, file) => join(modules, `@fontsource/${name}/files/${name}-latin-${file}.woff2`);
const FONTS = {
  'Inter-Regular': font('inter', '400-normal'),
  'Inter-Medium': font('inter', '500-normal'),
  'Inter-Italic': font('inter', '400-italic'),
  'Inter-MediumItalic': font('inter', '500-italic'),
};
function fileOf(pathname) {
  const path = normalize(decodeURIComponent(pathname));
  if (path.startsWith('/public/fonts/')) return FONTS[basename(path, '.woff2')] ?? font('roboto-mono', '400-normal');
  if (path.startsWith('/public/build/')) return join(modules, '@grafana/ui/dist/public', path.slice('/public/build'.length));
  return join(import.meta.dirname, 'dist', path === '/' ? 'index.html' : path);
}

/** On one origin, so that the page may ask both without CORS. */
async function serve({ prometheus, tempo }) {
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
      const file = fileOf(pathname);
      const body = await readFile(file);
      response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(body);
    } catch (e) {
      const away = e.cause?.code ? `${e.cause.code}` : e.message;
      response.writeHead(e.code === 'ENOENT' ? 404 : 502).end(`${pathname}: ${away}`);
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return server;
}

/** Runs in the page: resolves when nothing of it has changed for half a second. */
const settled = () =>
  new Promise((done) => {
    const quiet = () => {
      observer.disconnect();
      done();
    };
    let timer = setTimeout(quiet, 500);
    const observer = new MutationObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(quiet, 500);
    });
    observer.observe(document, { subtree: true, childList: true, attributes: true });
  });

const { files, variables, width, theme, from, to, out, print, ...urls } = options();
const dashboards = await Promise.all(files.map(async (file) => ({ file, dashboard: JSON.parse(await readFile(file, 'utf8')) }))).catch(
  (e) => {
    console.error(`pictures: ${e.message}`);
    process.exit(2);
  },
);
for (const name of Object.keys(variables)) {
  if (!dashboards.some(({ dashboard }) => dashboard.templating?.list?.some((v) => v.name === name))) {
    console.error(`pictures: --var ${name}: no dashboard that was named has such a variable`);
    process.exit(2);
  }
}
const siblings = dashboards
  .map(({ dashboard }) => ({ title: dashboard.title, tags: dashboard.tags ?? [] }))
  .sort((a, b) => a.title.localeCompare(b.title));
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
    page.on('response', (r) => r.status() === 404 && complain(`${file}: page: ${r.url()} is missing`));
    if (process.env.PICTURES_DEBUG) page.on('console', (m) => console.error(`${file}: ${m.type()}: ${m.text()}`));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const height = await page.evaluate(
      ([dashboard, options]) => window.draw(dashboard, options),
      [dashboard, { from, to, theme, variables, siblings }],
    );
    // What is below the window is not drawn (tables wait until they are looked at), so nothing may be.
    await page.setViewportSize({ width, height });
    // Icons are fetched when they are first drawn; legends and tables measure themselves and draw again.
    await page.waitForLoadState('networkidle');
    await page.evaluate(settled);
    const seen = await page.evaluate(() => window.see());
    for (const s of seen.filter((s) => s.error)) complain(`${file}: ${s.panel}: ${s.error}`);
    if (print) for (const s of seen) console.log(JSON.stringify(s));
    if (out) {
      const png = join(out, `${basename(file, '.json')}${theme === 'dark' ? '-dark' : ''}.png`);
      await page.screenshot({ path: png, animations: 'disabled' });
      console.error(`pictures: ${png}`);
    }
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
process.exitCode = wrong ? 1 : 0;
