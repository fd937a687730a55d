// `lk`, the command line client: the Go SDK publishes to a browser and receives from one.

import assert from 'node:assert/strict';
import { describe } from 'node:test';

import { Lk, WITHOUT_LK, tableRows } from '../lib/lk.js';
import { hearsTone, noticed, seesPicture } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const place = fixture();
const SUBSCRIBERS = 2;

describe('lk', () => {
  scene('a browser sees the demo that `lk room join` publishes, and that it leaves', async (room) => {
    const bob = await room.chromium('bob');
    await running(room, ['room', 'join', '--identity', 'lk', '--publish-demo', room.room], async () => {
      await seesPicture(bob, { identity: 'lk' }, { codec: 'H264' });
    });
    await noticed(bob, 'left', { identity: 'lk' });
  });

  scene('a browser sees what a load test publishes', async (room) => {
    const bob = await room.chromium('bob');
    const flags = ['--video-publishers', '1', '--video-codec', 'vp8', '--identity-prefix', 'load', '--duration', '60s'];
    await running(room, ['perf', 'load-test', '--room', room.room, ...flags], async () => {
      await seesPicture(bob, { identity: 'load_pub_0' }, { codec: 'VP8' });
    });
  });

  scene('the subscribers of a load test receive the camera and microphone of a browser', async (room) => {
    const alice = await room.chromium('alice');
    const bob = await room.chromium('bob');
    await alice.call('tone', 440);
    // The load test reads video as H.264.
    await alice.call('camera', { simulcast: true, videoCodec: 'h264' });
    await Promise.all([seesPicture(bob, alice, { codec: 'H264', minWidth: 1280, timeout: 45_000 }), hearsTone(bob, alice, 440)]);

    const flags = ['--subscribers', `${SUBSCRIBERS}`, '--duration', '8s'];
    const load = new Lk(room.server, ['perf', 'load-test', '--room', room.room, ...flags]);
    const written = await load.finished(60_000).finally(() => load.stop());
    const tracks = tableRows(written).filter(([, , kind]) => kind === 'audio' || kind === 'video');
    const packets = (wanted) => tracks.filter(([, , kind]) => kind === wanted).map((cells) => Number(cells[3]));
    for (const [kind, enough] of [['audio', 200], ['video', 400]]) {
      const counts = packets(kind);
      console.log(`${kind} packets: ${counts}`);
      assert.equal(counts.length, SUBSCRIBERS, `${kind} tracks\n${written}`);
      assert.ok(counts.every((count) => count >= enough), `${counts} ${kind} packets\n${written}`);
    }
  });
});

function scene(name, body) {
  return place.scene(name, body, { skip: WITHOUT_LK });
}

/** Does something while `lk` runs; if it fails, says what `lk` wrote. */
async function running(room, args, body) {
  const lk = new Lk(room.server, args);
  try {
    await body();
  } catch (error) {
    error.message += `\nlk wrote:\n${lk.log.slice(-3_000)}`;
    throw error;
  } finally {
    await lk.stop();
  }
}
