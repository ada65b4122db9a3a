// What the tests of `wasgi dev` in Chromium share: sites, pages and handlers.

import { spawn } from "node:child_process";
import fs from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The time limit of every wait, in milliseconds: ends a test that would otherwise hang. */
export const PATIENCE_MS = 120_000;

/** A site in a temporary folder, served by `wasgi dev`. */
export class Site {
  folder = fs.mkdtempSync(join(tmpdir(), "wasgi-dev-"));
  #program;
  #server = null;
  #port = 0;
  log = "";

  constructor(program) {
    this.#program = program;
    for (const name of ["html", "handlers"]) fs.mkdirSync(join(this.folder, name));
  }

  path(name) {
    return join(this.folder, name);
  }

  write(name, text) {
    fs.mkdirSync(join(this.path(name), ".."), { recursive: true });
    fs.writeFileSync(this.path(name), text);
  }

  /** Starts the server, on the same port as before if it ran before. */
  async start() {
    const args = ["dev", "--addr", `127.0.0.1:${this.#port}`, this.folder];
    const server = spawn(this.#program, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#server = server;
    server.stderr.setEncoding("utf8").on("data", (text) => (this.log += text));
    let output = "";
    await new Promise((resolve, reject) => {
      server.stdout.setEncoding("utf8").on("data", (text) => {
        output += text;
        const port = /listening on http:\/\/127\.0\.0\.1:(\d+)\//.exec(output);
        if (port) this.#port = Number(port[1]);
        if (output.includes("all handlers are loaded")) resolve();
      });
      server.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${this.log}`)));
    });
    this.url = `http://127.0.0.1:${this.#port}`;
    return this;
  }

  /** Sends bytes, and waits for the end of the connection: no client would send such a target. */
  async raw(bytes) {
    const socket = connect(this.#port, "127.0.0.1");
    socket.end(bytes);
    socket.resume();
    await new Promise((resolve) => socket.once("close", resolve));
  }

  async stop() {
    const server = this.#server;
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await ended;
  }

  async remove() {
    await this.stop();
    fs.rmSync(this.folder, { recursive: true });
  }
}

export const page = (body, head = "") =>
  `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Test</title>\n` +
  `<meta name="viewport" content="width=device-width, initial-scale=1">${head}</head>\n` +
  `<body>\n${body}\n</body></html>\n`;

/** A CGI program in WebAssembly's text format that writes a text, and traps if `traps`. */
export function program(text, traps = false) {
  const bytes = [...Buffer.from(text)].map((byte) => `\\${byte.toString(16).padStart(2, "0")}`);
  return `(module (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2) (data (i32.const 1024) "${bytes.join("")}")
    (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const ${bytes.length}))
    (drop (call $write (i32.const ${traps ? 2 : 1}) (i32.const 0) (i32.const 1) (i32.const 8)))
    ${traps ? "unreachable" : ""}))`;
}

export const html = (body) => `Content-Type: text/html; charset=utf-8\n\n${page(body)}`;

export function assert(condition, what) {
  if (!condition) throw new Error(what);
}
