// Chromium with the current livekit-client, over one peer connection (v1, the default) and over two (v0).

import assert from 'node:assert/strict';
import { describe } from 'node:test';

import { exchanges, presents } from '../lib/scenarios.js';
import { eventually } from '../lib/eventually.js';
import { hearsSilence, hearsTone, isWith, leaves, noticed, seesPicture, signalPath } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const WAYS = [
  { way: 'one peer connection', path: '/rtc/v1', options: {} },
  { way: 'two peer connections', path: '/rtc', options: { singlePeerConnection: false } },
];

const place = fixture();
const scene = (...test) => place.scene(...test);

for (const { way, path, options } of WAYS) {
  describe(`Chromium, ${way}`, () => {
    scene(`two people see and hear each other, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      const bob = await room.chromium('bob', { options });
      assert.equal(await signalPath(alice), path);
      await isWith(alice, ['bob']);
      await isWith(bob, ['alice']);
      await presents(alice, [bob], 440, { codec: 'VP8' });
      await presents(bob, [alice], 660, { codec: 'VP8' });
      await seesPicture(bob, alice);
    });

    scene(`who joins later sees what is there, and leaving is seen, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      await presents(alice, [], 440);
      const bob = await room.chromium('bob', { options });
      await Promise.all([seesPicture(bob, alice), hearsTone(bob, alice, 440)]);
      await noticed(alice, 'joined', { identity: 'bob' });
      await leaves(alice, [bob]);
      await isWith(bob, []);
    });

    scene(`a mute is seen and heard, and taken back, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      const bob = await room.chromium('bob', { options });
      await presents(alice, [bob], 440);
      await alice.call('mute', 'audio');
      await noticed(bob, 'muted', { identity: 'alice', kind: 'audio' });
      await hearsSilence(bob, alice);
      await alice.call('unmute', 'audio');
      await noticed(bob, 'unmuted', { identity: 'alice', kind: 'audio' });
      await hearsTone(bob, alice, 440);
      await alice.call('mute', 'video');
      await noticed(bob, 'muted', { identity: 'alice', kind: 'video' });
      await alice.call('unmute', 'video');
      await noticed(bob, 'unmuted', { identity: 'alice', kind: 'video' });
      await seesPicture(bob, alice);
    });

    scene(`data reaches whom it is for, once, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      const bob = await room.chromium('bob', { options });
      const carol = await room.chromium('carol', { options });
      await exchanges(alice, bob, [carol]);
      await exchanges(carol, alice, [bob]);
    });

    scene(`simulcast gives the size that was asked for, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      const bob = await room.chromium('bob', { options });
      await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
      await seesPicture(bob, alice, { codec: 'VP8' });
      await seesPicture(bob, alice, { minWidth: 1280, frames: 50, timeout: 45_000 });
      await bob.call('wantQuality', 'alice', 0);
      await narrower(bob, 'alice', 640);
      await bob.call('wantQuality', 'alice', 2);
      await seesPicture(bob, alice, { minWidth: 1280, timeout: 45_000 });
    });

    scene(`unpublishing is seen and publishing again works, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      const bob = await room.chromium('bob', { options });
      await presents(alice, [bob], 440);
      await alice.call('unpublish', 'video');
      await noticed(bob, 'unpublished', { identity: 'alice', kind: 'video' });
      await hearsTone(bob, alice, 440);
      await alice.call('camera');
      await seesPicture(bob, alice);
    });
  });
}

describe('Chromium, both ways in one room', () => {
  scene('people with one and with two peer connections meet', async (room) => {
    const [one, two] = WAYS;
    const alice = await room.chromium('alice', { options: one.options });
    const bob = await room.chromium('bob', { options: two.options });
    await presents(alice, [bob], 440);
    await presents(bob, [alice], 660);
    await exchanges(alice, bob, []);
    await exchanges(bob, alice, []);
  });

  scene('who speaks is shown to everybody', async (room) => {
    const alice = await room.chromium('alice');
    const bob = await room.chromium('bob');
    await alice.call('tone', 440);
    await eventually(async () => (await bob.call('speaking')).includes('alice'), { what: 'bob sees alice speak' });
    await alice.call('mute', 'audio');
    await eventually(async () => !(await bob.call('speaking')).includes('alice'), { what: 'bob sees alice stop' });
  });
});

/** The picture becomes narrower than `width`, and goes on. */
async function narrower(viewer, identity, width) {
  const small = await eventually(async () => {
    const seen = await viewer.call('see', identity);
    if (seen.width < width) return seen;
    throw new Error(JSON.stringify(seen));
  }, { timeout: 20_000, what: `${viewer.identity} sees less than ${width} columns of ${identity}` });
  await eventually(async () => (await viewer.call('see', identity)).frames > small.frames + 20, {
    what: 'the smaller picture moving',
  });
}

