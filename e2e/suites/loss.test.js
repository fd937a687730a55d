// A call over a lossy network: 5 % packet loss to the server and 5 % back.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe } from 'node:test';

import { LossyProxy } from '../lib/lossy-proxy.js';
import { hearsSteadily, hearsTone, seesPicture, seesSmoothly } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const LOSS = Number(process.env.LOSS ?? 0.05);
/** For so many seconds there may be no freeze. */
const SECONDS = 60;

const place = fixture();

describe('A network that loses packets', () => {
  place.scene('with 5 % loss in each direction video plays without freezing and the tone is heard', async (room) => {
    const seed = Number(process.env.LOSS_SEED ?? randomInt(2 ** 32));
    console.log(`loss ${LOSS}; to draw the same losses again: LOSS_SEED=${seed}`);
    const proxy = await LossyProxy.start(room.server.udpPort, { loss: LOSS, seed });
    try {
      const alice = await room.chromium('alice', { through: proxy });
      const bob = await room.chromium('bob', { through: proxy });
      await alice.call('tone', 440);
      await alice.call('camera', { simulcast: true, videoCodec: 'vp8' });
      await Promise.all([seesPicture(bob, alice, { codec: 'VP8' }), hearsTone(bob, alice, 440)]);

      const [seen] = await Promise.all([
        seesSmoothly(bob, alice, { seconds: SECONDS }),
        hearsSteadily(bob, alice, 440, { seconds: SECONDS }),
      ]);
      console.log(`seen ${JSON.stringify(seen)}; up ${JSON.stringify(proxy.up)}, down ${JSON.stringify(proxy.down)}`);
      for (const person of [alice, bob]) {
        assert.equal(await mediaPort(person), proxy.port, `${person.identity} goes around the proxy`);
      }
      for (const way of ['up', 'down']) wasLossy(proxy[way], way);
    } finally {
      proxy.stop();
    }
  }, { timeout: 180_000 });
});

/** The port that a person's media goes to. */
async function mediaPort(person) {
  const [entries] = await person.call('statistics');
  const { selectedCandidatePairId } = entries.find(({ type }) => type === 'transport');
  const { remoteCandidateId } = entries.find(({ id }) => id === selectedCandidatePairId);
  return entries.find(({ id }) => id === remoteCandidateId).port;
}

/** Media went this way, and the proxy lost the configured share of it. */
function wasLossy({ passed, lost }, way) {
  const share = lost / (passed + lost);
  assert.ok(passed > 50 * SECONDS, `only ${passed} datagrams went ${way}`);
  assert.ok(share > 0.6 * LOSS && share < 1.4 * LOSS, `${lost} of ${passed + lost} were lost on the way ${way}`);
}
