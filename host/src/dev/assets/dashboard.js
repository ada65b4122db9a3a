// The dashboard of `wasgi dev`. All texts come from files, guests and requests, and are set as text,
// never as HTML.

/** The interval at which the state is read while the page is visible, in milliseconds. */
const INTERVAL_MS = 1000;

/** The number of bytes in a line of a body that is not text. */
const DUMP_BYTES = 16;

const $ = (id) => document.getElementById(id);

function make(name, properties, ...children) {
  const { data, ...rest } = properties ?? {};
  const made = Object.assign(document.createElement(name), rest);
  for (const [key, value] of Object.entries(data ?? {})) made.dataset[key] = value;
  made.append(...children.filter((child) => child !== null));
  return made;
}

async function ask(path, method = 'GET') {
  const response = await fetch(`/_wasgi/${path}`, { method, cache: 'no-store' });
  const isJson = response.headers.get('Content-Type') === 'application/json';
  const answer = isJson ? await response.json() : {};
  if (!response.ok) throw new Error(answer.error ?? `The server answers with ${response.status}.`);
  return answer;
}

// Figures.

const time = (ms) => {
  if (ms === null || ms === undefined) return '–';
  if (ms < 1) return `${(1000 * ms).toFixed(0)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
};

const size = (bytes) => {
  if (bytes < 1024) return `${bytes} bytes`;
  const kilobytes = bytes / 1024;
  return kilobytes < 1024 ? `${kilobytes.toFixed(0)} KiB` : `${(kilobytes / 1024).toFixed(1)} MiB`;
};

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showRates({ rate, medianMs, p95Ms, total, requests, failed }) {
  setText($('rate'), rate < 10 ? rate.toFixed(1) : rate.toFixed(0));
  setText($('median'), time(medianMs));
  setText($('p95'), time(p95Ms));
  setText($('failed'), String(failed.reduce((sum, count) => sum + count, 0)));
  setText($('total'), String(total));
  const highest = Math.max(...requests, 1);
  const bar = (className, count, at) => {
    const made = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    const height = (40 * count) / highest;
    const values = { class: className, x: 4 * at + 0.5, y: 40 - height, width: 3, height };
    for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
    return made;
  };
  const bars = requests.flatMap((count, at) =>
    (count ? [bar('all', count, at), ...(failed[at] ? [bar('failed', failed[at], at)] : [])] : []));
  $('chart').replaceChildren(...bars);
  const most = `Requests in each of the last 60 seconds, at most ${Math.max(...requests)}`;
  $('chart').setAttribute('aria-label', most);
}

// Handlers.

let shownSite = '';

function showSite(site, steps) {
  if (!site) return;
  const states = { starting: 'starting', ready: 'ready', draining: 'stopping' };
  const uptime = Math.round(site['uptime-seconds']);
  const since = uptime < 60 ? `${uptime} s` : `${Math.floor(uptime / 60)} min`;
  const connections = site.connections === 1 ? '1 connection' : `${site.connections} connections`;
  setText($('about'), `${site.version}, ${states[site.state] ?? site.state}, up for ${since}, ${connections}`);
  const now = JSON.stringify([site.handlers, site.problems, steps]);
  if (now === shownSite) return;
  shownSite = now;
  $('handlers').replaceChildren(...site.handlers.map((handler) => handlerRow(handler, steps)));
  $('no-handlers').hidden = site.handlers.length > 0;
}

function cell(label, ...children) {
  const made = make('td', { data: { label } }, ...children);
  made.setAttribute('role', 'cell');
  return made;
}

function row(...cells) {
  const made = make('tr', {}, ...cells);
  made.setAttribute('role', 'row');
  return made;
}

function handlerRow(handler, steps) {
  const isPlain = !handler.route.includes('[');
  const route = isPlain ? make('a', { href: handler.route }, handler.route) : handler.route;
  const loading = handler.state === 'loading';
  const bytes = handler['file-bytes'];
  const inFlight = handler['in-flight'] ? `, ${handler['in-flight']} in flight` : '';
  return row(
    cell('Route', route),
    cell('File', handler.file),
    cell('Kind', loading ? 'loading' : handler.kind + inFlight),
    cell('Version', make('code', {}, handler.version ?? '–')),
    cell('Size', typeof bytes === 'number' ? size(bytes) : '–'),
    cell('Grants', grants(handler.grants ?? {})),
    cell('Last load', loadSteps(steps[handler.file])),
  );
}

function grants(all) {
  const lines = Object.entries(all)
    .filter(([, values]) => values.length)
    .map(([kind, values]) => make('li', {}, `${kind}: ${values.join(', ')}`));
  return lines.length ? make('ul', {}, ...lines) : 'none';
}

function loadSteps(steps) {
  if (!steps) return '–';
  const names = { built: 'built', waited: 'waited', read: 'read', made: 'compiled or cached' };
  const lines = Object.entries(names)
    .filter(([key]) => steps[key] !== null && steps[key] !== undefined)
    .map(([key, name]) => make('li', {}, `${name}: ${time(steps[key])}`));
  return lines.length ? make('ul', {}, ...lines) : '–';
}

// Builds, loads and failures.

let shownFailures = '';

function showNow(running, failures, problems) {
  const verbs = { waits: 'waits to be built', builds: 'is being built', loads: 'is being loaded' };
  $('running').replaceChildren(...running.map(({ file, step, ms, line }) =>
    make('li', {}, make('b', {}, file), ` ${verbs[step] ?? step}, for ${time(ms)}`,
      line ? make('p', {}, line) : null)));
  const now = JSON.stringify([failures, problems]);
  if (now !== shownFailures) {
    shownFailures = now;
    const files = failures.map((failure) => failure.file);
    const isNew = (problem) => !files.some((file) => file && problem.file.endsWith(`/${file}`));
    $('failures').replaceChildren(
      ...failures.map((failure) => make('li', { className: 'failure' }, ...failureParts(failure))),
      ...problems.filter(isNew).map((problem) => make('li', { className: 'failure' },
        make('b', {}, problem.file), ` ${problem.text}`)),
    );
  }
  $('now').hidden = !running.length && !$('failures').childElementCount;
}

function failureParts(failure) {
  const { source } = failure;
  const parts = [make('b', {}, failure.handler), ` ${failure.title}`, text(failure.message)];
  if (source) {
    const place = `${source.file}:${source.line}`;
    const lines = source.lines.map((line, index) => {
      const number = source.first + index;
      const className = number === source.line ? 'bad' : '';
      return make('span', { className }, `${String(number).padStart(5)}  ${line}`);
    });
    parts.push(
      make('p', {}, failure.editor ? make('a', { href: failure.editor }, place) : place),
      scrolled(lines, place),
    );
  }
  return parts;
}

function scrolled(children, label, className = '') {
  const made = make('pre', { className, tabIndex: 0 }, ...children);
  made.setAttribute('role', 'region');
  made.setAttribute('aria-label', label);
  return made;
}

const text = (content, label = 'Message') => scrolled([content], label);

// The list of requests.

const rows = new Map();
let isFirst = true;

function showRequests(requests, kept) {
  for (const request of requests) {
    if (rows.has(request.number)) continue;
    const made = requestRow(request);
    if (!isFirst) made.classList.add('new');
    rows.set(request.number, made);
    $('requests').prepend(made);
  }
  isFirst = false;
  const isKept = new Set(kept);
  for (const [number, made] of rows) {
    if (isKept.has(number)) continue;
    made.remove();
    rows.delete(number);
  }
  filterRows();
}

function statusText({ status, cut, failed, replayOf }) {
  const notes = [replayOf ? 'replay' : null, cut].filter(Boolean);
  const kind = failed || status >= 500 || !status ? 'bad' : status >= 400 ? 'warn' : 'good';
  return make('span', { className: kind }, `${status || 'none'}${notes.length ? ` (${notes.join(', ')})` : ''}`);
}

function requestRow(request) {
  const name = `${request.method} ${request.target}`;
  const button = make('button', { type: 'button' }, name);
  button.addEventListener('click', () => { location.hash = request.number; });
  const made = row(
    cell('Request', button),
    cell('Status', statusText(request)),
    cell('Handler', request.handler ? `${request.handler} ${request.version}` : ''),
    cell('Took', time(request.ms)),
    cell('At', clock.format(request.at)),
  );
  made.dataset.text = `${name} ${request.status} ${request.handler ?? ''} ${request.replayOf ? 'replay' : ''} ${request.cut ?? ''}`.toLowerCase();
  return made;
}

function filterRows() {
  const wanted = $('filter').value.trim().toLowerCase();
  let shown = 0;
  for (const made of rows.values()) {
    made.hidden = !made.dataset.text.includes(wanted);
    shown += made.hidden ? 0 : 1;
  }
  setText($('no-requests'), rows.size ? 'No request matches the filter.' : 'No requests yet.');
  $('no-requests').hidden = shown > 0;
}

$('filter').addEventListener('input', filterRows);

$('requests').addEventListener('keydown', (event) => {
  const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
  if (!step) return;
  let next = event.target.closest('tr')?.[step];
  while (next?.hidden) next = next[step];
  if (!next) return;
  event.preventDefault();
  next.querySelector('button').focus();
});

// One request.

let shown = null;

const lines = (head) => head.map(([name, value]) => `${name}: ${value}`);

function bodyLines({ text: content, hex }) {
  if (content !== undefined) return content ? content.replace(/\n$/, '').split('\n') : [];
  const bytes = hex.match(/../g) ?? [];
  const dump = [];
  for (let at = 0; at < bytes.length; at += DUMP_BYTES) {
    const part = bytes.slice(at, at + DUMP_BYTES);
    const signs = part.map((byte) => {
      const code = parseInt(byte, 16);
      return code >= 32 && code < 127 ? String.fromCharCode(code) : '.';
    });
    const offset = at.toString(16).padStart(6, '0');
    dump.push(`${offset}  ${part.join(' ').padEnd(3 * DUMP_BYTES)} ${signs.join('')}`);
  }
  return dump;
}

function bodyParts(body, whose) {
  if (!body.length) return [make('p', {}, 'No body.')];
  const what = body.text === undefined ? 'not text, shown in hexadecimal digits' : 'text';
  const kept = body.cut ? '; only the beginning was kept' : '';
  return [
    make('p', {}, `${size(body.length)}, ${what}${kept}`),
    ...(bodyLines(body).length ? [text(bodyLines(body).join('\n'), `Body of the ${whose}`)] : []),
  ];
}

const title = (content) => make('h3', {}, content);

function detailParts(request) {
  const { response } = request;
  const facts = [
    `Took ${time(request.ms)}`,
    response ? `head of the response after ${time(response.afterMs)}` : null,
    request.handler ? `${request.handler}, version ${request.version}` : 'no handler',
    `from ${request.client}`,
    `at ${clock.format(request.at)}`,
  ];
  const log = request.log.map(({ level, line }) =>
    make('span', { className: level === 'warn' ? 'warn' : '' }, line));
  const requestLine = `${request.method} ${request.target} ${request.http}`;
  return [
    make('p', {}, facts.filter(Boolean).join('; ')),
    ...(request.refusal ? [make('p', {}, `It can't be replayed: ${request.refusal}.`)] : []),
    ...(request.failure ? [title('Failure'), ...failureParts(request.failure)] : []),
    title('Log'),
    log.length ? scrolled(log, 'Log') : make('p', {}, 'The handler wrote nothing, or it is not kept any more.'),
    title('Response'),
    ...(response ? [
      text([`${response.status} ${response.reason}`, ...lines(response.head)].join('\n'), 'Head of the response'),
      title('Body of the response'),
      ...bodyParts(response.body, 'response'),
    ] : [make('p', {}, 'There was none.')]),
    title('Request'),
    text([requestLine, ...lines(request.head)].join('\n'), 'Head of the request'),
    title('Body of the request'),
    ...bodyParts(request.body, 'request'),
  ];
}

// Returns the lines of two bodies. JSON is formatted, so that a value has a line of its own.
function comparable(bodies) {
  const formatted = bodies.map((body) => {
    if (body.cut || !/^\s*[[{]/.test(body.text ?? '')) return null;
    try {
      return JSON.stringify(JSON.parse(body.text), null, 2).split('\n');
    } catch {
      return null;
    }
  });
  return formatted.every(Boolean) ? formatted : bodies.map(bodyLines);
}

function diffPart(name, before, after) {
  const all = diffLines(before, after);
  const parts = [title(name)];
  if (all.every(([mark]) => mark === ' ')) return [...parts, make('p', {}, 'Equal.')];
  const classes = { '-': 'removed', '+': 'added', '…': 'skipped', ' ': '' };
  const marked = withoutEqual(all).map(([mark, line]) =>
    make('span', { className: classes[mark] }, `${mark} ${line}`));
  return [...parts, scrolled(marked, `Difference: ${name}`, 'diff')];
}

function compareParts(before, after) {
  const [old, now] = [before.response, after.response];
  if (!old || !now) return [make('p', {}, 'One of the two has no response.')];
  const status = ({ status: code, reason }) => [`${code} ${reason}`.trim()];
  const [oldBody, nowBody] = comparable([old.body, now.body]);
  const versions = before.version === after.version
    ? `the same version ${after.version ?? ''}`
    : `version ${before.version ?? 'none'} → ${after.version ?? 'none'}`;
  const isCut = old.body.cut || now.body.cut;
  return [
    make('p', {}, `Compared with request ${before.number}: ${versions}, ${time(before.ms)} → ${time(after.ms)}`),
    ...diffPart('Status', status(old), status(now)),
    ...diffPart('Head', lines(old.head), lines(now.head)),
    ...diffPart('Body', oldBody, nowBody),
    ...(isCut ? [make('p', {}, 'Only the beginnings of the bodies were kept, and compared.')] : []),
  ];
}

async function showDetail(number) {
  const dialog = $('detail');
  shown = number;
  setText($('message'), '');
  try {
    const request = await ask(`requests/${number}`);
    const before = request.replayOf && await ask(`requests/${request.replayOf}`).catch(() => null);
    if (shown !== number) return;
    setText($('detail-title'), `${request.method} ${request.target}`);
    const compared = before
      ? [title('Replay'), ...compareParts(before, request), title('Details')]
      : request.replayOf ? [make('p', {}, `A replay of request ${request.replayOf}, which is not kept any more.`)] : [];
    $('content').replaceChildren(statusText(request), ...compared, ...detailParts(request));
    $('replay').disabled = Boolean(request.refusal);
  } catch (error) {
    if (shown !== number) return;
    setText($('detail-title'), `Request ${number}`);
    $('content').replaceChildren(make('p', {}, error.message));
    $('replay').disabled = true;
  }
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  $('detail-title').focus();
}

$('replay').addEventListener('click', async () => {
  const of = shown;
  $('replay').disabled = true;
  setText($('message'), 'Replaying…');
  try {
    const { number } = await ask(`requests/${of}/replay`, 'POST');
    location.hash = number;
  } catch (error) {
    setText($('message'), error.message);
    $('replay').disabled = false;
  }
  refresh();
});

$('close').addEventListener('click', () => $('detail').close());

$('detail').addEventListener('close', () => {
  const number = shown;
  shown = null;
  history.replaceState(null, '', location.pathname);
  rows.get(number)?.querySelector('button').focus();
});

function followHash() {
  const number = Number(location.hash.slice(1));
  if (Number.isSafeInteger(number) && number > 0) showDetail(number);
  else if ($('detail').open) $('detail').close();
}

addEventListener('hashchange', followHash);

// Following.

// The run of the server, and the number of requests that have ended in it.
let run = null;
let ended = 0;
let isReading = false;
let isWanted = false;

async function refresh() {
  isWanted = true;
  if (isReading) return;
  isReading = true;
  while (isWanted) {
    isWanted = false;
    try {
      const state = await ask(`state?since=${ended}`);
      if (run && run !== state.run) return location.reload();
      ({ run, ended } = state);
      showRates(state.rates);
      showSite(state.site, state.steps);
      showNow(state.running, state.failures, state.site?.problems ?? []);
      showRequests(state.requests, state.kept);
      $('lost').hidden = true;
    } catch {
      $('lost').hidden = false;
    }
  }
  isReading = false;
}

window.wasgiDev?.subscribers.add((name) => {
  if (name !== 'log') refresh();
});
setInterval(() => {
  if (!document.hidden) refresh();
}, INTERVAL_MS);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) refresh();
});
refresh();
followHash();
