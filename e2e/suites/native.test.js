// The native SDKs: Python and Node, with each other and with a browser.

import assert from 'node:assert/strict';
import { describe } from 'node:test';

import { exchanges, presents } from '../lib/scenarios.js';
import { hearsTone, isWith, leaves, noticed, seesLeave, seesPicture } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';
import { token } from '../lib/tokens.js';

const VISITS = 50;
/** Milliseconds; livekit-server needs about 5, and a timeout 5,000. */
const AT_ONCE = 100;

const place = fixture();

describe('Native SDKs', () => {
  place.scene('Python and Chromium see and hear each other, and exchange data', async (room) => {
    const chrome = await room.chromium('chrome');
    const python = await room.python('python');
    await presents(python, [chrome], 440);
    await presents(chrome, [python], 660);
    await exchanges(python, chrome, []);
    await exchanges(chrome, python, []);
    await python.call('mute', 'audio');
    await noticed(chrome, 'muted', { identity: 'python', kind: 'audio' });
    await leaves(python, [chrome]);
  });

  place.scene('Node and Python see and hear each other, and exchange data', async (room) => {
    const python = await room.python('python');
    const node = await room.node('node');
    await isWith(python, ['node']);
    await isWith(node, ['python']);
    await presents(python, [node], 440);
    await presents(node, [python], 660);
    await exchanges(python, node, []);
    await exchanges(node, python, []);
    await leaves(python, [node]);
  });

  place.scene('fifty Python participants publish and leave, each is seen to go at once, also on a busy machine', async (room) => {
    const connect = { autoSubscribe: false };
    const watcher = await room.python('watcher', undefined, { connect });
    const host = await room.python('host', undefined, { connect });
    const times = { calm: [], busy: [] };
    for (let n = 0; n < VISITS; n += 1) {
      if (n === VISITS / 2) room.busy();
      const identity = `visitor-${n}`;
      const access = await token(identity, room.room, {}, room.server.keys);
      const { said, done } = await host.call('visit', { url: room.server.ws, token: access });
      // The SDK, too, waits for a core that is taken: what the server needs counts from when it was done.
      const after = await seesLeave(watcher, identity, done, { within: AT_ONCE });
      times[n < VISITS / 2 ? 'calm' : 'busy'].push({ done: after, said: Math.round(after + done - said) });
    }
    for (const [machine, rows] of Object.entries(times)) {
      const [fromDone, fromSaid] = [rows.map(({ done }) => done), rows.map(({ said }) => said)];
      console.log(`ms until a leave was seen, ${machine}: ${distribution(fromSaid)}; since the SDK was done ${distribution(fromDone)}`);
      assert.ok(quantile(fromSaid, 0.5) <= AT_ONCE, `${machine}: half are seen to leave later than that, ${fromSaid}`);
    }
  });

  place.scene('Chromium, Node and Python in one room', async (room) => {
    const node = await room.node('node');
    await presents(node, [], 550);
    const python = await room.python('python');
    const chrome = await room.chromium('chrome');
    await Promise.all([python, chrome].flatMap((who) => [seesPicture(who, node), hearsTone(who, node, 550)]));
    await exchanges(chrome, node, [python]);
    await exchanges(node, python, [chrome]);
  });
});

function distribution(values) {
  return `median ${quantile(values, 0.5)}, p95 ${quantile(values, 0.95)}, max ${quantile(values, 1)}`;
}

function quantile(values, share) {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.ceil(share * sorted.length) - 1];
}
