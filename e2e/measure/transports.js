// What a packet costs the server by each way that a client can take: UDP, ICE-TCP, TURN over UDP and over TCP.
//
//   npm run measure:transports -- --seconds 20 --runs 2
//
// Two in Chromium send each other camera and voice. Prints the CPU of the server's media threads (and of the relay thread) for each datagram
// received or sent by media threads, and as a multiple of UDP's in the same run. Needs Linux and root, for a host whose UDP can be blocked.

import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { Chromium } from '../lib/browsers.js';
import { BrowserClient } from '../lib/browser-client.js';
import { eventually } from '../lib/eventually.js';
import { seesPicture } from '../lib/expect.js';
import { freeTcpPort, freeUdpPort } from '../lib/ports.js';
import { Server } from '../lib/server.js';
import { Site } from '../lib/site.js';
import { state } from '../lib/state.js';
import { token } from '../lib/tokens.js';

const { values: flags } = parseArgs({ options: { seconds: { type: 'string', default: '20' }, runs: { type: 'string', default: '2' } } });
const seconds = Number(flags.seconds);

const relayed = { rtcConfig: { iceTransportPolicy: 'relay' } };
const WAYS = [
  { way: 'UDP' },
  { way: 'ICE-TCP', blockUdp: true },
  { way: 'TURN over UDP', connect: relayed, turn: async () => `  udp_port: ${await freeUdpPort()}\n` },
  { way: 'TURN over TCP', connect: relayed, turn: async () => `  tcp_port: ${await freeTcpPort()}\n` },
];

const site = await Site.start();
const browser = await Chromium.launch();
try {
  for (let run = 1; run <= Number(flags.runs); run += 1) {
    let udp;
    for (const { way, blockUdp = false, connect = {}, turn } of WAYS) {
      const cost = await measure(blockUdp, connect, turn ? `turn:\n  enabled: true\n${await turn()}` : '');
      udp ??= cost;
      console.log(`run ${run}, ${way}: ${cost.toFixed(1)} µs of CPU a datagram, ${(cost / udp).toFixed(2)} times UDP`);
    }
  }
} finally {
  await browser.close();
  await site.stop();
}

/** Microseconds of CPU for each datagram. */
async function measure(blockUdp, connect, config) {
  const server = await Server.start({ ownHost: true, roomShare: null, config });
  try {
    if (blockUdp) server.host.blockUdp();
    const people = [await join(server, 'alice', connect), await join(server, 'bob', connect)];
    for (const person of people) {
      await person.call('tone', 440);
      await person.call('camera', { simulcast: true, videoCodec: 'vp8' });
    }
    await Promise.all([seesPicture(people[0], people[1]), seesPicture(people[1], people[0])]);
    const before = await look(server);
    const began = Date.now();
    await eventually(() => Date.now() - began >= 1_000 * seconds, { timeout: 1_000 * (seconds + 10), what: `${seconds} s of a call` });
    const after = await look(server);
    await Promise.all(people.map((person) => person.close()));
    return (after.cpu - before.cpu) / (after.datagrams - before.datagrams);
  } finally {
    await server.stop();
  }
}

async function join(server, identity, connect) {
  const person = await BrowserClient.open(identity, browser, site, { log: 'info' });
  await person.call('join', { url: server.ws, token: await token(identity, 'measure', {}, server.keys), connect });
  return person;
}

/** CPU of the threads that carry media so far, in µs, and datagrams that media threads received and sent. */
async function look(server) {
  const { received, sent } = await state(server);
  const { pid } = server.child;
  const tasks = readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}`);
  const media = tasks.filter((task) => /^(shard-|relay)/.test(readFileSync(`${task}/comm`, 'utf8')));
  const spent = media.map((task) => Number(readFileSync(`${task}/schedstat`, 'utf8').split(' ')[0]) / 1_000);
  return { cpu: spent.reduce((sum, each) => sum + each, 0), datagrams: received.datagrams + sent.datagrams };
}
