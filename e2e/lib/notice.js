// What a person would notice, as assertions. They work for every kind of person: page or native.

import { eventually } from './eventually.js';

/** A tone is right within the width of two bins of the analyser. */
const TONE_TOLERANCE_HZ = 12;

/**
 * `viewer` sees a picture of `publisher` that is not one flat colour, and it keeps moving: `frames` more are decoded.
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

/** `listener` hears `publisher`'s tone at the frequency it was sent. */
export function hearsTone(listener, publisher, hz, { timeout = 20_000 } = {}) {
  return eventually(async () => {
    const heard = await listener.call('hear', publisher.identity);
    if (heard && Math.abs(heard.hz - hz) <= TONE_TOLERANCE_HZ && heard.prominence >= 20 && heard.level > -70) return heard;
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

/** `watcher` has been told of an event whose fields are those of `wanted`. */
export function noticed(watcher, event, wanted = {}, { timeout = 10_000 } = {}) {
  return eventually(async () => {
    const events = await watcher.call('events');
    const match = (entry) => Object.entries(wanted).every(([key, value]) => entry[key] === value);
    const found = events.find((entry) => entry.event === event && match(entry));
    if (found) return found;
    throw new Error(events.map((entry) => `${entry.event} ${entry.identity ?? ''} ${entry.kind ?? ''}`).join(', '));
  }, { timeout, what: `${watcher.identity} notices: ${event} ${JSON.stringify(wanted)}` });
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
  const { messages } = await person.call('tap');
  return messages.filter(({ way }) => way === 'open').at(-1)?.text;
}
