// Two machines with a cable between them: network namespaces of Linux, so that a set-up can be broken without breaking this machine.
// It needs root, `ip`, `nft` and `unshare`.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ended, start, stop } from './children.js';
import { eventually } from './eventually.js';
import { HEARTH } from './server.js';

const open = new Set();

process.on('exit', () => {
  for (const hosts of open) hosts.close();
});

/** Addresses for documentation: to the program they are public ones. */
export const SERVER_IP = '203.0.113.7';
export const OUTSIDE_IP = '203.0.113.1';

/** The machine that is checked, `server`, and another one, `outside`. */
export class TwoHosts {
  static #made = 0;
  #children = [];

  constructor() {
    TwoHosts.#made += 1;
    this.server = `hearth-${process.pid}-doctor${TwoHosts.#made}`;
    this.outside = `${this.server}o`;
    this.folder = mkdtempSync(join(tmpdir(), 'hearth-doctor-'));
    open.add(this);
    try {
      this.#connect();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #connect() {
    for (const name of [this.server, this.outside]) {
      ip('netns', 'add', name);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    ip('-n', this.server, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.outside);
    for (const [name, address] of [[this.server, SERVER_IP], [this.outside, OUTSIDE_IP]]) {
      ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0');
      ip('-n', name, 'link', 'set', 'eth0', 'up');
    }
    ip('-n', this.server, 'route', 'add', 'default', 'via', OUTSIDE_IP);
  }

  /** `ip` on the machine that is checked. */
  ip(...args) {
    ip('-n', this.server, ...args);
  }

  /** Rules for what comes in to the machine that is checked, each as nft writes them. */
  filter(...rules) {
    const chain = ['chain in {', 'type filter hook input priority 0', ...rules, '}'].join('\n');
    execFileSync('ip', ['netns', 'exec', this.server, 'nft', `table inet doctor {\n${chain}\n}`]);
  }

  /** A file that both machines see. */
  file(name, text) {
    const path = join(this.folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  /** Starts a program on one of them. */
  start(where, command, options) {
    const child = start('ip', ['netns', 'exec', where, ...command], options);
    child.log = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        child.log += text;
      });
    }
    this.#children.push(child);
    return child;
  }

  /** Starts a server on one of them and waits until it is ready. */
  async hearth(where, config) {
    const child = this.start(where, [HEARTH, '--config', config], { env: { ...process.env, NO_COLOR: '1' } });
    await eventually(() => child.log.includes('is ready'), {
      what: 'the server being ready',
      hopeless: () => (ended(child) ? `it ended; it wrote:\n${child.log}` : null),
    });
    return child;
  }

  /** What `hearth doctor` says on the machine that is checked. `prepare` is shell that runs before it, with file systems of its own. */
  async doctor(config, { args = [], prepare = '' } = {}) {
    const inside = `${prepare}\nexec "$@"`;
    const command = ['unshare', '--mount', 'sh', '-ec', inside, 'sh', HEARTH, 'doctor', '--json', '--config', config, ...args];
    const child = this.start(this.server, command, { env: { ...process.env, NO_COLOR: '1' } });
    let out = '';
    child.stdout.on('data', (text) => {
      out += text;
    });
    await eventually(() => ended(child) && out.trimEnd().endsWith('}'), { what: 'the doctor ending', timeout: 20_000, hopeless: () => (ended(child) && child.exitCode > 1 ? child.log : null) });
    return { ...JSON.parse(out), exitCode: child.exitCode };
  }

  /** Ends what runs on them, then them. */
  async stop() {
    await Promise.all(this.#children.map((child) => stop(child)));
    this.close();
  }

  close() {
    if (!open.delete(this)) return;
    for (const name of [this.server, this.outside]) {
      try {
        ip('netns', 'delete', name);
      } catch {
        // It was never made.
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A certificate for `name` with its key, valid from and to these times (`YYYYMMDDhhmmssZ`). */
export function certificate(hosts, name, [from, to]) {
  const at = (file) => join(hosts.folder, `${name}-${from}-${file}`);
  const config = hosts.file(`${name}-${from}.cnf`, [
    '[ca]', 'default_ca=own', '[own]', `database=${at('index')}`, `serial=${at('serial')}`, `new_certs_dir=${hosts.folder}`,
    'default_md=sha256', 'policy=any', 'x509_extensions=names', '[any]', 'commonName=supplied', '[names]', `subjectAltName=DNS:${name}`, '',
  ].join('\n'));
  writeFileSync(at('index'), '');
  writeFileSync(at('serial'), '01');
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', at('key.pem'));
  openssl('req', '-new', '-key', at('key.pem'), '-subj', `/CN=${name}`, '-out', at('request.pem'));
  const times = ['-startdate', from, '-enddate', to];
  openssl('ca', '-batch', '-selfsign', '-config', config, '-keyfile', at('key.pem'), '-in', at('request.pem'), ...times, '-notext', '-out', at('cert.pem'));
  return { cert: at('cert.pem'), key: at('key.pem') };
}

function ip(...args) {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
