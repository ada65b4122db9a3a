// URL and URLSearchParams. The host parses; the parts arrive as an array.

import { host } from "./host.js";
import { encode } from "./encoding.js";

const PARTS = [
  "href", "protocol", "username", "password", "host", "hostname", "port", "pathname", "search",
  "hash", "origin",
];

let refresh;

export class URL {
  #parts;
  #params = null;

  static {
    refresh = (url, query) => {
      url.#parts = host.changeUrl(url.#parts[0], "search", query) ?? url.#parts;
    };
  }

  constructor(url, base) {
    const parts = host.parseUrl(String(url).toWellFormed(), base === undefined ? "" : String(base));
    if (!parts) throw new TypeError(`Invalid URL: ${url}`);
    this.#parts = parts;
  }

  static canParse(url, base) {
    return URL.parse(url, base) !== null;
  }

  static parse(url, base) {
    try {
      return new URL(url, base);
    } catch {
      return null;
    }
  }

  static part(url, index) {
    return url.#parts[index];
  }

  static change(url, part, value) {
    if (part === "href") {
      url.#parts = new URL(value).#parts;
    } else {
      const changed = host.changeUrl(url.#parts[0], part, String(value).toWellFormed());
      url.#parts = changed ?? url.#parts;
    }
    url.#params?.follow(url.search);
  }

  get searchParams() {
    this.#params ??= URLSearchParams.of(this);
    return this.#params;
  }

  toString() {
    return this.href;
  }

  toJSON() {
    return this.href;
  }
}

const { part, change } = URL;
delete URL.part;
delete URL.change;
PARTS.forEach((name, index) => {
  const property = { configurable: true, enumerable: true, get() { return part(this, index); } };
  if (name !== "origin") property.set = function (value) { change(this, name, value); };
  Object.defineProperty(URL.prototype, name, property);
});

function unescape(text) {
  const spaced = text.replaceAll("+", " ");
  return spaced.includes("%") ? host.percentDecode(spaced) : spaced;
}

const KEPT = /[^*\-._0-9A-Za-z ]/gu;

function escape(text) {
  const escaped = text.replace(KEPT, (character) => {
    let out = "";
    for (const byte of encode(character)) {
      out += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    }
    return out;
  });
  return escaped.replaceAll(" ", "+");
}

export class URLSearchParams {
  #pairs = [];
  #url = null;

  static of(url) {
    const params = new URLSearchParams(url.search);
    params.#url = url;
    return params;
  }

  constructor(init = "") {
    if (typeof init === "object" && init !== null && Symbol.iterator in init) {
      for (const [name, value] of init) this.#pairs.push([String(name), String(value)]);
    } else if (typeof init === "object" && init !== null) {
      for (const name of Object.keys(init)) this.#pairs.push([name, String(init[name])]);
    } else {
      this.follow(String(init));
    }
  }

  /** Parses a query. */
  follow(query) {
    const text = query.startsWith("?") ? query.slice(1) : query;
    this.#pairs = [];
    for (const pair of text.split("&")) {
      if (!pair) continue;
      const at = pair.indexOf("=");
      const [name, value] = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
      this.#pairs.push([unescape(name), unescape(value)]);
    }
  }

  #changed() {
    if (this.#url) refresh(this.#url, this.toString());
  }

  get size() {
    return this.#pairs.length;
  }

  append(name, value) {
    this.#pairs.push([String(name), String(value)]);
    this.#changed();
  }

  delete(name, value) {
    this.#pairs = this.#pairs.filter(
      ([key, old]) => key !== String(name) || (value !== undefined && old !== String(value)),
    );
    this.#changed();
  }

  get(name) {
    return this.#pairs.find(([key]) => key === String(name))?.[1] ?? null;
  }

  getAll(name) {
    return this.#pairs.filter(([key]) => key === String(name)).map(([, value]) => value);
  }

  has(name, value) {
    return this.#pairs.some(
      ([key, old]) => key === String(name) && (value === undefined || old === String(value)),
    );
  }

  set(name, value) {
    const first = this.#pairs.findIndex(([key]) => key === String(name));
    if (first < 0) return this.append(name, value);
    this.#pairs[first] = [String(name), String(value)];
    this.#pairs = this.#pairs.filter(([key], index) => index <= first || key !== String(name));
    this.#changed();
  }

  sort() {
    this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    this.#changed();
  }

  forEach(callback, receiver) {
    for (const [name, value] of this) callback.call(receiver, value, name, this);
  }

  *entries() {
    for (const [name, value] of this.#pairs) yield [name, value];
  }

  *keys() {
    for (const [name] of this.#pairs) yield name;
  }

  *values() {
    for (const [, value] of this.#pairs) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  toString() {
    const pairs = this.#pairs.map(([name, value]) => {
      return `${escape(name.toWellFormed())}=${escape(value.toWellFormed())}`;
    });
    return pairs.join("&");
  }
}
