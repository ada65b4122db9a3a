// Compares two texts line by line.

/** The maximum number of pairs of lines that are compared: more take too long and too much memory. */
const MAX_PAIRS = 1_000_000;

/** The number of equal lines that are shown before and after a difference. */
const CONTEXT = 3;

/**
 * Returns the lines of both texts in order, each with its mark: ` ` in both, `-` only in the first,
 * `+` only in the second. Uses the longest common subsequence, unless the texts are too long.
 */
function diffLines(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let [end, last] = [before.length, after.length];
  while (end > start && last > start && before[end - 1] === after[last - 1]) [end, last] = [end - 1, last - 1];
  const equal = (lines) => lines.map((line) => [' ', line]);
  return [
    ...equal(before.slice(0, start)),
    ...diffMiddle(before.slice(start, end), after.slice(start, last)),
    ...equal(before.slice(end)),
  ];
}

function diffMiddle(before, after) {
  const replaced = [...before.map((line) => ['-', line]), ...after.map((line) => ['+', line])];
  if (before.length * after.length > MAX_PAIRS) return replaced;
  // The length of the longest common subsequence of the rests from each pair of lines on.
  const width = after.length + 1;
  const lengths = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = before[i] === after[j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < before.length && j < after.length) {
    if (before[i] === after[j]) {
      lines.push([' ', before[i]]);
      [i, j] = [i + 1, j + 1];
    } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) {
      lines.push(['-', before[i]]);
      i += 1;
    } else {
      lines.push(['+', after[j]]);
      j += 1;
    }
  }
  for (; i < before.length; i += 1) lines.push(['-', before[i]]);
  for (; j < after.length; j += 1) lines.push(['+', after[j]]);
  return lines;
}

/** Replaces long runs of equal lines with one that has the mark `…` and says how many there are. */
function withoutEqual(lines) {
  const isNear = lines.map(() => false);
  lines.forEach(([mark], at) => {
    if (mark === ' ') return;
    for (let near = at - CONTEXT; near <= at + CONTEXT; near += 1) isNear[near] = true;
  });
  const short = [];
  for (let at = 0; at < lines.length; at += 1) {
    if (isNear[at]) {
      short.push(lines[at]);
      continue;
    }
    let end = at;
    while (end < lines.length && !isNear[end]) end += 1;
    const count = end - at;
    short.push(['…', count === 1 ? '1 equal line' : `${count} equal lines`]);
    at = end - 1;
  }
  return short;
}
