// console: texts for the log.

import { host } from "./host.js";

/** Limits of what is shown of a value. */
const MAX_DEPTH = 3;
const MAX_ITEMS = 100;
const MAX_TEXT = 10_000;

function shown(value, depth, parents) {
  if (typeof value === "string") return depth === 0 ? value : JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "symbol") return value.toString();
  if (typeof value === "function") return `[function ${value.name || "(anonymous)"}]`;
  if (typeof value !== "object" || value === null) return Object.is(value, -0) ? "-0" : `${value}`;
  if (parents.includes(value)) return "[circular]";
  if (value instanceof Error) return errorText(value, depth, parents);
  if (value instanceof Date) return Number.isNaN(+value) ? "Invalid Date" : value.toISOString();
  if (value instanceof RegExp) return value.toString();
  if (depth > MAX_DEPTH) return Array.isArray(value) ? "[…]" : "{…}";
  const inner = (item) => shown(item, depth + 1, [...parents, value]);
  const listed = (items) => {
    const some = items.slice(0, MAX_ITEMS);
    return items.length > MAX_ITEMS ? [...some, `… ${items.length - MAX_ITEMS} more`] : some;
  };
  const name = value.constructor?.name;
  if (Array.isArray(value)) return `[${listed(value).map(inner).join(", ")}]`;
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return `${name}(${value.length}) [${listed([...value.subarray(0, MAX_ITEMS)]).join(", ")}]`;
  }
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${value.byteLength})`;
  if (value instanceof Promise) return "Promise {}";
  if (value instanceof Map || value instanceof Headers) {
    const pairs = listed([...value]).map(([key, item]) => `${inner(key)} => ${inner(item)}`);
    return `${name} {${pairs.join(", ")}}`;
  }
  if (value instanceof Set) return `Set {${listed([...value]).map(inner).join(", ")}}`;
  if (value instanceof URL) return `URL ${value.href}`;
  const keys = listed(Object.keys(value));
  const pairs = keys.map((key) => `${key}: ${inner(value[key])}`);
  const front = name && name !== "Object" ? `${name} ` : "";
  return pairs.length > 0 ? `${front}{ ${pairs.join(", ")} }` : `${front}{}`;
}

function errorText(error, depth, parents) {
  const stack = (error.stack ?? "").trimEnd();
  const cause = error.cause === undefined || depth > MAX_DEPTH
    ? ""
    : `\ncaused by: ${shown(error.cause, depth + 1, [...parents, error])}`;
  return `${error.name}: ${error.message}${stack ? `\n${stack}` : ""}${cause}`;
}

function format(values) {
  const rest = [...values];
  let text = "";
  if (typeof rest[0] === "string" && rest[0].includes("%") && rest.length > 1) {
    text = rest.shift().replace(/%([sdifoOjc%])/g, (whole, kind) => {
      if (kind === "%") return "%";
      if (rest.length === 0) return whole;
      const value = rest.shift();
      if (kind === "c") return "";
      if (kind === "s") return shown(value, 0, []);
      if (kind === "j") return JSON.stringify(value);
      if (kind === "d" || kind === "f") return String(Number(value));
      if (kind === "i") return String(Math.trunc(Number(value)));
      return shown(value, 1, []);
    });
    if (rest.length > 0) text += " ";
  }
  text += rest.map((value) => shown(value, 0, [])).join(" ");
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

const counts = new Map();
const times = new Map();
let indent = "";

function log(...values) {
  const text = format(values).toWellFormed();
  host.log(`${indent}${indent ? text.replaceAll("\n", `\n${indent}`) : text}\n`);
}

export const console = {
  log,
  info: log,
  debug: log,
  warn: log,
  error: log,
  dir: (value) => log(shown(value, 1, [])),
  table: log,
  trace(...values) {
    log(...values, `\n${new Error().stack}`);
  },
  assert(condition, ...values) {
    if (!condition) log("Assertion failed:", ...values);
  },
  count(label = "default") {
    counts.set(label, (counts.get(label) ?? 0) + 1);
    log(`${label}: ${counts.get(label)}`);
  },
  countReset(label = "default") {
    counts.delete(label);
  },
  group(...values) {
    if (values.length > 0) log(...values);
    indent += "  ";
  },
  groupCollapsed(...values) {
    console.group(...values);
  },
  groupEnd() {
    indent = indent.slice(2);
  },
  time(label = "default") {
    times.set(label, host.now());
  },
  timeLog(label = "default", ...values) {
    log(`${label}: ${(host.now() - (times.get(label) ?? host.now())).toFixed(3)} ms`, ...values);
  },
  timeEnd(label = "default") {
    console.timeLog(label);
    times.delete(label);
  },
};

/** Describes a thrown value: its kind, its message and its stack. */
export function describe(value) {
  if (!(value instanceof Error)) {
    return { kind: "thrown", message: shown(value, 1, []), stack: "" };
  }
  let stack = String(value.stack ?? "");
  for (let cause = value.cause, depth = 0; cause !== undefined && depth < MAX_DEPTH; depth++) {
    stack += `\ncaused by: ${shown(cause, 1, [])}`;
    cause = undefined;
  }
  return { kind: String(value.name), message: String(value.message), stack };
}
