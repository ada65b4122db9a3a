// Headers: names in lower case, values as byte strings.

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const BLANKS = /^[\t\n\r ]+|[\t\n\r ]+$/g;

function checkedName(name) {
  const text = String(name);
  if (!NAME.test(text)) throw new TypeError(`Headers: not a field name: ${JSON.stringify(text)}`);
  return text.toLowerCase();
}

function checkedValue(name, value) {
  const text = String(value).replace(BLANKS, "");
  if (!VALUE.test(text)) {
    throw new TypeError(`Headers: not a field value: ${name}: ${JSON.stringify(text)}`);
  }
  return text;
}

export class Headers {
  /** Values by name. */
  #fields = new Map();

  constructor(init) {
    if (init === undefined || init === null) return;
    if (init instanceof Headers) {
      for (const [name, values] of init.#fields) this.#fields.set(name, [...values]);
    } else if (typeof init === "object" && Symbol.iterator in init) {
      for (const pair of init) {
        const [name, value, ...rest] = pair;
        if (value === undefined || rest.length > 0) {
          throw new TypeError("Headers: a field is a pair of a name and a value");
        }
        this.append(name, value);
      }
    } else if (typeof init === "object") {
      for (const name of Object.keys(init)) this.append(name, init[name]);
    } else {
      throw new TypeError("Headers: fields are an object or pairs");
    }
  }

  append(name, value) {
    const key = checkedName(name);
    const values = this.#fields.get(key);
    if (values) values.push(checkedValue(name, value));
    else this.#fields.set(key, [checkedValue(name, value)]);
  }

  set(name, value) {
    this.#fields.set(checkedName(name), [checkedValue(name, value)]);
  }

  get(name) {
    return this.#fields.get(checkedName(name))?.join(", ") ?? null;
  }

  getSetCookie() {
    return [...(this.#fields.get("set-cookie") ?? [])];
  }

  has(name) {
    return this.#fields.has(checkedName(name));
  }

  delete(name) {
    this.#fields.delete(checkedName(name));
  }

  forEach(callback, receiver) {
    for (const [name, value] of this) callback.call(receiver, value, name, this);
  }

  *entries() {
    for (const name of [...this.#fields.keys()].sort()) {
      const values = this.#fields.get(name);
      if (name === "set-cookie") for (const value of values) yield [name, value];
      else yield [name, values.join(", ")];
    }
  }

  *keys() {
    for (const [name] of this) yield name;
  }

  *values() {
    for (const [, value] of this) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  get [Symbol.toStringTag]() {
    return "Headers";
  }
}
