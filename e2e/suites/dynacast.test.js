// Dynacast: a publisher sends only the simulcast layers that have subscribers.

import { describe } from 'node:test';

import { eventually } from '../lib/eventually.js';
import { hearsTone, seesPicture } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const WAYS = [
  { way: 'one peer connection', options: { dynacast: true } },
  { way: 'two peer connections', options: { dynacast: true, singlePeerConnection: false } },
];

const place = fixture();
const scene = (...test) => place.scene(...test);

describe('dynacast', () => {
  for (const { way, options } of WAYS) {
    scene(`a camera is sent in the sizes that somebody watches, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      const bob = await room.chromium('bob', { options });
      await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
      await seesPicture(bob, alice, { minWidth: 1280, timeout: 45_000 });
      await bob.call('wantQuality', 'alice', 0);
      await sends(alice, 'q');
      await alice.call('tone', 440);
      await hearsTone(bob, alice, 440);
      await sends(alice, 'q'); // Another negotiation does not start what nobody watches.
      await seesPicture(bob, alice, { frames: 60 });
      await bob.call('wantQuality', 'alice', 2);
      await sends(alice, 'q h f', { timeout: 2_000 });
      await seesPicture(bob, alice, { minWidth: 1280, timeout: 45_000 });
      await bob.call('leave');
      await sends(alice, '');
      const carol = await room.chromium('carol', { options });
      await seesPicture(carol, alice);
      await sends(alice, 'q h f');
    });
  }

  scene('who resumes is told again what is watched', async (room) => {
    const alice = await room.chromium('alice', { options: { dynacast: true } });
    const bob = await room.chromium('bob');
    await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
    await seesPicture(bob, alice);
    await bob.call('wantQuality', 'alice', 0);
    await sends(alice, 'q');
    await alice.call('simulate', 'signal-reconnect');
    await eventually(async () => (await alice.call('events')).some(({ event }) => event === 'reconnected'), {
      what: 'alice has resumed',
    });
    await sends(alice, 'q');
    await bob.call('wantQuality', 'alice', 2);
    await sends(alice, 'q h f', { timeout: 2_000 });
    await seesPicture(bob, alice, { minWidth: 1280, timeout: 45_000 });
  });

  scene('a camera that nobody watches is not sent, and starts for the first who does', async (room) => {
    const alice = await room.chromium('alice', { options: { dynacast: true } });
    await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
    await sends(alice, '', { timeout: 15_000 });
    const bob = await room.chromium('bob', { options: { adaptiveStream: true } });
    await sends(alice, 'q h f');
    await seesPicture(bob, alice);
  });
});

/** The camera of `publisher` is encoded in exactly these encodings, by rid. */
function sends(publisher, rids, { timeout = 10_000 } = {}) {
  return eventually(async () => {
    const active = (await publisher.call('encodings', 'video')).filter(({ active }) => active).map(({ rid }) => rid);
    if (active.join(' ') === rids) return true;
    throw new Error(`it sends [${active.join(' ')}]`);
  }, { timeout, what: `${publisher.identity} sends [${rids}]` });
}
