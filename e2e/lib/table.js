// Tables of inputs and what each must give.

import assert from 'node:assert/strict';

/**
 * `rows` are lists: what the row is called, what is wanted, and arguments of `look`. All rows are looked at, so that a failure shows
 * every one that is wrong. A look that throws gives its message.
 */
export async function holds(rows, look) {
  const seen = {};
  for (const [name, , ...args] of rows) {
    seen[name] = await attempt(() => look(...args));
  }
  assert.deepEqual(seen, Object.fromEntries(rows.map(([name, wanted]) => [name, wanted])));
}

async function attempt(look) {
  try {
    return await look();
  } catch (error) {
    return error.message;
  }
}
