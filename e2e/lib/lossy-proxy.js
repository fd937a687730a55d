// A bad network: a UDP proxy in front of the server's media port that loses packets at random, from a seed, and delays
// them. Pages send through it when they are opened with `rewrite` (page/candidate-rewrite.js).

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { clearTimeout, setTimeout as later } from 'node:timers';

const HOST = '127.0.0.1';
/** Room for a burst while this process is busy, so that nothing is lost that was not drawn. */
const BUFFER_BYTES = 2 * 1024 * 1024;

/** A running proxy. Each client gets a socket of its own towards the server, as behind a NAT. */
export class LossyProxy {
  #clients = new Map(); // "address:port" -> socket
  #waiting = [];
  #timer;
  /** Datagrams towards the server and towards clients. */
  up = { passed: 0, lost: 0 };
  down = { passed: 0, lost: 0 };

  /** Loses a datagram with probability `loss`, and delivers it `delay` ms later, in each direction. */
  static async start(serverPort, { loss, seed, delay = 0 }) {
    const proxy = new LossyProxy();
    proxy.serverPort = serverPort;
    proxy.loss = loss;
    proxy.delay = delay;
    proxy.random = random(seed);
    proxy.socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES }).bind(0, HOST);
    await once(proxy.socket, 'listening');
    proxy.port = proxy.socket.address().port;
    proxy.socket.on('message', (datagram, from) => proxy.#sendUp(datagram, from));
    return proxy;
  }

  #sendUp(datagram, from) {
    if (!this.#passes(this.up)) return;
    const client = this.#client(from);
    this.#deliver(() => client.send(datagram, this.serverPort, HOST));
  }

  /** In the order of arrival: all wait as long. */
  #deliver(send) {
    if (this.delay === 0) {
      send();
      return;
    }
    this.#waiting.push({ at: performance.now() + this.delay, send });
    if (this.#waiting.length === 1) this.#wait();
  }

  /** Timers count whole milliseconds; what is due by the next half leaves with this one. */
  #wait() {
    this.#timer = later(() => {
      const now = performance.now() + 0.5;
      const due = this.#waiting.findIndex(({ at }) => at > now);
      for (const { send } of this.#waiting.splice(0, due < 0 ? this.#waiting.length : due)) send();
      if (this.#waiting.length > 0) this.#wait();
    }, Math.max(0, this.#waiting[0].at - performance.now()));
  }

  #client({ address, port }) {
    const key = `${address}:${port}`;
    const known = this.#clients.get(key);
    if (known) return known;
    const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES }).bind(0, HOST);
    socket.on('message', (datagram) => {
      if (this.#passes(this.down)) this.#deliver(() => this.socket.send(datagram, port, address));
    });
    this.#clients.set(key, socket);
    return socket;
  }

  #passes(count) {
    const passes = this.random() >= this.loss;
    count[passes ? 'passed' : 'lost'] += 1;
    return passes;
  }

  stop() {
    clearTimeout(this.#timer);
    this.#waiting = [];
    for (const socket of [this.socket, ...this.#clients.values()]) socket.close();
  }
}

/** Numbers in [0, 1) from a seed of 32 bits (mulberry32). */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
