// Requests to other hosts. The host sends them, and says which responses are there.

import { host } from "./host.js";
import { joined } from "./encoding.js";
import { Request, Response, setUrl } from "./http.js";
import { ReadableStream } from "./streams.js";
import { URL } from "./url.js";

/** The maximum number of redirects that are followed (the standard's). */
const MAX_REDIRECTS = 20;

const REDIRECTS = [301, 302, 303, 307, 308];
const WITHOUT_BODY = [101, 204, 205, 304];

/** What settles the promises of pending responses, by the numbers of their requests. */
let pending = new Map();

/** Settles the promises of the responses that are there. Returns whether there were some. */
export function settleFetches() {
  if (pending.size === 0) return false;
  const ready = host.fetchReady();
  for (const number of ready) {
    const { resolve, reject } = pending.get(number);
    pending.delete(number);
    try {
      resolve(host.fetchTake(number));
    } catch (error) {
      reject(error);
    }
  }
  return ready.length > 0;
}

/** Forgets all pending responses: none continues in another request. */
export function clearFetches() {
  pending = new Map();
}

export async function fetch(input, init = {}) {
  const request = new Request(input, init);
  const redirect = init.redirect ?? "follow";
  const { signal } = request;
  let { method } = request;
  let body = request.body ? await request.bytes() : new Uint8Array(0);
  let url = new URL(request.url);
  const headers = request.headers;
  for (let redirects = 0; ; redirects++) {
    const number = send(method, url, headers, body);
    const head = await received(number, signal);
    const status = head[0];
    const location = REDIRECTS.includes(status) ? fieldOf(head, "location") : null;
    if (location === null || redirect === "manual") {
      return response(number, head, method, url, redirects > 0);
    }
    host.fetchEnd(number);
    if (redirect === "error") throw new TypeError(`fetch: a redirect to ${location}`);
    if (redirects === MAX_REDIRECTS) throw new TypeError("fetch: too many redirects");
    const next = new URL(location, url.href);
    const becomesGet = method === "POST" ? status <= 303 : status === 303 && method !== "HEAD";
    if (becomesGet) {
      method = "GET";
      body = new Uint8Array(0);
      for (const name of ["content-type", "content-encoding", "content-language"]) {
        headers.delete(name);
      }
    }
    // Credentials are for the host that the script has named.
    if (next.origin !== url.origin) for (const name of ["authorization", "cookie"]) headers.delete(name);
    url = next;
  }
}

function send(method, url, headers, body) {
  const fields = [];
  for (const [name, value] of headers) if (name !== "content-length") fields.push(name, value);
  const path = `${url.pathname}${url.search}`;
  return host.fetchStart(method, url.protocol.slice(0, -1), url.host, path, fields, joined([body, new Uint8Array(0)]));
}

function received(number, signal) {
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      pending.delete(number);
      host.fetchEnd(number);
      reject(signal.reason);
    };
    if (signal.aborted) return giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    pending.set(number, { resolve, reject });
  });
}

function fieldOf(head, name) {
  for (let at = 1; at < head.length; at += 2) if (head[at] === name) return head[at + 1];
  return null;
}

function response(number, head, method, url, isRedirected) {
  const headers = [];
  for (let at = 1; at < head.length; at += 2) headers.push([head[at], head[at + 1]]);
  const status = head[0];
  const hasBody = method !== "HEAD" && !WITHOUT_BODY.includes(status);
  if (!hasBody) host.fetchEnd(number);
  const response = new Response(hasBody ? stream(number) : null, { status, headers });
  setUrl(response, url.href.split("#")[0], isRedirected);
  return response;
}

function stream(number) {
  return new ReadableStream(
    {
      pull(controller) {
        const block = host.fetchRead(number);
        if (block.length > 0) {
          controller.enqueue(block);
        } else {
          host.fetchEnd(number);
          controller.close();
        }
      },
      cancel() {
        host.fetchEnd(number);
      },
    },
    { highWaterMark: 0 },
  );
}
