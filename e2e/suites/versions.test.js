// Old versions of clients: each joins, publishes and sees a current one, and vice versa.

import { describe } from 'node:test';

import { exchanges, presents } from '../lib/scenarios.js';
import { leaves } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const place = fixture();
const BROWSER_CLIENTS = ['1.15', '2.9', '2.15', '2.23'];

describe('Client versions', () => {
  for (const version of BROWSER_CLIENTS) {
    place.scene(`livekit-client ${version} and the current one understand each other`, async (room) => {
      const old = await room.chromium('old', { client: `livekit-client-${version}` });
      const current = await room.chromium('current');
      await understand(old, current, version);
    });
  }

  place.scene('the newest Python SDK and the current browser client understand each other', async (room) => {
    const python = await room.python('python', '.venv-latest');
    await understand(python, await room.chromium('current'));
  });

  place.scene('the newest Node SDK and the current browser client understand each other', async (room) => {
    const node = await room.node('node', '@livekit/rtc-node-1.1');
    await understand(node, await room.chromium('current'));
  });
});

async function understand(other, current) {
  await presents(other, [current], 440);
  await presents(current, [other], 660);
  await exchanges(current, other, []);
  await leaves(other, [current]);
}
