// TURN: browsers that may use nothing else, over UDP, TCP and TLS, to media that no socket is between.

import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';

import { eventually } from '../lib/eventually.js';
import { isWith } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';
import { freeTcpPort, freeUdpPort } from '../lib/ports.js';
import { exchanges, presents } from '../lib/scenarios.js';

/** Clients that connect by a relay or not at all. */
const connect = { rtcConfig: { iceTransportPolicy: 'relay' } };

/** A certificate for turn.localhost, which browsers resolve to this machine. */
function certificate() {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-e2e-turn-'));
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', [...made, '-subj', '/CN=turn.localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { cert, key };
}

const WAYS = {
  udp: async () => `turn:\n  enabled: true\n  udp_port: ${await freeUdpPort()}\n`,
  tcp: async () => `turn:\n  enabled: true\n  tcp_port: ${await freeTcpPort()}\n`,
  tls: async () => {
    const { cert, key } = certificate();
    const files = `  cert_file: ${cert}\n  key_file: ${key}\n`;
    return `turn:\n  enabled: true\n  tls_port: ${await freeTcpPort()}\n  domain: turn.localhost\n${files}`;
  },
};

/** How the browser's selected pairs get to the server: `relay udp`, `host`, … */
async function ways(person) {
  const reports = await person.call('statistics');
  return reports.flatMap((report) => {
    const byId = new Map(report.map((entry) => [entry.id, entry]));
    const pairs = report.filter((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
    return pairs.map((pair) => byId.get(pair.localCandidateId)).map((local) => `${local?.candidateType} ${local?.relayProtocol ?? ''}`);
  });
}

async function isRelayed(person, protocol) {
  await eventually(async () => (await ways(person)).includes(`relay ${protocol}`), { what: `${person.identity} relayed over ${protocol}` });
}

for (const [protocol, config] of Object.entries(WAYS)) {
  describe(`TURN over ${protocol}`, () => {
    const place = fixture(async () => ({ config: await config() }));

    place.scene(`two in Chromium who only get through by TURN over ${protocol} meet`, async (room) => {
      const alice = await room.chromium('alice', { connect });
      const bob = await room.chromium('bob', { connect });
      await isWith(alice, ['bob']);
      await presents(alice, [bob], 440);
      await presents(bob, [alice], 660);
      await exchanges(alice, bob, []);
      await isRelayed(alice, protocol);
      await isRelayed(bob, protocol);
    });

    // A browser without a switch for it takes no certificate that nobody vouches for.
    if (protocol === 'tls') return;
    place.scene(`Firefox and Chromium meet by TURN over ${protocol}`, async (room) => {
      const alice = await room.chromium('alice', { connect });
      const bob = await room.firefox('bob', { connect });
      await presents(alice, [bob], 440);
      await presents(bob, [alice], 660, { with: 'drawing' });
      await exchanges(bob, alice, []);
      await isRelayed(bob, protocol);
    });
  });
}
