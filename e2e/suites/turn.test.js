// TURN: browsers that may use nothing else, over UDP, TCP and TLS, to media that no socket is between.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';

import { eventually } from '../lib/eventually.js';
import { isWith } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';
import { freeTcpPort, freeUdpPort } from '../lib/ports.js';
import { start, stop } from '../lib/children.js';
import { exchanges, presents } from '../lib/scenarios.js';
import { SignalClient } from '../lib/signal-client.js';
import { token } from '../lib/tokens.js';
import { waysOf } from '../lib/ways.js';

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

async function isRelayed(person, protocol) {
  await eventually(async () => (await waysOf(person)).includes(`relay ${protocol}`), { what: `${person.identity} relayed over ${protocol}` });
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

describe("coturn's client", () => {
  const ports = {};
  const place = fixture(async () => {
    Object.assign(ports, { udp: await freeUdpPort(), tcp: await freeTcpPort(), peer: await freeUdpPort() });
    const open = "  allow_restricted_peer_cidrs: ['127.0.0.1/32']\n";
    return { config: `turn:\n  enabled: true\n  udp_port: ${ports.udp}\n  tcp_port: ${ports.tcp}\n  per_user_relay_allocation_limit: 100\n${open}` };
  });

  /** Runs it against a peer; what it wrote. */
  function run({ username, credential }, port, peer, ...flags) {
    const who = ['-u', username, '-w', credential, '-e', peer, '-r', String(ports.peer), '-p', String(port)];
    const ran = spawnSync('turnutils_uclient', ['-c', ...who, ...flags, '127.0.0.1'], { encoding: 'utf8', timeout: 60_000 });
    assert.ok(!ran.error, `turnutils_uclient (package coturn): ${ran.error}`);
    return ran.stdout + ran.stderr;
  }

  place.scene('coturn relays to a peer that is allowed and to no other, with the right password and no other', async ({ server, room }) => {
    const client = await SignalClient.join(server, await token('a', room, undefined, server.keys));
    const [ice] = client.joined.iceServers;
    const peer = start('turnutils_peer', ['-L', '127.0.0.1', '-p', String(ports.peer)]);
    try {
      const load = ['-n', '50', '-m', '4', '-l', '170'];
      for (const [port, ...flags] of [[ports.udp], [ports.udp, '-s'], [ports.tcp, '-t'], [ports.tcp, '-t', '-s']]) {
        const said = run(ice, port, '127.0.0.1', ...load, ...flags);
        assert.match(said, /tot_send_msgs=200, tot_recv_msgs=200/, `${flags}`);
      }
      for (const forbidden of ['169.254.169.254', '10.0.0.1', '127.0.0.2', '0.0.0.0', '224.0.0.1', '8.8.8.8']) {
        assert.match(run(ice, ports.udp, forbidden, '-n', '1'), /error 403/, forbidden);
      }
      assert.match(run({ ...ice, credential: 'wrong' }, ports.udp, '127.0.0.1', '-n', '1'), /Cannot complete Allocation/);
    } finally {
      await stop(peer);
      await client.close();
    }
  });
});
