// Changes a page into its next version, and keeps what the person at it has done: focus, scroll
// positions, fields that were filled in, and nodes that scripts of the page have added.
//
// `live` is a node of the page, `next` the same node in the new version, and `base` the same node in
// the version that the page was made from, if it is known. Where `base` and `next` agree, nothing is
// touched, whatever scripts have made of it.

const OWN = 'data-wasgi-dev';

// Returns whether two nodes can be the same node in two versions.
function corresponds(one, other) {
  if (one.nodeType !== other.nodeType) return false;
  if (one.nodeType !== Node.ELEMENT_NODE) return true;
  return one.localName === other.localName && one.namespaceURI === other.namespaceURI &&
    one.id === other.id && one.getAttribute('name') === other.getAttribute('name');
}

// Removes from `pool` the node that corresponds to `node`, and returns it. A node that is equal is
// preferred, so that a line inserted at the front does not change all that follow it.
function claim(pool, node) {
  const candidates = pool.filter((one) => corresponds(one, node));
  const found = candidates.find((one) => one.isEqualNode(node)) ?? candidates[0];
  if (found) pool.splice(pool.indexOf(found), 1);
  return found;
}

function isOwn(node) {
  return node.nodeType === Node.ELEMENT_NODE && node.hasAttribute(OWN);
}

function morphAttributes(live, next, base) {
  for (const { name, value } of next.attributes) {
    // Without a change in the source, a different value is a script's or the person's.
    if (base ? base.getAttribute(name) !== value : live.getAttribute(name) !== value) {
      live.setAttribute(name, value);
    }
  }
  const names = base ? base.getAttributeNames() : live.getAttributeNames();
  for (const name of names) {
    const isState = name === 'open' && !base;
    if (!next.hasAttribute(name) && !isState) live.removeAttribute(name);
  }
}

function morphChildren(live, next, base) {
  const pool = [...live.childNodes].filter((node) => !isOwn(node));
  const bases = base ? [...base.childNodes] : [];
  // What each node of the page was in the source. A node without one was added by a script.
  const origins = new Map();
  if (base) {
    const unclaimed = [...pool];
    for (const node of bases) {
      const found = claim(unclaimed, node);
      if (found) origins.set(found, node);
    }
  }
  const kept = base ? pool.filter((node) => !origins.has(node)) : [];
  const candidates = pool.filter((node) => !kept.includes(node));
  let cursor = candidates[0] ?? null;
  const follow = (node) => {
    let after = node.nextSibling;
    while (after && (kept.includes(after) || isOwn(after))) after = after.nextSibling;
    return after;
  };
  const pairs = pairUp(candidates, [...next.childNodes], origins);
  for (const [node, found] of pairs) {
    if (!found) {
      live.insertBefore(document.importNode(node, true), cursor);
      continue;
    }
    if (found === cursor) {
      cursor = follow(found);
    } else {
      live.insertBefore(found, cursor);
    }
    morphNode(found, node, origins.get(found));
  }
  const used = new Set(pairs.map(([, found]) => found));
  for (const node of candidates) if (!used.has(node)) node.remove();
}

// Returns each node of the next version with the node of the page that becomes it. A node whose
// source is unchanged is taken first.
function pairUp(candidates, nodes, origins) {
  const pool = [...candidates];
  const pairs = nodes.map((node) => {
    const same = pool.find((one) => (origins.get(one) ?? one).isEqualNode(node));
    if (same) pool.splice(pool.indexOf(same), 1);
    return [node, same];
  });
  for (const pair of pairs) pair[1] ??= claim(pool, pair[0]);
  return pairs;
}

function morphNode(live, next, base) {
  if (base?.isEqualNode(next)) return;
  if (live.nodeType !== Node.ELEMENT_NODE) {
    if (live.data !== next.data) live.data = next.data;
    return;
  }
  morphAttributes(live, next, base);
  if (live.localName === 'template') {
    live.content.replaceChildren(document.importNode(next.content, true));
  } else if (live.localName !== 'iframe') {
    morphChildren(live, next, base);
  }
}

// Changes the whole page. `next` and `base` are documents.
function morph(next, base) {
  const { activeElement, scrollingElement } = document;
  const [left, top] = [scrollingElement?.scrollLeft ?? 0, scrollingElement?.scrollTop ?? 0];
  let selection = null;
  try {
    selection = [activeElement.selectionStart, activeElement.selectionEnd];
  } catch {
    // Not a text field.
  }
  morphNode(document.documentElement, next.documentElement, base?.documentElement);
  // A node that was moved has lost the focus.
  if (activeElement && activeElement !== document.activeElement && activeElement.isConnected) {
    activeElement.focus({ preventScroll: true });
    if (selection?.[0] != null) activeElement.setSelectionRange(...selection);
  }
  scrollingElement?.scrollTo({ left, top, behavior: 'instant' });
}

// Returns whether the next version has other scripts, which only a reload runs.
function scriptsDiffer(next, base) {
  const keys = (root) => [...root.querySelectorAll('script')]
    .filter((one) => !one.type || /module|importmap|speculationrules|(java|ecma)script/i.test(one.type))
    .filter((one) => one.getAttribute('src') !== '/_wasgi/dev.js')
    .map((one) => one.outerHTML);
  const [before, after] = [keys(base ?? document), keys(next)];
  const isNew = after.some((key) => !before.includes(key));
  return isNew || (base != null && before.some((key) => !after.includes(key)));
}
