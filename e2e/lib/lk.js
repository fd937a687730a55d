// The command line client `lk`, which is written in Go. It is not among what ./test installs.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

import { ended, start, stop } from './children.js';
import { eventually } from './eventually.js';
import { API_KEY, API_SECRET } from './server.js';

const FOUND = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'lk')).find(isProgram);

/** Why tests that need `lk` are skipped; false if they are not. */
export const WITHOUT_LK = FOUND ? false : 'there is no `lk` on the PATH';

/** A running `lk`. */
export class Lk {
  /** What it wrote, both streams. */
  log = '';

  constructor(server, args) {
    const access = { LIVEKIT_URL: server.ws, LIVEKIT_API_KEY: API_KEY, LIVEKIT_API_SECRET: API_SECRET };
    this.child = start(FOUND, args, { env: { ...process.env, ...access, NO_COLOR: '1' } });
    this.child.stdin.end();
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.log += text;
      });
    }
  }

  /** Waits until it has done what it was asked for; returns what it wrote. */
  async finished(timeout) {
    await eventually(() => ended(this.child), { timeout, what: 'lk ending' }).catch((error) => {
      throw new Error(`${error.message}; it wrote:\n${this.log}`);
    });
    if (this.child.exitCode !== 0) throw new Error(`lk ended with ${this.child.exitCode}; it wrote:\n${this.log}`);
    return this.log;
  }

  stop() {
    return stop(this.child);
  }
}

/** The rows of the tables that `lk` draws, as lists of cells. */
export function tableRows(text) {
  const rows = text.split('\n').filter((line) => line.trim().startsWith('│'));
  return rows.map((row) => row.split('│').slice(1, -1).map((cell) => cell.trim()));
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
