// Follows the server's event stream.

const script = document.currentScript;
if (!script || window.wasgiDev) return;

let { since } = script.dataset;
// `error`: a reload may lead to a better response. `result`: it would send a form again.
// `dashboard`: only its subscriber gets the events.
const { mode } = script.dataset;
script.remove();

// The version of the page in its source, if the browser has kept it.
let base = null;
let ownReport = null;
const subscribers = new Set();
Object.defineProperty(window, 'wasgiDev', { value: { subscribers } });

function ready() {
  if (mode === 'dashboard') return;
  ownReport = showPage();
  if (mode) return;
  fetch(location.href, { cache: 'only-if-cached', mode: 'same-origin' })
    .then((response) => (response.ok ? response.text() : null))
    .then((text) => {
      if (text === null || base) return;
      const parsed = new DOMParser().parseFromString(text, 'text/html');
      for (const one of parsed.querySelectorAll('script[src="/_wasgi/dev.js"]')) one.remove();
      base = parsed;
    })
    .catch(() => {});
}
if (document.readyState === 'loading') {
  addEventListener('DOMContentLoaded', ready, { once: true });
} else {
  ready();
}

function reload() {
  if (mode === 'result') {
    console.info('wasgi dev: something has changed; reload to send the form again');
  } else {
    location.reload();
  }
}

// Refreshing.

let isRefreshing = false;
let isStale = false;

// Reads the page again and changes it in place. Changes meanwhile lead to one more round.
async function refresh() {
  if (mode) return reload();
  isStale = true;
  if (isRefreshing) return;
  isRefreshing = true;
  while (isStale) {
    isStale = false;
    try {
      if (await readAgain()) return reload();
    } catch {
      // If the server is gone, the stream leads to a reload later.
      if (source?.readyState === EventSource.OPEN) return reload();
    }
  }
  isRefreshing = false;
}

// Returns whether a reload is necessary.
async function readAgain() {
  const response = await fetch(location.href, { cache: 'no-store', headers: { Accept: 'text/html' } });
  // The report of the failure is shown over the page.
  if (response.status >= 500) return false;
  const isHtml = response.headers.get('Content-Type')?.startsWith('text/html');
  if (!response.ok || response.redirected || !isHtml) return true;
  const text = await response.text();
  // A file that is being written is empty for a moment.
  if (isStale || !text.trim()) return false;
  const next = new DOMParser().parseFromString(text, 'text/html');
  if (base?.documentElement.isEqualNode(next.documentElement)) return false;
  if (scriptsDiffer(next, base)) return true;
  morph(next, base);
  base = next;
  return false;
}

// Replaces the style sheets at these paths, or all if none is linked: it may be an imported one.
function swapStyles(paths) {
  const links = [...document.querySelectorAll('link[rel~="stylesheet"][href]')]
    .filter((link) => new URL(link.href).origin === location.origin && !link.dataset.wasgiOld);
  const isOne = (link) => paths?.includes(decodeURI(new URL(link.href).pathname).slice(1));
  const chosen = links.filter(isOne);
  for (const link of chosen.length ? chosen : links) {
    const url = new URL(link.href);
    url.searchParams.set('wasgi-dev', since);
    const fresh = link.cloneNode();
    fresh.nonce = link.nonce;
    fresh.href = url;
    link.dataset.wasgiOld = '1';
    fresh.onload = () => link.remove();
    fresh.onerror = () => {
      fresh.remove();
      delete link.dataset.wasgiOld;
    };
    link.after(fresh);
  }
}

// Returns the paths of what the page has loaded, without the page itself.
function loadedPaths() {
  const here = location.href.split('#')[0];
  return performance.getEntriesByType('resource')
    .filter((entry) => entry.name !== here && entry.name.startsWith(`${location.origin}/`))
    .map((entry) => decodeURI(new URL(entry.name).pathname));
}

// Events.

function onChanged({ paths }) {
  if (mode) return reload();
  if (!paths) {
    swapStyles(null);
    return refresh();
  }
  // A precompressed file stands for the file itself.
  const files = paths.map((path) => path.replace(/\.(br|gz|zst)$/, ''));
  const styles = files.filter((path) => path.endsWith('.css'));
  const pages = files.filter((path) => /\.html?$/.test(path) || !/\.[^/]*$/.test(path));
  const others = files.filter((path) => !styles.includes(path) && !pages.includes(path));
  const loaded = others.length ? loadedPaths() : [];
  if (others.some((path) => loaded.includes(`/${path}`))) return reload();
  // A folder may contain anything.
  const isFolder = pages.some((path) => !/\.html?$/.test(path));
  if (styles.length || isFolder) swapStyles(isFolder ? null : styles);
  if (pages.length) refresh();
}

function onLoaded({ handler, route }) {
  overlay.hide((report) => report.handler === handler);
  if (mode) return reload();
  const prefix = route.split('[')[0].replace(/\/$/, '');
  const isBelow = (path) => path === prefix || path.startsWith(`${prefix}/`);
  if (loadedPaths().some(isBelow)) return reload();
  if (isBelow(decodeURI(location.pathname))) refresh();
}

function onFailed(report) {
  if (ownReport && report.kind === 'request') return;
  if (ownReport) return reload();
  overlay.show(report);
}

function onHello({ missed, failures, building }) {
  if (missed) return reload();
  if (!ownReport) for (const report of failures) overlay.show(report);
  progress.clear();
  for (const build of building) progress.show(build);
}

const events = {
  hello: onHello,
  changed: onChanged,
  loaded: onLoaded,
  failed: onFailed,
  withdrawn({ file }) {
    overlay.hide((report) => report.file === file);
    refresh();
  },
  loading() {},
  build(build) {
    if (build.step === 'slow') progress.show(build);
    if (build.step === 'ended') progress.hide(build.handler);
  },
  log({ handler, level, line }) {
    console[level === 'warn' ? 'warn' : 'info']('%s: %s', handler, line);
  },
};

function dispatch(name, data, id) {
  if (id) since = id;
  if (mode !== 'dashboard') events[name](data);
  for (const subscriber of subscribers) subscriber(name, data, id);
}

// The stream. A browser opens at most six connections to a server, so a frame uses the stream of the
// page around it, and a hidden page has none until it is shown again.

let source = null;
let retry = 0;

function outer() {
  try {
    return window.parent !== window ? window.parent.wasgiDev : null;
  } catch {
    // The page around it is of another origin.
    return null;
  }
}

function connect() {
  if (source || document.hidden) return;
  source = new EventSource(`/_wasgi/events?since=${encodeURIComponent(since)}`);
  for (const name of Object.keys(events)) {
    source.addEventListener(name, (event) => {
      retry = 0;
      dispatch(name, JSON.parse(event.data), event.lastEventId);
    });
  }
  source.onerror = () => {
    if (source?.readyState !== EventSource.CLOSED) return;
    // Refused: the server has too many streams, or is another one.
    source = null;
    retry += 1;
    setTimeout(connect, Math.min(500 * 2 ** retry, 10_000));
  };
}

function disconnect() {
  source?.close();
  source = null;
}

const around = outer();
if (around) {
  const subscriber = (name, data, id) => {
    if (id) since = id;
    // The page around it shows failures and lines.
    if (['changed', 'loaded', 'withdrawn'].includes(name)) events[name](data);
  };
  around.subscribers.add(subscriber);
  addEventListener('pagehide', () => around.subscribers.delete(subscriber));
} else {
  connect();
  document.addEventListener('visibilitychange', () => (document.hidden ? disconnect() : connect()));
  addEventListener('pagehide', disconnect);
  addEventListener('pageshow', connect);
}
