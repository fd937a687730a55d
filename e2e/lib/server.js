// The program under test: `hearth --dev` on free ports.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { ended, start, stop } from './children.js';
import { eventually } from './eventually.js';
import { freeTcpPort, freeUdpPort } from './ports.js';

const BUILT = fileURLToPath(new URL('../../target/release/hearth', import.meta.url));

/** The program under test. */
export const HEARTH = process.env.HEARTH_BIN ?? BUILT;

/** The keys of `--dev`. */
export const API_KEY = 'devkey';
export const API_SECRET = 'secret';

/** A running server. */
export class Server {
  /** What it wrote, both streams. */
  log = '';

  /**
   * Starts it and waits until it answers. `config` is YAML that is put behind the ports. With a
   * `roomShare` of 1 every room spans the media threads, so that its packets cross between them; null
   * leaves it to the server.
   */
  static async start({ config = '', roomShare = 1 } = {}) {
    if (!existsSync(HEARTH)) throw new Error('there is no hearth binary: run `cargo build --release` first');
    const [port, udpPort] = [await freeTcpPort(), await freeUdpPort()];
    const spread = roomShare === null ? [] : ['--room-share', String(roomShare)];
    const args = ['--dev', '--bind', '127.0.0.1', ...spread, '--config-body'];
    const body = `port: ${port}\nrtc:\n  udp_port: ${udpPort}\n${config}`;
    const server = new Server(port, udpPort);
    server.child = start(HEARTH, [...args, body], {
      env: { ...process.env, RUST_BACKTRACE: '1', NO_COLOR: '1' },
    });
    for (const stream of [server.child.stdout, server.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        server.log += text;
      });
    }
    server.child.on('error', (error) => {
      server.log += `could not start: ${error.message}\n`;
    });
    try {
      await eventually(() => server.healthy(), {
        what: 'the server answering OK',
        hopeless: () => (ended(server.child) ? `it ended; it wrote:\n${server.log}` : null),
      });
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  constructor(port, udpPort) {
    this.port = port;
    this.udpPort = udpPort;
    this.http = `http://127.0.0.1:${port}`;
    this.ws = `ws://127.0.0.1:${port}`;
  }

  /** Whether the health check answers. */
  async healthy() {
    const answer = await fetch(this.http, { headers: { accept: '*/*' }, signal: AbortSignal.timeout(2_000) });
    return answer.ok && (await answer.text()) === 'OK';
  }

  /** Ends it; false if it had to be killed. */
  stop() {
    return stop(this.child);
  }

  /** Panics and errors it wrote about. A run that leaves any has found a bug. */
  complaints() {
    const lines = this.log.split('\n');
    return lines.filter((line) => /panicked at|\bERROR\b/.test(line));
  }
}
