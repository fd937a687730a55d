// Everything through port 443: pages and signalling, media over UDP and TCP, TURN over TLS. The server is on a host of its own.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe } from 'node:test';

import { Chromium } from '../lib/browsers.js';
import { makeCertificate } from '../lib/certificates.js';
import { fixture } from '../lib/fixture.js';
import { WITHOUT_NAMESPACES } from '../lib/namespace.js';
import { exchanges, presents } from '../lib/scenarios.js';
import { waysOf } from '../lib/ways.js';

const PORT = 443;
const NAME = 'turn.example.org';
const folder = mkdtempSync(join(tmpdir(), 'hearth-e2e-one-port-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('One port', () => {
  const place = fixture(() => {
    const { cert, key } = makeCertificate(folder);
    const tls = `tls:\n  cert_file: ${cert}\n  key_file: ${key}\n  plain_http: true\n`;
    const turn = `turn:\n  enabled: true\n  domain: ${NAME}\n  tls_port: ${PORT}\n`;
    return { ownHost: !WITHOUT_NAMESPACES, secure: true, port: PORT, onePort: true, config: tls + turn };
  });
  /** Finds the server by the name in its certificate; the flags of all tests have it accept any. */
  const engine = { launch: () => Chromium.launch({ args: [`--host-resolver-rules=MAP ${NAME} ${place.server.host.address}`] }) };
  const skip = WITHOUT_NAMESPACES;

  place.scene('two in Chromium meet over UDP, with page and signalling in TLS', async (room) => {
    const [alice, bob] = [await room.chromium('alice', { engine }), await room.chromium('bob', { engine })];
    assert.equal(room.server.ws, `wss://${room.server.host.address}:${PORT}`);
    await meet(alice, bob);
    for (const way of [...(await waysOf(alice)), ...(await waysOf(bob))]) assert.match(way, /udp/, way);
  }, { skip });

  for (const [way, connect, expected] of [
    ['TCP', {}, /tcp/],
    ['TURN over TLS', { rtcConfig: { iceTransportPolicy: 'relay' } }, /^relay tls/],
  ]) {
    place.scene(`without UDP they meet over ${way}`, async (room) => {
      room.server.host.blockUdp();
      try {
        const join = (name) => room.chromium(name, { engine, connect });
        const [alice, bob] = [await join('alice'), await join('bob')];
        await meet(alice, bob);
        for (const seen of [...(await waysOf(alice)), ...(await waysOf(bob))]) assert.match(seen, expected, seen);
      } finally {
        room.server.host.allowUdp();
      }
    }, { skip });
  }
});

async function meet(alice, bob) {
  await presents(alice, [bob], 440);
  await presents(bob, [alice], 660);
  await exchanges(alice, bob, []);
}
