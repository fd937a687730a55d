// Freezes of a camera at a subscriber over packet loss and latency, in both directions.
//
//   npm run measure:loss -- --loss 0.05 --delay 50 --seconds 60 --runs 3         the hearth of this checkout
//   npm run measure:loss -- --url ws://… --udp-port … --api-key … --api-secret …   any LiveKit server on this machine
//
// Prints for each run the longest time without a new frame, and the freezes that Chromium counts: a frame that is shown
// for 150 ms longer than usual. The losses of a run are drawn from `--seed` and its number. `--delay` is the time one
// way between a client and the server, in ms: half their round-trip time, a quarter of that from camera to viewer and back.

import { parseArgs } from 'node:util';

import { Chromium } from '../lib/browsers.js';
import { eventually } from '../lib/eventually.js';
import { LossyProxy } from '../lib/lossy-proxy.js';
import { seesPicture } from '../lib/expect.js';
import { BrowserClient } from '../lib/browser-client.js';
import { API_KEY, API_SECRET, Server } from '../lib/server.js';
import { Site } from '../lib/site.js';
import { token } from '../lib/tokens.js';

const { values: flags } = parseArgs({
  options: {
    url: { type: 'string' },
    'udp-port': { type: 'string' },
    'api-key': { type: 'string', default: API_KEY },
    'api-secret': { type: 'string', default: API_SECRET },
    loss: { type: 'string', default: '0.05' },
    delay: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '60' },
    runs: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
  },
});
const keys = { apiKey: flags['api-key'], apiSecret: flags['api-secret'] };
const [loss, delay, seconds] = [Number(flags.loss), Number(flags.delay), Number(flags.seconds)];

const server = flags.url ? null : await Server.start({ roomShare: null });
const url = flags.url ?? server.ws;
const udpPort = Number(flags['udp-port'] ?? server.udpPort);
const site = await Site.start();
const browser = await Chromium.launch();
try {
  console.log(`${url}, one camera (720p VP8 simulcast) in Chromium, ${100 * loss} % loss and ${delay} ms each way, ${seconds} s a run`);
  for (let run = 1; run <= Number(flags.runs); run += 1) {
    const seed = Number(flags.seed) + run - 1;
    const proxy = await LossyProxy.start(udpPort, { loss, delay, seed });
    try {
      report(seed, await watch(`measure-loss-${seed}-${Math.random().toString(36).slice(2, 8)}`, proxy));
    } finally {
      proxy.stop();
    }
  }
} finally {
  await browser.close();
  await site.stop();
  await server?.stop();
}

/** One publisher and one viewer in a room of their own; the viewer's statistics. */
async function watch(room, proxy) {
  const publisher = await join('publisher', room, proxy);
  const viewer = await join('viewer', room, proxy);
  await publisher.call('camera', { simulcast: true, videoCodec: 'vp8' });
  await seesPicture(viewer, publisher, { codec: 'VP8' });
  const before = await inbound(viewer);
  await viewer.call('stare', 'publisher');
  const seen = await eventually(async () => {
    const watched = await viewer.call('watched', 'publisher');
    return watched.ms >= 1_000 * seconds ? watched : null;
  }, { timeout: 1_000 * (seconds + 20), what: `the viewer watching for ${seconds} s` });
  const after = await inbound(viewer);
  await Promise.all([publisher.close(), viewer.close()]);
  const grown = (name) => after[name] - before[name];
  return { ...seen, freezes: grown('freezeCount'), frozen: grown('totalFreezesDuration'), lost: grown('packetsLost') };
}

async function join(identity, room, proxy) {
  const rewrite = `${udpPort}-${proxy.port}`;
  const person = await BrowserClient.open(identity, browser, site, { rewrite, log: 'info' });
  await person.call('join', { url, token: await token(identity, room, {}, keys) });
  return person;
}

async function inbound(viewer) {
  const entries = (await viewer.call('statistics')).flat();
  return entries.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video');
}

function report(seed, { gap, freezes, frozen, decoded, ms, lost, width }) {
  const rate = ((1_000 * decoded) / ms).toFixed(1);
  const still = `${gap} ms without a new frame at most`;
  console.log(`seed ${seed}: ${still}, ${freezes} freezes (${frozen.toFixed(1)} s), ${rate} frames/s ${width} wide, ${lost} packets lost`);
}
