// structuredClone.

function failed(what) {
  return new DOMException(`structuredClone: ${what} can't be cloned`, "DataCloneError");
}

function clone(value, known) {
  if (typeof value === "function") throw failed(`the function ${value.name}`);
  if (typeof value === "symbol") throw failed("a symbol");
  if (typeof value !== "object" || value === null) return value;
  if (known.has(value)) return known.get(value);
  const keep = (copy) => {
    known.set(value, copy);
    return copy;
  };
  if (value instanceof Date) return keep(new Date(value));
  if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
  if (value instanceof ArrayBuffer) return keep(value.slice(0));
  if (ArrayBuffer.isView(value)) {
    const buffer = clone(value.buffer, known);
    const length = value instanceof DataView ? value.byteLength : value.length;
    return keep(new value.constructor(buffer, value.byteOffset, length));
  }
  if (value instanceof Map) {
    const copy = keep(new Map());
    for (const [key, item] of value) copy.set(clone(key, known), clone(item, known));
    return copy;
  }
  if (value instanceof Set) {
    const copy = keep(new Set());
    for (const item of value) copy.add(clone(item, known));
    return copy;
  }
  if (value instanceof Error) {
    const copy = keep(new (globalThis[value.name] ?? Error)(value.message));
    Object.defineProperty(copy, "stack", { value: value.stack, configurable: true, writable: true });
    return copy;
  }
  if (value instanceof Number || value instanceof String || value instanceof Boolean) {
    return keep(Object(value.valueOf()));
  }
  for (const kind of [Promise, WeakMap, WeakSet, WeakRef]) {
    if (value instanceof kind) throw failed(`a ${kind.name}`);
  }
  const copy = keep(Array.isArray(value) ? new Array(value.length) : {});
  for (const key of Object.keys(value)) copy[key] = clone(value[key], known);
  return copy;
}

export function structuredClone(value, { transfer = [] } = {}) {
  const copy = clone(value, new Map());
  for (const buffer of transfer) buffer.transfer?.();
  return copy;
}
