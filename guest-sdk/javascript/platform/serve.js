// Handles a request with the application: from the host's variables to the parts of a response.

import { host } from "./host.js";
import { AbortController } from "./events.js";
import { Headers } from "./headers.js";
import { Request, Response } from "./http.js";
import { bytesOf } from "./encoding.js";
import { takeContent } from "./body.js";
import { clearFetches } from "./fetch.js";
import { clearTimers } from "./timers.js";

/** Fields that concern the connection. The server sets them. */
const OF_CONNECTION = ["connection", "keep-alive", "transfer-encoding", "upgrade"];

/** The application: an object with `fetch`, or a function. */
let application = null;

/** The request in progress, or null while the application is loaded. */
let current = null;

/** Takes the application from the main module's exports. Returns why it is none, if so. */
export function setApplication(exports) {
  const main = exports.default;
  if (main === undefined) {
    const names = Object.keys(exports).join(", ");
    return `it has no default export${names ? ` (it exports ${names})` : ""}: ` +
      "write `export default { fetch(request) { … } }`";
  }
  if (typeof main === "function") {
    application = { fetch: main };
  } else if (typeof main?.fetch === "function") {
    application = main;
  } else {
    return "its default export has no function `fetch`";
  }
  return null;
}

class ServerRequest extends Request {
  #headers = null;
  #url = null;
  #method;
  #signal;

  constructor(signal, hasBody) {
    super("http://localhost/");
    this.#method = host.variable("REQUEST_METHOD");
    this.#signal = signal;
    if (hasBody) this.setHostBody();
  }

  get method() {
    return this.#method;
  }

  get url() {
    this.#url ??= requestUrl();
    return this.#url;
  }

  get headers() {
    this.#headers ??= requestHeaders();
    return this.#headers;
  }

  get signal() {
    return this.#signal;
  }
}

function requestUrl() {
  const target = host.variable("REQUEST_URI") || "/";
  const scheme = host.variable("wsgi.url_scheme");
  const authority = host.variable("HTTP_HOST") || host.variable("SERVER_NAME");
  const path = target.startsWith("/") ? target : `/${target}`;
  const parts = host.parseUrl(`${scheme}://${authority}${path}`, "");
  // A Host field that is no host: the path counts.
  return (parts ?? host.parseUrl(`${scheme}://localhost${path}`, ""))?.[0] ?? "http://localhost/";
}

function requestHeaders() {
  const headers = new Headers();
  const variables = host.variables();
  for (let at = 0; at < variables.length; at += 2) {
    const name = variables[at];
    let field = null;
    if (name.startsWith("HTTP_")) field = name.slice(5);
    else if (name === "CONTENT_TYPE" || name === "CONTENT_LENGTH") field = name;
    if (field) headers.append(field.replaceAll("_", "-"), variables[at + 1]);
  }
  return headers;
}

function parameters() {
  const arguments_ = host.variable("wsgiorg.routing_args");
  return arguments_ ? JSON.parse(host.utf8(arguments_))[1] : {};
}

/** The third argument of `fetch`. */
class Context {
  #waits = [];

  static waits(context) {
    return context.#waits;
  }

  waitUntil(promise) {
    this.#waits.push(promise);
  }

  passThroughOnException() {}

  /** The values of the route's `[name]` segments. */
  get params() {
    return current ? parameters() : {};
  }

  /** The part of the path that belongs to the handler's route. */
  get basePath() {
    return current ? host.utf8(host.variable("SCRIPT_NAME") ?? "") : "";
  }
}

const { waits } = Context;
delete Context.waits;

/** Starts a request. The promise resolves to a response's parts. */
export async function serve() {
  clearTimers();
  clearFetches();
  const abort = new AbortController();
  const length = host.variable("CONTENT_LENGTH");
  const hasBody = length ? length !== "0" : !["GET", "HEAD"].includes(host.variable("REQUEST_METHOD"));
  const context = new Context();
  current = { abort, context, reader: null };
  const request = new ServerRequest(abort.signal, hasBody);
  const response = await application.fetch(request, granted(), context);
  if (!(response instanceof Response)) {
    throw new TypeError(`fetch returned no Response, but ${kindOf(response)}`);
  }
  if (response.status === 0) throw new TypeError("fetch returned Response.error()");
  return partsOf(response);
}

/** The second argument of `fetch`: the variables that are granted to the handler. */
function granted() {
  const texts = host.granted();
  const pairs = [];
  for (let at = 0; at < texts.length; at += 2) pairs.push([texts[at], texts[at + 1]]);
  return Object.fromEntries(pairs);
}

function kindOf(value) {
  if (value === null || value === undefined) return String(value);
  return typeof value === "object" ? `a ${value.constructor?.name ?? "object"}` : `a ${typeof value}`;
}

function partsOf(response) {
  const fields = [];
  for (const [name, value] of response.headers) {
    if (!OF_CONNECTION.includes(name)) fields.push(name, value);
  }
  const content = takeContent(response);
  const parts = { status: response.status, reason: response.statusText, fields };
  if (content.text !== undefined) parts.text = content.text.toWellFormed();
  else if (content.bytes) parts.bytes = content.bytes;
  else if (content.isOfHost) parts.bytes = host.readAll();
  else current.reader = content.stream.getReader();
  parts.isStream = current.reader !== null;
  parts.hasMore = parts.isStream || waits(current.context).length > 0;
  return parts;
}

/** Reads the next block of a streamed body. The promise resolves to null at the end. */
export async function next() {
  const { value, done } = await current.reader.read();
  if (done) {
    current.reader = null;
    return null;
  }
  if (typeof value === "string") {
    throw new TypeError("the body's stream has a string: encode it, for example with TextEncoderStream");
  }
  return bytesOf(value);
}

/** Ends a request: cancels what is left of its body, and awaits what `waitUntil` was given. */
export async function close() {
  const { abort, context, reader } = current;
  if (reader) {
    abort.abort(new DOMException("The client has disconnected", "AbortError"));
    await reader.cancel(new DOMException("The client has disconnected", "AbortError"));
  }
  const ends = await Promise.allSettled(waits(context));
  clearTimers();
  clearFetches();
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
}

/** Makes the request of a warm path, outside a server. */
export async function warm(path) {
  const request = new Request(new URL(path, "http://localhost/"));
  const response = await application.fetch(request, {}, new Context());
  if (!(response instanceof Response)) {
    throw new TypeError(`fetch returned no Response, but ${kindOf(response)}`);
  }
  await response.arrayBuffer();
  clearTimers();
  clearFetches();
}
