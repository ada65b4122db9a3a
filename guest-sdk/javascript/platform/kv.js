// The module `wasgi:kv`: keys and values that outlive the request. The shape is that of a namespace
// of Workers KV where the meaning is the same.

import { host } from "./host.js";
import { bytesOf } from "./encoding.js";

/** The maximum number of keys in a page, and in a batch (the server's). */
const MAX_KEYS = 1000;

/** An operation has failed: `code` is "access-denied", "limit", "not-a-number" or "unavailable". */
export class KeyValueError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }

  get name() {
    return "KeyValueError";
  }
}

/** Opens a bucket by the name under which it is granted. The first operation really opens it. */
export function open(name = "default") {
  return new Bucket(keyOf(name, "the name of a bucket"));
}

class Bucket {
  #name;

  constructor(name) {
    this.#name = name;
  }

  #call(operation, ...args) {
    const [failure, result] = host.kv(operation, this.#name, ...args);
    if (failure === "") return result;
    const at = failure.indexOf(" ");
    throw new KeyValueError(failure.slice(0, at), `${this.#name}: ${failure.slice(at + 1)}`);
  }

  /** The value of a key as "text", "json", "arrayBuffer" or "stream"; or null. A Map for an array. */
  async get(key, options) {
    const type = (typeof options === "string" ? options : options?.type) ?? "text";
    if (!(type in KINDS)) throw new TypeError(`kv: there is no type "${type}": ${Object.keys(KINDS)}`);
    if (!Array.isArray(key)) return valueOf(this.#call("get", keyOf(key)), type);
    const keys = batch(key);
    const values = this.#call("getMany", keys);
    return new Map(keys.map((name, at) => [name, valueOf(values[at], type)]));
  }

  /** Sets the value of a key: a string, bytes, or a stream. */
  async put(key, value, options) {
    const name = keyOf(key);
    refuse(options);
    this.#call("set", name, await encoded(value));
  }

  /** Deletes a key, if it exists. */
  async delete(key) {
    this.#call("delete", keyOf(key));
  }

  /** A page of keys in the order of their bytes: `{ keys: [{ name }], list_complete, cursor }`. */
  async list({ prefix = "", limit = MAX_KEYS, cursor = null } = {}) {
    const start = keyOf(prefix, "the prefix");
    const max = Math.min(Math.max(1, Math.trunc(limit) || 0), MAX_KEYS);
    const keys = [];
    let after = cursor === null ? null : keyOf(cursor, "the cursor");
    if (after === null && start !== "") {
      // The store's pages begin after a key.
      if (this.#call("exists", start)) keys.push(start);
      after = start;
    }
    for (let isLast = false; keys.length < max && !isLast; ) {
      const page = this.#call("keys", after);
      isLast = page.cursor === null;
      after = page.cursor;
      for (const name of page.keys) {
        if (!name.startsWith(start)) return { keys: keys.map(named), list_complete: true };
        if (keys.length === max) return incomplete(keys);
        keys.push(name);
      }
      if (isLast) return { keys: keys.map(named), list_complete: true };
    }
    return incomplete(keys);
  }

  /** Adds to a number in decimal notation, and returns the sum: a bigint beyond 2 ** 53. */
  async increment(key, delta = 1) {
    const whole = typeof delta === "bigint" || Number.isSafeInteger(delta);
    if (!whole) throw new TypeError("kv: the delta must be an integer");
    const sum = BigInt(this.#call("increment", keyOf(key), String(delta)));
    return Number.isSafeInteger(Number(sum)) ? Number(sum) : sum;
  }

  /** Sets the value of a key if it is `expected` (null: it doesn't exist). Returns whether it did. */
  async compareAndSwap(key, expected, value) {
    const name = keyOf(key);
    const old = expected === null ? null : await encoded(expected);
    return this.#call("swap", name, old, await encoded(value));
  }

  /** Sets the value that `change` returns for the old text or null, which it may do repeatedly. */
  async update(key, change) {
    const name = keyOf(key);
    for (;;) {
      const old = this.#call("get", name);
      const value = await change(valueOf(old, "text"));
      if (this.#call("swap", name, old, await encoded(value))) return value;
    }
  }
}

const KINDS = {
  text: (bytes) => host.decode(bytes, false),
  json: (bytes) => JSON.parse(host.decode(bytes, false)),
  arrayBuffer: (bytes) => bytes.buffer,
  stream: (bytes) => new Blob([bytes]).stream(),
};

function valueOf(bytes, type) {
  return bytes === null || bytes === undefined ? null : KINDS[type](bytes);
}

function named(name) {
  return { name };
}

function incomplete(keys) {
  return { keys: keys.map(named), list_complete: false, cursor: keys.at(-1) };
}

function batch(keys) {
  if (keys.length > MAX_KEYS) {
    throw new KeyValueError("limit", `the batch has ${keys.length} keys; the limit is ${MAX_KEYS}`);
  }
  return keys.map((key) => keyOf(key));
}

function keyOf(key, what = "a key") {
  if (typeof key !== "string") throw new TypeError(`kv: ${what} must be a string`);
  if (!key.isWellFormed()) throw new TypeError(`kv: ${what} must be valid Unicode`);
  return key;
}

async function encoded(value) {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new TypeError("kv: a value must be valid Unicode");
    return host.encode(value);
  }
  if (value instanceof ReadableStream) return new Response(value).bytes();
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return bytesOf(value);
  throw new TypeError("kv: a value must be a string, bytes or a stream");
}

/** What other stores have, and this one doesn't, must not be lost silently. */
function refuse(options) {
  for (const name of ["expiration", "expirationTtl", "metadata"]) {
    if (options?.[name] !== undefined) throw new TypeError(`kv: put has no option ${name}`);
  }
}
