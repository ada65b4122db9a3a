// Streams: ReadableStream, WritableStream and TransformStream, for values of any type. Readers that
// fill a buffer of the caller's ("byob") are not provided.

let stateOf;
let stateOfWritable;

function deferred() {
  const { promise, resolve, reject } = Promise.withResolvers();
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/** The state of a readable stream. */
class Readable {
  queue = [];
  size = 0;
  reads = [];
  state = "readable";
  error = undefined;
  isClosing = false;
  reader = null;
  closed = deferred();
  isStarted = false;
  isPulling = false;
  pullsAgain = false;
  wanted = null;

  constructor(source, { highWaterMark = 1, size = () => 1 } = {}) {
    this.source = source;
    this.highWaterMark = highWaterMark;
    this.sizeOf = size;
    this.controller = new ReadableStreamDefaultController(this);
  }

  start() {
    const started = this.source.start?.(this.controller);
    Promise.resolve(started).then(
      () => {
        this.isStarted = true;
        this.pull();
      },
      (error) => this.fail(error),
    );
  }

  desired() {
    if (this.state === "errored") return null;
    if (this.state === "closed") return 0;
    return this.highWaterMark - this.size;
  }

  isWanted() {
    return this.state === "readable" && !this.isClosing
      && (this.reads.length > 0 || this.desired() > 0);
  }

  pull() {
    if (!this.isWanted()) return;
    this.wanted?.resolve();
    this.wanted = null;
    if (!this.isStarted || !this.source.pull) return;
    if (this.isPulling) {
      this.pullsAgain = true;
      return;
    }
    this.isPulling = true;
    let pulled;
    try {
      pulled = Promise.resolve(this.source.pull(this.controller));
    } catch (error) {
      pulled = Promise.reject(error);
    }
    pulled.then(
      () => {
        this.isPulling = false;
        if (this.pullsAgain) {
          this.pullsAgain = false;
          this.pull();
        }
      },
      (error) => this.fail(error),
    );
  }

  enqueue(chunk) {
    if (this.state !== "readable" || this.isClosing) {
      throw new TypeError("the stream is closed: nothing can be added");
    }
    if (this.reads.length > 0) {
      this.reads.shift().resolve({ value: chunk, done: false });
    } else {
      const size = this.sizeOf(chunk);
      this.queue.push({ chunk, size });
      this.size += size;
    }
    this.pull();
  }

  close() {
    if (this.state !== "readable" || this.isClosing) throw new TypeError("the stream is closed");
    this.isClosing = true;
    if (this.queue.length === 0) this.end();
  }

  end() {
    this.state = "closed";
    for (const read of this.reads.splice(0)) read.resolve({ value: undefined, done: true });
    this.closed.resolve();
    this.wanted?.resolve();
  }

  fail(error) {
    if (this.state !== "readable") return;
    this.state = "errored";
    this.error = error;
    this.queue = [];
    for (const read of this.reads.splice(0)) read.reject(error);
    this.closed.reject(error);
    this.wanted?.resolve();
  }

  read() {
    if (this.queue.length > 0) {
      const { chunk, size } = this.queue.shift();
      this.size -= size;
      if (this.isClosing && this.queue.length === 0) this.end();
      else this.pull();
      return Promise.resolve({ value: chunk, done: false });
    }
    if (this.state === "closed") return Promise.resolve({ value: undefined, done: true });
    if (this.state === "errored") return Promise.reject(this.error);
    const read = deferred();
    this.reads.push(read);
    this.pull();
    return read.promise;
  }

  async cancel(reason) {
    if (this.state === "errored") throw this.error;
    if (this.state === "closed") return;
    this.queue = [];
    this.size = 0;
    this.end();
    await this.source.cancel?.(reason);
  }

  /** Resolves when a chunk is wanted, or when none will be. */
  untilWanted() {
    if (this.isWanted() || this.state !== "readable") return Promise.resolve();
    this.wanted ??= deferred();
    return this.wanted.promise;
  }
}

export class ReadableStreamDefaultController {
  #state;

  constructor(state) {
    this.#state = state;
  }

  get desiredSize() {
    return this.#state.desired();
  }

  get byobRequest() {
    return null;
  }

  enqueue(chunk) {
    this.#state.enqueue(chunk);
  }

  close() {
    this.#state.close();
  }

  error(error) {
    this.#state.fail(error);
  }
}

export class ReadableStreamDefaultReader {
  #state;

  constructor(stream) {
    const state = stateOf(stream);
    if (state.reader) throw new TypeError("the stream is locked: it has a reader");
    state.reader = this;
    this.#state = state;
  }

  #locked() {
    if (!this.#state) throw new TypeError("the reader was released");
    return this.#state;
  }

  get closed() {
    return this.#state ? this.#state.closed.promise : Promise.reject(new TypeError("released"));
  }

  async read() {
    return this.#locked().read();
  }

  async cancel(reason) {
    return this.#locked().cancel(reason);
  }

  releaseLock() {
    if (!this.#state) return;
    const released = new TypeError("the reader was released");
    for (const read of this.#state.reads.splice(0)) read.reject(released);
    this.#state.reader = null;
    this.#state = null;
  }
}

export class ReadableStream {
  #state;

  static {
    stateOf = (stream) => stream.#state;
  }

  constructor(source = {}, strategy = {}) {
    const highWaterMark = strategy.highWaterMark ?? (source?.type === "bytes" ? 0 : 1);
    this.#state = new Readable(source ?? {}, { highWaterMark, size: strategy.size });
    this.#state.start();
  }

  static from(iterable) {
    const iterator = iterable[Symbol.asyncIterator]?.() ?? iterable[Symbol.iterator]();
    return new ReadableStream(
      {
        async pull(controller) {
          const { value, done } = await iterator.next();
          if (done) controller.close();
          else controller.enqueue(await value);
        },
        async cancel(reason) {
          await iterator.return?.(reason);
        },
      },
      { highWaterMark: 0 },
    );
  }

  get locked() {
    return this.#state.reader !== null;
  }

  getReader({ mode } = {}) {
    if (mode !== undefined) throw new TypeError(`getReader: no readers of mode ${mode}`);
    return new ReadableStreamDefaultReader(this);
  }

  async cancel(reason) {
    if (this.locked) throw new TypeError("the stream is locked: its reader can cancel it");
    return this.#state.cancel(reason);
  }

  tee() {
    const reader = this.getReader();
    const branches = [];
    let reading = null;
    const read = () => {
      reading ??= reader.read().then(({ value, done }) => {
        reading = null;
        for (const { state } of branches) {
          if (state.state !== "readable" || state.isClosing) continue;
          if (done) state.close();
          else state.enqueue(value);
        }
      });
      return reading;
    };
    const source = () => ({
      pull: read,
      async cancel(reason) {
        const isLast = branches.every(({ state }) => state.state !== "readable");
        if (isLast) await reader.cancel(reason);
      },
    });
    for (let index = 0; index < 2; index++) {
      const stream = new ReadableStream(source(), { highWaterMark: 0 });
      branches.push({ stream, state: stateOf(stream) });
    }
    return branches.map(({ stream }) => stream);
  }

  async pipeTo(destination, options = {}) {
    const { preventClose, preventAbort, preventCancel, signal } = options;
    const reader = this.getReader();
    const writer = destination.getWriter();
    const abort = () => reader.cancel(signal.reason).catch(() => {});
    signal?.addEventListener("abort", abort, { once: true });
    try {
      for (;;) {
        signal?.throwIfAborted();
        await writer.ready;
        let chunk;
        try {
          chunk = await reader.read();
        } catch (error) {
          if (!preventAbort) await writer.abort(error);
          throw error;
        }
        signal?.throwIfAborted();
        if (chunk.done) break;
        await writer.write(chunk.value);
      }
      if (!preventClose) await writer.close();
    } catch (error) {
      if (signal?.aborted && !preventAbort) await writer.abort(error).catch(() => {});
      if (!preventCancel) await reader.cancel(error).catch(() => {});
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      reader.releaseLock();
      writer.releaseLock();
    }
  }

  pipeThrough({ readable, writable }, options) {
    this.pipeTo(writable, options).catch(() => {});
    return readable;
  }

  async *values({ preventCancel = false } = {}) {
    const reader = this.getReader();
    let isDone = false;
    try {
      for (;;) {
        const { value, done } = await reader.read();
        isDone = done;
        if (done) return;
        yield value;
      }
    } finally {
      if (!isDone && !preventCancel) await reader.cancel().catch(() => {});
      reader.releaseLock();
    }
  }

  [Symbol.asyncIterator](options) {
    return this.values(options);
  }
}

/** The state of a writable stream. */
class Writable {
  state = "writable";
  error = undefined;
  writer = null;
  /** The end of the chain of writes. */
  last = Promise.resolve();
  pending = 0;
  ready = deferred();
  closed = deferred();
  aborted = deferred();
  isClosing = false;

  constructor(sink, { highWaterMark = 1 } = {}) {
    this.sink = sink;
    this.highWaterMark = highWaterMark;
    this.controller = { error: (error) => this.fail(error) };
    this.last = Promise.resolve(sink.start?.(this.controller));
    this.last.catch((error) => this.fail(error));
    this.ready.resolve();
  }

  fail(error) {
    if (this.state === "errored" || this.state === "closed") return;
    this.state = "errored";
    this.error = error;
    this.aborted.resolve();
    this.ready.reject(error);
    this.ready = deferred();
    this.ready.reject(error);
    this.closed.reject(error);
  }

  desired() {
    if (this.state === "errored") return null;
    if (this.state === "closed") return 0;
    return this.highWaterMark - this.pending;
  }

  async write(chunk) {
    if (this.state === "errored") throw this.error;
    if (this.isClosing) throw new TypeError("the stream is closed: nothing can be written");
    if (++this.pending >= this.highWaterMark) this.ready = deferred();
    const written = this.last.then(() => {
      if (this.state === "errored") throw this.error;
      return this.sink.write?.(chunk, this.controller);
    });
    this.last = written.catch((error) => this.fail(error));
    try {
      await written;
    } finally {
      this.pending--;
      if (this.state === "writable" && this.desired() > 0) this.ready.resolve();
    }
  }

  async close() {
    if (this.state === "errored") throw this.error;
    if (this.isClosing) throw new TypeError("the stream is closed");
    this.isClosing = true;
    await this.last;
    if (this.state === "errored") throw this.error;
    try {
      await this.sink.close?.();
    } catch (error) {
      this.fail(error);
      throw error;
    }
    this.state = "closed";
    this.ready.resolve();
    this.closed.resolve();
  }

  async abort(reason) {
    if (this.state !== "writable") return;
    this.fail(reason);
    await this.sink.abort?.(reason);
  }
}

export class WritableStreamDefaultWriter {
  #state;

  constructor(stream) {
    const state = stateOfWritable(stream);
    if (state.writer) throw new TypeError("the stream is locked: it has a writer");
    state.writer = this;
    this.#state = state;
  }

  #locked() {
    if (!this.#state) throw new TypeError("the writer was released");
    return this.#state;
  }

  get ready() {
    return this.#locked().ready.promise;
  }

  get closed() {
    return this.#locked().closed.promise;
  }

  get desiredSize() {
    return this.#locked().desired();
  }

  write(chunk) {
    const written = this.#locked().write(chunk);
    written.catch(() => {});
    return written;
  }

  close() {
    const closed = this.#locked().close();
    closed.catch(() => {});
    return closed;
  }

  async abort(reason) {
    return this.#locked().abort(reason);
  }

  releaseLock() {
    if (!this.#state) return;
    this.#state.writer = null;
    this.#state = null;
  }
}

export class WritableStream {
  #state;

  static {
    stateOfWritable = (stream) => stream.#state;
  }

  constructor(sink = {}, strategy = {}) {
    this.#state = new Writable(sink, strategy);
  }

  get locked() {
    return this.#state.writer !== null;
  }

  getWriter() {
    return new WritableStreamDefaultWriter(this);
  }

  async close() {
    return this.#state.close();
  }

  async abort(reason) {
    return this.#state.abort(reason);
  }
}

export class TransformStream {
  #readable;
  #writable;

  constructor(transformer = {}, writableStrategy = {}, readableStrategy = {}) {
    let readable;
    let writable;
    const controller = {
      get desiredSize() {
        return readable.desired();
      },
      enqueue: (chunk) => readable.enqueue(chunk),
      error(error) {
        readable.fail(error);
        writable.fail(error);
      },
      terminate() {
        if (readable.state === "readable" && !readable.isClosing) readable.close();
        writable.fail(new TypeError("the transformation has ended"));
      },
    };
    this.#readable = new ReadableStream(
      {
        async cancel(reason) {
          writable.fail(reason ?? new TypeError("the reader has cancelled"));
          await transformer.cancel?.(reason);
        },
      },
      { highWaterMark: 0, ...readableStrategy },
    );
    readable = stateOf(this.#readable);
    this.#writable = new WritableStream(
      {
        start: () => transformer.start?.(controller),
        async write(chunk) {
          await Promise.race([readable.untilWanted(), writable.aborted.promise]);
          if (writable.state === "errored") throw writable.error;
          try {
            if (transformer.transform) await transformer.transform(chunk, controller);
            else readable.enqueue(chunk);
          } catch (error) {
            readable.fail(error);
            throw error;
          }
        },
        async close() {
          try {
            await transformer.flush?.(controller);
          } catch (error) {
            readable.fail(error);
            throw error;
          }
          if (readable.state === "readable" && !readable.isClosing) readable.close();
        },
        async abort(reason) {
          readable.fail(reason);
          await transformer.cancel?.(reason);
        },
      },
      writableStrategy,
    );
    writable = stateOfWritable(this.#writable);
  }

  get readable() {
    return this.#readable;
  }

  get writable() {
    return this.#writable;
  }
}

export class CountQueuingStrategy {
  constructor({ highWaterMark }) {
    this.highWaterMark = highWaterMark;
  }

  size() {
    return 1;
  }
}

export class ByteLengthQueuingStrategy {
  constructor({ highWaterMark }) {
    this.highWaterMark = highWaterMark;
  }

  size(chunk) {
    return chunk.byteLength;
  }
}
