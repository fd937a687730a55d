// ICE connectivity checks (RFC 8445 §7), made by hand.

import { createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';

import { eventually } from './eventually.js';

const HEADER = 20;
const COOKIE = 0x2112a442;
const BINDING = 0x0001;
const [USERNAME, MESSAGE_INTEGRITY, PRIORITY, USE_CANDIDATE, FINGERPRINT, ICE_CONTROLLING] = [0x6, 0x8, 0x24, 0x25, 0x8028, 0x802a];

/** A socket that sends connectivity checks and keeps the answers. */
export class Checker {
  #answers = new Map(); // transaction id in hex -> { kind, from }

  /** On a port of its own; `address` decides the address family. */
  static async open(address) {
    const checker = new Checker();
    checker.socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4').bind(0);
    checker.socket.on('message', (message, { address: from, port }) => {
      checker.#answers.set(message.subarray(8, HEADER).toString('hex'), { kind: kindOf(message), from: `${from} ${port}` });
    });
    await once(checker.socket, 'listening');
    return checker;
  }

  /**
   * Sends a check to `address` `port` again and again until it is answered. Returns whether it succeeded, and from where the
   * answer came. `local` and `remote` are the two ends' credentials; this side is `local`.
   */
  async check({ address, port }, local, remote) {
    const id = randomBytes(12);
    const request = bindingRequest(id, `${remote.ufrag}:${local.ufrag}`, remote.pwd);
    return eventually(() => {
      this.socket.send(request, port, address);
      return this.#answers.get(id.toString('hex'));
    }, { timeout: 3_000, what: `an answer to a check sent to ${address} ${port}` });
  }

  close() {
    this.socket.close();
  }
}

/** A check of a controlling agent that nominates. */
function bindingRequest(id, username, password) {
  const head = Buffer.alloc(HEADER);
  head.writeUInt16BE(BINDING, 0);
  head.writeUInt32BE(COOKIE, 4);
  id.copy(head, 8);
  const priority = Buffer.alloc(4);
  priority.writeUInt32BE(0x6e0001ff);
  const body = [
    attribute(USERNAME, Buffer.from(username)),
    attribute(PRIORITY, priority),
    attribute(ICE_CONTROLLING, randomBytes(8)),
    attribute(USE_CANDIDATE, Buffer.alloc(0)),
  ];
  // Both sums are over the message with a length that counts their own attribute (RFC 8489 §14.5, §14.7).
  const signed = withLength(head, body, 24);
  body.push(attribute(MESSAGE_INTEGRITY, createHmac('sha1', password).update(signed).digest()));
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE((crc32(withLength(head, body, 8)) ^ 0x5354554e) >>> 0);
  body.push(attribute(FINGERPRINT, sum));
  return withLength(head, body, 0);
}

function withLength(head, body, more) {
  const message = Buffer.concat([head, ...body]);
  message.writeUInt16BE(message.length - HEADER + more, 2);
  return message;
}

function attribute(type, value) {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
}

function kindOf(message) {
  const kinds = { 0x0101: 'success', 0x0111: 'error' };
  return kinds[message.readUInt16BE(0)] ?? `0x${message.readUInt16BE(0).toString(16)}`;
}

/** As in ITU V.42. */
function crc32(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return (sum ^ 0xffffffff) >>> 0;
}
