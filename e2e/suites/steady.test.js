// A call on a good network: a minute without a stutter, and joins that feel immediate.

import assert from 'node:assert/strict';
import { describe } from 'node:test';

import { firstFrame, hearsSteadily, isWith, seesPicture, seesSmoothly } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const SECONDS = 60;
/** Of the 30 that the camera makes. */
const FRAMES_PER_SECOND = 25;
const NEWCOMERS = 8;
/** The aim is a second. A machine that runs a browser for everybody at once may take longer. */
const FIRST_FRAME_MS = 5_000;

const place = fixture();

describe('A good network', () => {
  place.scene('a minute of 720p and a tone arrives without a break', async (room) => {
    const alice = await room.chromium('alice');
    const bob = await room.chromium('bob');
    await alice.call('tone', 440);
    await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
    await seesPicture(bob, alice, { codec: 'VP8', minWidth: 1280, timeout: 45_000 });

    const [seen] = await Promise.all([
      seesSmoothly(bob, alice, { seconds: SECONDS }),
      hearsSteadily(bob, alice, 440, { seconds: SECONDS }),
    ]);
    console.log(`seen ${JSON.stringify(seen)}`);
    assert.equal(seen.width, 1280);
    const rate = seen.decoded / (seen.ms / 1_000);
    assert.ok(rate >= FRAMES_PER_SECOND, `${rate.toFixed(1)} frames a second`);
  }, { timeout: 180_000 });

  place.scene('people who join one after another see the picture at once', async (room) => {
    const alice = await room.chromium('alice');
    await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
    const times = [];
    for (let number = 1; number <= NEWCOMERS; number += 1) {
      // As an app does: what is shown small is received small.
      const newcomer = await room.chromium(`newcomer ${number}`, { options: { adaptiveStream: true } });
      times.push({ join: newcomer.joined.ms, picture: await firstFrame(newcomer, alice) });
    }
    await isWith(alice, times.map((_, i) => `newcomer ${i + 1}`));
    console.log(`ms to join: ${times.map(({ join }) => join)}; from then to the picture: ${times.map(({ picture }) => picture)}`);
    const late = times.filter(({ picture }) => picture > FIRST_FRAME_MS);
    assert.deepEqual(late, [], `pictures later than ${FIRST_FRAME_MS} ms`);
  });
});
