// Measures how long a saved page or style takes to be seen with `wasgi dev`, with Vite and with
// live-server: the same files, the same Chromium, in turns.

import { spawn } from "node:child_process";
import fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { page, PATIENCE_MS, Site } from "./site.mjs";

/** The time before each save, in milliseconds: what the one before has caused is over. */
const PAUSE_MS = 400;

/** Runs in each document: tells what it shows, in the frame in which that changes. */
function tellWhatIsShown() {
  let last = null;
  const look = () => {
    const title = document.querySelector("h1");
    const shown = title && `${title.textContent} ${getComputedStyle(title).width}`;
    if (shown && shown !== last) {
      last = shown;
      window.tell(shown, performance.timeOrigin + performance.now());
    }
    requestAnimationFrame(look);
  };
  look();
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A server of a folder of pages that is a program in Node. */
class Other {
  folder = fs.mkdtempSync(join(tmpdir(), "other-"));
  #arguments;
  #server = null;

  constructor(program) {
    this.#arguments = program;
  }

  write(name, text) {
    fs.writeFileSync(join(this.folder, name), text);
  }

  async start() {
    const port = await freePort();
    const options = { cwd: this.folder, stdio: "ignore" };
    this.#server = spawn(process.execPath, this.#arguments(this.folder, port), options);
    this.url = `http://127.0.0.1:${port}`;
    const until = Date.now() + PATIENCE_MS;
    while (!(await fetch(this.url).then((response) => response.ok, () => false))) {
      if (Date.now() > until) throw new Error(`${this.url} does not answer`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async remove() {
    const ended = new Promise((resolve) => this.#server.once("exit", resolve));
    this.#server.kill("SIGKILL");
    await ended;
    fs.rmSync(this.folder, { recursive: true });
  }
}

/** `wasgi dev`, with the same functions. */
class Wasgi extends Site {
  write(name, text) {
    super.write(`html/${name}`, text);
  }
}

const median = (list) => list.sort((one, other) => one - other)[Math.floor(list.length / 2)];

/** Opens a server's page. Returns a function that saves a file and returns the time until it is seen. */
async function follow(context, server) {
  const seen = new Map();
  let wake = () => {};
  const tab = await context.newPage();
  await tab.exposeFunction("tell", (shown, at) => {
    seen.set(shown, at);
    wake();
  });
  await tab.addInitScript(tellWhatIsShown);
  await tab.goto(`${server.url}/`);
  return async (name, text, shown) => {
    // A tab behind another one is drawn seldom.
    await tab.bringToFront();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    const before = performance.timeOrigin + performance.now();
    server.write(name, text);
    const until = Date.now() + PATIENCE_MS;
    while (!seen.has(shown)) {
      if (Date.now() > until) throw new Error(`${server.url} never shows ${shown}: ${[...seen.keys()]}`);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, 1000);
      });
    }
    return seen.get(shown) - before;
  };
}

/** Measures all servers. `modules` is the folder with the other servers' packages. */
export async function compare(browser, wasgiProgram, modules, saves) {
  const bin = (path) => join(modules, path);
  const servers = {
    "wasgi dev": new Wasgi(wasgiProgram),
    vite: new Other((folder, port) => [
      bin("vite/bin/vite.js"), folder, "--host", "127.0.0.1", "--port", port, "--strictPort",
    ]),
    "live-server": new Other((folder, port) => [
      bin("live-server/live-server.js"), folder, "--host=127.0.0.1", `--port=${port}`, "--no-browser", "--quiet",
    ]),
  };
  const context = await browser.newContext();
  const style = (width) => `h1 { width: ${width}px }\n`;
  const text = (title) => page(`<h1>${title}</h1>`, '<link rel="stylesheet" href="/style.css">');
  try {
    const save = {};
    for (const [name, server] of Object.entries(servers)) {
      server.write("style.css", style(100));
      server.write("index.html", text("0"));
      await server.start();
      save[name] = await follow(context, server);
    }
    const times = { style: {}, page: {} };
    // The first save of each is not counted: it may include work that is done once.
    for (let count = 0; count <= saves; count += 1) {
      for (const name of Object.keys(servers)) {
        const width = 101 + count;
        const [old, now] = [`${count}`, `${count + 1}`];
        const first = await save[name]("style.css", style(width), `${old} ${width}px`);
        const second = await save[name]("index.html", text(now), `${now} ${width}px`);
        if (count === 0) continue;
        (times.style[name] ??= []).push(first);
        (times.page[name] ??= []).push(second);
      }
    }
    for (const [what, all] of Object.entries(times)) {
      for (const [name, list] of Object.entries(all)) {
        console.log(`${what}, ${name}: ${median(list).toFixed(0)} ms from the save to the page`);
      }
    }
  } finally {
    await context.close();
    for (const server of Object.values(servers)) await server.remove().catch((error) => console.log(String(error)));
  }
}
