// The only place that may wait for time: it looks at a condition again and again until a deadline.

import { setTimeout as pause } from 'node:timers/promises';

const INTERVAL_MS = 100;

/**
 * The first truthy value that `look` returns. A look that throws counts as "not yet".
 *
 * Fails with `what`, the last value and the last error when the deadline has passed, or at once when `hopeless`
 * returns a reason.
 */
export async function eventually(look, { timeout = 15_000, what = 'the condition', hopeless = () => null } = {}) {
  const deadline = Date.now() + timeout;
  let seen;
  let error = null;
  do {
    try {
      seen = await look();
      error = null;
      if (seen) return seen;
    } catch (thrown) {
      error = thrown;
    }
    const reason = hopeless();
    if (reason) throw new Error(`${what}: ${reason}`);
    await pause(INTERVAL_MS);
  } while (Date.now() < deadline);
  const last = error ? `failed with ${error.message ?? error}` : `saw ${JSON.stringify(seen)}`;
  throw new Error(`${what}: not within ${timeout} ms; the last look ${last}`);
}

/** `promise`, or an error that names `what` after `timeout` ms. */
export function within(promise, timeout, what) {
  const late = AbortSignal.timeout(timeout);
  return new Promise((resolve, reject) => {
    late.addEventListener('abort', () => reject(new Error(`${what}: not within ${timeout} ms`)), { once: true });
    promise.then(resolve, reject);
  });
}
