// A room with so much to send that the server collects packets, and pads those of nearly one length to one.

import { describe } from 'node:test';

import { hearsSteadily, seesPicture, seesSmoothly } from '../lib/expect.js';
import { HEARTH } from '../lib/server.js';
import { fixture } from '../lib/fixture.js';
import { Cli } from '../lib/cli.js';

/** Some 16,000 packets a second. */
const LOAD = ['--audio-publishers', '8', '--subscribers', '40', '--num-per-second', '40'];
const SECONDS = 15;

const place = fixture();

describe('A busy room', () => {
  place.scene('everybody hears a tone and sees a picture without a break', async (room) => {
    const alice = await room.chromium('alice');
    const listeners = [await room.chromium('bob'), await room.firefox('fiona')];
    await alice.call('tone', 440);
    await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
    await Promise.all(listeners.map((listener) => seesPicture(listener, alice, { codec: 'VP8', timeout: 45_000 })));

    const load = new Cli(HEARTH, room.server, ['load-test', '--room', room.room, '--duration', '120s', ...LOAD]);
    try {
      await Promise.all(listeners.flatMap((listener) => [
        hearsSteadily(listener, alice, 440, { seconds: SECONDS }),
        seesSmoothly(listener, alice, { seconds: SECONDS }),
      ]));
    } catch (error) {
      error.message += `\nthe load test wrote:\n${load.log.slice(-3_000)}`;
      throw error;
    } finally {
      await load.stop();
    }
  });
});
