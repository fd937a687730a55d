// Processes that the tests start. Each is ended by its pid, also when the test run itself is ended.

import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { within } from './eventually.js';

const running = new Set();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** Starts a process that does not outlive this one. */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  running.add(child);
  child.on('exit', () => running.delete(child));
  child.on('error', () => running.delete(child));
  child.stdin?.on('error', () => {});
  return child;
}

/** Whether a process has ended, or never began. */
export function ended(child) {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

/** Asks a process to end; ends it after `patience` ms. True if asking was enough. */
export async function stop(child, patience = 5_000) {
  if (ended(child)) return true;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  try {
    await within(exit, patience, `process ${child.pid} ending`);
    return true;
  } catch {
    child.kill('SIGKILL');
    await exit;
    return false;
  }
}
