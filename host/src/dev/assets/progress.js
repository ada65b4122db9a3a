// Shows the builds that take longer than a moment, in a corner of the page.

const PROGRESS_STYLE = `
:host { all: initial; display: block; color-scheme: light dark }
p { position: fixed; inset: auto 1rem 1rem auto; z-index: 2147483647; margin: 0; max-width: 90vw;
  padding: .4rem .8rem; font: .9rem/1.4 system-ui, sans-serif; color: #fff; background: #1d2330;
  border-radius: 6px; border-left: 4px solid #b3a8ff; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { p { color: #171a25; background: #e6e8f0;
  border-left-color: #4a3ad0 } }
`;

const progress = {
  // When the build of each handler began.
  since: new Map(),
  host: null,
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

  render() {
    clearTimeout(this.timer);
    if (!this.since.size) {
      this.host?.remove();
      this.host = null;
      return;
    }
    if (!this.host) {
      this.host = document.createElement('div');
      this.host.setAttribute(OWN, '');
      const line = element('p', {});
      line.setAttribute('role', 'status');
      shadowOf(this.host, PROGRESS_STYLE).append(line);
    }
    if (!this.host.isConnected) document.documentElement.append(this.host);
    const builds = [...this.since].map(([handler, began]) =>
      `${handler} (${Math.round((performance.now() - began) / 1000)} s)`);
    this.host.shadowRoot.querySelector('p').textContent = `Building ${builds.join(', ')}…`;
    this.timer = setTimeout(() => this.render(), 1000);
  },
};
