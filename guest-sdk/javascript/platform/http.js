// Request and Response.

import { AbortSignal } from "./events.js";
import { Body } from "./body.js";
import { Headers } from "./headers.js";
import { URL } from "./url.js";

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const WITHOUT_BODY = [101, 204, 205, 304];

export class Request extends Body {
  #url;
  #method = "GET";
  #headers;
  #signal;

  constructor(input, init = {}) {
    super();
    const other = input instanceof Request ? input : null;
    this.#url = other ? other.url : new URL(input).href;
    const method = init.method ?? other?.method ?? "GET";
    if (!TOKEN.test(method)) throw new TypeError(`Request: not a method: ${method}`);
    const upper = method.toUpperCase();
    const isKnown = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"].includes(upper);
    this.#method = isKnown ? upper : method;
    this.#headers = new Headers(init.headers ?? other?.headers);
    this.#signal = init.signal ?? other?.signal ?? new AbortSignal();
    if (init.body !== undefined && init.body !== null) {
      if (["GET", "HEAD"].includes(this.#method)) {
        throw new TypeError(`Request: a ${this.#method} has no body`);
      }
      const type = this.setBody(init.body);
      if (type && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
    } else if (other) {
      this.copyBody(other);
    }
  }

  get url() {
    return this.#url;
  }

  get method() {
    return this.#method;
  }

  get headers() {
    return this.#headers;
  }

  get signal() {
    return this.#signal;
  }

  clone() {
    return new Request(this);
  }
}

let setError;

/** Sets the URL of a response, and whether it is that of a redirect. */
export let setUrl;

export class Response extends Body {
  #status = 200;
  #statusText = "";
  #headers;
  #type = "default";
  #url = "";
  #isRedirected = false;

  static {
    setError = (response) => {
      response.#status = 0;
      response.#type = "error";
    };
    setUrl = (response, url, isRedirected) => {
      response.#url = url;
      response.#isRedirected = isRedirected;
    };
  }

  constructor(body = null, init = {}) {
    super();
    const { status = 200, statusText = "", headers } = init ?? {};
    const code = Number(status);
    if (!Number.isInteger(code) || code < 200 || code > 599) {
      throw new RangeError(`Response: the status is to be from 200 to 599, not ${status}`);
    }
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(statusText)) {
      throw new TypeError("Response: the statusText has a control character");
    }
    this.#status = code;
    this.#statusText = String(statusText);
    this.#headers = new Headers(headers);
    if (body === null || body === undefined) return;
    if (WITHOUT_BODY.includes(code)) {
      throw new TypeError(`Response: a response of status ${code} has no body`);
    }
    const type = this.setBody(body);
    if (type && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
  }

  static json(data, init = {}) {
    const headers = new Headers(init?.headers);
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError("Response.json: the value has no JSON");
    return new Response(text, { ...init, headers });
  }

  static redirect(url, status = 302) {
    if (![301, 302, 303, 307, 308].includes(status)) {
      throw new RangeError(`Response.redirect: ${status} is no redirection`);
    }
    return new Response(null, { status, headers: { location: new URL(url).href } });
  }

  static error() {
    const response = new Response();
    setError(response);
    return response;
  }

  get status() {
    return this.#status;
  }

  get statusText() {
    return this.#statusText;
  }

  get ok() {
    return this.#status >= 200 && this.#status < 300;
  }

  get headers() {
    return this.#headers;
  }

  get type() {
    return this.#type;
  }

  get url() {
    return this.#url;
  }

  get redirected() {
    return this.#isRedirected;
  }

  clone() {
    const clone = new Response(null, this);
    clone.copyBody(this);
    return clone;
  }
}
