// Connections of many strangers that never get far: silent ones, halves of a ClientHello, garbage.

import { connect } from 'node:net';

const BEGINNINGS = [
  Buffer.alloc(0),
  Buffer.from([0x16, 0x03, 0x01]),
  // A ClientHello of 16 KiB of which only this comes.
  Buffer.from([0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0x3f, 0xfc, 0x03, 0x03]),
  Buffer.from([0x00, 0x14, 0x00, 0x01]),
];
const ADDRESSES = 20;
const AT_ONCE = 3_000;

/** Keeps thousands of them open from 127.0.0.2 and up, and opens another for each that is closed. */
export class Flood {
  #sockets = new Set();
  #stopped = false;

  constructor(port) {
    for (let number = 0; number < AT_ONCE; number += 1) this.#open(port, number);
  }

  #open(port, number) {
    if (this.#stopped) return;
    const socket = connect({ host: '127.0.0.1', port, localAddress: `127.0.0.${2 + (number % ADDRESSES)}` });
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('connect', () => socket.write(BEGINNINGS[number % BEGINNINGS.length]));
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#open(port, number + 1);
    });
  }

  stop() {
    this.#stopped = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}
