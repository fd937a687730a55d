// Networks that let no UDP through: from the start, and from the middle of a call. The server is on a host of its own, whose UDP is blocked.

import assert from 'node:assert/strict';
import { describe } from 'node:test';

import { eventually } from '../lib/eventually.js';
import { firstFrame, hearsTone, isWith, leaves, receivedOnce, seesPicture } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';
import { WITHOUT_NAMESPACES } from '../lib/namespace.js';
import { exchanges, presents } from '../lib/scenarios.js';

/** Milliseconds without a picture when UDP dies in the middle of a call. */
const BACK_WITHIN = 6_000;
const WAYS = [
  { way: 'one peer connection', options: {} },
  { way: 'two peer connections', options: { singlePeerConnection: false } },
];

const place = fixture({ ownHost: true });
const skip = WITHOUT_NAMESPACES;
const scene = (name, body) =>
  place.scene(name, async (room) => {
    try {
      await body(room);
    } finally {
      room.server.host.allowUdp();
    }
  }, { skip });

describe('Without UDP', () => {
  scene('Firefox and Chromium see and hear each other, and exchange data', async (room) => {
    room.server.host.blockUdp();
    const chrome = await room.chromium('chrome');
    const fox = await room.firefox('fox');
    await presents(chrome, [fox], 440);
    await presents(fox, [chrome], 660, { with: 'drawing' });
    await exchanges(fox, chrome, []);
    await eachOver('tcp', chrome, fox);
  });

  scene('Python, Node and Chromium see and hear each other, and exchange data', async (room) => {
    room.server.host.blockUdp();
    const chrome = await room.chromium('chrome');
    const python = await room.python('python');
    const node = await room.node('node');
    await presents(python, [chrome, node], 440);
    await presents(node, [python], 550);
    await exchanges(python, chrome, [node]);
    await exchanges(chrome, node, [python]);
    await leaves(python, [chrome]);
  });

  for (const { way, options } of WAYS) {
    scene(`Chromium sees, hears and exchanges data, ${way}`, async (room) => {
      room.server.host.blockUdp();
      const alice = await room.chromium('alice', { options });
      await presents(alice, [], 440);
      const bob = await room.chromium('bob', { options });
      console.log(`joined in ${alice.joined.ms} and ${bob.joined.ms} ms; first frame ${await firstFrame(bob, alice)} ms later, ${way}`);
      await Promise.all([seesPicture(bob, alice), hearsTone(bob, alice, 440)]);
      await exchanges(alice, bob, []);
      await exchanges(bob, alice, []);
      await eachOver('tcp', alice, bob);
      await leaves(alice, [bob]);
    });

    scene(`UDP dies in the middle of a call of Chromium, ${way}`, async (room) => {
      const alice = await room.chromium('alice', { options });
      const bob = await room.chromium('bob', { options });
      await presents(alice, [bob], 440);
      await eachOver('udp', alice, bob);
      await bob.call('stare', 'alice');
      const texts = [];
      const say = async () => {
        texts.push(`message ${texts.length}`);
        await alice.call('send', { text: texts.at(-1), reliable: true });
      };
      await say();
      room.server.host.blockUdp();
      const dead = Date.now();
      const watched = await eventually(async () => {
        await say();
        const seen = await bob.call('watched', 'alice');
        return Date.now() - dead >= 12_000 ? seen : null;
      }, { timeout: 20_000, what: 'twelve seconds without UDP' });
      console.log(`UDP died: the longest time without a picture was ${Math.round(watched.gap)} ms, ${way}`);
      await Promise.all([seesPicture(bob, alice), hearsTone(bob, alice, 440)]);
      await receivedOnce(bob, alice, texts);
      await eachOver('tcp', alice, bob);
      await isWith(bob, ['alice']);
      assert.ok(watched.gap <= BACK_WITHIN, `the picture stood still for ${watched.gap} ms`);
    });
  }
});

/** Every peer connection of each that has a path has it over this protocol. */
function eachOver(protocol, ...people) {
  return eventually(async () => {
    const all = await Promise.all(people.map((who) => who.call('protocols')));
    const flat = all.flat();
    if (flat.length >= people.length && flat.every((one) => one === protocol)) return true;
    throw new Error(JSON.stringify(all));
  }, { timeout: 20_000, what: `every connection is over ${protocol}` });
}
