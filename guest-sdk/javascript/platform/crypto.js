// crypto: random numbers, digests and HMAC.

import { host } from "./host.js";
import { bytesOf } from "./encoding.js";

/** The maximum number of random bytes of one call: the standard's. */
const MAX_RANDOM_BYTES = 65536;

const HASHES = ["SHA-1", "SHA-256", "SHA-384", "SHA-512"];

function hashOf(algorithm) {
  const name = String(algorithm?.name ?? algorithm).toUpperCase();
  if (HASHES.includes(name)) return name;
  throw new DOMException(`crypto.subtle: ${name} is not supported`, "NotSupportedError");
}

const KEYS = new WeakMap();

export class CryptoKey {
  constructor(bytes, hash, extractable, usages) {
    KEYS.set(this, bytes);
    this.type = "secret";
    this.extractable = extractable;
    this.algorithm = { name: "HMAC", hash: { name: hash }, length: bytes.length * 8 };
    this.usages = [...usages];
  }
}

function hmacKey(key, usage) {
  if (!(key instanceof CryptoKey) || !key.usages.includes(usage)) {
    throw new DOMException(`crypto.subtle: the key is not for ${usage}`, "InvalidAccessError");
  }
  return [key.algorithm.hash.name, KEYS.get(key)];
}

function base64url(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64url(text) {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(standard), (character) => character.charCodeAt(0));
}

const subtle = {
  async digest(algorithm, data) {
    return host.digest(hashOf(algorithm), bytesOf(data)).buffer;
  },

  async importKey(format, data, algorithm, extractable, usages) {
    if (String(algorithm?.name ?? algorithm).toUpperCase() !== "HMAC") {
      throw new DOMException("crypto.subtle: only HMAC keys are supported", "NotSupportedError");
    }
    const bytes = format === "jwk" ? fromBase64url(data.k) : bytesOf(data).slice();
    if (format !== "raw" && format !== "jwk") {
      throw new DOMException(`crypto.subtle: no keys of format ${format}`, "NotSupportedError");
    }
    return new CryptoKey(bytes, hashOf(algorithm.hash), extractable, usages);
  },

  async generateKey(algorithm, extractable, usages) {
    const hash = hashOf(algorithm.hash);
    const length = (algorithm.length ?? (hash === "SHA-1" || hash === "SHA-256" ? 512 : 1024)) / 8;
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    return subtle.importKey("raw", bytes, algorithm, extractable, usages);
  },

  async exportKey(format, key) {
    const bytes = KEYS.get(key);
    if (!bytes || !key.extractable) {
      throw new DOMException("crypto.subtle: the key is not extractable", "InvalidAccessError");
    }
    if (format === "raw") return bytes.slice().buffer;
    return { kty: "oct", k: base64url(bytes), ext: true, key_ops: key.usages };
  },

  async sign(algorithm, key, data) {
    return host.hmac(...hmacKey(key, "sign"), bytesOf(data)).buffer;
  },

  async verify(algorithm, key, signature, data) {
    const right = host.hmac(...hmacKey(key, "verify"), bytesOf(data));
    const given = bytesOf(signature);
    let difference = right.length ^ given.length;
    for (let at = 0; at < right.length; at++) difference |= right[at] ^ (given[at] ?? 0);
    return difference === 0;
  },
};

export const crypto = {
  subtle,

  getRandomValues(view) {
    const isIntegers = ArrayBuffer.isView(view)
      && !(view instanceof DataView || view instanceof Float32Array || view instanceof Float64Array);
    if (!isIntegers) {
      throw new DOMException("getRandomValues: not an array of integers", "TypeMismatchError");
    }
    if (view.byteLength > MAX_RANDOM_BYTES) {
      throw new DOMException(`getRandomValues: more than ${MAX_RANDOM_BYTES} bytes`, "QuotaExceededError");
    }
    bytesOf(view).set(host.randomBytes(view.byteLength));
    return view;
  },

  randomUUID() {
    const bytes = host.randomBytes(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const parts = [[0, 8], [8, 12], [12, 16], [16, 20], [20, 32]];
    return parts.map(([start, end]) => hex.slice(start, end)).join("-");
  },
};
