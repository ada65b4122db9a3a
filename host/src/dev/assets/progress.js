// Shows the builds that take longer than a moment, in a corner of the page.

const PROGRESS_STYLE = `
:host { all: initial; display: block; color-scheme: light dark }
p { position: fixed; inset: auto 1rem 1rem auto; z-index: 2147483647; margin: 0; max-width: 90vw;
  padding: .4rem .8rem; font: .9rem/1.4 system-ui, sans-serif; color: #fff; background: #1d2330;
  border-radius: 6px; border-left: 4px solid #b3a8ff; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { p { color: #171a25; background: #e6e8f0;
  border-left-color: #4a3ad0 } }
.aloud { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap }
`;

const progress = {
  // When the build of each handler began.
  since: new Map(),
  host: null,
  // What is seen, and what is read aloud: without the times, which change each second.
  line: null,
  status: null,
  // The failures that were shown when this was.
  below: null,
  timer: 0,

  show({ handler, ms }) {
    this.since.set(handler, performance.now() - ms);
    this.render();
  },

  hide(handler) {
    if (this.since.delete(handler)) this.render();
  },

  clear() {
    this.since.clear();
    this.render();
  },

  create() {
    this.line = element('span', { ariaHidden: 'true' });
    this.status = element('span', { className: 'aloud' });
    this.status.setAttribute('role', 'status');
    const host = layer(PROGRESS_STYLE);
    host.shadowRoot.append(element('p', {}, this.line, this.status));
    return host;
  },

  render() {
    clearTimeout(this.timer);
    if (!this.since.size) {
      this.host?.remove();
      this.host = null;
      return;
    }
    this.host ??= this.create();
    // Over the failures, which may have been shown later.
    if (this.below !== overlay.host) this.host.remove();
    this.below = overlay.host;
    showLayer(this.host);
    const builds = [...this.since].map(([handler, began]) =>
      `${handler} (${Math.round((performance.now() - began) / 1000)} s)`);
    this.line.textContent = `Building ${builds.join(', ')}…`;
    const names = `Building ${[...this.since.keys()].join(', ')}`;
    if (this.status.textContent !== names) this.status.textContent = names;
    this.timer = setTimeout(() => this.render(), 1000);
  },
};
