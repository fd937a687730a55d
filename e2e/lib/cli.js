// A command line client of the server under test, which finds it by the environment.

import { basename } from 'node:path';

import { ended, start, stop } from './children.js';
import { eventually } from './eventually.js';

/** A running program. */
export class Cli {
  /** Its output, both streams. */
  log = '';

  constructor(program, server, args) {
    this.name = basename(program);
    const { apiKey, apiSecret } = server.keys;
    const access = { LIVEKIT_URL: server.ws, LIVEKIT_API_KEY: apiKey, LIVEKIT_API_SECRET: apiSecret };
    this.child = start(program, args, { env: { ...process.env, ...access, NO_COLOR: '1' } });
    this.child.stdin.end();
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.log += text;
      });
    }
  }

  /** Waits until it has done what it was asked for; returns what it wrote. */
  async finished(timeout) {
    await eventually(() => ended(this.child), { timeout, what: `${this.name} ending` }).catch((error) => {
      throw new Error(`${error.message}; it wrote:\n${this.log}`);
    });
    if (this.child.exitCode !== 0) {
      throw new Error(`${this.name} ended with ${this.child.exitCode}; it wrote:\n${this.log}`);
    }
    return this.log;
  }

  stop() {
    return stop(this.child);
  }
}
