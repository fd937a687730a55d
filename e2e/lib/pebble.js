// Pebble, a real ACME server for tests, with a DNS of its own in which every name is this machine. It is a Go program that
// nothing else here needs: `go install github.com/letsencrypt/pebble/v2/cmd/...@v2.10.3` and PEBBLE_BIN=folder.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { start, stop } from './children.js';
import { eventually } from './eventually.js';
import { freeTcpPort } from './ports.js';

const FOLDER = process.env.PEBBLE_BIN ?? '';

/** Why tests with it do not run here, or nothing. */
export const WITHOUT_PEBBLE = existsSync(join(FOLDER, 'pebble')) ? false : 'PEBBLE_BIN names no folder with pebble';

/** A running one, whose certificates last `seconds` and whose own certificate is in the files; it looks for servers at `port`. */
export class Pebble {
  static async start({ folder, cert, key, port, seconds }) {
    const pebble = new Pebble();
    const [acme, management, dns, control] = [await freeTcpPort(), await freeTcpPort(), await freeTcpPort(), await freeTcpPort()];
    pebble.directory = `https://127.0.0.1:${acme}/dir`;
    const config = {
      listenAddress: `127.0.0.1:${acme}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: cert,
      privateKey: key,
      httpPort: 1,
      tlsPort: port,
      retryAfter: { authz: 1, order: 1 },
      profiles: { default: { description: 'short', validityPeriod: seconds } },
    };
    const path = join(folder, 'pebble.json');
    writeFileSync(path, JSON.stringify({ pebble: config }));
    const off = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-doh', ''];
    const names = ['-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-dnsserver', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${control}`];
    pebble.children = [
      start(join(FOLDER, 'pebble-challtestsrv'), [...off, ...names]),
      start(join(FOLDER, 'pebble'), ['-config', path, '-dnsserver', `127.0.0.1:${dns}`], { env: { ...process.env, PEBBLE_VA_NOSLEEP: '1' } }),
    ];
    pebble.log = '';
    for (const child of pebble.children) {
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => { pebble.log += text; });
    }
    await eventually(() => pebble.log.includes('ACME directory available'), { what: 'pebble' });
    return pebble;
  }

  async stop() {
    for (const child of this.children) await stop(child);
  }
}
