// Packets that no browser sends, and addresses that no browser chooses.

import { describe } from 'node:test';

import { WITHOUT_NAMESPACES } from '../lib/namespace.js';
import { seesPicture, seesSmoothly } from '../lib/expect.js';
import { EMPTY, RtpPublisher, padding } from '../lib/rtp-publisher.js';
import { CREDENTIALS, OPUS, attribute, description, media, sectionsOf } from '../lib/sdp.js';
import { SignalClient } from '../lib/signal-client.js';
import { Checker } from '../lib/stun.js';
import { fixture } from '../lib/fixture.js';
import { holds } from '../lib/table.js';
import { token } from '../lib/tokens.js';

describe('Packets without media', () => {
  const place = fixture();

  // Nothing in the picture tells what was between two frames: there are no picture ids.
  for (const [name, packets] of [['none', []], ['padding', [padding(224), padding(1)]], ['nothing', [EMPTY]]]) {
    place.scene(`a picture goes on when its publisher also sends packets with ${name} in them`, async (room) => {
      const device = await RtpPublisher.join(room, 'device');
      try {
        const viewer = await room.chromium('viewer');
        await device.play((frame) => (frame % 10 === 4 ? packets : []));
        await seesPicture(viewer, device, { timeout: 10_000 });
        await seesSmoothly(viewer, device, { seconds: 5, freeze: 800 });
      } finally {
        await device.close();
      }
    });
  }
});

describe('The source address of an answer', () => {
  // All of 127.0.0.0/8 is this machine's.
  const loopback = fixture({ nodeIp: '127.0.0.2' });

  loopback.scene('is the address that was asked, on a machine with many', async (scene) => {
    await answersFromWhereAsked(scene, ['127.0.0.1', '127.0.0.2', '127.0.0.3']);
  });
});

describe('The source address of an answer', { skip: WITHOUT_NAMESPACES }, () => {
  const far = fixture({ ownHost: true });

  far.scene('is the address that was asked, on a host with two and both protocols', async (scene) => {
    const { address, other, address6, other6 } = scene.server.host;
    await answersFromWhereAsked(scene, [address, other, address6, other6]);
  });
});

/** Checks of one client to each address are answered from there, and the configured address is the advertised one. */
async function answersFromWhereAsked({ server, room }, addresses) {
  const client = await SignalClient.join(server, await token('device', room, {}, server.keys));
  try {
    await client.addTrack('0', 'audio');
    const [section] = sectionsOf(await client.offer(description([media('audio', '0', OPUS)])));
    const credentials = { ufrag: attribute(section, 'ice-ufrag'), pwd: attribute(section, 'ice-pwd') };
    const told = server.nodeIp.split(',');
    const candidates = await client.candidates(2 * told.length);
    const of = (wanted) => candidates.filter(({ protocol }) => protocol === wanted);
    const expected = ['udp', 'tcp'].map((protocol) => [protocol, [...told].sort(), protocol]);
    await holds(expected, (protocol) => of(protocol).map(({ address }) => address).sort());
    const [{ port }] = of('udp');
    const rows = addresses.map((address) => [address, `success from ${address} ${port}`, address]);
    await holds(rows, async (address) => {
      const checker = await Checker.open(address);
      try {
        const { kind, from } = await checker.check({ address, port }, CREDENTIALS, credentials);
        return `${kind} from ${from}`;
      } finally {
        checker.close();
      }
    });
  } finally {
    await client.close();
  }
}
