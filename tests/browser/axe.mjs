// Opens every page of a site in Chromium, light and dark, on a phone and on a desktop, and checks its
// accessibility with axe-core.
//
//     node axe.mjs CHROMIUM AXE.JS URL...
//
// Follows the links of a page whose URL ends with a slash, within its origin. Prints a line for each
// finding, and exits with 1 if there is one.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The maximum number of pages: more than the sites here have. It ends endless chains of links. */
const MAX_PAGES = 100;

/** The time limit to load a page on a busy machine, in milliseconds. */
const LOAD_MS = 60_000;

/** Pages that are a framework's own. */
const OTHERS = /\/django\/admin\//;

const SCREENS = {
  phone: { width: 390, height: 844, deviceScaleFactor: 2, mobile: true },
  desktop: { width: 1280, height: 800, deviceScaleFactor: 1, mobile: false },
};

/** A Chromium that is controlled through two pipes, with messages that end with a zero byte. */
class Browser {
  #folder = mkdtempSync(join(tmpdir(), "wasgi-axe-"));
  #process;
  #waiting = new Map();
  #listeners = new Set();
  #count = 0;

  constructor(program) {
    const options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"];
    options.push("--remote-debugging-pipe", `--user-data-dir=${this.#folder}`, "about:blank");
    this.#process = spawn(program, options, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    let rest = "";
    this.#process.stdio[4].setEncoding("utf8").on("data", (text) => {
      const messages = (rest + text).split("\0");
      rest = messages.pop();
      messages.forEach((message) => this.#take(JSON.parse(message)));
    });
    this.#process.on("exit", (code) => {
      for (const { reject } of this.#waiting.values()) {
        reject(new Error(`${program} ended with ${code}`));
      }
    });
  }

  #take(message) {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) waiting?.reject(new Error(message.error.message));
    else if (waiting) waiting.resolve(message.result);
    else this.#listeners.forEach((listener) => listener(message));
  }

  send(method, params = {}, sessionId) {
    const id = ++this.#count;
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** Waits for an event. */
  event(method, sessionId) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${method} in ${LOAD_MS} ms`)), LOAD_MS);
      const listener = (message) => {
        if (message.method === method && message.sessionId === sessionId) {
          clearTimeout(timer);
          this.#listeners.delete(listener);
          resolve(message.params);
        }
      };
      this.#listeners.add(listener);
    });
  }

  /** Opens a tab, and returns a function that sends messages to it. */
  async tab() {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    await this.send("Page.enable", {}, sessionId);
    const tab = (method, params) => this.send(method, params, sessionId);
    tab.open = async (url) => {
      const loaded = this.event("Page.loadEventFired", sessionId);
      const { errorText } = await tab("Page.navigate", { url });
      if (errorText) throw new Error(errorText);
      await loaded;
    };
    tab.value = async (expression) => {
      const options = { expression, awaitPromise: true, returnByValue: true };
      const { result, exceptionDetails } = await tab("Runtime.evaluate", options);
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description);
      return result.value;
    };
    return tab;
  }

  end() {
    const gone = new Promise((resolve) => this.#process.on("exit", resolve));
    this.#process.kill();
    return gone.then(() => rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 }));
  }
}

/** Returns whether a browser's response is a page. */
async function isPage(url) {
  const stop = new AbortController();
  const answer = await fetch(url, { headers: { accept: "text/html" }, signal: stop.signal });
  stop.abort();
  return (answer.headers.get("content-type") ?? "").startsWith("text/html");
}

/** Returns the pages, and for URLs that end with a slash all pages that they link to. */
async function pages(tab, urls) {
  const found = new Set(urls);
  for (const url of found) {
    if (!url.endsWith("/") || found.size > MAX_PAGES) continue;
    await tab.open(url);
    const links = await tab.value("[...document.links].map((link) => link.href.split('#')[0])");
    for (const link of links) {
      const isOwn = new URL(link).origin === new URL(url).origin;
      if (isOwn && !OTHERS.test(link) && !found.has(link) && (await isPage(link))) found.add(link);
    }
  }
  return found;
}

const [chromium, file, ...urls] = process.argv.slice(2);
const axe = readFileSync(file, "utf8");
const run = `axe.run().then(({ violations }) => violations.flatMap(({ id, help, nodes }) =>
  nodes.map(({ target, failureSummary }) =>
    \`\${id}: \${target}: \${failureSummary.split("\\n").slice(1).join(";") || help}\`)))`;
const browser = new Browser(chromium);
let findings = 0;
try {
  const tab = await browser.tab();
  const all = await pages(tab, urls);
  for (const [screen, metrics] of Object.entries(SCREENS)) {
    await tab("Emulation.setDeviceMetricsOverride", metrics);
    for (const scheme of ["light", "dark"]) {
      const features = [{ name: "prefers-color-scheme", value: scheme }];
      await tab("Emulation.setEmulatedMedia", { features });
      for (const url of all) {
        await tab.open(url);
        await tab.value(axe);
        for (const finding of await tab.value(run)) {
          findings += 1;
          console.log(`${new URL(url).pathname} (${screen}, ${scheme}): ${finding}`);
        }
      }
    }
  }
  console.log([...all].map((url) => `looked at ${url}`).join("\n"));
  console.log(`${all.size} pages, each light and dark, on a phone and a desktop: ${findings} findings`);
} finally {
  await browser.end();
}
process.exit(findings ? 1 : 0);
