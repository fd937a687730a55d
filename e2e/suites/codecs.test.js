// Every video codec that Chromium can send arrives as that codec, also at a participant who joins later.

import { describe } from 'node:test';

import { seesPicture } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const place = fixture();
const CODECS = [
  { name: 'H264 with simulcast', codec: 'H264', publish: { videoCodec: 'h264', simulcast: true } },
  { name: 'H264', codec: 'H264', publish: { videoCodec: 'h264', simulcast: false } },
  { name: 'VP8', codec: 'VP8', publish: { videoCodec: 'vp8', simulcast: false } },
  { name: 'VP9 with layers', codec: 'VP9', publish: { videoCodec: 'vp9' } },
  // A receiver needs the dependency descriptor to take AV1's layers apart; over one peer connection the client offers to
  // read it from 2.23 on.
  { name: 'AV1 with layers', codec: 'AV1', publish: { videoCodec: 'av1' }, oneConnectionViewer: 'livekit-client-2.23' },
];
const WAYS = [
  { way: 'one peer connection', options: {} },
  { way: 'two peer connections', options: { singlePeerConnection: false } },
];

for (const { way, options } of WAYS) {
  describe(`Codecs, ${way}`, () => {
    for (const { name, codec, publish, oneConnectionViewer } of CODECS) {
      place.scene(`${name} is decoded, ${way}`, async (room) => {
        const alice = await room.chromium('alice', { options });
        const viewer = { options, client: way === 'one peer connection' ? oneConnectionViewer : undefined };
        const bob = await room.chromium('bob', viewer);
        await alice.call('camera', publish);
        await seesPicture(bob, alice, { codec, timeout: 35_000 });
        const carol = await room.chromium('carol', viewer);
        await seesPicture(carol, alice, { codec, timeout: 35_000 });
      });
    }
  });
}
