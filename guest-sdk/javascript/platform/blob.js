// Blob, File and FormData.

import { host } from "./host.js";
import { bytesOf, encode, joined } from "./encoding.js";
import { ReadableStream } from "./streams.js";

let blobBytes;

export class Blob {
  #bytes;
  #type;

  static {
    blobBytes = (blob) => blob.#bytes;
  }

  constructor(parts = [], { type = "" } = {}) {
    const blocks = [...parts].map((part) => {
      if (part instanceof Blob) return part.#bytes;
      if (part instanceof ArrayBuffer || ArrayBuffer.isView(part)) return bytesOf(part);
      return encode(part);
    });
    this.#bytes = joined([...blocks, new Uint8Array(0)]);
    this.#type = String(type).toLowerCase();
  }

  get size() {
    return this.#bytes.length;
  }

  get type() {
    return this.#type;
  }

  slice(start, end, type = "") {
    return new Blob([this.#bytes.slice(start, end)], { type });
  }

  stream() {
    const bytes = this.#bytes;
    return new ReadableStream({
      start(controller) {
        if (bytes.length > 0) controller.enqueue(bytes.slice());
        controller.close();
      },
    });
  }

  async arrayBuffer() {
    return this.#bytes.slice().buffer;
  }

  async bytes() {
    return this.#bytes.slice();
  }

  async text() {
    return host.decode(this.#bytes, false);
  }
}

export class File extends Blob {
  #name;
  #lastModified;

  constructor(parts, name, options = {}) {
    super(parts, options);
    this.#name = String(name);
    this.#lastModified = options.lastModified ?? Date.now();
  }

  get name() {
    return this.#name;
  }

  get lastModified() {
    return this.#lastModified;
  }
}

export class FormData {
  #entries = [];

  append(name, value, filename) {
    this.#entries.push([String(name), FormData.#value(value, filename)]);
  }

  static #value(value, filename) {
    if (!(value instanceof Blob)) return String(value);
    if (value instanceof File && filename === undefined) return value;
    return new File([value], filename ?? "blob", { type: value.type });
  }

  delete(name) {
    this.#entries = this.#entries.filter(([key]) => key !== String(name));
  }

  get(name) {
    return this.#entries.find(([key]) => key === String(name))?.[1] ?? null;
  }

  getAll(name) {
    return this.#entries.filter(([key]) => key === String(name)).map(([, value]) => value);
  }

  has(name) {
    return this.#entries.some(([key]) => key === String(name));
  }

  set(name, value, filename) {
    const first = this.#entries.findIndex(([key]) => key === String(name));
    if (first < 0) return this.append(name, value, filename);
    this.#entries[first] = [String(name), FormData.#value(value, filename)];
    this.#entries = this.#entries.filter(([key], at) => at <= first || key !== String(name));
  }

  forEach(callback, receiver) {
    for (const [name, value] of this) callback.call(receiver, value, name, this);
  }

  *entries() {
    for (const [name, value] of this.#entries) yield [name, value];
  }

  *keys() {
    for (const [name] of this.#entries) yield name;
  }

  *values() {
    for (const [, value] of this.#entries) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }
}

function quoted(text) {
  return text.replaceAll("\n", "%0A").replaceAll("\r", "%0D").replaceAll('"', "%22");
}

/** Writes a form as multipart/form-data. Returns its bytes and its type. */
export function multipart(form) {
  const boundary = `----form-${crypto.randomUUID()}`;
  const blocks = [];
  for (const [name, value] of form) {
    let head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`;
    if (value instanceof Blob) {
      head += `; filename="${quoted(value.name)}"\r\n`;
      head += `Content-Type: ${value.type || "application/octet-stream"}`;
    }
    const bytes = value instanceof Blob ? blobBytes(value) : encode(value);
    blocks.push(encode(`${head}\r\n\r\n`), bytes, encode("\r\n"));
  }
  blocks.push(encode(`--${boundary}--\r\n`));
  return { bytes: joined(blocks), type: `multipart/form-data; boundary=${boundary}` };
}

/** Parses multipart/form-data. */
export function parseMultipart(bytes, type) {
  const boundary = /;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(type);
  if (!boundary) throw new TypeError("formData: the Content-Type has no boundary");
  const text = host.latin1(bytes);
  const mark = `--${boundary[1] ?? boundary[2]}`;
  const form = new FormData();
  let at = text.indexOf(mark);
  while (at >= 0 && !text.startsWith("--", at + mark.length)) {
    const head = at + mark.length + 2;
    const body = text.indexOf("\r\n\r\n", head);
    const next = text.indexOf(`\r\n${mark}`, body < 0 ? head : body + 2);
    if (body < 0 || next < 0) throw new TypeError("formData: the body is cut off");
    addPart(form, text.slice(head, body), bytes.slice(body + 4, Math.max(next, body + 4)));
    at = next + 2;
  }
  return form;
}

function addPart(form, head, content) {
  const fields = new Map();
  for (const line of head.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const disposition = fields.get("content-disposition") ?? "";
  const parameter = (name) => {
    const found = new RegExp(`;\\s*${name}="([^"]*)"`, "i").exec(disposition);
    if (!found) return null;
    const bytes = Uint8Array.from(found[1], (character) => character.charCodeAt(0));
    return host.decode(bytes, false).replaceAll("%22", '"');
  };
  const name = parameter("name");
  if (name === null) throw new TypeError("formData: a part has no name");
  const filename = parameter("filename");
  if (filename === null) form.append(name, host.decode(content, false));
  else form.append(name, new File([content], filename, { type: fields.get("content-type") ?? "" }));
}
