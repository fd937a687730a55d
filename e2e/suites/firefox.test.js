// Firefox and Chromium in one room, in both directions.

import { describe } from 'node:test';

import { exchanges, presents } from '../lib/scenarios.js';
import { hearsSilence, leaves, noticed, seesPicture } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';

const place = fixture({ roomShare: null });
const WAYS = [
  { way: 'one peer connection', options: {} },
  { way: 'two peer connections', options: { singlePeerConnection: false } },
];

for (const { way, options } of WAYS) {
  describe(`Firefox, ${way}`, () => {
    place.scene(`Firefox and Chromium see and hear each other, ${way}`, async (room) => {
      const fiona = await room.firefox('fiona', { options });
      const carl = await room.chromium('carl', { options });
      await presents(carl, [fiona], 440, { publish: { videoCodec: 'vp8', simulcast: true }, variance: 10 });
      await presents(fiona, [carl], 660, { with: 'drawing', publish: { videoCodec: 'vp8', simulcast: true } });
      await seesPicture(fiona, carl);
    });

    place.scene(`Firefox and Chromium exchange data, mute and leave, ${way}`, async (room) => {
      const carl = await room.chromium('carl', { options });
      const fiona = await room.firefox('fiona', { options });
      await exchanges(fiona, carl, []);
      await exchanges(carl, fiona, []);
      await presents(fiona, [carl], 660, { with: 'drawing' });
      await fiona.call('mute', 'audio');
      await noticed(carl, 'muted', { identity: 'fiona', kind: 'audio' });
      await hearsSilence(carl, fiona);
      await leaves(fiona, [carl]);
    });

    place.scene(`two people in Firefox see and hear each other, ${way}`, async (room) => {
      const fiona = await room.firefox('fiona', { options });
      const fred = await room.firefox('fred', { options });
      await presents(fiona, [fred], 440, { with: 'drawing' });
      await presents(fred, [fiona], 660, { with: 'drawing' });
    });
  });
}
