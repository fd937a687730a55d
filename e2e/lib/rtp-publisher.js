// A publisher whose packets the test writes itself: VP8 without picture ids, in whatever packets it likes.

import { readFile } from 'node:fs/promises';

import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader } from 'werift';

import { eventually } from './eventually.js';
import { SignalClient } from './signal-client.js';
import { token } from './tokens.js';

const CLIP = new URL('../../crates/client/clips/vp8-180.ivf', import.meta.url);
const FRAMES_PER_SECOND = 30;
const TICKS_PER_FRAME = 90_000 / FRAMES_PER_SECOND;
const LONGEST_PAYLOAD = 1_100;
const PAYLOAD_TYPE = 96;
const VP8 = new RTCRtpCodecParameters({
  mimeType: 'video/VP8',
  clockRate: 90_000,
  payloadType: PAYLOAD_TYPE,
  rtcpFeedback: [{ type: 'nack' }, { type: 'nack', parameter: 'pli' }],
});

/** A participant who publishes one video track, without retransmissions. */
export class RtpPublisher {
  #sequence = 1_000;
  #frame = 0;

  static async join(scene, identity) {
    const publisher = new RtpPublisher(identity);
    const { server, room } = scene;
    publisher.signal = await SignalClient.join(server, await token(identity, room, {}, server.keys));
    await publisher.#connect();
    return publisher;
  }

  constructor(identity) {
    this.identity = identity;
    this.connection = new RTCPeerConnection({ iceServers: [], iceAdditionalHostAddresses: ['127.0.0.1'], codecs: { video: [VP8], audio: [] } });
  }

  async #connect() {
    const { connection, signal } = this;
    const track = new MediaStreamTrack({ kind: 'video' });
    const { sender } = connection.addTransceiver(track, { direction: 'sendonly' });
    await signal.addTrack(track.id, 'video');
    await connection.setLocalDescription(await connection.createOffer());
    await connection.setRemoteDescription({ type: 'answer', sdp: await signal.offer(connection.localDescription.sdp) });
    for (const { text } of await signal.candidates()) await connection.addIceCandidate({ candidate: text, sdpMid: '0', sdpMLineIndex: 0 });
    await eventually(() => connection.connectionState === 'connected', { what: `${this.identity} being connected` });
    this.sender = sender;
  }

  /** Sends a clip again and again, at its speed. `between` is asked for payloads to send after each frame: `{ payload, padding }`. */
  async play(between = () => []) {
    const clip = frames(await readFile(CLIP));
    this.clock = setInterval(() => {
      this.#sendFrame(clip[this.#frame % clip.length]);
      for (const { payload, padding } of between(this.#frame)) this.#send(payload, { padding });
      this.#frame += 1;
    }, 1_000 / FRAMES_PER_SECOND);
  }

  #sendFrame(frame) {
    for (let at = 0; at < frame.length; at += LONGEST_PAYLOAD) {
      // RFC 7741 §4.2: the bit S on the first packet of a frame, no extensions.
      const descriptor = Buffer.from([at === 0 ? 0x10 : 0x00]);
      const part = frame.subarray(at, at + LONGEST_PAYLOAD);
      this.#send(Buffer.concat([descriptor, part]), { marker: at + LONGEST_PAYLOAD >= frame.length });
    }
  }

  #send(payload, { marker = false, padding = false }) {
    const header = new RtpHeader({
      payloadType: PAYLOAD_TYPE,
      sequenceNumber: this.#sequence & 0xffff,
      timestamp: (this.#frame * TICKS_PER_FRAME) >>> 0,
      ssrc: this.sender.ssrc,
      marker,
      padding,
    });
    this.#sequence += 1;
    this.sender.dtlsTransport.sendRtp(payload, header);
  }

  async close() {
    clearInterval(this.clock);
    await this.connection.close();
    await this.signal.close();
  }
}

/** Padding of RFC 3550 §5.1: its last octet is its length. */
export function padding(octets) {
  const payload = Buffer.alloc(octets);
  payload[octets - 1] = octets;
  return { payload, padding: true };
}

/** A packet with nothing in it. */
export const EMPTY = { payload: Buffer.alloc(0), padding: false };

/** The frames of an IVF file: a file header, then each with a header of 12 octets that begins with its length. */
function frames(file) {
  const found = [];
  for (let at = file.readUInt16LE(6); at < file.length;) {
    const length = file.readUInt32LE(at);
    found.push(file.subarray(at + 12, at + 12 + length));
    at += 12 + length;
  }
  return found;
}
