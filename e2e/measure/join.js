// How long a subscriber waits: from connect() to being connected, and from then to the first frame on the screen.
//
//   npm run measure:join                                      the hearth of this checkout
//   npm run measure:join -- --url ws://… --api-key … --api-secret …   any LiveKit server
//
// The client logs as it does in an app (level info): at level debug, which the tests use, a join takes 60 ms longer.
// Prints the median of `--runs`. Run it for two servers in turns: what else a machine does changes the numbers.

import { parseArgs } from 'node:util';

import { Chromium } from '../lib/browsers.js';
import { firstFrame, seesPicture } from '../lib/expect.js';
import { BrowserClient } from '../lib/browser-client.js';
import { API_KEY, API_SECRET, Server } from '../lib/server.js';
import { Site } from '../lib/site.js';
import { token } from '../lib/tokens.js';

const { values: flags } = parseArgs({
  options: {
    url: { type: 'string' },
    'api-key': { type: 'string', default: API_KEY },
    'api-secret': { type: 'string', default: API_SECRET },
    runs: { type: 'string', default: '5' },
  },
});
const room = `measure-join-${Math.random().toString(36).slice(2, 8)}`;
const keys = { apiKey: flags['api-key'], apiSecret: flags['api-secret'] };

const server = flags.url ? null : await Server.start({ roomShare: null });
const url = flags.url ?? server.ws;
const site = await Site.start();
const browser = await Chromium.launch();
try {
  const publisher = await join('publisher');
  await publisher.call('tone', 440);
  await publisher.call('camera', { simulcast: true, videoCodec: 'vp8' });
  await warmUp(publisher);
  const joins = [];
  const frames = [];
  for (let run = 1; run <= Number(flags.runs); run += 1) {
    const subscriber = await join(`subscriber ${run}`);
    joins.push(subscriber.joined.ms);
    frames.push(await firstFrame(subscriber, publisher));
    await subscriber.close();
  }
  const client = await publisher.call('version');
  console.log(`${url}, livekit-client ${client} in Chromium, one publisher (720p VP8 simulcast, Opus)`);
  report('connect() to connected', joins);
  report('connected to first frame', frames);
} finally {
  await browser.close();
  await site.stop();
  await server?.stop();
}

async function join(identity) {
  const person = await BrowserClient.open(identity, browser, site, { log: 'info' });
  person.joined = await person.call('join', { url, token: await token(identity, room, {}, keys) });
  return person;
}

/** All encodings are sent, and the browser has decoded a picture before. */
async function warmUp(publisher) {
  const viewer = await join('warm-up');
  await seesPicture(viewer, publisher, { minWidth: 1280, timeout: 45_000 });
  await viewer.close();
}

function report(what, times) {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  console.log(`${what.padEnd(26)} median ${median} ms of ${times.join(', ')}`);
}
