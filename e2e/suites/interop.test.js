// What clients other than the SDKs say: devices, native libraries, old browsers, programs in other languages. Each table is one kind
// of input, by signalling and HTTP alone.

import { createHmac } from 'node:crypto';
import { describe } from 'node:test';

import {
  CREDENTIALS, G711, H264, OPUS, VP8, attribute, codecs, description, directionOf, fingerprint, isRefused, media, payloadTypesOf,
  sectionsOf, transport,
} from '../lib/sdp.js';
import { SignalClient } from '../lib/signal-client.js';
import { Checker } from '../lib/stun.js';
import { fixture } from '../lib/fixture.js';
import { holds } from '../lib/table.js';
import { token } from '../lib/tokens.js';

const place = fixture();

describe('Session descriptions of other clients', () => {
  place.scene('a section sends if its direction says so, whatever else it has', async (scene) => {
    const ssrc = { msid: '', more: ['ssrc:4711 cname:device'] };
    const answered = (direction, rest) => publishing(scene, { kind: 'audio' }, async (client) => {
      const [section] = sectionsOf(await client.offer(description([media('audio', '0', OPUS, { direction, ...rest })])));
      return isRefused(section) ? 'refused' : directionOf(section);
    });
    await holds([
      ['sendonly, SSRC without msid', 'recvonly', 'sendonly', ssrc],
      ['sendrecv, SSRC without msid', 'recvonly', 'sendrecv', ssrc],
      ['no direction, SSRC without msid', 'recvonly', '', ssrc],
      ['no direction, msid without SSRC', 'recvonly', '', {}],
      ['sendonly, neither', 'recvonly', 'sendonly', { msid: '' }],
      ['inactive, SSRC without msid', 'inactive', 'inactive', ssrc],
    ], answered);
  });

  place.scene('the data section is answered in each form that clients write', async (scene) => {
    const old = ['sctpmap:5000 webrtc-datachannel 1024'];
    const recent = ['sctp-port:5000', 'max-message-size:262144'];
    const answered = (line, attributes) => publishing(scene, { kind: 'audio' }, async (client) => {
      const data = [line, 'c=IN IP4 0.0.0.0', ...[...transport(), 'mid:data', ...attributes].map((text) => `a=${text}`)];
      const section = sectionsOf(await client.offer(description([media('audio', '0', OPUS), data])))[1];
      return isRefused(section) ? 'refused' : section[0].replace(/ [1-9]\d* /, ' PORT ');
    });
    await holds([
      ['before draft 21', 'm=application PORT DTLS/SCTP 5000', 'm=application 9 DTLS/SCTP 5000', old],
      ['before draft 21, UDP', 'm=application PORT UDP/DTLS/SCTP 5000', 'm=application 9 UDP/DTLS/SCTP 5000', old],
      ['RFC 8841', 'm=application PORT UDP/DTLS/SCTP webrtc-datachannel', 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel', recent],
    ], answered);
  });

  place.scene('a certificate may be fingerprinted with each hash of RFC 8122', async (scene) => {
    const answered = (hash, octets) => publishing(scene, { kind: 'audio' }, async (client) => {
      const ice = transport(CREDENTIALS, fingerprint(hash, octets));
      const answer = await client.offer(description([media('audio', '0', OPUS, { ice })]));
      return isRefused(sectionsOf(answer)[0]) ? 'refused' : 'answered';
    });
    await holds([
      ['sha-1', 'answered', 'sha-1', 20],
      ['sha-224', 'answered', 'sha-224', 28],
      ['sha-256', 'answered', 'sha-256', 32],
      ['sha-384', 'answered', 'sha-384', 48],
      ['sha-512', 'answered', 'sha-512', 64],
      ['its name in capitals', 'answered', 'SHA-256', 32],
    ], answered);
  });

  place.scene('a refused section says nothing about the transport', async (scene) => {
    const gone = { ufrag: 'gone', pwd: 'aaaaaaaaaaaaaaaaaaaaaaaa' };
    const dead = media('video', 'old', VP8, { direction: 'inactive', port: 0, ice: transport(gone), msid: '' });
    const live = media('audio', '0', OPUS);
    const checked = (...sections) => publishing(scene, { kind: 'audio' }, async (client) => {
      const answer = sectionsOf(await client.offer(description(sections, ['0']))).find((section) => !isRefused(section));
      const server = { ufrag: attribute(answer, 'ice-ufrag'), pwd: attribute(answer, 'ice-pwd') };
      const [candidate] = await client.candidates();
      const checker = await Checker.open(candidate.address);
      try {
        return (await checker.check(candidate, CREDENTIALS, server)).kind;
      } finally {
        checker.close();
      }
    });
    await holds([
      ['none', 'success', live],
      ['first', 'success', dead, live],
      ['last', 'success', live, dead],
    ], checked);
  });
});

describe('Protocol versions', () => {
  place.scene('below 3 the publishing connection comes first, and nothing is offered without a track', async (scene) => {
    const device = { sdk: 'esp32', os: 'idf', version: '0.3.10', auto_subscribe: 'false' };
    const seen = (protocol) => publishing(scene, { kind: 'audio', parameters: { ...device, protocol } }, async (client) => {
      await client.offer(description([media('audio', '0', OPUS)]));
      const primary = client.joined.subscriberPrimary ? 'subscriber' : 'publisher';
      // The answer is later than whatever joining causes.
      const offered = client.received.some((message) => message.case === 'offer');
      return primary === 'subscriber' ? primary : `${primary}, ${offered ? 'offers' : 'no offers'}`;
    });
    await holds([
      ['protocol 1', 'publisher, no offers', 1],
      ['protocol 2', 'publisher, no offers', 2],
      ['protocol 3', 'subscriber', 3],
      ['protocol 15', 'subscriber', 15],
    ], seen);
  });
});

describe('JSON as programs in Go and others write it', () => {
  place.scene('a claim that is null counts as absent', async ({ server, room }) => {
    const top = 'name metadata attributes kind sha256 roomPreset roomConfig sip agent inference observability iat nbf'.split(' ');
    const video = [
      'roomCreate', 'roomList', 'roomRecord', 'roomAdmin', 'ingressAdmin', 'canPublish', 'canSubscribe', 'canPublishData',
      'canPublishSources', 'canUpdateOwnMetadata', 'canSubscribeMetrics', 'hidden', 'recorder', 'agent', 'destinationRoom',
    ];
    const claims = { iss: server.keys.apiKey, sub: 'nulls', exp: Math.floor(Date.now() / 1_000) + 600 };
    const grant = { room, roomJoin: true };
    const validated = async (more) => {
      const access = signed({ ...claims, video: grant, ...more }, server.keys.apiSecret);
      const answer = await fetch(`${server.http}/rtc/validate?access_token=${access}&protocol=15`);
      return `${answer.status} ${await answer.text()}`;
    };
    await holds([
      ['all there', '200 success', {}],
      ...top.map((name) => [name, '200 success', { [name]: null }]),
      ...video.map((name) => [`video.${name}`, '200 success', { video: { ...grant, [name]: null } }]),
    ], validated);
  });

  place.scene('a number of a request has the forms of protobuf', async (scene) => {
    const call = await administrator(scene);
    const created = async (fields) => {
      const answer = await call('CreateRoom', `{"name":"${scene.room}-${fields.replace(/\W+/g, '-')}",${fields}}`);
      if (!answer.ok) return answer.status;
      const { empty_timeout, max_participants } = await answer.json();
      return { empty_timeout, max_participants };
    };
    const timeout = (seconds) => ({ empty_timeout: seconds, max_participants: 0 });
    await holds([
      ['a number', timeout(11), '"empty_timeout":11'],
      ['in quotes', timeout(11), '"empty_timeout":"11"'],
      ['with a zero fraction', timeout(11), '"empty_timeout":11.0'],
      ['with an exponent', timeout(100), '"emptyTimeout":1e2'],
      ['a fraction and an exponent, in quotes', timeout(12), '"empty_timeout":"1.2e1"'],
      ['another field', { ...timeout(300), max_participants: 2 }, '"maxParticipants":2.0'],
      ['null', timeout(300), '"empty_timeout":null'],
      ['a fraction', 400, '"empty_timeout":1.5'],
      ['below the range', 400, '"empty_timeout":-1'],
      ['above the range', 400, '"empty_timeout":4294967296'],
      ['words', 400, '"empty_timeout":"eleven"'],
    ], created);
  });

  place.scene('an enum of a request has the forms of protobuf', async (scene) => {
    const call = await administrator(scene);
    await call('CreateRoom', `{"name":"${scene.room}"}`);
    const sent = async (kind) => (await call('SendData', `{"room":"${scene.room}","data":"aGk=","kind":${kind}}`)).status;
    await holds([
      ['the name of a value', 200, '"LOSSY"'],
      ['its number', 200, '1'],
      ['its number with a zero fraction', 200, '1.0'],
      ['its number with an exponent', 200, '1e0'],
      ['null', 200, 'null'],
      // As an unknown field: it may be from a later version of the protocol.
      ['no value has this name', 200, '"SOMETIMES"'],
      ['a fraction', 400, '1.5'],
    ], sent);
  });
});

describe('Configured codecs', () => {
  const limited = fixture({ config: 'room:\n  enabled_codecs:\n    - mime: video/h264\n    - mime: audio/opus\n' });

  limited.scene('an offer is answered with the enabled codecs only', async (scene) => {
    const answered = (kind, codec) => publishing(scene, { kind }, async (client) => {
      const [section] = sectionsOf(await client.offer(description([media(kind, '0', codec)])));
      return isRefused(section) ? 'refused' : payloadTypesOf(section);
    });
    await holds([
      ['both kinds of sound', '111', 'audio', codecs(OPUS, G711)],
      ['G.711 alone', 'refused', 'audio', G711],
      ['both kinds of video', '102', 'video', codecs(VP8, H264)],
      ['H.264 alone', '102', 'video', H264],
      ['VP8 alone', 'refused', 'video', VP8],
    ], answered);
  });

  limited.scene('a client is told which codecs are enabled', async (scene) => {
    const told = () => publishing(scene, { kind: 'audio' }, (client) => {
      return client.joined.enabledPublishCodecs.map(({ mime }) => mime.toLowerCase()).sort();
    });
    await holds([['enabled_publish_codecs', ['audio/opus', 'video/h264']]], told);
  });
});

/** A participant who has joined by signalling alone and announced a track whose name is the mid `0`. */
async function publishing(scene, { kind, parameters }, body) {
  const client = await SignalClient.join(scene.server, await token('device', scene.room, {}, scene.server.keys), parameters);
  try {
    await client.addTrack('0', kind);
    return await body(client);
  } finally {
    await client.close();
  }
}

/** Calls methods of RoomService with JSON written by hand. */
async function administrator({ server, room }) {
  const access = await token('admin', room, { roomCreate: true, roomAdmin: true }, server.keys);
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${access}` };
  return (method, body) => fetch(`${server.http}/twirp/livekit.RoomService/${method}`, { method: 'POST', headers, body });
}

/** A token with claims that no library would write. */
function signed(claims, secret) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}
