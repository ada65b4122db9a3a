// TextEncoder and TextDecoder, and their streams.

import { host } from "./host.js";
import { TransformStream } from "./streams.js";

const ENCODINGS = new Map([
  ["utf-8", "utf-8"],
  ["utf8", "utf-8"],
  ["unicode-1-1-utf-8", "utf-8"],
  ["utf-16le", "utf-16le"],
  ["utf-16", "utf-16le"],
  ["iso-8859-1", "windows-1252"],
  ["latin1", "windows-1252"],
  ["ascii", "windows-1252"],
  ["us-ascii", "windows-1252"],
  ["windows-1252", "windows-1252"],
]);

/** Returns a view of the bytes of a buffer or view. */
export function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (ArrayBuffer.isView(source)) {
    return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  }
  if (source instanceof ArrayBuffer || source instanceof SharedArrayBuffer) {
    return new Uint8Array(source);
  }
  throw new TypeError("neither an ArrayBuffer nor a view of one");
}

export function encode(text) {
  return host.encode(String(text).toWellFormed());
}

export class TextEncoder {
  get encoding() {
    return "utf-8";
  }

  encode(text = "") {
    return encode(text);
  }

  encodeInto(text, target) {
    let read = 0;
    let written = 0;
    for (const character of String(text)) {
      const bytes = encode(character);
      if (written + bytes.length > target.length) break;
      target.set(bytes, written);
      written += bytes.length;
      read += character.length;
    }
    return { read, written };
  }
}

/** Returns the length of an incomplete UTF-8 sequence at the end. */
function incomplete(bytes) {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return length > back ? back : 0;
    }
  }
  return 0;
}

export class TextDecoder {
  #encoding;
  #fatal;
  #ignoreBOM;
  #held = new Uint8Array(0);
  #isFirst = true;

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    this.#encoding = ENCODINGS.get(String(label).trim().toLowerCase());
    if (!this.#encoding) throw new RangeError(`TextDecoder: ${label} is not supported`);
    this.#fatal = fatal;
    this.#ignoreBOM = ignoreBOM;
  }

  get encoding() {
    return this.#encoding;
  }

  get fatal() {
    return this.#fatal;
  }

  get ignoreBOM() {
    return this.#ignoreBOM;
  }

  decode(source = new Uint8Array(0), { stream = false } = {}) {
    let bytes = bytesOf(source);
    if (this.#held.length > 0) bytes = joined([this.#held, bytes]);
    this.#held = new Uint8Array(0);
    if (stream) {
      const held = this.#encoding === "utf-8" ? incomplete(bytes) : bytes.length % 2;
      if (held > 0 && this.#encoding !== "windows-1252") {
        this.#held = bytes.slice(bytes.length - held);
        bytes = bytes.subarray(0, bytes.length - held);
      }
    }
    let text = this.#text(bytes);
    if (this.#isFirst && !this.#ignoreBOM && text.startsWith("\ufeff")) text = text.slice(1);
    this.#isFirst = !stream || (this.#isFirst && bytes.length === 0);
    return text;
  }

  #text(bytes) {
    if (this.#encoding === "utf-8") return host.decode(bytes, this.#fatal);
    return host.decodeAs(bytes, this.#encoding, this.#fatal);
  }
}

/** Joins blocks of bytes. */
export function joined(blocks) {
  if (blocks.length === 1) return blocks[0];
  const whole = new Uint8Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    whole.set(block, at);
    at += block.length;
  }
  return whole;
}

export class TextEncoderStream extends TransformStream {
  constructor() {
    let half = "";
    super({
      transform(chunk, controller) {
        let text = half + chunk;
        half = /[\ud800-\udbff]$/.test(text) ? text.at(-1) : "";
        text = text.slice(0, text.length - half.length);
        if (text) controller.enqueue(encode(text));
      },
      flush(controller) {
        if (half) controller.enqueue(encode(half));
      },
    });
  }

  get encoding() {
    return "utf-8";
  }
}

export class TextDecoderStream extends TransformStream {
  #decoder;

  constructor(label, options) {
    const decoder = new TextDecoder(label, options);
    super({
      transform(chunk, controller) {
        const text = decoder.decode(chunk, { stream: true });
        if (text) controller.enqueue(text);
      },
      flush(controller) {
        const text = decoder.decode();
        if (text) controller.enqueue(text);
      },
    });
    this.#decoder = decoder;
  }

  get encoding() {
    return this.#decoder.encoding;
  }
}
