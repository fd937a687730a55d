// The command line client `lk`, which is written in Go. It is not among what ./test installs.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

import { Cli } from './cli.js';

const FOUND = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'lk')).find(isProgram);

/** Why tests that need `lk` are skipped; false if they are not. */
export const WITHOUT_LK = FOUND ? false : 'there is no `lk` on the PATH';

/** A running `lk`. */
export class Lk extends Cli {
  constructor(server, args) {
    super(FOUND, server, args);
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
