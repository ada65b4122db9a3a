// Shows reports of failures: over a page, or as the page that a failed request has led to. All texts
// come from files, guests and requests, and are set as text, never as HTML.

const STYLE = `
:host { all: initial; display: block; --ink: #1d2330; --dim: #565d70; --paper: #fff; --soft: #f3f4f9;
  --line: #d9dcea; --accent: #b3261e; --mark: #fdecea; --link: #4a3ad0; color-scheme: light dark }
@media (prefers-color-scheme: dark) { :host { --ink: #e6e8f0; --dim: #a6acbd; --paper: #171a25;
  --soft: #1f2331; --line: #363c50; --accent: #ff8a80; --mark: #40242a; --link: #b3a8ff } }
* { box-sizing: border-box }
.over { position: fixed; inset: 0; z-index: 2147483647; overflow: auto; padding: 1rem;
  background: rgb(10 12 20 / .55); display: grid; place-items: start center;
  overscroll-behavior: contain }
.page { min-height: 100vh; padding: 1rem; background: var(--soft); display: grid;
  place-items: start center }
.cards { width: min(60rem, 100%); display: grid; gap: 1rem; margin-block: min(4vh, 3rem);
  grid-template-columns: minmax(0, 1fr) }
article { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-top: 4px solid var(--accent); border-radius: 8px;
  padding: 1rem 1.25rem 1.25rem; box-shadow: 0 8px 40px rgb(0 0 0 / .25) }
header { display: flex; gap: 1rem; align-items: start; justify-content: space-between }
h1, h2 { margin: 0; font: 700 1.25rem/1.3 system-ui, sans-serif; overflow-wrap: anywhere }
h3 { margin: 1.1rem 0 .35rem; font: 600 .85rem/1.3 system-ui, sans-serif; color: var(--dim) }
h1 b, h2 b { color: var(--accent) }
p { margin: .2rem 0 0; color: var(--dim); overflow-wrap: anywhere }
pre { margin: 0; font: .875rem/1.55 ui-monospace, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere }
.message { margin-top: .75rem; max-height: 24rem; overflow: auto }
.box { background: var(--soft); border: 1px solid var(--line); border-radius: 6px;
  padding: .5rem .75rem; max-height: 24rem; overflow: auto }
.code { padding: .5rem 0; white-space: pre; overflow-wrap: normal }
.code span { display: block; padding: 0 .75rem; min-width: max-content }
.code .here { background: var(--mark); box-shadow: inset 3px 0 var(--accent) }
.code i { display: inline-block; width: 3.5em; font-style: normal; color: var(--dim);
  user-select: none }
a { color: var(--link) }
button { font: inherit; color: inherit; background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; padding: .15rem .7rem; cursor: pointer; flex: none }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
@media (max-width: 30rem) { .over, .page { padding: .5rem } article { padding: .75rem } }
`;

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Returns the report as an article. `heading` is the level of its heading.
function card(report, heading, dismiss) {
  const title = element(heading, {}, element('b', {}, report.handler), ` ${report.title}`);
  const close = dismiss && element('button', { type: 'button', onclick: dismiss }, 'Dismiss');
  const made = element('article', {}, element('header', {}, title, ...(close ? [close] : [])));
  if (report.request) made.append(element('p', {}, report.request));
  made.append(element('pre', { className: 'message', tabIndex: 0 }, report.message));
  const { source } = report;
  if (source) {
    const place = `${source.file}:${source.line}`;
    const shown = report.editor ? element('a', { href: report.editor }, place) : place;
    const lines = source.lines.map((line, index) => {
      const number = source.first + index;
      const mark = number === source.line ? 'here' : '';
      return element('span', { className: mark }, element('i', {}, String(number)), line || ' ');
    });
    made.append(
      element('h3', {}, shown, report.editor ? ' (opens the editor)' : ''),
      element('pre', { className: 'box code', tabIndex: 0 }, ...lines),
    );
  }
  if (report.log.length) {
    made.append(
      element('h3', {}, 'Last lines of its log'),
      element('pre', { className: 'box', tabIndex: 0 }, report.log.join('\n')),
    );
  }
  if (report.id) made.append(element('p', {}, `Request ${report.id} in the server's log`));
  return made;
}

function shadowOf(host, style = STYLE) {
  const shadow = host.attachShadow({ mode: 'open' });
  // Inline styles may be forbidden by the page's policy; these are not.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  shadow.adoptedStyleSheets = [sheet];
  return shadow;
}

// Returns an element for the shadow root of a layer over the page.
function layer(style) {
  const host = document.createElement('div');
  host.setAttribute(OWN, '');
  // Above the dialogs of the page, and above the layers that are shown already.
  host.popover = 'manual';
  shadowOf(host, style);
  return host;
}

function showLayer(host) {
  if (host.isConnected) return;
  document.documentElement.append(host);
  host.showPopover?.();
}

// The reports over the page, by their key: one per handler that can't be loaded, and one per handler
// whose last request failed.
const overlay = {
  reports: new Map(),
  host: null,

  key: (report) => `${report.kind}:${report.handler}`,

  show(report) {
    this.reports.delete(this.key(report));
    this.reports.set(this.key(report), report);
    this.render();
  },

  // Removes the reports that the test selects.
  hide(test) {
    let isChanged = false;
    for (const [key, report] of this.reports) {
      if (test(report)) isChanged = this.reports.delete(key) || isChanged;
    }
    if (isChanged) this.render();
  },

  render() {
    if (!this.reports.size) {
      this.host?.remove();
      this.host = null;
      return;
    }
    this.host ??= layer(STYLE);
    showLayer(this.host);
    const cards = [...this.reports.values()].reverse().map((report) =>
      card(report, 'h2', () => this.hide((one) => one === report)));
    const section = element('section', { className: 'cards' }, ...cards);
    section.setAttribute('aria-label', 'wasgi dev: failures');
    const over = element('div', { className: 'over' }, section);
    over.setAttribute('role', 'alert');
    over.addEventListener('click', (event) => {
      if (event.target === over) this.hide(() => true);
    });
    this.host.shadowRoot.replaceChildren(over);
  },
};

addEventListener('keydown', (event) => {
  if (event.key === 'Escape') overlay.hide(() => true);
});

// Shows the report of the page itself, if a failed request has led to it. Returns it.
function showPage() {
  const data = document.getElementById('wasgi-failure');
  if (!data) return null;
  const report = JSON.parse(data.textContent);
  const host = document.createElement('main');
  const page = element('div', { className: 'page' },
    element('div', { className: 'cards' }, card(report, 'h1')));
  shadowOf(host).append(page);
  document.body.replaceChildren(host);
  document.body.style.margin = '0';
  return report;
}
