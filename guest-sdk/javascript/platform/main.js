// Sets up the global scope of an application, and exports to the host what it calls.

import { host } from "./host.js";
import * as blob from "./blob.js";
import * as cloning from "./clone.js";
import * as encoding from "./encoding.js";
import * as events from "./events.js";
import * as fetching from "./fetch.js";
import * as headers from "./headers.js";
import * as http from "./http.js";
import * as serving from "./serve.js";
import * as streams from "./streams.js";
import * as timers from "./timers.js";
import * as url from "./url.js";
import { console, describe } from "./console.js";
import { CryptoKey, crypto } from "./crypto.js";

function define(name, value) {
  Object.defineProperty(globalThis, name, {
    value,
    configurable: true,
    enumerable: false,
    writable: true,
  });
}

const { bytesOf, encode, joined, ...encoders } = encoding;
const { multipart, parseMultipart, ...blobs } = blob;
const { turn: nextTimer, clearTimers, ...timing } = timers;
const { setUrl, ...messages } = http;
for (const module of [blobs, cloning, encoders, events, headers, messages, streams, timing, url]) {
  for (const [name, value] of Object.entries(module)) define(name, value);
}
define("clearInterval", timers.clearTimeout);
define("setImmediate", (callback, ...args) => timers.setTimeout(callback, 0, ...args));
define("clearImmediate", timers.clearTimeout);
define("console", console);
define("crypto", crypto);
define("CryptoKey", CryptoKey);
define("self", globalThis);
define("navigator", { userAgent: "wasgi" });
define("performance", {
  now: () => host.now(),
  get timeOrigin() {
    return Date.now() - host.now();
  },
  mark() {},
  measure() {},
});
define("fetch", fetching.fetch);
// The engine's own generator would give every request the numbers of the snapshot.
Math.random = function random() {
  return host.random();
};
Object.defineProperty(Math, "random", { enumerable: false });

/** The nesting of a JSON text that the interpreter's parser takes: it doesn't look at its stack. */
const MAX_NESTING = 2000;

const parse = JSON.parse;
JSON.parse = {
  parse(text, reviver) {
    const json = typeof text === "string" ? text : String(text);
    // A shorter text can't be nested as deeply.
    if (json.length > MAX_NESTING && host.nesting(json.toWellFormed()) > MAX_NESTING) {
      throw new RangeError(`JSON.parse: nested more than ${MAX_NESTING} levels deep`);
    }
    return parse(json, reviver);
  },
}.parse;
Object.defineProperty(JSON, "parse", { enumerable: false });

export function start(functions) {
  Object.assign(host, functions);
}

/**
 * Settles the responses of other hosts that are there, or else runs the next timer if it is due, and
 * returns 0. Otherwise returns how many milliseconds it is to wait for it, or -1 without a timer.
 */
export function turn() {
  return fetching.settleFetches() ? 0 : nextTimer();
}

export const { setApplication, serve, next, close, warm } = serving;
export { clearTimers, describe };
