// One person in a room by @livekit/rtc-node, driven by lines of JSON: requests on standard input, answers on
// descriptor 3 (the SDK logs to standard output). The commands are those of page/client.js.
//
// Usage: node peer.js <package name>

import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';

import { hearTone, seePicture, tonePart, picturePart } from './signals.js';

const sdk = await import(process.argv[2] ?? '@livekit/rtc-node');
const { RoomEvent, TrackKind, TrackSource } = sdk;

const SAMPLE_RATE = 48_000;
const FRAME_SAMPLES = SAMPLE_RATE / 100;

const answers = createWriteStream(null, { fd: 3 });
const events = [];
const received = [];
const seen = new Map(); // identity -> the last picture
const heard = new Map(); // identity -> the last samples
const published = {}; // kind -> track
const clocks = [];
const room = new sdk.Room();
let open = true;

const kindName = (kind) => (kind === TrackKind.KIND_VIDEO ? 'video' : 'audio');
const note = (event, details) => events.push({ event, ...details });
const reasonName = (reason) => sdk.DisconnectReason?.[reason ?? 0] ?? String(reason);
const about = (publication, who) => ({ identity: who?.identity ?? '', kind: kindName(publication.kind), sid: publication.sid });

function watch() {
  room.on(RoomEvent.ParticipantConnected, (who) => note('joined', { identity: who.identity }));
  room.on(RoomEvent.ParticipantDisconnected, (who) => {
    note('left', { identity: who.identity, wall: Date.now(), reason: reasonName(who.disconnectReason) });
  });
  room.on(RoomEvent.TrackPublished, (publication, who) => note('published', about(publication, who)));
  room.on(RoomEvent.TrackUnpublished, (publication, who) => note('unpublished', about(publication, who)));
  room.on(RoomEvent.TrackMuted, (publication, who) => note('muted', about(publication, who)));
  room.on(RoomEvent.TrackUnmuted, (publication, who) => note('unmuted', about(publication, who)));
  room.on(RoomEvent.Disconnected, (reason) => note('disconnected', { reason: String(reason) }));
  room.on(RoomEvent.Reconnecting, () => note('reconnecting'));
  room.on(RoomEvent.Reconnected, () => note('reconnected'));
  room.on(RoomEvent.DataReceived, (payload, who, kind, topic) => {
    received.push({ text: new TextDecoder().decode(payload), identity: who?.identity ?? '', kind, topic: topic ?? '' });
  });
  room.on(RoomEvent.TrackSubscribed, (track, publication, who) => {
    note('subscribed', about(publication, who));
    const taken = track.kind === TrackKind.KIND_VIDEO ? watchVideo(track, who.identity) : listen(track, who.identity);
    taken.catch((error) => note('stream-ended', { identity: who.identity, error: String(error) }));
  });
}

async function watchVideo(track, identity) {
  let frames = 0;
  for await (const { frame } of new sdk.VideoStream(track)) {
    frames += 1;
    seen.set(identity, { frames, frame });
  }
}

async function listen(track, identity) {
  let packets = 0;
  for await (const frame of new sdk.AudioStream(track, SAMPLE_RATE, 1)) {
    packets += 1;
    const before = heard.get(identity)?.samples ?? [];
    heard.set(identity, { packets, samples: [...before, ...frame.data].slice(-8192) });
  }
}

const commands = {
  version: () => process.argv[2],

  async join({ url, token }) {
    watch();
    const started = performance.now();
    await room.connect(url, token, { autoSubscribe: true, dynacast: false });
    return { ms: Math.round(performance.now() - started), sid: room.localParticipant.sid };
  },

  async tone(hz) {
    const source = new sdk.AudioSource(SAMPLE_RATE, 1);
    published.audio = sdk.LocalAudioTrack.createAudioTrack('tone', source);
    const options = new sdk.TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE });
    const publication = await room.localParticipant.publishTrack(published.audio, options);
    play(source, hz).catch((error) => note('source-ended', { error: String(error) }));
    return publication.sid;
  },

  async camera({ width = 640, height = 360 } = {}) {
    const source = new sdk.VideoSource(width, height);
    published.video = sdk.LocalVideoTrack.createVideoTrack('picture', source);
    const options = new sdk.TrackPublishOptions({ source: TrackSource.SOURCE_CAMERA });
    const publication = await room.localParticipant.publishTrack(published.video, options);
    let number = 0;
    clocks.push(setInterval(() => {
      const pixels = picturePart(width, height, number);
      number += 1;
      source.captureFrame(new sdk.VideoFrame(pixels, width, height, sdk.VideoBufferType.RGBA));
    }, 40));
    return publication.sid;
  },

  async send({ text, reliable = true, topic, to }) {
    const options = { reliable, topic, destination_identities: to };
    await room.localParticipant.publishData(new TextEncoder().encode(text), options);
  },

  see: (identity) => (seen.has(identity) ? seePicture(seen.get(identity), sdk) : null),
  hear: (identity) => (heard.has(identity) ? hearTone(heard.get(identity), SAMPLE_RATE) : null),
  events: () => events,
  received: () => received,
  others: () => [...room.remoteParticipants.keys()],

  async leave() {
    open = false;
    clocks.forEach(clearInterval);
    const said = Date.now();
    await room.disconnect();
    return said;
  },
};

/** The source takes a frame when it has room for it: that is the clock. */
async function play(source, hz) {
  for (let at = 0; open; at += FRAME_SAMPLES) {
    const samples = tonePart(hz, at, FRAME_SAMPLES, SAMPLE_RATE);
    await source.captureFrame(new sdk.AudioFrame(samples, SAMPLE_RATE, 1, FRAME_SAMPLES));
  }
}

async function answer(line) {
  const { id, command, args } = JSON.parse(line);
  try {
    const value = await commands[command](...args);
    answers.write(`${JSON.stringify({ id, value: value ?? null })}\n`);
  } catch (error) {
    answers.write(`${JSON.stringify({ id, error: String(error?.message ?? error) })}\n`);
  }
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => answer(line));
lines.on('close', () => process.exit(0));
