// What a user would notice, as assertions: frames, freezes, tones, events. For every kind of client: page or native.

import assert from 'node:assert/strict';

import { eventually } from './eventually.js';

/** A tone is right within the width of two bins of the analyser. */
const TONE_TOLERANCE_HZ = 12;

/**
 * `viewer` sees video of `publisher` that is not one flat colour, and it keeps moving: `frames` more are decoded.
 * Returns the last look.
 */
export async function seesPicture(viewer, publisher, { frames = 30, minWidth = 1, codec = '', variance = 20, timeout = 25_000 } = {}) {
  const who = `${viewer.identity} sees ${publisher.identity}`;
  const look = () => viewer.call('see', publisher.identity);
  const first = await eventually(async () => {
    const seen = await look();
    return seen && seen.frames > 0 ? seen : null;
  }, { timeout, what: `${who}: a first frame` });
  return eventually(async () => {
    const seen = await look();
    const moved = seen.frames >= first.frames + frames;
    const clear = seen.variance >= variance && seen.width >= minWidth;
    const right = (seen.codec ?? '').toLowerCase().endsWith(codec.toLowerCase());
    if (moved && clear && right) return seen;
    throw new Error(`${JSON.stringify(seen)} after frame ${first.frames}`);
  }, { timeout, what: `${who}: ${frames} more frames ${codec} at least ${minWidth} wide, not black` });
}

/** `viewer` watches `publisher` for a while without a freeze: no frame stays for longer than `freeze` ms. Returns the statistics. */
export async function seesSmoothly(viewer, publisher, { seconds = 60, freeze = 1_000 } = {}) {
  await viewer.call('stare', publisher.identity);
  let watched;
  return eventually(async () => {
    watched = await viewer.call('watched', publisher.identity);
    return watched.ms >= seconds * 1_000 && watched.gap <= freeze ? watched : null;
  }, {
    timeout: seconds * 1_000 + 20_000,
    what: `${viewer.identity} sees ${publisher.identity} for ${seconds} s`,
    hopeless: () => (watched?.gap > freeze ? `the picture stood still: ${JSON.stringify(watched)}` : null),
  });
}

/** Milliseconds from `viewer` having joined to the first frame of `publisher` on the screen. */
export async function firstFrame(viewer, publisher, { timeout = 25_000 } = {}) {
  const { ms } = await eventually(async () => {
    const seen = { ms: await viewer.call('firstFrame', publisher.identity) };
    return seen.ms === null ? null : seen;
  }, { timeout, what: `${viewer.identity} sees a first frame of ${publisher.identity}` });
  return ms;
}

const isTone = (heard, hz) =>
  heard && Math.abs(heard.hz - hz) <= TONE_TOLERANCE_HZ && heard.prominence >= 20 && heard.level > -70;

/** `listener` hears `publisher`'s tone for a while, without a pause that is longer than `pause` ms. */
export async function hearsSteadily(listener, publisher, hz, { seconds = 60, pause = 1_000 } = {}) {
  const from = await hearsTone(listener, publisher, hz);
  let silentSince = null;
  let heard = from;
  const silence = () => (silentSince === null ? 0 : heard.at - silentSince);
  return eventually(async () => {
    heard = await listener.call('hear', publisher.identity);
    silentSince = isTone(heard, hz) ? null : silentSince ?? heard.at;
    return heard.at - from.at >= seconds * 1_000 && silentSince === null;
  }, {
    timeout: seconds * 1_000 + 20_000,
    what: `${listener.identity} hears ${publisher.identity} for ${seconds} s`,
    hopeless: () => (silence() > pause ? `no tone for ${silence()} ms: ${JSON.stringify(heard)}` : null),
  });
}

/** `listener` hears `publisher`'s tone at the frequency it was sent. */
export function hearsTone(listener, publisher, hz, { timeout = 20_000 } = {}) {
  return eventually(async () => {
    const heard = await listener.call('hear', publisher.identity);
    if (isTone(heard, hz)) return heard;
    throw new Error(JSON.stringify(heard));
  }, { timeout, what: `${listener.identity} hears ${publisher.identity} at ${hz} Hz` });
}

/** `listener` no longer hears anything of `publisher`. */
export function hearsSilence(listener, publisher, { timeout = 10_000 } = {}) {
  return eventually(async () => {
    const heard = await listener.call('hear', publisher.identity);
    if (!heard || heard.level < -80) return true;
    throw new Error(JSON.stringify(heard));
  }, { timeout, what: `${listener.identity} hears nothing of ${publisher.identity}` });
}

/** `watcher` has received an event whose fields are those of `wanted`. */
export function noticed(watcher, event, wanted = {}, { timeout = 10_000 } = {}) {
  return eventually(async () => {
    const events = await watcher.call('events');
    const match = (entry) => Object.entries(wanted).every(([key, value]) => entry[key] === value);
    const found = events.find((entry) => entry.event === event && match(entry));
    if (found) return found;
    throw new Error(events.map((entry) => `${entry.event} ${entry.identity ?? ''} ${entry.kind ?? ''}`).join(', '));
  }, { timeout, what: `${watcher.identity} notices: ${event} ${JSON.stringify(wanted)}` });
}

/**
 * `watcher` receives that `identity` has left, for `reason`, at most `within` ms after `since` (milliseconds since 1970).
 * A timeout of the server would come 5 s later and with a reason of its own.
 */
export async function seesLeave(watcher, identity, since, { reason = 'CLIENT_INITIATED', within = 1_000 } = {}) {
  const left = await noticed(watcher, 'left', { identity });
  const after = Math.round(left.wall - since);
  const what = `${watcher.identity} saw ${identity} leave`;
  assert.equal(await watcher.whyLeft(identity), reason, `${what}: why`);
  assert.ok(after <= within, `${what} after ${after} ms, more than ${within}`);
  return after;
}

/** `person` leaves, and `watchers` see that at once. */
export async function leaves(person, watchers, wanted) {
  const since = await person.call('leave');
  await Promise.all(watchers.map((watcher) => seesLeave(watcher, person.identity, since, wanted)));
}

/** `watcher` sees exactly these others in the room. */
export function isWith(watcher, identities, { timeout = 10_000 } = {}) {
  const wanted = [...identities].sort().join();
  return eventually(async () => {
    const others = [...(await watcher.call('others'))].sort().join();
    if (others === wanted) return true;
    throw new Error(others);
  }, { timeout, what: `${watcher.identity} is with ${wanted || 'nobody'}` });
}

/** Exactly `texts` have arrived at `receiver` from `sender`, each once, in any order. */
export async function receivedOnce(receiver, sender, texts, { timeout = 15_000 } = {}) {
  const wanted = JSON.stringify([...texts].sort());
  return eventually(async () => {
    const all = await receiver.call('received');
    const got = all.filter(({ identity }) => identity === sender.identity).map(({ text }) => text);
    if (JSON.stringify(got.sort()) === wanted) return true;
    throw new Error(`got ${JSON.stringify(got)}`);
  }, { timeout, what: `${receiver.identity} gets exactly ${wanted} from ${sender.identity}` });
}

/** The signalling path that a page's client has used last. */
export async function signalPath(person) {
  const { messages } = await person.call('trace');
  return messages.filter(({ way }) => way === 'open').at(-1)?.text;
}
