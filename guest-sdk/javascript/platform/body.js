// The body of a request or response.

import { host } from "./host.js";
import { Blob, FormData, multipart, parseMultipart } from "./blob.js";
import { bytesOf, encode, joined } from "./encoding.js";
import { ReadableStream } from "./streams.js";
import { URLSearchParams } from "./url.js";

/** Returns the content of a body and its default Content-Type. */
function contentOf(init) {
  if (init instanceof ReadableStream) {
    if (init.locked) throw new TypeError("the body's stream is locked: it has a reader");
    return { stream: init, type: null };
  }
  if (init instanceof Blob) return { stream: init.stream(), type: init.type || null };
  if (init instanceof FormData) return multipart(init);
  if (init instanceof URLSearchParams) {
    return {
      bytes: encode(init.toString()),
      type: "application/x-www-form-urlencoded;charset=UTF-8",
    };
  }
  if (init instanceof ArrayBuffer || ArrayBuffer.isView(init)) {
    return { bytes: bytesOf(init).slice(), type: null };
  }
  if (typeof init === "object" && init !== null && Symbol.asyncIterator in init) {
    return { stream: ReadableStream.from(init), type: null };
  }
  return { text: String(init), type: "text/plain;charset=UTF-8" };
}

export let takeContent;

/** The common part of Request and Response. A body is text, bytes, a stream, or in the host. */
export class Body {
  #content = null;
  #isUsed = false;

  static {
    takeContent = (body) => body.#take();
  }

  /** Sets the body, and returns its default Content-Type. */
  setBody(init) {
    if (init === null || init === undefined) return null;
    this.#content = contentOf(init);
    return this.#content.type;
  }

  /** Sets a body that the host reads. */
  setHostBody() {
    this.#content = { isOfHost: true };
  }

  /** Copies the body of another, which keeps it. */
  copyBody(other) {
    if (other.bodyUsed) throw new TypeError("the body was already read");
    const content = other.#content;
    if (!content || content.text !== undefined || content.bytes) {
      this.#content = content;
      return;
    }
    const [own, its] = other.body.tee();
    this.#content = { stream: own };
    other.#content = { stream: its };
  }

  get bodyUsed() {
    return this.#isUsed;
  }

  get body() {
    const content = this.#content;
    if (!content) return null;
    if (!content.stream) {
      content.stream = content.isOfHost ? hostStream() : streamOf(content.bytes ?? encode(content.text));
      this.#content = { stream: content.stream };
    }
    return this.#content.stream;
  }

  #take() {
    if (this.#isUsed || this.#content?.stream?.locked) {
      throw new TypeError("the body was already read");
    }
    this.#isUsed = this.#content !== null;
    return this.#content ?? { text: "" };
  }

  async #bytes() {
    const content = this.#take();
    if (content.isOfHost) return host.readAll();
    if (content.text !== undefined) return encode(content.text);
    if (content.bytes) return content.bytes;
    const blocks = [];
    const reader = content.stream.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return joined([...blocks, new Uint8Array(0)]);
      blocks.push(bytesOf(value));
    }
  }

  async bytes() {
    return (await this.#bytes()).slice();
  }

  async arrayBuffer() {
    return (await this.#bytes()).slice().buffer;
  }

  async text() {
    const text = host.decode(await this.#bytes(), false);
    return text.startsWith("\ufeff") ? text.slice(1) : text;
  }

  async json() {
    return JSON.parse(await this.text());
  }

  async blob() {
    const type = this.headers.get("content-type") ?? "";
    return new Blob([await this.#bytes()], { type });
  }

  async formData() {
    const type = this.headers.get("content-type") ?? "";
    if (/^multipart\/form-data\b/i.test(type)) return parseMultipart(await this.#bytes(), type);
    if (!/^application\/x-www-form-urlencoded\b/i.test(type)) {
      throw new TypeError(`formData: the body is no form, but ${type || "of no type"}`);
    }
    const form = new FormData();
    for (const [name, value] of new URLSearchParams(await this.text())) form.append(name, value);
    return form;
  }
}

function streamOf(bytes) {
  return new ReadableStream({
    start(controller) {
      if (bytes.length > 0) controller.enqueue(bytes);
      controller.close();
    },
  });
}

/** The size of one read, in bytes: what the host returns at most. */
const READ_BYTES = 65536;

function hostStream() {
  return new ReadableStream(
    {
      pull(controller) {
        const block = host.read(READ_BYTES);
        if (block.length > 0) controller.enqueue(block);
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}
