// Checks in Chromium what `wasgi dev` does in a browser, and measures how long a saved file takes to
// be seen.
//
//     node dev.mjs CHROMIUM WASGI [--axe AXE.JS] [--screenshots DIR] [--measure] [--others DIR]
//                  [FILTER]
//
// With `--others`, only compares with Vite and live-server, whose packages are in that folder.
// Needs `playwright-core` on NODE_PATH or in a folder above. Prints a line for each test, and exits
// with 1 if one fails.

import { spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { dashboardTests } from "./dashboard.mjs";
import { compare } from "./others.mjs";
import { assert, html, page, PATIENCE_MS, program, Site } from "./site.mjs";

const require = createRequire(join(process.cwd(), "index.js"));
const { chromium } = require("playwright-core");

/** The number of saves of each measurement. */
const SAVES = 10;

const options = process.argv.slice(2);
const option = (name) => {
  const at = options.indexOf(name);
  return at < 0 ? null : options.splice(at, 2)[1];
};
const flag = (name) => {
  const at = options.indexOf(name);
  if (at >= 0) options.splice(at, 1);
  return at >= 0;
};
const axe = option("--axe");
const screenshots = option("--screenshots");
const others = option("--others");
const measures = flag("--measure");
const [chromiumProgram, wasgiProgram, filter = ""] = options;

const overlayText = (tab) =>
  tab.evaluate(() => document.querySelector("[data-wasgi-dev]")?.shadowRoot?.textContent ?? "");
const untilOverlay = (tab, text) =>
  tab.waitForFunction(
    (text) =>
      document.querySelector("[data-wasgi-dev]")?.shadowRoot?.textContent.includes(text),
    text,
  );
const untilNoOverlay = (tab) =>
  tab.waitForFunction(() => !document.querySelector("[data-wasgi-dev]"));
const untilText = (tab, selector, text) =>
  tab.waitForFunction(
    ([selector, text]) => document.querySelector(selector)?.textContent === text,
    [selector, text],
  );
const colourOf = (tab, selector) =>
  tab.evaluate((selector) => getComputedStyle(document.querySelector(selector)).color, selector);

/** Marks the page, so that a reload is noticed. */
const mark = (tab) => tab.evaluate(() => (window.isMarked = true));
const isMarked = (tab) => tab.evaluate(() => window.isMarked === true);

/** Opens a page and waits until it follows. */
async function open(context, url) {
  const tab = await context.newPage();
  tab.setDefaultTimeout(PATIENCE_MS);
  const stream = tab.waitForResponse((response) => response.url().includes("/_wasgi/events"));
  await tab.goto(url);
  await stream;
  return tab;
}

const tests = {
  async "a style is swapped without a reload"({ context, site }) {
    site.write("html/style.css", "h1 { color: rgb(1, 2, 3) }");
    site.write("html/index.html", page("<h1>a</h1>", '<link rel="stylesheet" href="style.css">'));
    await site.start();
    const tab = await open(context, `${site.url}/`);
    await mark(tab);
    for (const colour of ["rgb(4, 5, 6)", "rgb(7, 8, 9)"]) {
      site.write("html/style.css", `h1 { color: ${colour} }`);
      await tab.waitForFunction(
        (colour) => getComputedStyle(document.querySelector("h1")).color === colour,
        colour,
      );
    }
    await tab.waitForFunction(() => document.querySelectorAll("link").length === 1);
    assert(await isMarked(tab), "the page was reloaded");
  },

  async "a half-filled form, focus and scroll positions survive a change"({ context, site }) {
    const form = (title, more) =>
      page(
        `<h1>${title}</h1><form><input id="a" name="a"><textarea name="b">old</textarea>` +
          `<select name="c"><option>x<option>y</select><input type="checkbox" name="d"></form>` +
          `${more}<div id="list"></div><p style="height: 5000px">long</p>`,
        `<script>addEventListener("DOMContentLoaded", () => { list.textContent = "by script" })</script>`,
      );
    site.write("html/index.html", form("one", ""));
    await site.start();
    const tab = await open(context, `${site.url}/`);
    await tab.fill("[name=b]", "half");
    await tab.selectOption("[name=c]", "y");
    await tab.check("[name=d]");
    await tab.fill("#a", "Ada Love");
    await tab.evaluate(() => {
      document.querySelector("#a").setSelectionRange(2, 4);
      scrollTo({ top: 700, behavior: "instant" });
    });
    await mark(tab);
    await tab.waitForTimeout(300);
    site.write("html/index.html", form("two", "<p id=new>new</p>"));
    await untilText(tab, "h1", "two");
    const state = await tab.evaluate(() => ({
      a: document.querySelector("#a").value,
      b: document.querySelector("[name=b]").value,
      c: document.querySelector("[name=c]").value,
      d: document.querySelector("[name=d]").checked,
      focus: document.activeElement.id,
      selection: [document.activeElement.selectionStart, document.activeElement.selectionEnd],
      top: document.scrollingElement.scrollTop,
      list: document.querySelector("#list").textContent,
      isNew: document.querySelector("#new") !== null,
    }));
    const expected = {
      a: "Ada Love", b: "half", c: "y", d: true, focus: "a", selection: [2, 4], top: 700,
      list: "by script", isNew: true,
    };
    const [is, should] = [JSON.stringify(state), JSON.stringify(expected)];
    assert(is === should, `${is} instead of ${should}`);
    assert(await isMarked(tab), "the page was reloaded");
  },

  async "a changed script reloads the page"({ context, site }) {
    const with_ = (text) => page("<p></p>", `<script>window.value = "${text}"</script>`);
    site.write("html/index.html", with_("one"));
    site.write("html/app.js", 'document.querySelector("p").textContent = "1"');
    site.write("html/app.html", page('<p></p><script src="app.js"></script>'));
    await site.start();
    const [inline, linked] = [await open(context, `${site.url}/`), await open(context, `${site.url}/app.html`)];
    site.write("html/index.html", with_("two"));
    await inline.waitForFunction(() => window.value === "two");
    site.write("html/app.js", 'document.querySelector("p").textContent = "2"');
    await untilText(linked, "p", "2");
  },

  async "several tabs and frames follow"({ context, site }) {
    site.write("html/frame.html", page("<p>one</p>"));
    site.write("html/index.html", page('<iframe src="frame.html"></iframe>'.repeat(8)));
    await site.start();
    const tabs = [await open(context, `${site.url}/`), await open(context, `${site.url}/frame.html`)];
    // Eight frames with a stream each would use up the connections of the browser.
    site.write("html/frame.html", page("<p>two</p>"));
    await untilText(tabs[1], "p", "two");
    for (const frame of tabs[0].frames().slice(1)) {
      await frame.waitForFunction(() => document.querySelector("p")?.textContent === "two");
    }
  },

  async "a page follows under a strict policy"({ context, site }) {
    const policy = (text) => `Content-Security-Policy: ${text}\n`;
    const strict = policy("default-src 'none'; style-src 'self'; require-trusted-types-for 'script'");
    site.write("handlers/strict.wat", program(strict + html("<p>one</p>")));
    const nonce = policy("default-src 'self'; script-src 'nonce-abc' 'strict-dynamic'");
    site.write("handlers/nonce.wat", program(nonce + html("<p>one</p>")));
    await site.start();
    const tabs = {
      strict: await open(context, `${site.url}/strict`),
      nonce: await open(context, `${site.url}/nonce`),
    };
    const errors = [];
    for (const tab of Object.values(tabs)) tab.on("console", (line) => errors.push(line.text()));
    site.write("handlers/strict.wat", program(strict + html("<p>two</p>")));
    site.write("handlers/nonce.wat", program(nonce + html("<p>two</p>")));
    for (const tab of Object.values(tabs)) await untilText(tab, "p", "two");
    site.write("handlers/nonce.wat", "(broken");
    await untilOverlay(tabs.nonce, "could not be loaded");
    const shown = await tabs.nonce.evaluate(
      () => getComputedStyle(document.querySelector("[data-wasgi-dev]").shadowRoot.querySelector(".over")).position,
    );
    assert(shown === "fixed", "the overlay has no style");
  },

  async "a load that fails is shown over open pages until it succeeds"({ context, site }) {
    site.write("handlers/shop.wat", program(html("<h1>Shop</h1><p>Everything must go.</p>")));
    await site.start();
    const tab = await open(context, `${site.url}/shop`);
    site.write("handlers/shop.wat", '(module\n  (func (export "_start")\n    i32.nonsense\n    drop))\n');
    await untilOverlay(tab, "could not be loaded");
    const text = await overlayText(tab);
    assert(text.includes("shop.wat:3"), text);
    await look(tab, "overlay");
    // A page that is opened later shows it as well.
    const later = await open(context, `${site.url}/shop`);
    await untilOverlay(later, "could not be loaded");
    site.write("handlers/shop.wat", program(html("<h1>Open</h1>")));
    for (const one of [tab, later]) {
      await untilNoOverlay(one);
      await untilText(one, "h1", "Open");
    }
  },

  async "the overlay is dismissed by keyboard, and doesn't take the focus"({ context, site }) {
    site.write("html/index.html", page('<label>Name <input id="a"></label>'));
    site.write("handlers/a.wat", program(html("a")));
    await site.start();
    const tab = await open(context, `${site.url}/`);
    await tab.focus("#a");
    site.write("handlers/a.wat", "(broken");
    await untilOverlay(tab, "could not be loaded");
    assert((await tab.evaluate(() => document.activeElement.id)) === "a", "the focus has moved");
    await tab.keyboard.press("Escape");
    await untilNoOverlay(tab);
  },

  async "a failed request is explained on its page, which follows the repair"({ context, site }) {
    site.write("handlers/trap.wat", program("about to fail\n", true));
    await site.start();
    const tab = await open(context, `${site.url}/trap?q=<b>`);
    const text = () => tab.evaluate(() => document.querySelector("main").shadowRoot.textContent);
    const shown = await text();
    for (const part of ["trap trapped", "unreachable", "about to fail", "GET /trap?q=%3Cb%3E"]) {
      assert(shown.includes(part), `${part} is not in ${shown}`);
    }
    assert((await tab.evaluate(() => document.querySelector("b"))) === null, "HTML of a request");
    await look(tab, "error-page");
    site.write("handlers/trap.wat", program(html("<h1>repaired</h1>")));
    await untilText(tab, "h1", "repaired");
  },

  async "a request that a page sends and that fails is shown over it"({ context, site }) {
    site.write("html/index.html", page("<h1>a</h1>"));
    site.write("handlers/api.wat", program("</script><img src=x onerror=alert(1)>\n", true));
    await site.start();
    const tab = await open(context, `${site.url}/`);
    const lines = [];
    tab.on("console", (line) => lines.push(line.text()));
    tab.on("dialog", () => lines.push("a dialog"));
    await tab.evaluate(() => fetch("/api").then(() => null));
    await untilOverlay(tab, "</script><img");
    assert(!lines.includes("a dialog"), "a guest's line ran as a script");
    assert(lines.some((line) => line.endsWith("api </script><img src=x onerror=alert(1)>")), lines.join("\n"));
  },

  async "pages reconnect after a restart, and reload"({ context, site }) {
    site.write("html/index.html", page("<h1>one</h1>"));
    await site.start();
    const tab = await open(context, `${site.url}/`);
    await mark(tab);
    await site.stop();
    site.write("html/index.html", page("<h1>two</h1>"));
    await site.start();
    await untilText(tab, "h1", "two");
  },

  async "twenty rapid saves end in the last one"({ context, site }) {
    site.write("html/index.html", page("<h1>0</h1>"));
    site.write("handlers/a.wat", program(html("<h1>0</h1>")));
    await site.start();
    const tabs = [await open(context, `${site.url}/`), await open(context, `${site.url}/a`)];
    for (let save = 1; save <= 20; save += 1) {
      site.write("html/index.html", page(`<h1>${save}</h1>`));
      site.write("handlers/a.wat", program(html(`<h1>${save}</h1>`)));
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    for (const tab of tabs) await untilText(tab, "h1", "20");
  },

  async "a save of an editor is seen once"({ context, site }) {
    site.write("html/index.html", page("<h1>0</h1>"));
    await site.start();
    const tab = await open(context, `${site.url}/`);
    // The first change may be that the folder is now watched.
    site.write("html/index.html", page("<h1>1</h1>"));
    await untilText(tab, "h1", "1");
    await tab.waitForTimeout(700);
    await tab.evaluate(() => {
      window.changes = 0;
      wasgiDev.subscribers.add((name) => (window.changes += name === "changed" ? 1 : 0));
    });
    const file = site.path("html/index.html");
    const saves = {
      vim(text) {
        fs.renameSync(file, `${file}~`);
        fs.writeFileSync(file, text);
        fs.chmodSync(file, 0o644);
        fs.unlinkSync(`${file}~`);
      },
      code(text) {
        const descriptor = fs.openSync(file, "r+");
        fs.ftruncateSync(descriptor);
        fs.writeSync(descriptor, text);
        fs.fsyncSync(descriptor);
        fs.closeSync(descriptor);
      },
      sed(text) {
        fs.writeFileSync(site.path("html/sedAbCdEf"), text);
        fs.renameSync(site.path("html/sedAbCdEf"), file);
      },
    };
    let count = 0;
    for (const [name, save] of Object.entries(saves)) {
      save(page(`<h1>${name}</h1>`));
      await untilText(tab, "h1", name);
      // Further changes would arrive by now.
      await tab.waitForTimeout(700);
      count += 1;
      const seen = await tab.evaluate(() => window.changes);
      assert(seen === count, `${name} was seen ${seen - count + 1} times`);
    }
  },

  async "a checkout of twenty handlers and a folder that is moved away and back"({ context, site }) {
    for (let number = 0; number < 20; number += 1) {
      site.write(`handlers/h${number}.wat`, program(html("<h1>main</h1>")));
    }
    site.write("html/index.html", page("<h1>home</h1>"));
    await site.start();
    const tab = await open(context, `${site.url}/h19`);
    const home = await open(context, `${site.url}/`);
    // Nothing that is requested meanwhile fails with a connection error.
    let isOver = false;
    const failures = [];
    const asking = (async () => {
      while (!isOver) {
        await fetch(`${site.url}/h7`).then((response) => response.text()).catch((error) => failures.push(error));
      }
    })();
    for (let number = 0; number < 20; number += 1) {
      const file = site.path(`handlers/h${number}.wat`);
      fs.unlinkSync(file);
      fs.writeFileSync(file, program(html("<h1>branch</h1>")));
    }
    await untilText(tab, "h1", "branch");
    for (let number = 0; number < 20; number += 1) {
      const answer = async () => (await fetch(`${site.url}/h${number}`)).text();
      const until = Date.now() + PATIENCE_MS;
      while (!(await answer()).includes("branch")) assert(Date.now() < until, `h${number}`);
    }
    for (const folder of ["html", "handlers"]) {
      fs.renameSync(site.path(folder), site.path("away"));
      await new Promise((resolve) => setTimeout(resolve, 500));
      fs.renameSync(site.path("away"), site.path(folder));
    }
    site.write("html/index.html", page("<h1>back</h1>"));
    site.write("handlers/h19.wat", program(html("<h1>back</h1>")));
    await untilText(home, "h1", "back");
    await untilText(tab, "h1", "back");
    isOver = true;
    await asking;
    assert(!failures.length, String(failures[0]));
  },
};

/** Takes screenshots of the page, light and dark, on a desktop and on a phone, and checks it with axe. */
async function look(tab, name) {
  const screens = { desktop: { width: 1280, height: 800 }, phone: { width: 360, height: 800 } };
  for (const colorScheme of ["light", "dark"]) {
    await tab.emulateMedia({ colorScheme });
    for (const [screen, size] of Object.entries(screens)) {
      await tab.setViewportSize(size);
      if (screenshots) await tab.screenshot({ path: join(screenshots, `${name}-${colorScheme}-${screen}.png`) });
      if (!axe) continue;
      await tab.evaluate(fs.readFileSync(axe, "utf8"));
      const { violations } = await tab.evaluate(() => axe.run({ resultTypes: ["violations"] }));
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      const shown = serious.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.html).join(" ")}`);
      assert(!serious.length, `${name}, ${colorScheme}, ${screen}: ${shown.join("; ")}`);
    }
  }
  await tab.setViewportSize(screens.desktop);
}

/** Returns the median times from a save to what it changes, in milliseconds. */
async function measured(tab, save, isSeen) {
  const times = [];
  const steps = { told: [], drawn: [] };
  for (let count = 1; count <= SAVES; count += 1) {
    await tab.evaluate(
      ([count, isSeen]) => {
        const test = new Function("count", `return ${isSeen}`);
        window.seen = new Promise((resolve) => {
          const told = { at: 0 };
          window.wasgiDev?.subscribers.add((name) => {
            if (["changed", "loaded"].includes(name)) told.at ||= performance.timeOrigin + performance.now();
          });
          const check = () => {
            if (test(count)) resolve([told.at, performance.timeOrigin + performance.now()]);
            else requestAnimationFrame(check);
          };
          check();
        });
      },
      [count, isSeen],
    );
    await new Promise((resolve) => setTimeout(resolve, 400));
    const before = performance.timeOrigin + performance.now();
    save(count);
    const [told, at] = await tab.evaluate(() => window.seen);
    times.push(at - before);
    steps.told.push(told - before);
    steps.drawn.push(at - told);
  }
  const median = (list) => list.sort((one, other) => one - other)[Math.floor(list.length / 2)];
  return { all: median(times), told: median(steps.told), drawn: median(steps.drawn) };
}

const text = '(count) => document.querySelector("h1")?.textContent === String(count)';
const measurements = {
  async style({ context, site }) {
    site.write("html/style.css", "h1 { width: 100px }");
    site.write("html/index.html", page("<h1>a</h1>", '<link rel="stylesheet" href="style.css">'));
    await site.start();
    const tab = await open(context, `${site.url}/`);
    const save = (count) => site.write("html/style.css", `h1 { width: ${100 + count}px }`);
    return measured(tab, save, 'getComputedStyle(document.querySelector("h1")).width === `${100 + count}px`');
  },
  async page({ context, site }) {
    const write = (count) => site.write("html/index.html", page(`<h1>${count}</h1>`));
    write(0);
    await site.start();
    return measured(await open(context, `${site.url}/`), write, `(${text})(count)`);
  },
  async wat({ context, site }) {
    const write = (count) => site.write("handlers/a.wat", program(html(`<h1>${count}</h1>`)));
    write(0);
    await site.start();
    return measured(await open(context, `${site.url}/a`), write, `(${text})(count)`);
  },
  async js({ context, site }) {
    const write = (count) =>
      site.write(
        "handlers/a.js",
        `export default { fetch: () => new Response(${JSON.stringify(page(`<h1>${count}</h1>`))}, ` +
          `{ headers: { "Content-Type": "text/html" } }) };\n`,
      );
    write(0);
    await site.start();
    return measured(await open(context, `${site.url}/a`), write, `(${text})(count)`);
  },
  async python({ context, site }) {
    const write = (count) =>
      site.write(
        "handlers/a.py",
        `def application(environ, start_response):\n` +
          `    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])\n` +
          `    return [b"""${page(`<h1>${count}</h1>`)}"""]\n`,
      );
    write(0);
    await site.start();
    return measured(await open(context, `${site.url}/a`), write, `(${text})(count)`);
  },
  async flask({ context, site }) {
    const write = (count) =>
      site.write(
        "handlers/a/app.py",
        `from flask import Flask\n\napp = Flask(__name__)\n\n\n@app.get("/")\ndef home():\n` +
          `    return """${page(`<h1>${count}</h1>`)}"""\n`,
      );
    write(0);
    site.write("handlers/a/requirements.txt", "flask\n");
    const installing = spawn(wasgiProgram, ["deps", site.path("handlers/a")], { stdio: "ignore" });
    await new Promise((resolve) => installing.on("exit", resolve));
    await site.start();
    return measured(await open(context, `${site.url}/a/`), write, `(${text})(count)`);
  },
};

const browser = await chromium.launch({ executablePath: chromiumProgram, args: ["--no-sandbox"] });
if (others) {
  await compare(browser, wasgiProgram, others, SAVES);
  await browser.close();
  process.exit(0);
}
let failed = 0;
for (const [name, run] of Object.entries(measures ? measurements : { ...tests, ...dashboardTests })) {
  if (!name.includes(filter)) continue;
  const context = await browser.newContext();
  const site = new Site(wasgiProgram);
  let timer;
  try {
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("takes too long")), 3 * PATIENCE_MS);
    });
    const result = await Promise.race([run({ context, site, look }), late]);
    if (measures) {
      const [all, told, drawn] = [result.all, result.told, result.drawn].map((ms) => ms.toFixed(0));
      console.log(`${name}: ${all} ms from the save to the page (event after ${told}, drawn ${drawn} later)`);
    } else {
      console.log(`ok: ${name}`);
    }
  } catch (error) {
    failed += 1;
    console.log(`FAILED: ${name}: ${error.message}\n${site.log}`);
  }
  clearTimeout(timer);
  await context.close();
  await site.remove().catch((error) => console.log(`${name}: ${error.message}`));
}
await browser.close();
process.exit(failed ? 1 : 0);
