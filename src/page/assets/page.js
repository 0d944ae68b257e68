// Keeps the page current: asks for it again, and exchanges the sections that changed. Focus, open
// details, scroll positions and a selection stay. Without this script the page is complete, but old.
'use strict';

(() => {
  const PERIOD_MS = 5000;
  const PATIENCE_MS = 10000;
  const away = document.getElementById('away');
  const script = document.querySelector('script[src]').getAttribute('src');
  let answered = new Date();
  let timer;
  let asking = false;

  const focusable = (root) => [...root.querySelectorAll('a[href], summary, [tabindex]')];
  const name = (element) => element.getAttribute('href') || element.parentElement.id || element.dataset.keep;

  function exchange(old, next) {
    for (const details of old.querySelectorAll('details[open]')) {
      next.querySelector('#' + CSS.escape(details.id))?.setAttribute('open', '');
    }
    if (old.isEqualNode(next)) return;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && selection.containsNode(old, true)) return;

    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const position = focused
      ? focusable(old).filter((e) => name(e) === name(focused)).indexOf(focused)
      : -1;
    const scrolled = [...old.querySelectorAll('[data-keep]')].map((e) => [e.dataset.keep, e.scrollLeft]);
    old.replaceWith(next);
    for (const [keep, left] of scrolled) {
      const element = next.querySelector(`[data-keep="${CSS.escape(keep)}"]`);
      if (element) element.scrollLeft = left;
    }
    if (position >= 0) {
      focusable(next).filter((e) => name(e) === name(focused))[position]?.focus({ preventScroll: true });
    }
  }

  async function update() {
    const answer = await fetch(location.href, {
      headers: { accept: 'text/html' },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (page.querySelector('script[src]')?.getAttribute('src') !== script) {
      location.reload(); // another version of the daemon, with other styles
      return;
    }
    document.title = page.title;
    for (const next of page.querySelectorAll('[data-live]')) {
      const old = document.getElementById(next.id);
      if (old) exchange(old, document.adoptNode(next));
    }
  }

  async function tick() {
    if (asking) return;
    asking = true;
    try {
      await update();
      answered = new Date();
      away.hidden = true;
      document.body.classList.remove('old');
    } catch (error) {
      const time = answered.toLocaleTimeString();
      away.textContent = `This daemon no longer answers (${error.message}). What you see is from ${time}.`;
      away.hidden = false;
      document.body.classList.add('old');
    }
    asking = false;
    timer = document.hidden ? undefined : setTimeout(tick, PERIOD_MS);
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    timer = document.hidden ? undefined : setTimeout(tick, 0);
  });
  timer = setTimeout(tick, PERIOD_MS);
})();
