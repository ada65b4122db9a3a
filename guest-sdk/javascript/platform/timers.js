// Timers, in the order in which they are due. The host calls `turn` while nothing else can be done.

import { host } from "./host.js";

let timers = [];
let last = 0;

function add(callback, delay, args, isRepeated) {
  if (typeof callback !== "function") throw new TypeError("a timer's callback is no function");
  const milliseconds = Math.max(Number(delay) || 0, isRepeated ? 1 : 0);
  schedule({ id: ++last, callback, args, interval: isRepeated ? milliseconds : null }, milliseconds);
  return last;
}

function schedule(timer, milliseconds) {
  timer.due = host.now() + milliseconds;
  const before = timers.findIndex((other) => other.due > timer.due);
  timers.splice(before < 0 ? timers.length : before, 0, timer);
}

export function setTimeout(callback, delay = 0, ...args) {
  return add(callback, delay, args, false);
}

export function setInterval(callback, delay = 0, ...args) {
  return add(callback, delay, args, true);
}

export function clearTimeout(id) {
  timers = timers.filter((timer) => timer.id !== id);
}

/** Removes all timers: none continues in another request. */
export function clearTimers() {
  timers = [];
}

/**
 * Runs the next timer if it is due, and returns 0. Otherwise returns how many milliseconds it is to
 * wait for it, or -1 if there is no timer.
 */
export function turn() {
  if (timers.length === 0) return -1;
  const wait = timers[0].due - host.now();
  if (wait > 0) return wait;
  const timer = timers.shift();
  if (timer.interval !== null) schedule(timer, timer.interval);
  timer.callback(...timer.args);
  return 0;
}
