// A sound card for Firefox, whose WebAudio stands still on a machine without one: PulseAudio with nothing behind it.

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ended, start, stop } from './children.js';
import { eventually } from './eventually.js';

/** A running sound server of our own; programs started with `env` play into it. */
export class PulseAudio {
  static async start() {
    const sound = new PulseAudio();
    sound.folder = await mkdtemp(join(tmpdir(), 'hearth-e2e-sound-'));
    const socket = join(sound.folder, 'socket');
    const args = ['-n', '--daemonize=no', '--exit-idle-time=-1', '--use-pid-file=no', '--load=module-null-sink rate=48000'];
    const env = { ...process.env, HOME: sound.folder, XDG_RUNTIME_DIR: sound.folder };
    sound.child = start('pulseaudio', [...args, `--load=module-native-protocol-unix auth-anonymous=1 socket=${socket}`], { env, stdio: 'ignore' });
    sound.env = { PULSE_SERVER: `unix:${socket}` };
    await eventually(() => existsSync(socket), {
      what: 'the sound server starting',
      hopeless: () => (ended(sound.child) ? 'pulseaudio ended or is not installed' : null),
    });
    return sound;
  }

  async stop() {
    await stop(this.child);
    await rm(this.folder, { recursive: true, force: true });
  }
}
