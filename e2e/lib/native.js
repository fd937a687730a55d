// People in a room who use a native SDK: a process each, driven by lines of JSON.

import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { ended, start, stop } from './children.js';
import { within } from './eventually.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

/** A native SDK's process; `call(command, ...args)` is what a page's person offers. */
export class NativePeer {
  #next = 1;
  #waiting = new Map();
  log = '';

  constructor(identity, command, args, env = {}) {
    this.identity = identity;
    this.child = start(command, args, { stdio: ['pipe', 'pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.log = (this.log + text).slice(-200_000);
      });
    }
    createInterface({ input: this.child.stdio[3] }).on('line', (line) => this.#answer(JSON.parse(line)));
    this.child.on('exit', (code, signal) => this.#fail(`the process ended: ${signal ?? code}`));
    this.child.on('error', (error) => this.#fail(`the process could not start: ${error.message}`));
  }

  #answer({ id, value, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new Error(`${this.identity}: ${error}`));
    else waiting?.resolve(value);
  }

  #fail(reason) {
    const failure = new Error(`${this.identity}: ${reason}\n${this.log.slice(-2_000)}`);
    for (const { reject } of this.#waiting.values()) reject(failure);
    this.#waiting.clear();
  }

  call(command, ...args) {
    if (ended(this.child)) return Promise.reject(new Error(`${this.identity}: the process has ended\n${this.log.slice(-2_000)}`));
    const id = this.#next;
    this.#next += 1;
    const answered = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.child.stdin.write(`${JSON.stringify({ id, command, args })}\n`);
    return within(answered, 40_000, `${this.identity}: ${command}`);
  }

  /** The reason that the SDK gives for a participant's leaving. */
  async whyLeft(identity) {
    const events = await this.call('events');
    return events.findLast((entry) => entry.event === 'left' && entry.identity === identity)?.reason;
  }

  async evidence() {
    const events = await this.call('events').catch((error) => [String(error)]);
    return { 'events.json': JSON.stringify(events, null, 1), 'log.txt': this.log };
  }

  async close() {
    this.child.stdin.end();
    await stop(this.child, 3_000);
  }
}

/** A person with the Python SDK of one virtual environment. */
export function pythonPeer(identity, environment = '.venv', env = {}) {
  const python = file(`../${environment}/bin/python`);
  if (!existsSync(python)) throw new Error(`${environment} is not installed: run ./test, which makes it`);
  return new NativePeer(identity, python, [file('../python/peer.py')], env);
}

/**
 * A person with one version of the Node SDK; `inside` turns a command line into one that runs it on another host, `env` is
 * more environment.
 */
export function nodePeer(identity, sdk = '@livekit/rtc-node', { inside = (command) => command, env = {} } = {}) {
  const [command, ...args] = inside([process.execPath, file('../native/peer.js'), sdk]);
  return new NativePeer(identity, command, args, env);
}
