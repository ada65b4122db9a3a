// Tests of the dashboard of `wasgi dev` in Chromium.

import fs from "node:fs";

import { assert, html, page, PATIENCE_MS, program } from "./site.mjs";

/** What must be shown as text wherever it comes from. */
const HOSTILE = "</script><img src=x onerror=alert(1)>";

/** Returns a CGI program that responds with a text after it has logged another one. */
const plain = (text) => program(`Content-Type: text/plain\n\n${text}`);

/** Opens the dashboard. Everything that a policy forbids and every dialog fails the test. */
async function open(context, site, path = "/_wasgi/") {
  const tab = await context.newPage();
  tab.setDefaultTimeout(PATIENCE_MS);
  tab.faults = [];
  tab.on("dialog", (dialog) => {
    tab.faults.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  tab.on("pageerror", (error) => tab.faults.push(String(error)));
  tab.on("console", (line) => {
    if (/Content.Security.Policy|TrustedHTML/i.test(line.text())) tab.faults.push(line.text());
  });
  await tab.goto(`${site.url}${path}`);
  await tab.waitForFunction(() => document.querySelector("#about").textContent);
  return tab;
}

const untilRequest = (tab, name) => tab.locator("#requests button", { hasText: name }).first().waitFor();
const untilDetail = (tab, text) =>
  tab.waitForFunction(
    (text) =>
      document.querySelector("#detail").open &&
      document.querySelector("#detail").textContent.includes(text),
    text,
  );
const detailText = (tab) => tab.evaluate(() => document.querySelector("#detail").textContent);

/** Returns the lines of the differences that are shown, by their marks. */
const differences = (tab) =>
  tab.evaluate(() => {
    const texts = (mark) => [...document.querySelectorAll(`.diff .${mark}`)].map((line) => line.textContent);
    return { removed: texts("removed"), added: texts("added") };
  });

const isWide = (tab) =>
  tab.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);

export const dashboardTests = {
  async "the dashboard shows handlers, traffic and requests, and follows"({ context, site, look }) {
    site.write("handlers/shop.wat", plain("one"));
    site.write("handlers/users/[id].wat", plain("a user"));
    site.write("html/index.html", page("<h1>home</h1>"));
    site.write("wasgi.toml", '[handlers.shop]\nenvironment = { CURRENCY = "EUR" }\n');
    await site.start();
    const tab = await open(context, site);
    await tab.evaluate(() => (window.isMarked = true));
    const table = () => tab.evaluate(() => document.querySelector("#handlers").textContent);
    await tab.waitForFunction(() => document.querySelectorAll("#handlers tr").length === 2);
    for (const part of ["/shop", "shop.wat", "CURRENCY", "/users/[id]", "compiled"]) {
      assert((await table()).includes(part), `${part} is not in ${await table()}`);
    }
    for (const path of ["/shop", "/users/7?a=b", "/", "/nothing"]) await fetch(`${site.url}${path}`);
    for (const path of ["/shop", "/users/7?a=b", "/nothing"]) await untilRequest(tab, path);
    await tab.waitForFunction(() => document.querySelector("#total").textContent === "4");
    const version = await table();
    site.write("handlers/shop.wat", plain("two"));
    await tab.waitForFunction(
      (version) => document.querySelector("#handlers").textContent !== version,
      version,
    );
    site.write("handlers/broken.wat", "(module\n  (nonsense))");
    await tab.locator("#failures", { hasText: "could not be loaded" }).waitFor();
    await look(tab, "dashboard");
    await tab.setViewportSize({ width: 360, height: 740 });
    assert(!(await isWide(tab)), "the page is wider than a phone");
    fs.unlinkSync(site.path("handlers/broken.wat"));
    await tab.waitForFunction(() => document.querySelector("#now").hidden);
    assert(await tab.evaluate(() => window.isMarked), "the dashboard was reloaded");
    assert(!tab.faults.length, tab.faults.join("\n"));
  },

  async "a request is replayed against the current version, and the answers are compared"({ context, site, look }) {
    const json = (price) => program(
      `Content-Type: application/json\nX-Price: ${price}\n\n{"name":"tea","price":${price},"tags":["a","b"]}`,
    );
    site.write("handlers/shop.wat", json(3));
    await site.start();
    await fetch(`${site.url}/shop/tea`, { method: "POST", body: "amount=2", headers: { "X-Own": "yes" } });
    const tab = await open(context, site);
    await untilRequest(tab, "POST /shop/tea");
    await tab.click("#requests button");
    await untilDetail(tab, "amount=2");
    const text = await detailText(tab);
    for (const part of ["X-Own: yes", '"price":3', "X-Price: 3", "200"]) {
      assert(text.includes(part), `${part} is not in ${text}`);
    }
    await look(tab, "dashboard-request");
    await tab.click("#replay");
    await untilDetail(tab, "Compared with request 1");
    const same = await differences(tab);
    assert(!same.removed.length && !same.added.length, JSON.stringify(same));
    const loaded = tab.evaluate(() => new Promise((resolve) => {
      wasgiDev.subscribers.add((name) => name === "loaded" && resolve());
    }));
    site.write("handlers/shop.wat", json(4));
    await loaded;
    await tab.click("#replay");
    await untilDetail(tab, "Compared with request 2");
    const now = await differences(tab);
    const expected = {
      removed: ["- X-Price: 3", '-   "price": 3,'],
      added: ["+ X-Price: 4", '+   "price": 4,'],
    };
    assert(JSON.stringify(now) === JSON.stringify(expected), JSON.stringify(now));
    await look(tab, "dashboard-replay");
    await tab.setViewportSize({ width: 360, height: 740 });
    assert(!(await isWide(tab)), "the page is wider than a phone");
    assert(!tab.faults.length, tab.faults.join("\n"));
  },

  async "what can not be replayed says why"({ context, site }) {
    site.write("handlers/a.wat", plain("a"));
    await site.start();
    await fetch(`${site.url}/a`, { method: "POST", body: "x".repeat(200_000) });
    const tab = await open(context, site);
    await untilRequest(tab, "POST /a");
    await tab.click("#requests button");
    await untilDetail(tab, "It can't be replayed");
    assert(await tab.isDisabled("#replay"), "it can be replayed");
  },

  async "the dashboard is used by keyboard"({ context, site }) {
    site.write("handlers/a.wat", plain("a"));
    await site.start();
    for (const path of ["/a/1", "/a/2", "/a/3"]) await fetch(`${site.url}${path}`);
    const tab = await open(context, site);
    await untilRequest(tab, "/a/3");
    const focused = () => tab.evaluate(() => document.activeElement.textContent);
    await tab.focus("#filter");
    await tab.keyboard.press("Tab");
    assert((await focused()) === "GET /a/3", await focused());
    await tab.keyboard.press("ArrowDown");
    assert((await focused()) === "GET /a/2", await focused());
    await tab.keyboard.press("Enter");
    await untilDetail(tab, "GET /a/2");
    // A new request doesn't take the focus.
    await fetch(`${site.url}/a/4`);
    await untilRequest(tab, "/a/4");
    await tab.keyboard.press("Tab");
    assert((await focused()) === "Replay", await focused());
    await tab.keyboard.press("Enter");
    await untilDetail(tab, "Compared with request 2");
    await tab.keyboard.press("Escape");
    await tab.waitForFunction(() => !document.querySelector("#detail").open);
    assert((await focused()) === "GET /a/2", await focused());
    await tab.fill("#filter", "a/1");
    await tab.waitForFunction(
      () => [...document.querySelectorAll("#requests tr")].filter((row) => !row.hidden).length === 1,
    );
  },

  async "texts of clients and handlers are shown as text"({ context, site }) {
    const logs = program(`Content-Type: text/html\nX: ${HOSTILE}\n\n${HOSTILE}`);
    site.write("handlers/echo.wat", logs);
    site.write("handlers/trap.wat", program(`${HOSTILE}\n`, true));
    site.write(`handlers/a<b>.wat`, "(broken <img src=x onerror=alert(1)>");
    await site.start();
    const target = "/echo/<img%20src=x%20onerror=alert(1)>?</script><script>alert(1)</script>";
    await site.raw(
      `POST ${target} HTTP/1.1\r\nHost: localhost\r\nX: ${HOSTILE}\r\nContent-Length: ${HOSTILE.length}\r\n` +
        `Connection: close\r\n\r\n${HOSTILE}`,
    );
    await fetch(`${site.url}/trap`);
    const tab = await open(context, site);
    await untilRequest(tab, "/echo/<img");
    for (const name of ["/echo/<img", "/trap"]) {
      await tab.locator("#requests button", { hasText: name }).first().click();
      await untilDetail(tab, HOSTILE);
      await tab.click("#replay");
      await untilDetail(tab, "Compared with request");
      await tab.click("#close");
    }
    await tab.locator("#failures li").first().waitFor();
    const made = await tab.evaluate(() => document.querySelectorAll("img, script:not([src]), b b, #requests script").length);
    assert(made === 0, "a text became an element");
    assert(!tab.faults.length, tab.faults.join("\n"));
  },

  async "builds in progress are shown with their time"({ context, site }) {
    site.write("handlers/slow/Makefile", `all:\n\techo 'compiling a' >&2; sleep 3; cp done.wasm $(OUT)\n`);
    await site.start();
    const tab = await open(context, site);
    await tab.locator("#failures", { hasText: "slow" }).waitFor();
    site.write("handlers/slow/other.c", "// changed\n");
    await tab.locator("#running", { hasText: "slow is being built, for" }).waitFor();
    assert(!tab.faults.length, tab.faults.join("\n"));
  },

  async "the dashboard starts anew after a restart of the server"({ context, site }) {
    site.write("html/index.html", html("<h1>a</h1>"));
    await site.start();
    for (let number = 0; number < 3; number += 1) await fetch(`${site.url}/`);
    const tab = await open(context, site);
    await tab.waitForFunction(() => document.querySelectorAll("#requests tr").length === 3);
    await site.stop();
    await site.start();
    await tab.waitForFunction(() => document.querySelector("#total")?.textContent === "0");
    assert((await tab.locator("#requests tr").count()) === 0, "requests of another run");
  },
};
