// The program under test, on free ports: on this machine with `--dev`, or as an operator runs it, from a configuration file.

import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { ended, start, stop } from './children.js';
import { eventually } from './eventually.js';
import { HostWithTwoAddresses } from './namespace.js';
import { freeTcpPort, freeUdpPort } from './ports.js';

const BUILT = fileURLToPath(new URL('../../target/release/hearth', import.meta.url));

/** The program under test. */
export const HEARTH = process.env.HEARTH_BIN ?? BUILT;

/** The keys of `--dev`. */
export const API_KEY = 'devkey';
export const API_SECRET = 'secret';

/** The keys of a configuration file. */
const FILE_KEYS = { apiKey: 'APIendtoend', apiSecret: 'a secret of more than thirty-two characters' };

/** With `HEARTH_E2E_HOST=two-addresses` all servers run on a host of their own (namespace.js), from a configuration file. */
const ON_A_HOST = process.env.HEARTH_E2E_HOST === 'two-addresses';

/** A running server. */
export class Server {
  /** Its output, both streams. */
  log = '';

  /**
   * Starts it and waits until it answers. `config` is YAML that is put behind the ports. With a
   * `roomShare` of 1 every room spans the media threads, so that its packets cross between them; null
   * leaves it to the server. With a `nodeIp` it runs without `--dev`, listens on all addresses and names this one to clients; with `ownHost` it
   * does so on a host with two addresses, the second of which it names. `secure` has clients use WSS; `args` are more flags; `port` is chosen if it is null;
   * `onePort` has media over UDP and TCP use its number, too; `tcp: false` leaves UDP alone.
   */
  static async start({ config = '', roomShare = 1, nodeIp = null, secure = false, port = null, onePort = false, tcp = true, ownHost = ON_A_HOST && !secure && !port, args = [] } = {}) {
    if (!existsSync(HEARTH)) throw new Error('there is no hearth binary: run `cargo build --release` first');
    // Browsers take ports below 1024 of public addresses only, and of these 80 and 443; this network is no private one.
    const host = ownHost ? HostWithTwoAddresses.open(onePort ? '198.18' : undefined) : null;
    const server = new Server(port ?? (await freeTcpPort()), await freeUdpPort(), host, nodeIp ?? host?.nodeIp);
    if (secure) server.ws = server.ws.replace('ws:', 'wss:');
    server.tcpPort = tcp ? await freeTcpPort() : 0;
    if (onePort) server.udpPort = server.tcpPort = server.port;
    try {
      await server.#start(config, roomShare, args);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** `nodeIp` is null with `--dev`. */
  constructor(port, udpPort, host, nodeIp) {
    const address = host?.address ?? '127.0.0.1';
    Object.assign(this, { port, udpPort, host, nodeIp });
    this.keys = nodeIp ? FILE_KEYS : { apiKey: API_KEY, apiSecret: API_SECRET };
    this.http = `http://${address}:${port}`;
    this.ws = `ws://${address}:${port}`;
  }

  async #start(config, roomShare, more) {
    const spread = roomShare === null ? [] : ['--room-share', String(roomShare)];
    const args = [...(this.nodeIp ? await this.#fromFile(config) : this.#dev(config)), ...spread, ...more];
    const [command, ...rest] = this.host?.inside([HEARTH, ...args]) ?? [HEARTH, ...args];
    this.child = start(command, rest, { env: { ...process.env, RUST_BACKTRACE: '1', NO_COLOR: '1' } });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.log += text;
      });
    }
    this.child.on('error', (error) => {
      this.log += `could not start: ${error.message}\n`;
    });
    await eventually(() => this.healthy(), {
      what: 'the server answering OK',
      hopeless: () => (ended(this.child) ? `it ended; it wrote:\n${this.log}` : null),
    });
  }

  #dev(config) {
    return ['--dev', '--bind', '127.0.0.1', '--config-body', `port: ${this.port}\nrtc:\n  udp_port: ${this.udpPort}\n  tcp_port: ${this.tcpPort}\n${config}`];
  }

  async #fromFile(config) {
    this.folder = await mkdtemp(join(tmpdir(), 'hearth-e2e-config-'));
    const path = join(this.folder, 'hearth.yaml');
    const { apiKey, apiSecret } = this.keys;
    const lines = [`port: ${this.port}`, 'rtc:', `  udp_port: ${this.udpPort}`, `  tcp_port: ${this.tcpPort}`, `  node_ip: ${this.nodeIp}`, 'keys:', `  ${apiKey}: ${apiSecret}`];
    await writeFile(path, `${lines.join('\n')}\n${config}`, { mode: 0o600 });
    return ['--config', path];
  }

  /** Whether the health check answers. */
  async healthy() {
    const answer = await fetch(this.http, { headers: { accept: '*/*' }, signal: AbortSignal.timeout(2_000) });
    return answer.ok && (await answer.text()) === 'OK';
  }

  /** Ends it; false if it had ended before or had to be killed. */
  async stop() {
    const obeyed = Boolean(this.child) && !ended(this.child) && (await stop(this.child));
    this.host?.close();
    if (this.folder) await rm(this.folder, { recursive: true, force: true });
    return obeyed;
  }

  /** Panics and errors it wrote about. A run that leaves any has found a bug. */
  complaints() {
    const lines = this.log.split('\n');
    return lines.filter((line) => /panicked at|\bERROR\b/.test(line));
  }
}
