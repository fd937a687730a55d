// The server API as livekit-server-sdk calls it, and its effects on participants in the room.

import assert from 'node:assert/strict';
import { describe } from 'node:test';

import { DataPacket_Kind } from 'livekit-server-sdk';

import { presents } from '../lib/scenarios.js';
import { eventually } from '../lib/eventually.js';
import { hearsSilence, noticed, seesLeave } from '../lib/expect.js';
import { fixture } from '../lib/fixture.js';
import { roomService } from '../lib/tokens.js';

const place = fixture();

describe('RoomService', () => {
  place.scene('a room is made, listed and deleted', async ({ server, room }) => {
    const service = roomService(server);
    const made = await service.createRoom({ name: room, emptyTimeout: 60, maxParticipants: 5, metadata: 'made' });
    assert.equal(made.name, room);
    assert.match(made.sid, /^RM_/);
    assert.equal(made.metadata, 'made');
    const [listed] = await service.listRooms([room]);
    assert.deepEqual([listed?.sid, listed?.maxParticipants, listed?.emptyTimeout], [made.sid, 5, 60]);
    await service.deleteRoom(room);
    assert.deepEqual(await service.listRooms([room]), []);
  });

  place.scene('participants are listed with their tracks', async (scene) => {
    const alice = await scene.chromium('alice');
    const bob = await scene.chromium('bob');
    const sid = await alice.call('tone', 440);
    const service = roomService(scene.server);
    const people = await service.listParticipants(scene.room);
    assert.deepEqual(people.map(({ identity }) => identity).sort(), ['alice', 'bob']);
    const info = await eventually(async () => {
      const found = await service.getParticipant(scene.room, 'alice');
      return found.tracks.length === 1 ? found : null;
    }, { what: 'alice having one track' });
    assert.deepEqual([info.sid, info.tracks[0].sid, info.name], [alice.joined.sid, sid, 'alice (test)']);
    const [listed] = await service.listRooms([scene.room]);
    assert.equal(listed.numParticipants, 2);
    await assert.rejects(service.getParticipant(scene.room, 'nobody'), ({ status, code }) => status === 404 && code === 'not_found');
    assert.equal((await service.getParticipant(scene.room, bob.identity)).identity, 'bob');
  });

  place.scene('a track muted by the server falls silent for everybody', async (scene) => {
    const alice = await scene.chromium('alice');
    const bob = await scene.chromium('bob');
    await presents(alice, [bob], 440);
    const service = roomService(scene.server);
    const { tracks } = await service.getParticipant(scene.room, 'alice');
    const audio = tracks.find(({ type }) => type === 0);
    const answer = await service.mutePublishedTrack(scene.room, 'alice', audio.sid, true);
    assert.equal(answer.muted, true);
    await noticed(bob, 'muted', { identity: 'alice', kind: 'audio' });
    await hearsSilence(bob, alice);
    await eventually(() => alice.call('isMuted', 'audio'), { what: 'alice knowing that she is muted' });
  });

  place.scene('data from the server reaches whom it is for', async (scene) => {
    const alice = await scene.chromium('alice');
    const bob = await scene.chromium('bob');
    const service = roomService(scene.server);
    const bytes = (text) => new TextEncoder().encode(text);
    await service.sendData(scene.room, bytes('for alice'), DataPacket_Kind.RELIABLE, { destinationIdentities: ['alice'], topic: 'news' });
    await service.sendData(scene.room, bytes('for all'), DataPacket_Kind.RELIABLE, {});
    await arrived(alice, ['for alice', 'for all']);
    await arrived(bob, ['for all']);
  });

  place.scene('who is removed is told, and the others see it', async (scene) => {
    const alice = await scene.chromium('alice');
    const bob = await scene.chromium('bob');
    const since = Date.now();
    await roomService(scene.server).removeParticipant(scene.room, 'alice');
    await noticed(alice, 'disconnected');
    await seesLeave(bob, 'alice', since, { reason: 'PARTICIPANT_REMOVED' });
  });

  place.scene('a deleted room ends for everybody', async (scene) => {
    const alice = await scene.chromium('alice');
    const bob = await scene.chromium('bob');
    const service = roomService(scene.server);
    await service.deleteRoom(scene.room);
    await Promise.all([noticed(alice, 'disconnected'), noticed(bob, 'disconnected')]);
    await eventually(async () => (await service.listRooms([scene.room])).length === 0, { what: 'the room being gone' });
  });
});

/** Exactly these texts have come from the server, in this order. */
function arrived(person, texts) {
  return eventually(async () => {
    const got = (await person.call('received')).map(({ text }) => text);
    if (JSON.stringify(got) === JSON.stringify(texts)) return true;
    throw new Error(JSON.stringify(got));
  }, { what: `${person.identity} gets ${texts.join(', ')}` });
}
