// A signalling client that a test drives message by message, also with messages that no SDK sends.

import { once } from 'node:events';

import { AddTrackRequest, SessionDescription, SignalRequest, SignalResponse, TrackSource, TrackType } from '@livekit/protocol';
import WebSocket from 'ws';

import { eventually } from './eventually.js';

/** The `ClientInfo` of a client with two peer connections. */
const PARAMETERS = { protocol: 15, auto_subscribe: 1, sdk: 'go', version: '2.0.0' };

/** An open signalling connection; `received` are the server's messages in their order. */
export class SignalClient {
  received = [];

  /** Joins; `parameters` are those of the URL. */
  static async join(server, accessToken, parameters = {}) {
    const query = new URLSearchParams({ ...PARAMETERS, ...parameters, access_token: accessToken });
    const client = new SignalClient(new WebSocket(`${server.ws}/rtc?${query}`));
    client.joined = await client.response('join');
    client.pings = setInterval(() => client.send('ping', BigInt(Date.now())), client.joined.pingInterval * 1_000);
    return client;
  }

  constructor(socket) {
    this.socket = socket;
    socket.on('message', (bytes) => this.received.push(SignalResponse.fromBinary(bytes).message));
    socket.on('error', (error) => {
      this.failure = error.message;
    });
    socket.on('close', (code) => {
      this.failure ??= `the server closed the connection with ${code}`;
    });
  }

  send(kind, value) {
    this.socket.send(new SignalRequest({ message: { case: kind, value } }).toBinary());
  }

  /** The first message of a kind, of those after the first `skip`. */
  response(kind, skip = 0) {
    const find = (wanted) => this.received.slice(skip).find((message) => message.case === wanted)?.value;
    return eventually(() => find(kind), {
      what: `the server's ${kind}`,
      hopeless: () => (find('leave') ? `it ended the session: ${find('leave').toJsonString()}` : this.failure),
    });
  }

  /** Announces a track. */
  async addTrack(cid, kind) {
    const skip = this.received.length;
    const video = { type: TrackType.VIDEO, source: TrackSource.CAMERA, width: 640, height: 360 };
    const audio = { type: TrackType.AUDIO, source: TrackSource.MICROPHONE };
    this.send('addTrack', new AddTrackRequest({ cid, name: cid, ...(kind === 'video' ? video : audio) }));
    return this.response('trackPublished', skip);
  }

  /** Sends an offer; returns the answer's SDP. */
  async offer(sdp, id = 1) {
    const skip = this.received.length;
    this.send('offer', new SessionDescription({ type: 'offer', sdp, id }));
    return (await this.response('answer', skip)).sdp;
  }

  /** The server's candidates for the publishing connection, as soon as there are `count`. */
  candidates(count = 1) {
    return eventually(() => {
      const trickled = this.received.filter((message) => message.case === 'trickle' && message.value.target === 0);
      const texts = trickled.map(({ value }) => JSON.parse(value.candidateInit).candidate).filter(Boolean);
      return texts.length >= count ? texts.map(candidate) : null;
    }, { what: `${count} candidates from the server`, hopeless: () => this.failure });
  }

  async close() {
    clearInterval(this.pings);
    if (this.socket.readyState === WebSocket.CLOSED) return;
    const closed = once(this.socket, 'close');
    this.socket.close();
    await closed;
  }
}

/** `candidate:foundation component protocol priority address port …` */
function candidate(text) {
  const [, , protocol, , address, port] = text.split(' ');
  return { text, protocol: protocol.toLowerCase(), address, port: Number(port) };
}
