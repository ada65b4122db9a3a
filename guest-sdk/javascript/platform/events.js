// Events and cancellation: EventTarget, AbortController, AbortSignal.

import { setTimeout } from "./timers.js";

export class Event {
  #type;
  #cancelable;
  defaultPrevented = false;
  target = null;
  stopped = false;

  constructor(type, { cancelable = false } = {}) {
    this.#type = String(type);
    this.#cancelable = cancelable;
  }

  get type() {
    return this.#type;
  }

  get currentTarget() {
    return this.target;
  }

  preventDefault() {
    this.defaultPrevented ||= this.#cancelable;
  }

  stopImmediatePropagation() {
    this.stopped = true;
  }

  stopPropagation() {}
}

export class CustomEvent extends Event {
  constructor(type, options = {}) {
    super(type, options);
    this.detail = options.detail ?? null;
  }
}

export class EventTarget {
  #listeners = [];

  addEventListener(type, listener, options = {}) {
    const known = this.#listeners.some((one) => one.type === type && one.listener === listener);
    if (listener && !known) {
      this.#listeners.push({ type, listener, once: options?.once ?? false });
    }
  }

  removeEventListener(type, listener) {
    this.#listeners = this.#listeners.filter(
      (one) => one.type !== type || one.listener !== listener,
    );
  }

  dispatchEvent(event) {
    event.target = this;
    const own = this[`on${event.type}`];
    if (typeof own === "function") own.call(this, event);
    for (const { type, listener, once } of [...this.#listeners]) {
      if (event.stopped) break;
      if (type !== event.type) continue;
      if (once) this.removeEventListener(type, listener);
      if (typeof listener === "function") listener.call(this, event);
      else listener.handleEvent(event);
    }
    return !event.defaultPrevented;
  }
}

let abort;

export class AbortSignal extends EventTarget {
  #aborted = false;
  #reason = undefined;
  onabort = null;

  static {
    abort = (signal, reason) => {
      if (signal.#aborted) return;
      signal.#aborted = true;
      signal.#reason = reason ?? new DOMException("The operation was aborted", "AbortError");
      signal.dispatchEvent(new Event("abort"));
    };
  }

  get aborted() {
    return this.#aborted;
  }

  get reason() {
    return this.#reason;
  }

  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  static abort(reason) {
    const signal = new AbortSignal();
    abort(signal, reason);
    return signal;
  }

  static timeout(milliseconds) {
    const signal = new AbortSignal();
    const reason = () => new DOMException("The operation timed out", "TimeoutError");
    setTimeout(() => abort(signal, reason()), milliseconds);
    return signal;
  }

  static any(signals) {
    const any = new AbortSignal();
    for (const signal of signals) {
      if (signal.aborted) abort(any, signal.reason);
      else signal.addEventListener("abort", () => abort(any, signal.reason), { once: true });
    }
    return any;
  }
}

export class AbortController {
  #signal = new AbortSignal();

  get signal() {
    return this.#signal;
  }

  abort(reason) {
    abort(this.#signal, reason);
  }
}
